//! The registers of a stopped thread.
//!
//! Written as they are: a thread inside an interruptible system call shows the kernel's private value in `rax`
//! (-512 to -516) and its `rip` just behind the `syscall` instruction, which is what unwinders want.

use dumpwright_target::{Amd64, Cpu, CpuContext, X86, XStateLayout};

/// What a thread's registers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers {
    /// In the kernel's answer to a 64-bit tracer the registers of 32-bit threads are 64-bit ones, too.
    pub(crate) amd64: Amd64,
    fs_base: u64,
    gs_base: u64,
}

/// Where the software's part of an FXSAVE image begins. Linux keeps the size and features of its XSAVE area
/// there, which are not registers.
const FXSAVE_SOFTWARE: usize = 464;

impl Registers {
    /// The registers of a thread that is stopped; only on the tracing thread. `None` if it has
    /// ended meanwhile.
    ///
    /// `PTRACE_GETREGS` and not `PTRACE_GETREGSET`: the latter goes by the code segment, and answers with
    /// 32-bit registers for a thread that runs 32-bit code in a 64-bit process.
    ///
    /// With `extended` also the state that this lays out, where the kernel gives it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn read(tid: u32, extended: Option<&XStateLayout>) -> Option<Self> {
        let user = nix::sys::ptrace::getregs(crate::ptrace::pid(tid)).ok()?;
        let segments = [user.ds, user.es, user.fs, user.gs];
        Some(Self {
            amd64: Amd64 {
                rax: user.rax,
                rbx: user.rbx,
                rcx: user.rcx,
                rdx: user.rdx,
                rsi: user.rsi,
                rdi: user.rdi,
                rbp: user.rbp,
                rsp: user.rsp,
                r8: user.r8,
                r9: user.r9,
                r10: user.r10,
                r11: user.r11,
                r12: user.r12,
                r13: user.r13,
                r14: user.r14,
                r15: user.r15,
                rip: user.rip,
                eflags: low32(user.eflags),
                cs: low16(user.cs),
                ss: low16(user.ss),
                segments: Some(segments.map(low16)),
                fxsave: fxsave(tid),
                debug: debug(tid),
                xstate: extended.and_then(|layout| crate::xstate::read(tid, layout)),
            },
            fs_base: user.fs_base,
            gs_base: user.gs_base,
        })
    }

    /// Live processes of other processors are refused before anything is stopped.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn read(_tid: u32, _extended: Option<&XStateLayout>) -> Option<Self> {
        None
    }

    /// Those of a thread that the kernel made inside the process: it has none there, which the kernel shows as zeros.
    pub(crate) fn none() -> Self {
        Self {
            amd64: Amd64 {
                segments: Some([0; 4]),
                ..Amd64::default()
            },
            fs_base: 0,
            gs_base: 0,
        }
    }

    /// What `/proc/…/syscall` says of a thread that could not be stopped: where it is, no more.
    ///
    /// The text is the number and six arguments of the system call it is in, or -1 if it is in none,
    /// then stack pointer and instruction pointer; or `running`.
    pub(crate) fn from_syscall_text(text: &str, cpu: Cpu) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [.., rsp, rip] = *words.as_slice() else {
            return None;
        };
        let hexadecimal = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        Some(Self {
            amd64: Amd64 {
                rsp: hexadecimal(rsp)?,
                rip: hexadecimal(rip)?,
                cs: if cpu == Cpu::X86 { USER_CS_32 } else { USER_CS },
                ss: USER_SS,
                ..Amd64::default()
            },
            fs_base: 0,
            gs_base: 0,
        })
    }
}

impl Registers {
    /// The thread pointer, where C libraries have a thread's control block: `fs` on x86-64, `gs` on x86.
    pub(crate) fn thread_pointer(&self, cpu: Cpu) -> u64 {
        match cpu {
            Cpu::X86 => self.gs_base,
            _ => self.fs_base,
        }
    }

    /// All of them, as those of a process of this family.
    pub(crate) fn context(&self, cpu: Cpu) -> CpuContext {
        match cpu {
            Cpu::X86 => self.x86().to_context(),
            _ => self.amd64.to_context(),
        }
    }

    /// The control registers only.
    pub(crate) fn control_context(&self, cpu: Cpu) -> CpuContext {
        match cpu {
            Cpu::X86 => self.x86().to_control_context(),
            _ => self.amd64.to_control_context(),
        }
    }

    /// As 32-bit code sees them.
    fn x86(&self) -> X86 {
        /// Behind the registers `xmm0` to `xmm7` of an FXSAVE image there are none in 32-bit code.
        const XMM8: usize = 288;
        let low = |register: u64| register as u32;
        let all = &self.amd64;
        X86 {
            eax: low(all.rax),
            ebx: low(all.rbx),
            ecx: low(all.rcx),
            edx: low(all.rdx),
            esi: low(all.rsi),
            edi: low(all.rdi),
            ebp: low(all.rbp),
            esp: low(all.rsp),
            eip: low(all.rip),
            eflags: all.eflags,
            cs: all.cs,
            ss: all.ss,
            segments: all.segments,
            fxsave: all.fxsave.clone().map(|mut image| {
                image[XMM8..].fill(0);
                image
            }),
            debug: all.debug.map(|registers| registers.map(low)),
        }
    }
}

/// The code segment of all 64-bit user code on Linux.
pub(crate) const USER_CS: u16 = 0x33;
/// The code segment of 32-bit user code.
pub(crate) const USER_CS_32: u16 = 0x23;
/// The stack segment of all user code on Linux.
pub(crate) const USER_SS: u16 = 0x2b;

/// An FXSAVE image without what is not registers in it.
pub(crate) fn without_software_bytes(mut image: [u8; 512]) -> [u8; 512] {
    image[FXSAVE_SOFTWARE..].fill(0);
    image
}

/// x87 and SSE state (`PTRACE_GETFPREGS`).
///
/// The kernel keeps parts that the thread has not used as "initial" and does not store them; this request
/// fills in their initial values (FCW 0x37F, MXCSR 0x1F80, zeros), which the raw XSAVE image leaves to its
/// reader.
#[cfg(target_arch = "x86_64")]
fn fxsave(tid: u32) -> Option<Box<[u8; 512]>> {
    let mut image = Box::new([0_u8; 512]);
    const { assert!(size_of::<libc::user_fpregs_struct>() == 512) };
    // SAFETY: the request writes a user_fpregs_struct, 512 bytes as asserted above, to the data pointer, which
    // has that many and no alignment to keep (the kernel copies bytes). The address is ignored.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETFPREGS,
            tid as libc::pid_t,
            std::ptr::null_mut::<libc::c_void>(),
            image.as_mut_ptr(),
        )
    };
    (result == 0).then(|| Box::new(without_software_bytes(*image)))
}

/// `dr0` to `dr3`, `dr6`, `dr7`, by `PTRACE_PEEKUSER`.
///
/// All are read, always: that `dr7` enables no breakpoint does not prove that no address is
/// set, and the six calls cost about as much as one listing in `/proc`.
#[cfg(target_arch = "x86_64")]
fn debug(tid: u32) -> Option<[u64; 6]> {
    let mut values = [0; 6];
    for (value, number) in values.iter_mut().zip([0, 1, 2, 3, 6, 7]) {
        let offset = std::mem::offset_of!(libc::user, u_debugreg) + number * size_of::<u64>();
        let word = nix::sys::ptrace::read_user(crate::ptrace::pid(tid), offset as *mut libc::c_void).ok()?;
        *value = word.cast_unsigned();
    }
    Some(values)
}

#[cfg(target_arch = "x86_64")]
fn low32(value: u64) -> u32 {
    value as u32
}

#[cfg(target_arch = "x86_64")]
fn low16(value: u64) -> u16 {
    value as u16
}

/// What these tests would catch: registers of a thread that could not be stopped taken from the wrong words.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_words_are_stack_and_instruction_pointer() {
        let in_call = "58 0x0 0x7f01 0x2 0x3 0x4 0x5 0x7ffd7a1b2c30 0x7f1234567890\n";
        let registers = Registers::from_syscall_text(in_call, Cpu::Amd64).expect("registers");
        assert_eq!(registers.amd64.rsp, 0x7ffd_7a1b_2c30);
        assert_eq!(registers.amd64.rip, 0x7f12_3456_7890);
        let outside = Registers::from_syscall_text("-1 0x10 0x20\n", Cpu::X86).expect("registers");
        let context = outside.control_context(Cpu::X86);
        assert_eq!(
            (context.stack_pointer(), context.instruction_pointer()),
            (0x10, 0x20)
        );
        assert_eq!(context.bytes()[0xBC..0xC0], [0x23, 0, 0, 0], "SegCs");
    }

    #[test]
    fn a_running_thread_tells_nothing() {
        for text in ["running\n", "", "0 1", "-1 0x 0xzz"] {
            assert_eq!(Registers::from_syscall_text(text, Cpu::Amd64), None, "{text:?}");
        }
    }
}
