//! Chosen memory: stacks, what the type adds, and what the callback adds and removes.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Content, Diagnostic, Frozen, Region, Subject};

use super::blocks::Blocks;
use super::probe::probe;
use super::{Room, fetch, without_untouched_runs};
use crate::capture::fetch::needs_wide_list;
use crate::capture::filter;
use crate::capture::full::LONGEST_UNTOUCHED_RUN;
use crate::capture::ranges::{asks_private, indirect, is_private, late, private, stack_ranges, windows};
use crate::capture::regions::{RegionWalk, split_at_holes};
use crate::capture::selected::{not_mapped, unreadable};
use crate::capture::{Bytes, CapturedMemory, Negotiated, Piece, Snapshot};
use crate::error::remedy;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// Chooses and reads the memory of a dump that does not contain all memory.
///
/// It differs from the documentation as follows. Every range is [probed](probe) first. Stacks are
/// dumped whether or not the threads' flags ask for them. Memory and RemoveMemory are asked before
/// instruction windows, thread data and segments are added, so those cannot be removed.
///
/// Stacks, and up to `limit` bytes of other memory, are read here. The rest is deferred.
pub(in crate::capture) fn selected(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    own: &[Region],
    negotiated: &Negotiated,
    limit: u64,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let mut chosen = ProbedBlocks {
        blocks: Blocks::default(),
        goes_on: snapshot
            .terms
            .dump_type
            .contains(DumpType::SCAN_INACCESSIBLE_PARTIAL_PAGES),
        lost: Vec::new(),
    };
    for part in std::mem::take(&mut snapshot.shared_data) {
        chosen.blocks.add(part);
    }
    // The flag STACK has no effect. Threads without the flag THREAD keep their stacks as well.
    let stacks = stack_ranges(snapshot, ThreadWriteFlags::empty());
    let mut early = stacks.clone();
    if snapshot
        .terms
        .dump_type
        .contains(DumpType::WITH_INDIRECTLY_REFERENCED_MEMORY)
    {
        early.extend(indirect(frozen, snapshot, own, &stacks, dialogue)?);
    }
    if asks_private(snapshot.terms.dump_type) {
        // Holes become regions of their own, so that they do not end a range.
        let (dump_type, profile) = (snapshot.terms.dump_type, snapshot.terms.profile);
        let is_wanted = |region: &Region| is_private(region, dump_type, profile);
        let holes = split_at_holes(frozen, own, is_wanted, &mut snapshot.diagnostics);
        early.extend(private(&walked(&holes, dialogue), dump_type, profile));
    }
    for range in early {
        chosen.add(frozen, dialogue, range)?;
    }
    let mut asked = Vec::new();
    while let Some(range) = dialogue.memory() {
        chosen.add(frozen, dialogue, range)?;
        asked.push(range);
    }
    snapshot.diagnostics.extend(not_mapped(&asked, own));
    let mut removed = Vec::new();
    while let Some(range) = dialogue.remove_memory() {
        chosen.blocks.remove(range);
        removed.push(range);
    }
    for _ in 0..snapshot.terms.profile.polls_around_shared_data() {
        dialogue.service().poll_cancel()?;
    }
    for range in windows(snapshot, |_| true) {
        dialogue.service().poll_cancel()?;
        chosen.add(frozen, dialogue, range)?;
    }
    let mut late = late(frozen, snapshot, own, dialogue.service());
    if snapshot.terms.dump_type.contains(DumpType::FILTER_TRIAGE) {
        late.extend(filter::objects(frozen, snapshot, own, &stacks, dialogue)?);
    }
    for range in late {
        chosen.add(frozen, dialogue, range)?;
    }
    negotiated.begin_writing(dialogue)?;
    let blocks = chosen.blocks.into_sorted();
    let lost = RangeSet::union(chosen.lost)
        .subtract(&RangeSet::union(blocks.iter().copied()))
        .subtract(&RangeSet::union(removed));
    report(frozen, &lost, own, &mut snapshot.diagnostics);
    read(frozen, snapshot, blocks, &stacks, limit, dialogue)?;
    if snapshot.terms.dump_type.contains(DumpType::WITH_FULL_MEMORY_INFO) {
        // The MemoryInfoList walks the address space again. Here a failing VmQuery fails the dump.
        snapshot.map.set_regions(RegionWalk::over(own).all(dialogue)?);
    }
    Ok(())
}

/// Returns all regions as the callback describes them. A failing VmQuery ends the list and has no
/// other effect.
fn walked(own: &[Region], dialogue: &mut Dialogue<'_>) -> Vec<Region> {
    let mut walk = RegionWalk::over(own);
    std::iter::from_fn(|| walk.next(dialogue).ok().flatten()).collect()
}

/// Reads the blocks. A stack that cannot be read fails the dump. For any other block the callback
/// decides whether the whole block is left out or the dump fails.
fn read(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    blocks: Vec<AddressRange>,
    stacks: &[AddressRange],
    limit: u64,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let service = dialogue.service();
    let stacks = RangeSet::union(stacks.iter().copied());
    let mut room = Room(limit);
    let mut pieces = Vec::new();
    for block in blocks {
        service.poll_cancel()?;
        // A block that does not fit is split, so that only the stacks in it are read now.
        let fits = block.len() <= LONGEST_UNTOUCHED_RUN && room.take(block.len());
        let parts = match fits {
            true => vec![block],
            false => cut_at_stacks(frozen, block, &stacks, &mut snapshot.diagnostics),
        };
        for part in parts {
            let is_stack = stacks.meets(part);
            if !fits && !is_stack && !room.take(part.len()) {
                pieces.push(Piece {
                    range: part,
                    bytes: Bytes::Deferred,
                });
                continue;
            }
            let (range, status) = match fetch(frozen, service, part) {
                Ok(bytes) => {
                    let bytes = Bytes::Fetched(bytes);
                    pieces.push(Piece { range: part, bytes });
                    continue;
                }
                Err(failed) => failed,
            };
            if is_stack || service.read_memory_failure(range, status) != Some(true) {
                return Err(Error::Unreadable {
                    range,
                    status,
                    remedy: match is_stack {
                        true => remedy::DOCUMENTED,
                        false => remedy::CALLBACK,
                    },
                });
            }
            snapshot.diagnostics.push(Diagnostic::left_out(
                Subject::Memory(part),
                "unreadable, and the callback dropped it",
            ));
        }
    }
    let is_large = needs_wide_list(&pieces);
    if is_large {
        // Stacks first, so that the thread list, whose offsets have 32 bits, can refer to them.
        pieces.sort_by_key(|piece| !stacks.meets(piece.range));
    }
    snapshot.memory = CapturedMemory::new(pieces, is_large);
    Ok(())
}

/// Returns the parts of a block: stacks, and the memory between them without long runs of untouched
/// memory.
fn cut_at_stacks(
    frozen: &mut dyn Frozen,
    block: AddressRange,
    stacks: &RangeSet,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<AddressRange> {
    let others = RangeSet::union([block]).subtract(stacks);
    let others = others
        .iter()
        .flat_map(|range| without_untouched_runs(frozen, range, diagnostics));
    let mut parts: Vec<_> = others.chain(stacks.parts_in(block)).collect();
    parts.sort_unstable();
    parts
}

/// The chosen blocks, and how ranges are probed.
struct ProbedBlocks {
    blocks: Blocks,
    goes_on: bool,
    /// The ranges that probing has dropped.
    lost: Vec<AddressRange>,
}

impl ProbedBlocks {
    fn add(
        &mut self,
        frozen: &mut dyn Frozen,
        dialogue: &mut Dialogue<'_>,
        range: AddressRange,
    ) -> Result<(), Error> {
        let taken = probe(frozen, dialogue.service(), range, self.goes_on)?;
        let mut at = range.start();
        for part in taken {
            self.blocks.add(part);
            self.lost.extend(AddressRange::new(at, part.start()));
            at = part.end();
        }
        self.lost.extend(AddressRange::new(at, range.end()));
        Ok(())
    }
}

/// Reports memory that was chosen and is mapped, but is not in the dump. Memory that is not mapped
/// is not reported.
fn report(frozen: &mut dyn Frozen, lost: &RangeSet, map: &[Region], diagnostics: &mut Vec<Diagnostic>) {
    for range in lost.iter() {
        reader::survey(frozen, range, |part, content| {
            match content {
            Content::Readable | Content::Zero => diagnostics.push(Diagnostic::missing(
                Subject::Memory(part),
                "this part or a page before it cannot be read; of each range, DbgHelp dumps only the first readable part",
            )),
            Content::Unreadable(reason) => diagnostics.push(unreadable(map, part, reason)),
            Content::Nothing(_) => {}
        }
        });
    }
}
