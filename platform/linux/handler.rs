//! The frames that the kernel creates on stacks for signal handlers, and the crashes that such
//! frames tell of.
//!
//! A program that handles its own crash stays in the handler of the signal while it, or a program
//! that it has started, makes the dump. The frame has the facts about the signal and the registers
//! at that moment.

use std::io;

use dumpwright_target::{AddressRange, Exception, Memory, MemoryExt};

use crate::crash::{CRASHES, GREGS, SignalFacts, exception_of};
use crate::proc_dir::{ProcDir, field, read_bounded};
use crate::registers::{USER_CS, USER_CS_32, USER_SS};

/// The frame that the kernel creates on the stack for a signal handler: `struct rt_sigframe`. Its
/// field `uc` is documented as the C library's `ucontext_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandlerFrame {
    pub(crate) at: u64,
    /// The address that the handler returns to.
    pub(crate) restorer: u64,
    /// The interrupted stack pointer.
    pub(crate) pointer: u64,
    /// The thread's alternate signal stack, if it has one.
    pub(crate) alternate: Option<AddressRange>,
}

impl HandlerFrame {
    /// The size of the part that is examined: up to the segment registers.
    pub(crate) const SIZE: usize = 200;

    /// Parses a frame. Returns `None` if the bytes are not one, which is decided by fields in which
    /// the kernel always stores the same values.
    pub(crate) fn parse(at: u64, bytes: &[u8]) -> Option<Self> {
        let word =
            |offset: usize| u64::from_ne_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"));
        let half = |offset: usize| u16::from_ne_bytes([bytes[offset], bytes[offset + 1]]);
        let flags = word(8);
        let link = word(16);
        let alternate_flags = word(32) as u32;
        let eflags = word(184);
        let [cs, _gs, _fs, ss] = [192, 194, 196, 198].map(half);
        let plausible = flags <= 7
            && link == 0
            && alternate_flags & !(SS_ONSTACK | SS_DISABLE | SS_AUTODISARM) == 0
            && eflags >> 32 == 0
            && eflags & EFLAGS_ALWAYS != 0
            && (cs == USER_CS || cs == USER_CS_32)
            // Kernels before 4.6 stored 0 here.
            && (ss == USER_SS || ss == 0);
        plausible.then(|| Self {
            at,
            restorer: word(0),
            pointer: word(168),
            alternate: AddressRange::at(word(24), word(40)).filter(|_| alternate_flags & SS_DISABLE == 0),
        })
    }
}

impl HandlerFrame {
    /// The size of the part of a 32-bit frame that is examined.
    pub(crate) const SIZE_32: usize = 240;

    /// Like [`parse`](Self::parse), for 32-bit code: `struct rt_sigframe_ia32` of the kernel.
    ///
    /// Handlers that were installed without `SA_SIGINFO` get a shorter frame, which does not
    /// contain the alternate stack. Such frames are not searched for.
    pub(crate) fn parse_32(at: u64, bytes: &[u8]) -> Option<Self> {
        /// The offset of `uc`, after the return address, the handler's three arguments and a
        /// `siginfo_t`.
        const CONTEXT: usize = 16 + 128;
        let word =
            |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"));
        let half = |offset: usize| u16::from_le_bytes([bytes[offset], bytes[offset + 1]]);
        let alternate_flags = word(CONTEXT + 12);
        let eflags = word(CONTEXT + 84);
        let [cs, ss] = [half(CONTEXT + 80), half(CONTEXT + 92)];
        // The arguments are not checked, because the handler may have overwritten them.
        let plausible = word(CONTEXT + 4) == 0
            && alternate_flags & !(SS_ONSTACK | SS_DISABLE | SS_AUTODISARM) == 0
            && eflags & EFLAGS_ALWAYS as u32 != 0
            && cs == USER_CS_32
            && ss == USER_SS;
        plausible.then(|| Self {
            at,
            restorer: word(0).into(),
            pointer: word(CONTEXT + 48).into(),
            alternate: AddressRange::at(word(CONTEXT + 8).into(), word(CONTEXT + 16).into())
                .filter(|_| alternate_flags & SS_DISABLE == 0),
        })
    }
}

const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 1 << 31;
/// Bit 1 of the flags register is always set.
const EFLAGS_ALWAYS: u64 = 2;

/// The frame of a handler in which a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) thread: u32,
    /// The address of the frame.
    pub(crate) frame: u64,
}

impl Handler {
    /// Returns the exception that the handler handles, or `None` if its signal is not one of the
    /// [`CRASHES`] or if the thread may have left the handler.
    ///
    /// The frame of a handler that was left by `longjmp` may still be in an unused part of the
    /// stack. While a handler runs, the thread blocks its signal, which it did not block before. A
    /// handler that was installed with `SA_NODEFER` is not recognised for this reason.
    ///
    /// If a handler was installed without `SA_SIGINFO`, the kernel does not store the facts about
    /// the signal. What is in their place is then not the number of a blocked signal, with few
    /// exceptions. 32-bit frames are not examined.
    ///
    /// `blocked` is the signal mask of the thread, if it is known. Otherwise it is read.
    ///
    /// # Errors
    /// The frame or the thread's signal mask cannot be read.
    pub(crate) fn exception(
        self,
        dir: &ProcDir,
        blocked: Option<u64>,
        memory: &mut dyn Memory,
    ) -> io::Result<Option<Exception>> {
        /// Offsets in the 64-bit `struct rt_sigframe`.
        const REGISTERS: usize = 48;
        const FXSAVE: usize = REGISTERS + 8 * GREGS;
        const MASK: usize = 304;
        const SIGINFO: usize = 312;
        const SIGINFO_SIZE: usize = 128;
        let bytes = memory.up_to(self.frame, SIGINFO + SIGINFO_SIZE);
        let siginfo = bytes.get(SIGINFO..).and_then(<[u8]>::first_chunk::<SIGINFO_SIZE>);
        let siginfo = siginfo.ok_or_else(|| io::Error::other("the frame of its handler cannot be read"))?;
        let word =
            |offset: usize| u64::from_ne_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"));
        let facts = SignalFacts::parse(siginfo);
        if !CRASHES.contains(&facts.signal) {
            return Ok(None);
        }
        let bit = 1_u64 << (facts.signal - 1);
        let blocked = blocked.map_or_else(|| blocked_signals(dir, self.thread), Ok)?;
        if blocked & bit == 0 || word(MASK) & bit != 0 {
            return Ok(None);
        }
        let registers = std::array::from_fn(|index| word(REGISTERS + 8 * index));
        let fxsave = memory.up_to(word(FXSAVE), 512);
        let fxsave = fxsave.first_chunk::<512>();
        Ok(Some(exception_of(self.thread, facts, &registers, fxsave)))
    }
}

/// Reads the signal mask of a thread.
///
/// # Errors
/// Its status cannot be read.
pub(crate) fn blocked_signals(dir: &ProcDir, tid: u32) -> io::Result<u64> {
    let status = read_bounded(&dir.process_path(format!("task/{tid}/status")), 1 << 20)?;
    let blocked = field(&status, "SigBlk").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    blocked.ok_or_else(|| io::Error::other("its status has no mask of blocked signals"))
}
