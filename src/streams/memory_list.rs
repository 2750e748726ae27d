//! MemoryList: the captured memory in ascending order.

use minidump_common::format::MINIDUMP_MEMORY_DESCRIPTOR;

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &PieceBlocks) -> BlockId {
    let blocks = pieces.blocks.clone();
    plan.record(
        4 + blocks.len() * format::size::<MINIDUMP_MEMORY_DESCRIPTOR>(),
        move |offsets| {
            let mut bytes = format::bytes([narrow(blocks.len(), "the number of memory ranges")?]);
            for (piece, block) in snapshot.memory().pieces().iter().zip(&blocks) {
                bytes.extend(format::bytes([MINIDUMP_MEMORY_DESCRIPTOR {
                    start_of_memory_range: piece.range.start(),
                    memory: offsets.location(*block)?,
                }]));
            }
            Ok(bytes)
        },
    )
}
