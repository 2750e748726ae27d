//! Memory64List: all memory, or more of it than 32 bits can address.
//!
//! Ranges have no offsets of their own: their bytes follow each other from the base on, to the end of
//! the file.

use minidump_common::format::MINIDUMP_MEMORY_DESCRIPTOR64;

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;

const HEADER: usize = 16;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &Pieces) -> BlockId {
    let first = pieces.0.first().copied();
    let len = HEADER + snapshot.pieces.len() * format::size::<MINIDUMP_MEMORY_DESCRIPTOR64>();
    plan.record(len, move |offsets| {
        let base = first.map_or(0, |block| offsets.rva64(block));
        let mut bytes = format::bytes([snapshot.pieces.len() as u64, base]);
        bytes.extend(format::bytes(snapshot.pieces.iter().map(|piece| {
            MINIDUMP_MEMORY_DESCRIPTOR64 {
                start_of_memory_range: piece.range.start(),
                data_size: piece.len(),
            }
        })));
        Ok(bytes)
    })
}
