//! The registers of a stopped thread.
//!
//! They are written unchanged. A thread inside an interruptible system call has a value that is
//! internal to the kernel in `rax` (-512 to -516), and its `rip` points directly after the
//! `syscall` instruction, as unwinders expect.

use std::convert::Infallible;

use dumpwright_target::{Amd64, Cpu, CpuContext, X86, XStateLayout};
use nix::errno::Errno;

use crate::ptrace::{Batch, RegisterSet, Results};
use crate::xstate;

/// The registers of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers {
    /// To a 64-bit tracer the kernel reports the registers of 32-bit threads as 64-bit ones, too.
    pub(crate) amd64: Amd64,
    fs_base: u64,
    gs_base: u64,
    /// What the system refused to give. Those registers are absent from `amd64`.
    pub(crate) lost: Vec<LostRegisters>,
}

/// A group of registers that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostRegisters {
    /// The group, in words that follow "its".
    pub(crate) group: &'static str,
    /// Why.
    pub(crate) error: Errno,
}

/// The name of a [group](LostRegisters::group).
const FLOATING_POINT: &str = "x87 and SSE registers";
/// As above.
const DEBUG: &str = "debug registers";

/// The number of words of `struct user_regs_struct`, in which the kernel gives general registers.
pub(crate) const GENERAL_WORDS: usize = size_of::<libc::user_regs_struct>() / 8;

/// The offset of the software part of an FXSAVE image. Linux stores the size and features of its
/// XSAVE area there, which are not registers.
const FXSAVE_SOFTWARE: usize = 464;

impl Registers {
    /// Reads the registers of a stopped thread. Must be called on the tracing thread.
    ///
    /// # Errors
    /// As for each thread in [`read_all`](Self::read_all).
    pub(crate) fn read(tid: u32) -> Result<Self, Errno> {
        let here = |batch: Batch<'_>| Ok::<_, Infallible>(batch.perform_here());
        let Ok(mut read) = Self::read_all(&[tid], None, here);
        read.pop().unwrap_or(Err(Errno::ESRCH))
    }

    /// Reads the registers of stopped threads. `perform` makes the tracer perform a batch.
    ///
    /// It uses `PTRACE_GETREGS` instead of `PTRACE_GETREGSET`. The latter depends on the code
    /// segment, and returns 32-bit registers for a thread that runs 32-bit code in a 64-bit
    /// process.
    ///
    /// With `extended`, it also reads the state of that layout.
    ///
    /// # Errors
    /// The outer result: those of `perform`. The result of a thread: the general registers cannot
    /// be read; ESRCH if the thread has ended. Other groups that cannot be read are in
    /// [`lost`](Self::lost).
    pub(crate) fn read_all<E>(
        tids: &[u32],
        extended: Option<&XStateLayout>,
        mut perform: impl FnMut(Batch<'_>) -> Result<Results, E>,
    ) -> Result<Vec<Result<Self, Errno>>, E> {
        /// The number of threads in a batch. The extended state of each needs a large buffer.
        const AT_ONCE: usize = 64;
        let mut buffers: Vec<RegisterBuffers> = (0..tids.len().min(AT_ONCE))
            .map(|_| RegisterBuffers::new(extended.is_some()))
            .collect();
        let mut read = Vec::with_capacity(tids.len());
        for tids in tids.chunks(AT_ONCE) {
            let mut batch = Batch::new();
            for (tid, buffers) in tids.iter().zip(&mut buffers) {
                buffers.ask(*tid, &mut batch);
            }
            let results = perform(batch)?;
            let mut results = results.iter();
            let of_each = buffers.iter().take(tids.len());
            read.extend(of_each.map(|buffers| buffers.registers(&mut results, extended)));
        }
        Ok(read)
    }

    /// Adds the groups that could not be read, from an earlier read of the same stop.
    pub(crate) fn completed_from(mut self, earlier: &Self) -> Self {
        let all = &mut self.amd64;
        all.fxsave = all.fxsave.take().or_else(|| earlier.amd64.fxsave.clone());
        all.debug = all.debug.or(earlier.amd64.debug);
        self.lost.retain(|lost| match lost.group {
            FLOATING_POINT => all.fxsave.is_none(),
            DEBUG => all.debug.is_none(),
            _ => true,
        });
        self
    }

    /// Returns a copy that lacks the extended state, which could not be read.
    pub(crate) fn without_extended(&self, error: Errno) -> Self {
        let mut registers = self.clone();
        registers.amd64.xstate = None;
        registers.lost.push(LostRegisters {
            group: xstate::GROUP,
            error,
        });
        registers
    }

    /// Creates the registers from the words of a `struct user_regs_struct`, as cores have them. The
    /// x87 and SSE registers, the debug registers and the extended state are absent.
    pub(crate) fn of_words(words: &[u64; GENERAL_WORDS]) -> Self {
        let [
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            _original_rax,
            rip,
            cs,
            eflags,
            rsp,
            ss,
            fs_base,
            gs_base,
            ds,
            es,
            fs,
            gs,
        ] = *words;
        Self {
            amd64: Amd64 {
                rax,
                rbx,
                rcx,
                rdx,
                rsi,
                rdi,
                rbp,
                rsp,
                r8,
                r9,
                r10,
                r11,
                r12,
                r13,
                r14,
                r15,
                rip,
                eflags: low32(eflags),
                cs: low16(cs),
                ss: low16(ss),
                segments: Some([ds, es, fs, gs].map(low16)),
                fxsave: None,
                debug: None,
                xstate: None,
            },
            fs_base,
            gs_base,
            lost: Vec::new(),
        }
    }

    /// Adds the x87 and SSE registers from an FXSAVE image, unless they are known.
    pub(crate) fn add_fxsave(&mut self, image: [u8; 512]) {
        let fxsave = &mut self.amd64.fxsave;
        fxsave.get_or_insert_with(|| Box::new(without_software_bytes(image)));
    }

    /// Returns the registers of a kernel worker thread in the process. It has no user registers,
    /// and the kernel shows them as zeros.
    pub(crate) fn none() -> Self {
        Self {
            amd64: Amd64 {
                segments: Some([0; 4]),
                ..Amd64::default()
            },
            fs_base: 0,
            gs_base: 0,
            lost: Vec::new(),
        }
    }

    /// Parses `/proc/…/syscall`, which has the instruction and stack pointer of a thread that could
    /// not be stopped.
    ///
    /// The text has the number and six arguments of the current system call (or -1 if there is
    /// none), then the stack pointer and the instruction pointer. For a running thread it is
    /// `running`.
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
            lost: Vec::new(),
        })
    }
}

impl Registers {
    /// Returns the thread pointer, where C libraries store the thread's control block: the base of
    /// `fs` on x86-64, and of `gs` on x86.
    pub(crate) fn thread_pointer(&self, cpu: Cpu) -> u64 {
        match cpu {
            Cpu::X86 => self.gs_base,
            _ => self.fs_base,
        }
    }

    /// Returns all registers, as the context of a process of this family.
    pub(crate) fn context(&self, cpu: Cpu) -> CpuContext {
        match cpu {
            Cpu::X86 => self.x86().to_context(),
            _ => self.amd64.to_context(),
        }
    }

    /// Returns only the control registers, as a context.
    pub(crate) fn control_context(&self, cpu: Cpu) -> CpuContext {
        match cpu {
            Cpu::X86 => self.x86().to_control_context(),
            _ => self.amd64.to_control_context(),
        }
    }

    /// The registers as 32-bit code sees them.
    fn x86(&self) -> X86 {
        /// The offset of `xmm8` in an FXSAVE image. 32-bit code has only `xmm0` to `xmm7`.
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

/// Returns the registers, or notes that the group is lost.
fn kept_or_lost<T>(read: Result<T, Errno>, group: &'static str, lost: &mut Vec<LostRegisters>) -> Option<T> {
    read.map_err(|error| lost.push(LostRegisters { group, error }))
        .ok()
}

/// The code segment of all 64-bit user code on Linux.
pub(crate) const USER_CS: u16 = 0x33;
/// The code segment of 32-bit user code.
pub(crate) const USER_CS_32: u16 = 0x23;
/// The stack segment of all user code on Linux.
pub(crate) const USER_SS: u16 = 0x2b;

/// Clears the bytes of an FXSAVE image that are not registers.
pub(crate) fn without_software_bytes(mut image: [u8; 512]) -> [u8; 512] {
    image[FXSAVE_SOFTWARE..].fill(0);
    image
}

/// The numbers of the debug registers that are read.
///
/// All of them are always read. If `dr7` enables no breakpoint, an address may still be set; and
/// the six calls take about as long as listing one directory in `/proc`.
const DEBUG_REGISTERS: [usize; 6] = [0, 1, 2, 3, 6, 7];

/// The memory that the kernel stores the registers of one thread in.
#[derive(Debug)]
pub(crate) struct RegisterBuffers {
    general: libc::user_regs_struct,
    /// From `PTRACE_GETFPREGS`. The kernel does not store parts of the state that the thread has
    /// not used. This request fills in their initial values (FCW 0x37F, MXCSR 0x1F80, zeros). The
    /// raw XSAVE image does not have them.
    fxsave: Box<[u8; 512]>,
    debug: [u64; 6],
    extended: Option<RegisterSet>,
}

impl RegisterBuffers {
    /// The maximum number of requests that [`ask`](Self::ask) adds.
    pub(crate) const REQUESTS: usize = 3 + DEBUG_REGISTERS.len();

    /// Allocates it, with or without a place for the extended state.
    pub(crate) fn new(extended: bool) -> Self {
        Self {
            // SAFETY: the structure consists of integers, for which zeros are valid values.
            general: unsafe { std::mem::zeroed() },
            fxsave: Box::new([0; 512]),
            debug: [0; 6],
            extended: extended.then(xstate::buffer),
        }
    }

    /// The general registers, if they were read.
    pub(crate) fn general(&self) -> &libc::user_regs_struct {
        &self.general
    }

    /// Adds the requests for the registers of `tid`.
    pub(crate) fn ask<'b>(&'b mut self, tid: u32, batch: &mut Batch<'b>) {
        batch.general_registers(tid, &mut self.general);
        batch.fxsave(tid, &mut self.fxsave);
        for (number, into) in DEBUG_REGISTERS.into_iter().zip(&mut self.debug) {
            let offset = std::mem::offset_of!(libc::user, u_debugreg) + number * size_of::<u64>();
            batch.user_word(tid, offset, into);
        }
        if let Some(extended) = &mut self.extended {
            xstate::ask(tid, extended, batch);
        }
    }

    /// Takes the results of [`ask`](Self::ask) from `results`, and returns the registers.
    ///
    /// # Errors
    /// The general registers were not read.
    pub(crate) fn registers(
        &self,
        results: &mut impl Iterator<Item = nix::Result<()>>,
        layout: Option<&XStateLayout>,
    ) -> Result<Registers, Errno> {
        let mut next = || results.next().unwrap_or(Err(Errno::ESRCH));
        let general = next();
        let fxsave = next();
        let debug = DEBUG_REGISTERS
            .map(|_| next())
            .into_iter()
            .collect::<nix::Result<()>>();
        let extended = self.extended.as_ref().map(|set| next().map(|()| set));
        general?;
        let user = &self.general;
        let mut lost = Vec::new();
        let fxsave = fxsave.map(|()| Box::new(without_software_bytes(*self.fxsave)));
        let fxsave = kept_or_lost(fxsave, FLOATING_POINT, &mut lost);
        let debug = kept_or_lost(debug.map(|()| self.debug), DEBUG, &mut lost);
        let xstate = extended.zip(layout).and_then(|(set, layout)| {
            let state = set.and_then(|set| xstate::state(set, layout));
            kept_or_lost(state, xstate::GROUP, &mut lost)
        });
        let segments = [user.ds, user.es, user.fs, user.gs];
        Ok(Registers {
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
                fxsave,
                debug,
                xstate,
            },
            fs_base: user.fs_base,
            gs_base: user.gs_base,
            lost,
        })
    }
}

fn low32(value: u64) -> u32 {
    value as u32
}

fn low16(value: u64) -> u16 {
    value as u16
}

/// What these tests would catch: wrong words taken as the registers of a thread that could not be
/// stopped; registers that are reported as lost although they are known.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_groups_come_from_an_earlier_read_of_the_same_stop() {
        let whole = Registers {
            amd64: Amd64 {
                fxsave: Some(Box::new([1; 512])),
                debug: Some([2; 6]),
                ..Registers::none().amd64
            },
            ..Registers::none()
        };
        let without = |group| {
            let mut registers = whole.clone();
            match group {
                DEBUG => registers.amd64.debug = None,
                _ => registers.amd64.fxsave = None,
            }
            let error = Errno::EIO;
            registers.lost.push(LostRegisters { group, error });
            registers
        };
        for group in [DEBUG, FLOATING_POINT] {
            assert_eq!(without(group).completed_from(&whole), whole, "{group}");
            assert_eq!(without(group).completed_from(&without(group)), without(group));
        }
        let refused = whole.without_extended(Errno::EIO).completed_from(&whole);
        assert_eq!(refused.lost[0].group, xstate::GROUP, "nobody has read them");
    }

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
