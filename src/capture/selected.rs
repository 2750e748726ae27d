//! Chooses the memory that the type and the callback ask for. Reads only what is needed to choose.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{
    AddressRange, Content, Diagnostic, Exclusion, Frozen, Region, RegionState, Subject, protect,
};

use super::fetch::Chosen;
use super::full::{LONGEST_UNTOUCHED_RUN, untouched};
use super::ranges::{indirect, late, private, stack_ranges, windows};
use super::{Snapshot, filter};
use crate::explanation::MemoryCause;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// The largest piece of a MemoryList. By default, Breakpad's readers refuse ranges larger than 64
/// MiB.
pub(super) const LARGEST_PIECE: u64 = 64 << 20;

/// Chooses the ranges, and asks the callback what to add and remove.
pub(super) fn choose(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    map: &[Region],
    dialogue: &mut Dialogue<'_>,
) -> Result<Chosen, Error> {
    let dump_type = snapshot.terms.dump_type;
    let stacks = stack_ranges(snapshot, ThreadWriteFlags::STACK);
    let mut others = Vec::new();
    if dump_type.contains(DumpType::WITH_INDIRECTLY_REFERENCED_MEMORY) {
        others.extend(indirect(frozen, snapshot, map, &stacks, dialogue)?);
        snapshot.causes.note(MemoryCause::Referenced, &others);
    }
    let private = private(map, dump_type, snapshot.terms.profile);
    snapshot.causes.note(MemoryCause::Private, &private);
    others.extend(private);
    let left_out = filter::regions_of_stacks(snapshot, map);
    // All reads that help to choose are made before Memory is asked: a callback may take later
    // reads for memory that is dumped, and limit them.
    let mut unasked = late(frozen, snapshot, map, dialogue.service());
    let windows = windows(snapshot, filter::may_show(snapshot));
    snapshot.causes.note(MemoryCause::Code, &windows);
    unasked.extend(windows);
    let objects = match dump_type.contains(DumpType::FILTER_TRIAGE) {
        true => filter::objects(frozen, snapshot, map, &stacks, dialogue)?,
        false => Vec::new(),
    };
    snapshot.causes.note(MemoryCause::Referenced, &objects);
    let mut others: Vec<_> = RangeSet::union(others).subtract(&left_out).iter().collect();
    let mut asked = Vec::new();
    while let Some(range) = dialogue.memory() {
        asked.push(range);
        dialogue.service().poll_cancel()?;
    }
    snapshot.diagnostics.extend(not_mapped(&asked, map));
    snapshot.causes.note(MemoryCause::Callback, &asked);
    others.extend(asked);
    let mut removed = Vec::new();
    while let Some(range) = dialogue.remove_memory() {
        removed.push(range);
        dialogue.service().poll_cancel()?;
    }
    let removed = RangeSet::union(removed);
    others.extend(RangeSet::union(unasked).subtract(&left_out).iter());
    others.extend(objects);
    snapshot.facts.forget_copies(&removed);
    let stacks = RangeSet::union_of_overlapping(stacks).subtract(&removed);
    // Adjacent ranges are joined, but never with a stack: a thread's stack stays a range of its
    // own.
    let others = RangeSet::union(others).subtract(&removed).subtract(&stacks);
    Ok(Chosen {
        stacks: readable(frozen, &stacks, map, &mut snapshot.diagnostics).split(LARGEST_PIECE),
        others: readable(frozen, &others, map, &mut snapshot.diagnostics).split(LARGEST_PIECE),
    })
}

/// Returns the readable part of these ranges, without accessing the pages. Memory after an
/// unreadable page is kept.
fn readable(
    frozen: &mut dyn Frozen,
    wanted: &RangeSet,
    map: &[Region],
    diagnostics: &mut Vec<Diagnostic>,
) -> RangeSet {
    // Device memory must not be accessed even if a callback names it. Memory that the program
    // marked "do not dump" is dumped if it was chosen by address.
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
            Content::Zero if part.len() > LONGEST_UNTOUCHED_RUN => diagnostics.push(untouched(part)),
            Content::Readable | Content::Zero => parts.push(part),
            Content::Nothing(_) => {}
            Content::Unreadable(reason) => diagnostics.push(unreadable(map, part, reason)),
        });
        // Joined within each wanted range only, so that adjacent stacks stay separate.
        kept.extend(RangeSet::union(parts).iter());
    }
    RangeSet::union_of_overlapping(kept)
}

/// Returns the diagnostic for chosen memory that is known to be unreadable.
pub(super) fn unreadable(map: &[Region], part: AddressRange, reason: &'static str) -> Diagnostic {
    let diagnostic = match is_accessible(map, part) {
        true => Diagnostic::missing,
        false => Diagnostic::left_out,
    };
    diagnostic(Subject::Memory(part), reason)
}

/// Returns a diagnostic for ranges that the callback added where nothing is mapped. DbgHelp drops
/// them silently. They show that the callback followed a bad pointer or uses wrong sizes.
pub(super) fn not_mapped(asked: &[AddressRange], map: &[Region]) -> Option<Diagnostic> {
    // Without a map, this cannot be known.
    if map.is_empty() {
        return None;
    }
    let mapped = map
        .iter()
        .filter(|region| region.state == RegionState::Commit)
        .map(|region| region.range);
    let mapped = RangeSet::union(mapped);
    let outside = RangeSet::union(asked.iter().copied()).subtract(&mapped);
    let count = asked.iter().filter(|range| outside.meets(**range)).count();
    let first = outside.iter().next()?;
    let bytes: u64 = outside.iter().map(AddressRange::len).sum();
    let wraps = asked.iter().any(|range| range.end() == u64::MAX);
    let end = match wraps {
        true => ", and one reaches past the end of the address space",
        false => "",
    };
    Some(Diagnostic::note(
        Subject::Process,
        format!(
            "Memory: {count} of {} ranges that the callback added are not mapped or only partly mapped: {bytes} bytes, the \
             first at {:#x}{end}",
            asked.len(),
            first.start()
        ),
    ))
}

fn is_accessible(map: &[Region], range: AddressRange) -> bool {
    let index = map.partition_point(|region| region.range.end() <= range.start());
    map.get(index).is_some_and(|region| {
        region.range.contains(range.start()) && region.protect & (protect::NOACCESS | protect::GUARD) == 0
    })
}
