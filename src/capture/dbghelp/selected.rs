//! Chosen memory: stacks, what the type adds, what the callback adds and removes.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Frozen, Region, Remark, Subject};

use super::blocks::Blocks;
use super::fetch;
use super::probe::probe;
use crate::capture::filter;
use crate::capture::ranges::{asks_private, indirect, late, private, stack_ranges, windows};
use crate::capture::regions::Walk;
use crate::capture::{Bytes, Negotiated, Piece, Snapshot};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// Chooses and reads the memory of a dump that does not want all of it.
///
/// What differs from the documentation: every range is [probed](probe) first; stacks come whether or not the
/// threads' flags ask for them; what Memory and RemoveMemory change is over before instruction windows, thread
/// data and segments are added, so those cannot be removed.
pub(in crate::capture) fn selected(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    own: &[Region],
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let mut chosen = Probed {
        blocks: Blocks::default(),
        goes_on: snapshot
            .dump_type
            .contains(DumpType::SCAN_INACCESSIBLE_PARTIAL_PAGES),
    };
    // The flag STACK has no effect; threads without THREAD keep their stacks as well.
    let stacks = stack_ranges(snapshot, ThreadWriteFlags::empty());
    let mut early = stacks.clone();
    if snapshot
        .dump_type
        .contains(DumpType::WITH_INDIRECTLY_REFERENCED_MEMORY)
    {
        early.extend(indirect(frozen, snapshot, own, &stacks, dialogue)?);
    }
    if asks_private(snapshot.dump_type) {
        early.extend(private(
            &walked(own, dialogue),
            snapshot.dump_type,
            snapshot.profile,
        ));
    }
    for range in early {
        chosen.add(frozen, dialogue, range);
    }
    while let Some(range) = dialogue.memory() {
        chosen.add(frozen, dialogue, range);
    }
    while let Some(range) = dialogue.remove_memory() {
        chosen.blocks.remove(range);
    }
    for range in windows(snapshot, |_| true) {
        dialogue.service().poll_cancel()?;
        chosen.add(frozen, dialogue, range);
    }
    let mut late = late(frozen, snapshot, own);
    if snapshot.dump_type.contains(DumpType::FILTER_TRIAGE) {
        late.extend(filter::objects(frozen, snapshot, own, &stacks, dialogue)?);
    }
    for range in late {
        chosen.add(frozen, dialogue, range);
    }
    negotiated.begin_writing(dialogue)?;
    let blocks = chosen.blocks.into_sorted();
    read(frozen, snapshot, blocks, &stacks, dialogue)?;
    if snapshot.dump_type.contains(DumpType::WITH_FULL_MEMORY_INFO) {
        // The MemoryInfoList walks the address space by itself, and here a failing VmQuery fails the dump.
        snapshot.regions = Some(Walk::over(own).all(dialogue)?);
    }
    Ok(())
}

/// All regions as the callback sees them; a VmQuery that fails ends the list and nothing else.
fn walked(own: &[Region], dialogue: &mut Dialogue<'_>) -> Vec<Region> {
    let mut walk = Walk::over(own);
    std::iter::from_fn(|| walk.next(dialogue).ok().flatten()).collect()
}

/// Reads the blocks. A stack that cannot be read fails the dump; of anything else the callback decides, and
/// gives up the whole block or the dump.
fn read(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    blocks: Vec<AddressRange>,
    stacks: &[AddressRange],
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let service = dialogue.service();
    for block in blocks {
        service.poll_cancel()?;
        match fetch(frozen, service, block) {
            Ok(bytes) => snapshot.pieces.push(Piece {
                range: block,
                bytes: Bytes::Fetched(bytes),
            }),
            Err((range, status)) => {
                let is_stack = stacks.iter().any(|stack| stack.intersect(block).is_some());
                if is_stack || service.read_memory_failure(range, status) != Some(true) {
                    return Err(Error::Unreadable { range, status });
                }
                snapshot.remarks.push(Remark::left_out(
                    Subject::Memory(block),
                    "unreadable, and the callback dropped it",
                ));
            }
        }
    }
    Ok(())
}

/// The blocks, and how what goes into them is probed.
struct Probed {
    blocks: Blocks,
    goes_on: bool,
}

impl Probed {
    fn add(&mut self, frozen: &mut dyn Frozen, dialogue: &mut Dialogue<'_>, range: AddressRange) {
        for part in probe(frozen, dialogue.service(), range, self.goes_on) {
            self.blocks.add(part);
        }
    }
}
