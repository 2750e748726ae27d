//! BreakpadInfo: which thread asked for the dump. Readers show that one first.

use dumpwright_target::Platform;
use minidump_common::format::{BreakpadInfoValid, MINIDUMP_BREAKPAD_INFO};

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    let platform = snapshot.system.as_ref().map(|system| system.platform);
    platform == Some(Platform::Linux) && snapshot.requesting_thread.is_some()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    plan.bytes(format::bytes([MINIDUMP_BREAKPAD_INFO {
        validity: BreakpadInfoValid::RequestingThreadId.bits(),
        // The thread that wrote the dump belongs to the dumper, not to the process.
        dump_thread_id: 0,
        requesting_thread_id: snapshot.requesting_thread.unwrap_or_default(),
    }]))
}
