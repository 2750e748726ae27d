//! Finds the memory that a dump contains: stacks, the code around instruction pointers, the memory
//! that stacks point to, private memory, and parts of threads and modules.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Hooked, Memory, Platform, Region, RegionKind, protect};

use super::{Snapshot, segments, thread_data, wow64};
use crate::explanation::MemoryCause;
use crate::memory::reader::Structures;
use crate::memory::set::{RangeSet, without_repetitions};
use crate::memory::words::each_word;
use crate::protocol::dialogue::{Dialogue, Service};
use crate::{DumpType, Error, Profile};

/// Bytes included on each side of an instruction pointer. Microsoft's writer and Breakpad use the
/// same number.
const WINDOW: u64 = 128;

/// Bytes included before an address that a word of a stack points to, as DbgHelp 6.3.9600 does.
const INDIRECT_BEFORE: u64 = 0x100;
/// Bytes included from such an address on, as DbgHelp 6.3.9600 does.
const INDIRECT_AFTER: u64 = 0x300;

/// Returns the stacks of the captured threads that have the flags `needed`, and their backing
/// stores.
pub(super) fn stack_ranges(snapshot: &Snapshot, needed: ThreadWriteFlags) -> Vec<AddressRange> {
    snapshot
        .threads
        .kept()
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

/// Returns the memory around instruction pointers and around the address of the exception, except
/// around addresses for which `may_show` returns `false`.
pub(super) fn windows(snapshot: &Snapshot, may_show: impl Fn(u64) -> bool) -> Vec<AddressRange> {
    let of_threads = snapshot
        .threads
        .kept()
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::INSTRUCTION_WINDOW))
        .filter_map(|kept| kept.thread.context.as_ref())
        .map(|context| context.instruction_pointer());
    let of_exception = snapshot
        .threads
        .exception()
        .into_iter()
        .flat_map(|exception| [exception.address, exception.context.instruction_pointer()]);
    of_threads
        .chain(of_exception)
        .filter(|address| may_show(*address))
        .filter_map(|address| {
            AddressRange::new(address.saturating_sub(WINDOW), address.saturating_add(WINDOW))
        })
        .collect()
}

/// Returns the other memory that belongs to threads, modules and functions: thread blocks, the
/// system's data about threads and about itself, the 32-bit halves of WOW64 threads, unwind
/// information, and parts of modules.
pub(super) fn late(
    memory: &mut dyn Memory,
    snapshot: &mut Snapshot,
    map: &[Region],
    service: &mut Service<'_>,
) -> Vec<AddressRange> {
    let mut hook = Structures(service);
    let memory = &mut Hooked::new(memory, &mut hook);
    let mut ranges = thread_data::ranges(memory, snapshot);
    let profile = snapshot.terms.profile;
    let is_windows = snapshot.facts.platform() == Some(Platform::WindowsNt);
    if is_windows && profile.includes_shared_data() && !profile.chooses_shared_data_first() {
        ranges.push(thread_data::shared_data());
    }
    ranges.extend(wow64::ranges(memory, snapshot));
    ranges.extend(snapshot.facts.unwind_information());
    snapshot.causes.note(MemoryCause::ThreadData, &ranges);
    let segments = segments::ranges(memory, snapshot, map);
    snapshot.causes.note(MemoryCause::Modules, &segments);
    ranges.extend(segments);
    ranges
}

/// Whether the type asks for private memory.
pub(super) fn asks_private(dump_type: DumpType) -> bool {
    dump_type.intersects(DumpType::WITH_PRIVATE_READ_WRITE_MEMORY | DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY)
}

/// Returns the private memory that the type asks for: writable (0x200), copy-on-write (0x10000).
pub(super) fn private(map: &[Region], dump_type: DumpType, profile: Profile) -> Vec<AddressRange> {
    map.iter()
        .filter(|region| is_private(region, dump_type, profile))
        .map(|region| region.range)
        .collect()
}

/// Whether the type asks for this region as private memory.
pub(super) fn is_private(region: &Region, dump_type: DumpType, profile: Profile) -> bool {
    /// The protections of private memory that DbgHelp 6.3.9600 includes for either of the two
    /// flags.
    const OBSERVED: u32 =
        protect::READWRITE | protect::WRITECOPY | protect::EXECUTE_READ | protect::EXECUTE_READWRITE;
    const WRITABLE: u32 = protect::READWRITE | protect::EXECUTE_READWRITE;
    const COPIED: u32 = protect::WRITECOPY | protect::EXECUTE_WRITECOPY;
    if !region.is_dumpable() {
        return false;
    }
    let writable = dump_type.contains(DumpType::WITH_PRIVATE_READ_WRITE_MEMORY);
    let copied = dump_type.contains(DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY);
    let is_private = region.kind == Some(RegionKind::Private);
    if profile.takes_all_private_memory() {
        return (writable || copied) && is_private && region.protect & OBSERVED != 0;
    }
    // On Linux, a private mapping of a file is writable and was created copy-on-write.
    let is_copied = region.protect & COPIED != 0
        || region.protect & WRITABLE != 0 && region.allocation_protect == protect::WRITECOPY;
    writable && is_private && region.protect & WRITABLE != 0 || copied && is_copied
}

/// Up to this number, ranges around addresses are kept in their order and not joined, because
/// DbgHelp probes them one by one in this order.
const UNJOINED: usize = 100_000;

/// Returns the memory around every address that an aligned word of a stack contains, except
/// addresses in modules.
///
/// If there are more than [`UNJOINED`] ranges, they are joined whenever their number has doubled. A
/// deep stack contains the same addresses many times. Joining after every word would take time that
/// grows with the square of their number, while the target is suspended.
pub(super) fn indirect(
    memory: &mut dyn Memory,
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
    let eligible = committed.subtract(&images);
    let mut ranges = Vec::new();
    let mut join_at = UNJOINED;
    let word = snapshot.facts.pointer_size();
    let mut take = |address: u64| {
        if eligible.contains(address) {
            let start = address.saturating_sub(INDIRECT_BEFORE);
            ranges.extend(AddressRange::new(start, address.saturating_add(INDIRECT_AFTER)));
        }
        if ranges.len() > join_at {
            ranges = RangeSet::union(ranges.drain(..)).into_ranges();
            join_at = UNJOINED.max(2 * ranges.len());
        }
    };
    for parts in without_repetitions(stacks.iter().copied()) {
        for part in parts {
            each_word(memory, dialogue.service(), part, word, &mut take)?;
        }
        dialogue.service().poll_cancel()?;
    }
    if ranges.len() > UNJOINED {
        ranges = RangeSet::union(ranges).into_ranges();
    }
    Ok(ranges)
}
