//! What makes a thread, or a process that was cloned from it, harmless if the tracer ends while
//! system calls are injected into it.
//!
//! When a tracer ends, the kernel lets its tracees run on with the registers that they have at that
//! moment. So the injected registers are such that the tracees end well by themselves:
//!
//! * The call is made by the instructions `syscall; ret`, which the program has somewhere.
//! * The stack pointer leads to a frame as the kernel creates it for signal handlers. `ret` goes
//!   to the end of such a handler, which calls `rt_sigreturn`. The kernel then restores all
//!   registers and the signal mask from the frame.
//! * The frame of the thread has its own registers. The frame of new processes has those of a call
//!   of `exit_group`.
//!
//! The frames are written below the red zone of the thread's stack, which no program uses. What was
//! there is restored before the thread continues.

use dumpwright_target::{AddressRange, Memory};
use libc::user_regs_struct;

use super::CloneRefusal;
use crate::proc_dir::page_size;
use crate::regions::Mapping;
use crate::registers::USER_CS;
use crate::xstate;

/// The part of the stack below the stack pointer that functions may use without moving it (System V
/// ABI for x86-64).
const RED_ZONE: u64 = 128;

/// The room for a frame. `struct rt_sigframe` has 440 bytes.
const FRAME: u64 = 512;

/// The room below the frames, for the result of a call.
const SCRATCH: u64 = 128;

/// The longest extended state that is used: more than that of AVX-512.
const LONGEST_STATE: usize = 4096;

/// Instructions of the program that the injection uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instructions {
    /// The address of `syscall; ret`.
    pub(super) call: u64,
    /// The address of the end of a signal handler: `mov rax, 15; syscall`.
    restorer: u64,
}

/// `syscall; ret`
const CALL: &[u8] = &[0x0F, 0x05, 0xC3];
/// `mov rax, 15; syscall`, as in glibc.
const RESTORER: &[u8] = &[0x48, 0xC7, 0xC0, 0x0F, 0, 0, 0, 0x0F, 0x05];
/// `mov eax, 15; syscall`, as in musl and in Go.
const SHORT_RESTORER: &[u8] = &[0xB8, 0x0F, 0, 0, 0, 0x0F, 0x05];

impl Instructions {
    /// Finds them in the code of the program and its libraries.
    pub(super) fn find(mappings: &[Mapping], memory: &mut dyn Memory) -> Option<Self> {
        /// How much is searched at once. The parts overlap by the length of a pattern.
        const PART: usize = 256 << 10;
        let (mut call, mut restorer) = (None, None);
        let mut bytes = vec![0; PART];
        // Code that the program generates may change while the instructions are needed.
        let code = mappings.iter().filter(|mapping| {
            let is_fixed = mapping.read && mapping.execute && !(mapping.write || mapping.shared);
            is_fixed && !mapping.is_kernel_page()
        });
        for mapping in code {
            let mut at = mapping.range.start();
            while at < mapping.range.end() {
                let len = PART.min(usize::try_from(mapping.range.end() - at).unwrap_or(PART));
                let read = memory.read(at, &mut bytes[..len]).unwrap_or(0);
                let address_of = |pattern| position(&bytes[..read], pattern).map(|place| at + place as u64);
                call = call.or_else(|| address_of(CALL));
                restorer = restorer
                    .or_else(|| address_of(RESTORER))
                    .or_else(|| address_of(SHORT_RESTORER));
                if let (Some(call), Some(restorer)) = (call, restorer) {
                    return Some(Self { call, restorer });
                }
                if read < PART {
                    break;
                }
                at += (PART - RESTORER.len()) as u64;
            }
        }
        None
    }

    /// Whether they are still where they were found.
    pub(super) fn are_there(self, memory: &mut dyn Memory) -> bool {
        let mut has = |at, pattern: &[u8]| {
            let mut bytes = vec![0; pattern.len()];
            memory.read(at, &mut bytes).is_ok_and(|read| read == bytes.len()) && bytes == pattern
        };
        has(self.call, CALL) && (has(self.restorer, RESTORER) || has(self.restorer, SHORT_RESTORER))
    }
}

fn position(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// The frames of a thread, and where they are written.
#[derive(Debug)]
pub(super) struct Frames {
    /// The address of the first byte.
    pub(super) at: u64,
    /// The bytes to write there.
    pub(super) bytes: Vec<u8>,
    /// The stack pointer that leads to the frame of the thread.
    pub(super) of_thread: u64,
    /// The stack pointer that leads to the frame of new processes.
    pub(super) of_clones: u64,
    /// Where a call may store a result.
    pub(super) scratch: u64,
}

impl Frames {
    /// Creates the frames of a thread with these registers, this signal mask and this extended
    /// state.
    ///
    /// # Errors
    /// There is no place for them on its stack, or the state has registers of an unknown kind.
    pub(super) fn new(
        registers: &user_regs_struct,
        mask: u64,
        state: &[u8],
        instructions: Instructions,
        mappings: &[Mapping],
    ) -> Result<Self, CloneRefusal> {
        let Some(state) = state_of_frame(state) else {
            return Err(CloneRefusal::new(
                "its threads use registers that are not known here, and might be lost if the dumper is killed",
            ));
        };
        let frames = stack_below(registers, mappings)
            .and_then(|room| Self::below(registers, mask, &state, instructions, room));
        frames.ok_or_else(|| {
            CloneRefusal::new(
                "none of its threads is on a stack with room for what protects it if the dumper is killed",
            )
        })
    }

    /// Places the frames in `room`, which ends at the stack pointer. `state` is in the form of
    /// signal frames.
    fn below(
        registers: &user_regs_struct,
        mask: u64,
        state: &[u8],
        instructions: Instructions,
        room: AddressRange,
    ) -> Option<Self> {
        let top = registers.rsp.checked_sub(RED_ZONE)?;
        // The state must be aligned to 64 bytes. A stack pointer is a multiple of 16 before a call,
        // and 8 less after it.
        let state_at = top.checked_sub(state.len() as u64)? & !63;
        let of_thread = (state_at.checked_sub(FRAME)? & !15) - 8;
        let of_clones = (of_thread.checked_sub(FRAME)? & !15) - 8;
        let at = of_clones.checked_sub(SCRATCH)? & !15;
        if at < room.start() {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(top - at).ok()?];
        let mut put = |to: u64, from: &[u8]| {
            let to = usize::try_from(to - at).unwrap_or(0);
            bytes[to..to + from.len()].copy_from_slice(from);
        };
        put(state_at, state);
        put(
            of_thread,
            &frame(instructions.restorer, &resumed(registers), state_at, mask),
        );
        let exit = user_regs_struct {
            rip: instructions.call,
            rsp: of_clones,
            rax: libc::SYS_exit_group as u64,
            rdi: 0,
            ..*registers
        };
        put(of_clones, &frame(instructions.restorer, &exit, 0, u64::MAX));
        Some(Self {
            at,
            bytes,
            of_thread,
            of_clones,
            scratch: at,
        })
    }
}

/// The registers with which the thread continues in user code, if the kernel does not resume its
/// system call by itself.
///
/// The kernel stores internal error numbers in `rax` of a thread that it has taken out of a call
/// (`include/linux/errno.h`).
fn resumed(registers: &user_regs_struct) -> user_regs_struct {
    const ERESTARTSYS: i64 = -512;
    const ERESTARTNOINTR: i64 = -513;
    const ERESTARTNOHAND: i64 = -514;
    const ERESTART_RESTARTBLOCK: i64 = -516;
    /// The length of the instruction `syscall`.
    const SYSCALL: u64 = 2;
    let mut resumed = *registers;
    if registers.orig_rax.cast_signed() >= 0 {
        match registers.rax.cast_signed() {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => {
                resumed.rip = registers.rip.wrapping_sub(SYSCALL);
                resumed.rax = registers.orig_rax;
            }
            // The kernel forgets in `rt_sigreturn` how much time was left.
            ERESTART_RESTARTBLOCK => resumed.rax = i64::from(-libc::EINTR).cast_unsigned(),
            _ => {}
        }
    }
    resumed
}

/// A frame from which `rt_sigreturn` restores these registers: the address that a handler returns
/// to, and the context (`struct rt_sigframe` and `struct ucontext`, `asm/sigframe.h`).
fn frame(restorer: u64, registers: &user_regs_struct, state: u64, mask: u64) -> Vec<u8> {
    /// The state is an XSAVE image; `ss` is stored; `ss` is restored as it is (`asm/ucontext.h`).
    const FLAGS: u64 = 1 | 2 | 4;
    /// The kernel ignores an alternate stack with invalid flags, and leaves that of the thread as
    /// it is.
    const INVALID: u64 = 0xFF;
    let user = registers;
    let segments = (user.cs & 0xFFFF) | (user.ss & 0xFFFF) << 48;
    let words: [&[u64]; 8] = [
        &[restorer, FLAGS, 0, 0, INVALID, 0],
        &[
            user.r8, user.r9, user.r10, user.r11, user.r12, user.r13, user.r14, user.r15,
        ],
        &[
            user.rdi, user.rsi, user.rbp, user.rbx, user.rdx, user.rax, user.rcx, user.rsp,
        ],
        &[user.rip, user.eflags, segments],
        // The facts about a fault, which there was none of.
        &[0; 4],
        &[state],
        &[0; 8],
        &[mask],
    ];
    words.concat().into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Converts a state from `PTRACE_GETREGSET` to the form in signal frames: with its size and
/// features in the bytes that the processor leaves free (`struct _fpx_sw_bytes`,
/// `asm/sigcontext.h`). Returns `None` if it has more than is known, such as AMX.
fn state_of_frame(state: &[u8]) -> Option<Vec<u8>> {
    const SOFTWARE: usize = 464;
    const MAGIC_1: u32 = 0x4650_5853;
    const MAGIC_2: u32 = 0x4650_5845;
    /// The features in use, in the header after x87 and SSE.
    const IN_USE: usize = 512;
    /// x87 and SSE.
    const LEGACY: u64 = 0b11;
    let layout = xstate::layout();
    let known = LEGACY | layout.as_ref().map_or(0, |layout| layout.enabled());
    let ends = layout.iter().flat_map(|layout| layout.features());
    let end = ends.map(|feature| (feature.offset + feature.size) as usize).max();
    let size = end.unwrap_or(0).max(IN_USE + 64);
    let in_use = u64::from_le_bytes(*state.get(IN_USE..)?.first_chunk()?);
    if in_use & !known != 0 || size > LONGEST_STATE {
        return None;
    }
    let mut state = state.get(..size)?.to_vec();
    let extended = u32::try_from(size + 4).ok()?;
    state[SOFTWARE..SOFTWARE + 4].copy_from_slice(&MAGIC_1.to_le_bytes());
    state[SOFTWARE + 4..SOFTWARE + 8].copy_from_slice(&extended.to_le_bytes());
    state[SOFTWARE + 8..SOFTWARE + 16].copy_from_slice(&known.to_le_bytes());
    state[SOFTWARE + 16..SOFTWARE + 20].copy_from_slice(&(extended - 4).to_le_bytes());
    state.extend(MAGIC_2.to_le_bytes());
    Some(state)
}

/// Returns the part of the thread's stack that it has not reached, down to the end of the mapping.
/// `None` if the stack pointer may not be in a stack of the C library.
///
/// The stacks of coroutines, and alternate signal stacks, may be close to other data. They are not
/// used, because the target must find its data unchanged even if the dumper is killed. Stacks are
/// recognised by the kernel's name, or by the thread's control block at the top and the guard below
/// them.
fn stack_below(registers: &user_regs_struct, mappings: &[Mapping]) -> Option<AddressRange> {
    let index = mappings.partition_point(|mapping| mapping.range.end() <= registers.rsp);
    let mapping = mappings.get(index)?;
    let is_usable = mapping.range.contains(registers.rsp)
        && registers.cs == USER_CS.into()
        && (mapping.read && mapping.write && !mapping.shared);
    let is_first = mapping.name() == b"[stack]";
    let has_control_block = mapping.range.contains(registers.fs_base)
        && registers.rsp < registers.fs_base
        && mapping.is_private_anonymous();
    let below = index.checked_sub(1).map(|below| &mappings[below]);
    let has_guard = below.is_some_and(|below| {
        below.range.end() == mapping.range.start() && !(below.read || below.write || below.execute)
    });
    if !(is_usable && (is_first || has_control_block && has_guard)) {
        return None;
    }
    // The lowest page is left alone.
    AddressRange::new(mapping.range.start() + page_size(), registers.rsp)
}

/// What these tests would catch: a system call that is lost or repeated when a thread is restored
/// from its frame, and frames in memory that may not be a stack. `tests/kills` restores threads.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions;

    fn registers() -> user_regs_struct {
        // SAFETY: the structure consists of integers, for which zeros are valid values.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        registers.cs = USER_CS.into();
        registers.rip = 0x1002;
        registers
    }

    #[test]
    fn an_interrupted_call_is_repeated() {
        let after = |orig_rax: i64, rax: i64| {
            let resumed = resumed(&user_regs_struct {
                orig_rax: orig_rax.cast_unsigned(),
                rax: rax.cast_unsigned(),
                ..registers()
            });
            (resumed.rip, resumed.rax.cast_signed())
        };
        for interrupted in [-512, -513, -514] {
            assert_eq!(after(7, interrupted), (0x1000, 7));
            assert_eq!(after(-1, interrupted), (0x1002, interrupted), "not in a call");
        }
        assert_eq!(after(230, -516), (0x1002, i64::from(-libc::EINTR)));
        assert_eq!(after(0, 12), (0x1002, 12), "it has returned");
    }

    #[test]
    fn frames_are_in_stacks_only() {
        let maps = "\
10000-20000 ---p 00000000 00:00 0
20000-40000 rw-p 00000000 00:00 0
40000-60000 rw-p 00000000 00:00 0 [heap]
70000-90000 rw-p 00000000 00:00 0 [stack]
";
        let mappings = regions::parse(maps.as_bytes()).expect("sound");
        let below = |rsp, fs_base| {
            let registers = user_regs_struct {
                rsp,
                fs_base,
                ..registers()
            };
            stack_below(&registers, &mappings).map(|range| range.start())
        };
        assert_eq!(below(0x8_0000, 0), Some(0x7_1000), "the first thread's");
        assert_eq!(
            below(0x3_0000, 0x3_ff00),
            Some(0x2_1000),
            "with a control block and a guard"
        );
        assert_eq!(below(0x3_0000, 0x2_ff00), None, "the control block is below");
        assert_eq!(below(0x3_0000, 0x5_0000), None, "the control block is elsewhere");
        assert_eq!(below(0x5_0000, 0x5_ff00), None, "without a guard");
        assert_eq!(below(0x6_0000, 0), None, "nothing is mapped there");
    }
}
