//! HandleOperationList: what was done with handles, as Application Verifier records it.

use dumpwright_target::HandleOperation;

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::plan::narrow;

/// Bytes of `MINIDUMP_HANDLE_OPERATION_LIST`.
const HEADER: usize = 16;
/// Bytes of `AVRF_HANDLE_OPERATION` (avrfsdk.h).
const ENTRY: usize = 32 + 8 * HandleOperation::MOST_RETURNS;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot
        .handle_operations
        .as_ref()
        .is_some_and(|operations| !operations.is_empty())
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let operations = snapshot.handle_operations.as_deref().unwrap_or_default();
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
