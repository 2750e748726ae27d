//! 32-bit Windows programs on 64-bit Windows (WOW64), dumped by a 64-bit writer. Each thread has a
//! 64-bit and a 32-bit half. Only the 64-bit half is in the thread list, so the dump includes the
//! 32-bit half as memory.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Cpu, Diagnostic, Memory, MemoryExt, Platform, Severity, Subject};

use super::Snapshot;
use crate::DumpType;

/// The offset of the address of the 32-bit TEB in the 64-bit TEB of a WOW64 thread. In other
/// threads, this word is the list of exception handlers.
const TEB32: u64 = 0;
/// The offset of the address of the saved 32-bit processor state (`WOW64_CPURESERVED`): the second
/// slot for thread-local storage, `WOW64_TLS_CPURESERVED`.
const CPU_RESERVED: u64 = 0x1480 + 8;
/// The bytes that are dumped of a 32-bit and a 64-bit TEB. Each TEB has its own pages.
const TEB32_SIZE: u64 = 0x1000;
const TEB64_SIZE: u64 = 0x2000;
/// The offsets of the upper end of the stack and of the TEB's own address in a 32-bit TEB.
const STACK_BASE_32: u64 = 4;
const SELF_32: u64 = 0x18;
/// The offset of the `WOW64_CONTEXT` (the 32-bit `CONTEXT`) in `WOW64_CPURESERVED`, after two
/// 16-bit numbers.
const HEAD: u64 = 4;
const CONTEXT: usize = 716;
/// The longest possible stack. The target's own data may be wrong and is therefore limited.
const LONGEST_STACK: u64 = 64 << 20;

/// Returns the 32-bit halves of the threads that are dumped with their stacks: TEBs, saved 32-bit
/// registers, and 32-bit stacks.
///
/// The filters support only stacks of 8-byte words. A filtered dump therefore leaves out 32-bit
/// stacks.
pub(super) fn ranges(memory: &mut dyn Memory, snapshot: &mut Snapshot) -> Vec<AddressRange> {
    let is_64_bit_windows = snapshot
        .facts
        .system()
        .is_some_and(|system| system.platform == Platform::WindowsNt && system.cpu == Cpu::Amd64);
    if !is_64_bit_windows {
        return Vec::new();
    }
    let filtered = snapshot
        .terms
        .dump_type
        .intersects(DumpType::FILTER_MEMORY | DumpType::FILTER_TRIAGE);
    let mut ranges = Vec::new();
    for kept in snapshot.threads.kept() {
        if !kept.flags.contains(ThreadWriteFlags::STACK) || kept.thread.teb == 0 {
            continue;
        }
        let Some(half) = Half::of(memory, kept.thread.teb) else {
            continue;
        };
        if filtered {
            snapshot.diagnostics.push(Diagnostic {
                severity: Severity::LeftOut,
                subject: Subject::Thread(kept.thread.id),
                reason: "its 32-bit registers and stack, which cannot be filtered".to_owned(),
            });
            continue;
        }
        ranges.extend(half.ranges(kept.thread.teb));
    }
    ranges
}

/// The 32-bit half of a thread.
struct Half {
    teb: u64,
    /// The address of the saved processor state.
    reserved: Option<u64>,
    stack: Option<AddressRange>,
}

impl Half {
    /// Reads the 32-bit half of the thread with this 64-bit TEB; `None` if the thread does not
    /// belong to a 32-bit program.
    fn of(memory: &mut dyn Memory, teb64: u64) -> Option<Self> {
        let teb = memory.word(teb64.checked_add(TEB32)?, 8).ok()?;
        // In other threads this is the list of exception handlers, which does not point to a TEB.
        if teb == 0 || teb > u32::MAX.into() || memory.word(teb + SELF_32, 4) != Ok(teb) {
            return None;
        }
        let reserved = memory.word(teb64.checked_add(CPU_RESERVED)?, 8);
        let reserved = reserved.ok().filter(|at| *at != 0);
        let esp = reserved.and_then(|at| stack_pointer(memory, at));
        let base = memory.word(teb + STACK_BASE_32, 4).ok();
        let stack = esp.zip(base).and_then(|(esp, base)| AddressRange::new(esp, base));
        Some(Self {
            teb,
            reserved,
            stack: stack.filter(|stack| stack.len() <= LONGEST_STACK),
        })
    }

    /// Returns all parts of the half, and the 64-bit TEB that refers to them.
    fn ranges(&self, teb64: u64) -> impl Iterator<Item = AddressRange> {
        [
            AddressRange::at(teb64, TEB64_SIZE),
            AddressRange::at(self.teb, TEB32_SIZE),
            self.reserved
                .and_then(|at| AddressRange::at(at, HEAD + CONTEXT as u64)),
            self.stack,
        ]
        .into_iter()
        .flatten()
    }
}

/// Returns the stack pointer in the saved 32-bit registers.
fn stack_pointer(memory: &mut dyn Memory, reserved: u64) -> Option<u64> {
    let context = memory.array::<CONTEXT>(reserved.checked_add(HEAD)?).ok()?;
    Some(Cpu::X86.layout().stack_pointer(&context))
}
