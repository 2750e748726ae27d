//! Translates signals into the exceptions of minidumps.

use dumpwright_target::{Amd64, CpuContext, Exception};

/// The `si_code` of signals that the kernel sends without further facts, and of traps that it does
/// not distinguish (asm-generic/siginfo.h).
const SI_KERNEL: i32 = 0x80;

/// The trap number of a page fault (Intel's manual, volume 3, section 6.15).
const PAGE_FAULT: u64 = 14;

/// The signals by which processes crash. Others end processes in normal operation.
pub(crate) const CRASHES: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// The number of words in `ucontext_t.uc_mcontext.gregs`.
pub(crate) const GREGS: usize = 23;

/// Kinds of access, as in the exception parameters of an access violation on Windows.
mod access {
    pub(super) const READ: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    pub(super) const EXECUTE: u64 = 8;
}

/// Translates the arguments of a signal handler into an exception.
///
/// This is for crash handlers. `siginfo` and `ucontext` are the second and third argument of a
/// handler installed with `SA_SIGINFO`, in the crashing process or copied from it. The registers of
/// the exception are those at the moment of the signal, not those of the thread in its handler.
///
/// `fxsave` are the 512 bytes that `ucontext.uc_mcontext.fpregs` points to. The function does not
/// follow that pointer itself, because it is valid only in the crashed process. Without these bytes
/// the exception has no floating-point registers.
///
/// The fields of the exception:
///
/// * `code` is the number of the signal, `flags` is `si_code`.
/// * `address` is the accessed address for SIGSEGV and SIGBUS, and the address of the instruction
///   for SIGILL, SIGFPE and SIGTRAP. It is 0 for a general protection fault (`SI_KERNEL`), because
///   the kernel does not know the address; usually the program accessed a non-canonical one. For
///   signals sent by programs it is the instruction pointer.
/// * `parameters` depend on the signal. For page faults they are the kind of access (0 read, 1
///   write, 8 execute, as on Windows) and the address; for SIGSYS the number of the system call and
///   its architecture; for signals sent by programs the process id and user id of the sender.
#[must_use]
pub fn exception(
    thread_id: u32,
    siginfo: &libc::siginfo_t,
    ucontext: &libc::ucontext_t,
    fxsave: Option<&[u8; 512]>,
) -> Exception {
    let gregs = ucontext.uc_mcontext.gregs.map(i64::cast_unsigned);
    exception_of(thread_id, SignalFacts::of(siginfo), &gregs, fxsave)
}

/// Does the same with the registers of `ucontext.uc_mcontext.gregs`.
pub(crate) fn exception_of(
    thread_id: u32,
    facts: SignalFacts,
    gregs: &[u64; GREGS],
    fxsave: Option<&[u8; 512]>,
) -> Exception {
    let page_fault =
        (gregs[libc::REG_TRAPNO as usize] == PAGE_FAULT).then(|| access_of(gregs[libc::REG_ERR as usize]));
    facts.exception(thread_id, interrupted(gregs, fxsave).to_context(), page_fault)
}

/// Returns the registers at the moment of the signal.
fn interrupted(gregs: &[u64; GREGS], fxsave: Option<&[u8; 512]>) -> Amd64 {
    let word = |index: libc::c_int| gregs[index as usize];
    // Four 16-bit registers in one word: cs, gs, fs, ss. The word has no ds and es.
    let selectors = word(libc::REG_CSGSFS);
    Amd64 {
        rax: word(libc::REG_RAX),
        rbx: word(libc::REG_RBX),
        rcx: word(libc::REG_RCX),
        rdx: word(libc::REG_RDX),
        rsi: word(libc::REG_RSI),
        rdi: word(libc::REG_RDI),
        rbp: word(libc::REG_RBP),
        rsp: word(libc::REG_RSP),
        r8: word(libc::REG_R8),
        r9: word(libc::REG_R9),
        r10: word(libc::REG_R10),
        r11: word(libc::REG_R11),
        r12: word(libc::REG_R12),
        r13: word(libc::REG_R13),
        r14: word(libc::REG_R14),
        r15: word(libc::REG_R15),
        rip: word(libc::REG_RIP),
        eflags: word(libc::REG_EFL) as u32,
        cs: selectors as u16,
        ss: (selectors >> 48) as u16,
        segments: None,
        fxsave: fxsave.map(|image| Box::new(crate::registers::without_software_bytes(*image))),
        debug: None,
        xstate: None,
    }
}

/// Returns the kind of access from the error code of a page fault.
fn access_of(error_code: u64) -> u64 {
    const WRITE: u64 = 1 << 1;
    const INSTRUCTION_FETCH: u64 = 1 << 4;
    if error_code & INSTRUCTION_FETCH != 0 {
        access::EXECUTE
    } else if error_code & WRITE != 0 {
        access::WRITE
    } else {
        access::READ
    }
}

/// The parts of a `siginfo_t` that an exception needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalFacts {
    pub(crate) signal: i32,
    pub(crate) code: i32,
    /// The fields whose meaning depends on the signal, from offset 16 of the structure.
    fields: [u64; 2],
}

impl SignalFacts {
    pub(crate) fn of(siginfo: &libc::siginfo_t) -> Self {
        const { assert!(size_of::<libc::siginfo_t>() >= 32) };
        let words = std::ptr::from_ref(siginfo).cast::<u64>();
        // SAFETY: a siginfo_t has 128 bytes (at least 32, as asserted) and the alignment of a
        // pointer, so words 2 and 3 lie inside it and are aligned. All its bytes from offset 12 on
        // are an array of integers, so the reference guarantees that they are initialised, and
        // every bit pattern is a valid u64.
        let fields = unsafe { [words.add(2).read(), words.add(3).read()] };
        Self {
            signal: siginfo.si_signo,
            code: siginfo.si_code,
            fields,
        }
    }

    /// Parses the bytes of a `siginfo_t`.
    pub(crate) fn parse(siginfo: &[u8; 128]) -> Self {
        let half = |at: usize| i32::from_ne_bytes(siginfo[at..at + 4].try_into().expect("four bytes"));
        let word = |at: usize| u64::from_ne_bytes(siginfo[at..at + 8].try_into().expect("eight bytes"));
        Self {
            signal: half(0),
            code: half(8),
            fields: [word(16), word(24)],
        }
    }

    /// The field `si_addr`.
    pub(crate) fn address(&self) -> u64 {
        self.fields[0]
    }

    /// Whether the kernel raised the signal because of an instruction of the thread. `si_addr` is
    /// valid, unless the fault [is unspecific](Self::is_unspecific).
    pub(crate) fn is_fault(&self) -> bool {
        matches!(
            self.signal,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP
        ) && self.code > 0
    }

    /// Whether the signal is a fault for which the kernel reports no address.
    pub(crate) fn is_unspecific(&self) -> bool {
        self.is_fault() && self.code == SI_KERNEL
    }

    /// Returns the exception for this signal in a thread with the registers `context`. `access` is
    /// the kind of access of a page fault, if known.
    pub(crate) fn exception(&self, thread_id: u32, context: CpuContext, access: Option<u64>) -> Exception {
        let instruction = context.instruction_pointer();
        let memory = matches!(self.signal, libc::SIGSEGV | libc::SIGBUS);
        let address = match () {
            () if self.is_unspecific() && memory => 0,
            // A breakpoint instruction raises SIGTRAP with SI_KERNEL and leaves si_addr empty.
            () if self.is_fault() && !self.is_unspecific() => self.address(),
            () => instruction,
        };
        // A ptrace stop does not reveal the kind of access, with one exception: a jump to an
        // address that is not executable faults at that same address.
        let access = access.or((address == instruction).then_some(access::EXECUTE));
        let parameters = match access {
            Some(access) if memory && self.is_fault() && !self.is_unspecific() => vec![access, address],
            // si_syscall (int) and si_arch (unsigned int) follow the address of the instruction.
            _ if self.signal == libc::SIGSYS && self.code > 0 => {
                vec![self.fields[1] & 0xffff_ffff, self.fields[1] >> 32]
            }
            // SI_USER, SI_TKILL, SI_QUEUE and others: process id and user id of the sender.
            _ if self.code <= 0 => vec![self.fields[0] & 0xffff_ffff, self.fields[0] >> 32],
            _ => Vec::new(),
        };
        Exception {
            thread_id,
            code: self.signal.cast_unsigned(),
            flags: self.code.cast_unsigned(),
            record: 0,
            address,
            parameters,
            context,
        }
    }
}

/// What these tests would catch: addresses and parameters taken from the wrong field of a signal
/// handler's arguments. One test raises a real fault.
#[cfg(test)]
mod tests {
    use std::cell::UnsafeCell;
    use std::process::Command;

    use super::*;

    fn facts(signal: i32, code: i32, fields: [u64; 2]) -> SignalFacts {
        SignalFacts { signal, code, fields }
    }

    fn at_rip() -> CpuContext {
        Amd64 {
            rip: 0x40_1000,
            ..Amd64::default()
        }
        .to_context()
    }

    #[test]
    fn a_page_fault_has_the_address_accessed() {
        let fault = facts(libc::SIGSEGV, 1, [0x10, 0]);
        let exception = fault.exception(7, at_rip(), Some(access::WRITE));
        assert_eq!(
            (
                exception.thread_id,
                exception.code,
                exception.flags,
                exception.address
            ),
            (7, 11, 1, 0x10)
        );
        assert_eq!(exception.parameters, [1, 0x10]);
        assert_eq!(exception.context.instruction_pointer(), 0x40_1000);
        assert_eq!(
            fault.exception(7, at_rip(), None).parameters,
            [0_u64; 0],
            "an unknown access is not reported as a read"
        );
    }

    #[test]
    fn a_jump_to_nowhere_is_an_execution() {
        let exception = facts(libc::SIGSEGV, 2, [0x40_1000, 0]).exception(7, at_rip(), None);
        assert_eq!(exception.parameters, [8, 0x40_1000]);
    }

    #[test]
    fn a_general_protection_fault_has_address_0() {
        let exception = facts(libc::SIGSEGV, SI_KERNEL, [0, 0]).exception(7, at_rip(), None);
        assert_eq!((exception.address, exception.flags), (0, 0x80));
        assert!(exception.parameters.is_empty());
    }

    #[test]
    fn a_breakpoint_is_where_it_is() {
        let exception = facts(libc::SIGTRAP, SI_KERNEL, [0, 0]).exception(7, at_rip(), None);
        assert_eq!(exception.address, 0x40_1000);
    }

    #[test]
    fn a_signal_from_a_program_has_the_instruction_and_the_sender() {
        for (signal, code) in [(libc::SIGABRT, libc::SI_TKILL), (libc::SIGSEGV, libc::SI_USER)] {
            let exception = facts(signal, code, [1000 << 32 | 17, 0]).exception(7, at_rip(), None);
            assert_eq!(
                (exception.address, exception.parameters),
                (0x40_1000, vec![17, 1000])
            );
            assert_eq!(exception.flags, code.cast_unsigned(), "negative codes wrap");
        }
    }

    #[test]
    fn a_forbidden_system_call_is_named() {
        let exception =
            facts(libc::SIGSYS, 1, [0x40_1000, 0xc000_003e << 32 | 59]).exception(7, at_rip(), None);
        assert_eq!(exception.parameters, [59, 0xc000_003e]);
    }

    struct Caught(UnsafeCell<Option<(libc::siginfo_t, libc::ucontext_t, [u8; 512])>>);
    // SAFETY: only one thread of one process uses it, see below.
    unsafe impl Sync for Caught {}
    static CAUGHT: Caught = Caught(UnsafeCell::new(None));

    extern "C" fn handler(_: i32, siginfo: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel gives a handler valid pointers to both structures and to the floating
        // point state. The C library's ucontext_t is longer than the kernel's, but the kernel's
        // lies on a stack with enough memory behind it. No other code accesses CAUGHT while the
        // handler runs: it interrupted the only thread that uses it.
        unsafe {
            let context = context.cast::<libc::ucontext_t>();
            let image = (*context).uc_mcontext.fpregs.cast::<[u8; 512]>();
            *CAUGHT.0.get() = Some((*siginfo, *context, *image));
            // Skip the faulting instruction, which is 2 bytes long.
            (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
        }
    }

    /// Raises the fault in a separate process, because a handler belongs to the whole process.
    #[test]
    fn a_real_fault_is_told_as_it_was() {
        const AS_CHILD: &str = "DUMPWRIGHT_TEST_FAULT";
        if std::env::var_os(AS_CHILD).is_none() {
            let status = Command::new(std::env::current_exe().expect("known"))
                .args([
                    "--exact",
                    "crash::tests::a_real_fault_is_told_as_it_was",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env(AS_CHILD, "1")
                .status()
                .expect("runs");
            assert!(status.success());
            return;
        }
        let at: u64;
        // SAFETY: the handler is installed first, and it skips the one instruction that faults: a
        // store, 2 bytes long, to address 0x18, which is never mapped. The registers that the
        // assembly changes are declared. CAUGHT is read after the handler has returned.
        let caught = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
            std::arch::asm!(
                "lea {at}, [rip + 2f]",
                "2: mov [rdi], eax",
                at = out(reg) at,
                in("rdi") 0x18_u64,
                in("rax") 0x1234_5678_u64,
                in("r15") 0xfeed_u64,
            );
            (*CAUGHT.0.get()).expect("the handler has run")
        };
        let exception = exception(9, &caught.0, &caught.1, Some(&caught.2));
        assert_eq!(
            (exception.code, exception.flags, exception.address),
            (11, 1, 0x18)
        );
        assert_eq!(exception.parameters, [access::WRITE, 0x18]);
        assert_eq!(exception.context.instruction_pointer(), at);
        let bytes = exception.context.bytes();
        assert_eq!(
            bytes[0x30..0x34],
            0x0010_000b_u32.to_le_bytes(),
            "control, integer, floating point"
        );
        assert_eq!(bytes[0x34..0x38], 0x1f80_u32.to_le_bytes(), "MxCsr");
        assert_eq!(bytes[0x38..0x3a], 0x33_u16.to_le_bytes(), "cs");
        assert_eq!(bytes[0x42..0x44], 0x2b_u16.to_le_bytes(), "ss");
        assert_eq!(bytes[0x78..0x80], 0x1234_5678_u64.to_le_bytes(), "rax");
        assert_eq!(bytes[0xf0..0xf8], 0xfeed_u64.to_le_bytes(), "r15");
        assert_eq!(bytes[0x100 + 464..0x300], [0; 48], "no software bytes");
    }
}
