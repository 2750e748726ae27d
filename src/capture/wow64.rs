//! 32-bit Windows programs on 64-bit Windows (WOW64), dumped by a 64-bit writer: each thread has two of everything, and its 64-bit
//! half is the one that is dumped. For the other half to be looked at, a dump needs it as memory.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Cpu, Frozen, Gravity, Platform, Remark, Subject};

use super::Snapshot;
use crate::DumpType;
use crate::memory::words::word_at;

/// Where a 64-bit TEB of a WOW64 thread has the address of the 32-bit TEB: in its first word, which is the list of exception
/// handlers elsewhere.
const TEB32: u64 = 0;
/// Where it has the address of the saved 32-bit processor state (`WOW64_CPURESERVED`): the second of the slots for thread-local storage,
/// `WOW64_TLS_CPURESERVED`.
const CPU_RESERVED: u64 = 0x1480 + 8;
/// Bytes of a 32-bit TEB that matter, and of the 64-bit one: each has its pages for itself.
const TEB32_SIZE: u64 = 0x1000;
const TEB64_SIZE: u64 = 0x2000;
/// Where a 32-bit TEB has the upper end of its stack and its own address.
const STACK_BASE_32: u64 = 4;
const SELF_32: u64 = 0x18;
/// In `WOW64_CPURESERVED` two 16-bit numbers stand before the `WOW64_CONTEXT`, which is the 32-bit `CONTEXT`.
const HEAD: u64 = 4;
const CONTEXT: usize = 716;
/// No stack is longer; what a target says of itself may be anything.
const LONGEST_STACK: u64 = 64 << 20;

/// The 32-bit halves of the threads that are dumped with their stacks: TEBs, saved 32-bit registers, 32-bit stacks.
///
/// The filters know stacks of 8-byte words only, so they leave out 32-bit stacks.
pub(super) fn ranges(frozen: &mut dyn Frozen, snapshot: &mut Snapshot) -> Vec<AddressRange> {
    let is_64_bit_windows = snapshot
        .system
        .as_ref()
        .is_some_and(|system| system.platform == Platform::WindowsNt && system.cpu == Cpu::Amd64);
    if !is_64_bit_windows {
        return Vec::new();
    }
    let filtered = snapshot
        .dump_type
        .intersects(DumpType::FILTER_MEMORY | DumpType::FILTER_TRIAGE);
    let mut ranges = Vec::new();
    for kept in &snapshot.threads {
        if !kept.flags.contains(ThreadWriteFlags::STACK) || kept.thread.teb == 0 {
            continue;
        }
        let Some(half) = Half::of(frozen, kept.thread.teb) else {
            continue;
        };
        if filtered {
            snapshot.remarks.push(Remark {
                gravity: Gravity::LeftOut,
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
    /// The saved state of the processor.
    reserved: Option<u64>,
    stack: Option<AddressRange>,
}

impl Half {
    /// That of the thread with this 64-bit TEB; `None` if it is not of a 32-bit program.
    fn of(frozen: &mut dyn Frozen, teb64: u64) -> Option<Self> {
        let teb = word_at(frozen, teb64.checked_add(TEB32)?, 8)?;
        // The list of exception handlers, which other threads have there, leads to no TEB.
        if teb == 0 || teb > u32::MAX.into() || word_at(frozen, teb + SELF_32, 4) != Some(teb) {
            return None;
        }
        let reserved = word_at(frozen, teb64.checked_add(CPU_RESERVED)?, 8).filter(|at| *at != 0);
        let esp = reserved.and_then(|at| stack_pointer(frozen, at));
        let base = word_at(frozen, teb + STACK_BASE_32, 4);
        let stack = esp.zip(base).and_then(|(esp, base)| AddressRange::new(esp, base));
        Some(Self {
            teb,
            reserved,
            stack: stack.filter(|stack| stack.len() <= LONGEST_STACK),
        })
    }

    /// All of it, and the 64-bit TEB that leads there.
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

/// The stack pointer of the saved 32-bit registers.
fn stack_pointer(frozen: &mut dyn Frozen, reserved: u64) -> Option<u64> {
    let mut context = [0; CONTEXT];
    let count = frozen.read(reserved.checked_add(HEAD)?, &mut context).ok()?;
    (count == CONTEXT).then(|| Cpu::X86.layout().stack_pointer(&context))
}
