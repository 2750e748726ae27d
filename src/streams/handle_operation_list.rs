//! HandleOperationList: operations on handles, as Application Verifier records them.

use dumpwright_target::HandleOperation;

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::plan::narrow;

/// The size of `MINIDUMP_HANDLE_OPERATION_LIST`.
const HEADER: usize = 16;
/// The size of `AVRF_HANDLE_OPERATION` (avrfsdk.h).
const ENTRY: usize = 32 + 8 * HandleOperation::MOST_RETURNS;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    !snapshot.facts().handle_operations().is_empty()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let operations = snapshot.facts().handle_operations();
    plan.record(HEADER + operations.len() * ENTRY, move |_| {
        let header = [
            narrow(HEADER, "a header")?,
            narrow(ENTRY, "an entry")?,
            narrow(operations.len(), "the number of operations on handles")?,
            0,
        ];
        let mut bytes = header.map(u32::to_le_bytes).concat();
        for operation in operations {
            write(operation, &mut bytes);
        }
        Ok(bytes)
    })
}

fn write(operation: &HandleOperation, bytes: &mut Vec<u8>) {
    let returns = &operation.return_addresses;
    let returns = &returns[..returns.len().min(HandleOperation::MOST_RETURNS)];
    let depth = u32::try_from(returns.len()).expect("at most 32");
    bytes.extend(operation.handle.to_le_bytes());
    let words = [
        operation.process_id,
        operation.thread_id,
        operation.kind.value(),
        0,
        depth,
        operation.index,
    ];
    bytes.extend(words.map(u32::to_le_bytes).concat());
    for index in 0..HandleOperation::MOST_RETURNS {
        bytes.extend(returns.get(index).unwrap_or(&0).to_le_bytes());
    }
}
