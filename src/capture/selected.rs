//! Memory chosen by the type and by the callback: which ranges. Nothing is read here but what has to be looked at to choose.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{
    AddressRange, Content, Exclusion, Frozen, Region, RegionState, Remark, Subject, protect,
};

use super::fetch::Chosen;
use super::ranges::{indirect, late, private, stack_ranges, windows};
use super::{Snapshot, filter};
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// No piece of a MemoryList is larger: Breakpad's readers refuse to load larger ones (their default
/// limit of 64 MiB a region).
const LARGEST_PIECE: u64 = 64 << 20;

/// Asks the callback what is to be added and removed.
pub(super) fn choose(
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

/// The readable part of these ranges, without asking a page for its contents. What lies behind an unreadable
/// page is kept.
fn readable(
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
