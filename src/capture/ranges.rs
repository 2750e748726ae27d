//! Phase 4: which memory, and the part of it that is read at once.

use dumpwright_callback::{Hresult, ThreadWriteFlags};
use dumpwright_target::{
    AddressRange, Content, Exclusion, Frozen, Gravity, Region, RegionKind, RegionState, Remark, Subject,
    protect,
};

use super::collect::pointer_size;
use super::fetch::fetch;
use super::{Collected, Negotiated, Snapshot, dbghelp, filter, full, segments, thread_data};
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::memory::words::each_word;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile, Request};

/// Bytes kept on each side of an instruction pointer; Microsoft's writer and Breakpad agree on it.
const WINDOW: u64 = 128;

/// No piece of a MemoryList is larger: Breakpad's readers refuse to load larger ones (their default
/// limit of 64 MiB a region).
const LARGEST_PIECE: u64 = 64 << 20;

/// Bytes kept around an address that a stack word points to: this many before it …
const INDIRECT_BEFORE: u64 = 0x100;
/// … and this many from it on. Both as DbgHelp 6.3.9600 takes them.
const INDIRECT_AFTER: u64 = 0x300;

/// Ranges that will be in the dump.
pub(super) struct Chosen {
    /// Stacks. They come from the target before it runs on, whatever their size.
    pub stacks: RangeSet,
    /// Everything else.
    pub others: RangeSet,
}

/// Chooses the memory, asks the callback to add and remove, and fetches what is to be fetched.
pub(crate) fn memory(
    frozen: &mut dyn Frozen,
    collected: Collected,
    negotiated: &Negotiated,
    request: &Request,
    dialogue: &mut Dialogue<'_>,
) -> Result<Snapshot, Error> {
    let Collected { mut snapshot, map } = collected;
    let profile = negotiated.profile;
    match snapshot.dump_type.contains(DumpType::WITH_FULL_MEMORY) {
        true if profile.reads_in_second_pass() => {
            dbghelp::full(frozen, &mut snapshot, &map, negotiated, dialogue)?;
        }
        true => full::choose(frozen, &mut snapshot, &map, dialogue)?,
        false if profile.selects_by_probing() => {
            dbghelp::selected(frozen, &mut snapshot, &map, negotiated, dialogue)?;
        }
        false => {
            let chosen = choose(frozen, &mut snapshot, &map, dialogue)?;
            let limit = request.fetch_limit;
            fetch(frozen, &mut snapshot, chosen, limit, dialogue.service())?;
        }
    }
    filter::apply(&mut snapshot);
    if !profile.reads_in_second_pass() {
        refuse_losses(&snapshot)?;
    }
    if !dialogue.is_writing() {
        negotiated.begin_writing(dialogue)?;
    }
    Ok(snapshot)
}

/// With type 0x2000000 memory that cannot be read is an error.
fn refuse_losses(snapshot: &Snapshot) -> Result<(), Error> {
    if !snapshot
        .dump_type
        .contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY)
    {
        return Ok(());
    }
    let lost = snapshot.remarks.iter().find_map(|remark| match remark.subject {
        Subject::Memory(range) if remark.gravity == Gravity::Missing => Some(range),
        _ => None,
    });
    lost.map_or(Ok(()), |range| {
        let status = Hresult::PARTIAL_COPY;
        Err(Error::Unreadable { range, status })
    })
}

fn choose(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    map: &[Region],
    dialogue: &mut Dialogue<'_>,
) -> Result<Chosen, Error> {
    let dump_type = snapshot.dump_type;
    let stacks = stack_ranges(snapshot, ThreadWriteFlags::STACK);
    let mut others = Vec::new();
    if dump_type.contains(DumpType::WITH_INDIRECTLY_REFERENCED_MEMORY) {
        others.extend(indirect(frozen, snapshot, map, &stacks, dialogue)?);
    }
    others.extend(private(map, dump_type, snapshot.profile));
    while let Some(range) = dialogue.memory() {
        others.push(range);
        dialogue.service().poll_cancel()?;
    }
    let mut removed = Vec::new();
    while let Some(range) = dialogue.remove_memory() {
        removed.push(range);
        dialogue.service().poll_cancel()?;
    }
    let removed = RangeSet::union(removed);
    others.extend(windows(snapshot));
    others.extend(late(frozen, snapshot, map));
    if dump_type.contains(DumpType::FILTER_TRIAGE) {
        others.extend(filter::objects(frozen, snapshot, map, &stacks, dialogue)?);
    }
    let stacks = RangeSet::union_of_overlapping(stacks).subtract(&removed);
    // Neighbours are joined, but never heap into a stack: a thread's stack stays a range of its own.
    let others = RangeSet::union(others).subtract(&removed).subtract(&stacks);
    Ok(Chosen {
        stacks: readable(frozen, &stacks, map, &mut snapshot.remarks).split(LARGEST_PIECE),
        others: readable(frozen, &others, map, &mut snapshot.remarks).split(LARGEST_PIECE),
    })
}

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

/// The memory around instruction pointers, and around the place of the exception.
pub(super) fn windows(snapshot: &Snapshot) -> Vec<AddressRange> {
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
        .filter_map(|address| {
            AddressRange::new(address.saturating_sub(WINDOW), address.saturating_add(WINDOW))
        })
        .collect()
}

/// What belongs to threads, modules and functions besides: their own blocks, the system's data about them, unwind information,
/// parts of modules.
pub(super) fn late(frozen: &mut dyn Frozen, snapshot: &mut Snapshot, map: &[Region]) -> Vec<AddressRange> {
    let mut ranges = thread_data::ranges(frozen, snapshot);
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

/// The readable part of these ranges, without asking a page for its contents. What lies behind an unreadable
/// page is kept.
pub(super) fn readable(
    frozen: &mut dyn Frozen,
    wanted: &RangeSet,
    map: &[Region],
    remarks: &mut Vec<Remark>,
) -> RangeSet {
    // Device memory must not be touched even if a callback names it; program's own "do not dump" is no
    // obstacle for what was chosen by address.
    let untouchable = map.iter().filter(|region| {
        matches!(
            region.exclusion,
            Some(Exclusion::Device | Exclusion::Kernel | Exclusion::WriteCombined)
        ) || region.state != RegionState::Commit
    });
    let wanted = wanted.subtract(&RangeSet::union(untouchable.map(|region| region.range)));
    let mut kept = Vec::new();
    for range in wanted.iter() {
        let mut parts = Vec::new();
        reader::survey(frozen, range, |part, content| match content {
            Content::Readable | Content::Zero => parts.push(part),
            Content::Nothing(_) => {}
            Content::Unreadable(reason) if is_accessible(map, part) => {
                remarks.push(Remark::missing(Subject::Memory(part), reason));
            }
            Content::Unreadable(reason) => remarks.push(Remark::left_out(Subject::Memory(part), reason)),
        });
        // Joined within each wanted range only, so that stacks which touch stay apart.
        kept.extend(RangeSet::union(parts).iter());
    }
    RangeSet::union_of_overlapping(kept)
}

fn is_accessible(map: &[Region], range: AddressRange) -> bool {
    let index = map.partition_point(|region| region.range.end() <= range.start());
    map.get(index).is_some_and(|region| {
        region.range.contains(range.start()) && region.protect & (protect::NOACCESS | protect::GUARD) == 0
    })
}
