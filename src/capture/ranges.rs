//! Where the memory that a dump is asked for lies: stacks, code that runs, what they point to, private memory, parts of threads and
//! modules.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Frozen, Region, RegionKind, protect};

use super::snapshot::pointer_size;
use super::{Snapshot, segments, thread_data, wow64};
use crate::memory::set::RangeSet;
use crate::memory::words::each_word;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile};

/// Bytes kept on each side of an instruction pointer; Microsoft's writer and Breakpad agree on it.
const WINDOW: u64 = 128;

/// Bytes kept around an address that a stack word points to: this many before it …
const INDIRECT_BEFORE: u64 = 0x100;
/// … and this many from it on. Both as DbgHelp 6.3.9600 takes them.
const INDIRECT_AFTER: u64 = 0x300;

/// The stacks of the kept threads that are to be written.
pub(super) fn stack_ranges(snapshot: &Snapshot, needed: ThreadWriteFlags) -> Vec<AddressRange> {
    snapshot
        .threads
        .iter()
        .filter(|kept| kept.flags.contains(needed))
        .flat_map(|kept| {
            let stacks = kept.thread.stack.iter().chain(&kept.thread.interrupted);
            let wants_store = kept.flags.contains(ThreadWriteFlags::BACKING_STORE);
            let store = kept.thread.backing_store.filter(|_| wants_store);
            stacks.map(|stack| stack.range).chain(store)
        })
        .collect()
}

/// The memory around instruction pointers, and around the place of the exception, where `may_show` agrees.
pub(super) fn windows(snapshot: &Snapshot, may_show: impl Fn(u64) -> bool) -> Vec<AddressRange> {
    let of_threads = snapshot
        .threads
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::INSTRUCTION_WINDOW))
        .filter_map(|kept| kept.thread.context.as_ref())
        .map(|context| context.instruction_pointer());
    let of_exception = snapshot
        .exception
        .iter()
        .flat_map(|exception| [exception.address, exception.context.instruction_pointer()]);
    of_threads
        .chain(of_exception)
        .filter(|address| may_show(*address))
        .filter_map(|address| {
            AddressRange::new(address.saturating_sub(WINDOW), address.saturating_add(WINDOW))
        })
        .collect()
}

/// What belongs to threads, modules and functions besides: their own blocks, the system's data about them, the other halves of 32-bit
/// programs, unwind information, parts of modules.
pub(super) fn late(frozen: &mut dyn Frozen, snapshot: &mut Snapshot, map: &[Region]) -> Vec<AddressRange> {
    let mut ranges = thread_data::ranges(frozen, snapshot);
    ranges.extend(wow64::ranges(frozen, snapshot));
    ranges.extend(&snapshot.unwind_information);
    ranges.extend(segments::ranges(frozen, snapshot, map));
    ranges
}

/// Whether the type asks for private memory.
pub(super) fn asks_private(dump_type: DumpType) -> bool {
    dump_type.intersects(DumpType::WITH_PRIVATE_READ_WRITE_MEMORY | DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY)
}

/// Private memory, as far as the type asks for it: writable (0x200), copy-on-write (0x10000).
pub(super) fn private(map: &[Region], dump_type: DumpType, profile: Profile) -> Vec<AddressRange> {
    /// What DbgHelp 6.3.9600 takes of private memory for either of the two flags.
    const OBSERVED: u32 =
        protect::READWRITE | protect::WRITECOPY | protect::EXECUTE_READ | protect::EXECUTE_READWRITE;
    const WRITABLE: u32 = protect::READWRITE | protect::EXECUTE_READWRITE;
    const COPIED: u32 = protect::WRITECOPY | protect::EXECUTE_WRITECOPY;
    let writable = dump_type.contains(DumpType::WITH_PRIVATE_READ_WRITE_MEMORY);
    let copied = dump_type.contains(DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY);
    let is_wanted = |region: &&Region| {
        let is_private = region.kind == Some(RegionKind::Private);
        if profile.takes_all_private_memory() {
            return (writable || copied) && is_private && region.protect & OBSERVED != 0;
        }
        // On Linux a private mapping of a file is writable now and was made to be copied.
        let is_copied = region.protect & COPIED != 0
            || region.protect & WRITABLE != 0 && region.allocation_protect == protect::WRITECOPY;
        writable && is_private && region.protect & WRITABLE != 0 || copied && is_copied
    };
    let dumpable = map.iter().filter(|region| region.is_dumpable());
    dumpable.filter(is_wanted).map(|region| region.range).collect()
}

/// The memory around every address that an aligned word of a stack holds, unless that lies in a module.
pub(super) fn indirect(
    frozen: &mut dyn Frozen,
    snapshot: &Snapshot,
    map: &[Region],
    stacks: &[AddressRange],
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<AddressRange>, Error> {
    let images = RangeSet::union(
        snapshot
            .modules
            .iter()
            .filter_map(|kept| AddressRange::at(kept.module.base, kept.module.size)),
    );
    let committed = RangeSet::union(
        map.iter()
            .filter(|region| region.is_dumpable())
            .map(|region| region.range),
    );
    let eligible: Vec<_> = committed.subtract(&images).iter().collect();
    let mut ranges = Vec::new();
    let word = pointer_size(snapshot.system.as_ref());
    for stack in stacks {
        each_word(frozen, dialogue.service(), *stack, word, |address| {
            let index = eligible.partition_point(|range| range.end() <= address);
            if eligible.get(index).is_some_and(|range| range.contains(address)) {
                let start = address.saturating_sub(INDIRECT_BEFORE);
                ranges.extend(AddressRange::new(start, address.saturating_add(INDIRECT_AFTER)));
            }
            // A deep stack repeats itself; joining now and then keeps the list short.
            if ranges.len() > 100_000 {
                ranges = RangeSet::union(ranges.drain(..)).iter().collect();
            }
        });
        dialogue.service().poll_cancel()?;
    }
    Ok(ranges)
}
