//! Memory64List: all memory, or more memory than 32-bit offsets can address.
//!
//! Ranges have no offsets of their own. Their bytes follow one another from the base offset to the
//! end of the file.

use minidump_common::format::MINIDUMP_MEMORY_DESCRIPTOR64;

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;

const HEADER: usize = 16;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &PieceBlocks) -> BlockId {
    let first = pieces.blocks.first().copied();
    let len = HEADER + snapshot.memory().pieces().len() * format::size::<MINIDUMP_MEMORY_DESCRIPTOR64>();
    plan.record(len, move |offsets| {
        let base = first.map_or(0, |block| offsets.rva64(block));
        let mut bytes = format::bytes([snapshot.memory().pieces().len() as u64, base]);
        bytes.extend(format::bytes(snapshot.memory().pieces().iter().map(|piece| {
            MINIDUMP_MEMORY_DESCRIPTOR64 {
                start_of_memory_range: piece.range.start(),
                data_size: piece.len(),
            }
        })));
        Ok(bytes)
    })
}
