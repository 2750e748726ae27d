//! All memory, compressed: one pass over the regions.

use dumpwright_target::{Frozen, Region};

use super::full::{begin, pass};
use crate::Error;
use crate::capture::compressed::existing;
use crate::capture::regions::split_at_holes;
use crate::capture::{CapturedMemory, MemoryToCompress, Negotiated, Snapshot};
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Dialogue;

/// Makes one pass, in which nothing is read, as the DbgHelp of 2026 does.
///
/// With the Vm callback types, the dump fails after the pass (`20-vm`).
pub(in crate::capture) fn compressed(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    own: &[Region],
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let own = &split_at_holes(frozen, own, Region::is_dumpable, &mut snapshot.diagnostics)[..];
    begin(snapshot, own, negotiated, dialogue)?;
    let settings = dialogue.compressed_memory_start();
    let mut ranges = Vec::new();
    pass(own, dialogue, |_, _, range| {
        ranges.push(range);
        Ok(())
    })?;
    if dialogue.service().wants_reads() {
        return Err(Error::InvalidRequest(
            "in the profile dbghelp10, compressed memory (0x4000000) cannot be combined with a callback that answers \
             VmStart with S_FALSE; use the profile documented"
                .to_owned(),
        ));
    }
    let ranges = RangeSet::union_of_overlapping(ranges);
    let present = existing(frozen, ranges.iter(), &mut snapshot.diagnostics);
    snapshot.memory = CapturedMemory::of_compressed(
        Vec::new(),
        MemoryToCompress {
            ranges: present,
            settings,
            lists_pieces: false,
            polls: false,
        },
    );
    Ok(())
}
