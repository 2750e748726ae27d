//! BreakpadInfo: the thread that requested the dump. Readers show it first.

use dumpwright_target::Platform;
use minidump_common::format::{BreakpadInfoValid, MINIDUMP_BREAKPAD_INFO};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    let platform = snapshot.facts().platform();
    platform == Some(Platform::Linux) && snapshot.threads().requesting().is_some()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    plan.bytes(format::bytes([MINIDUMP_BREAKPAD_INFO {
        validity: BreakpadInfoValid::RequestingThreadId.bits(),
        // The thread that wrote the dump belongs to the dumper, not to the process.
        dump_thread_id: 0,
        requesting_thread_id: snapshot.threads().requesting().unwrap_or_default(),
    }]))
}
