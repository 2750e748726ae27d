//! ThreadInfoList: times, start addresses, affinities of threads.

use dumpwright_callback::ThreadWriteFlags;
use minidump_common::format::MINIDUMP_THREAD_INFO;

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;
use crate::{DumpType, capture::KeptThread};

/// The header here has no count of 64 bits and no padding, unlike MemoryInfoList's.
const HEADER: usize = 12;
/// STILL_ACTIVE.
const RUNNING: u32 = 0x103;
/// MINIDUMP_THREAD_INFO_INVALID_CONTEXT.
const INVALID_CONTEXT: u32 = 0x10;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.dump_type.contains(DumpType::WITH_THREAD_INFO)
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let entry = format::size::<MINIDUMP_THREAD_INFO>();
    let listed: Vec<_> = snapshot
        .threads
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::THREAD_INFO))
        .collect();
    plan.record(HEADER + listed.len() * entry, move |_| {
        let count = narrow(listed.len(), "the number of threads")?;
        let mut bytes = format::bytes([narrow(HEADER, "a header")?, narrow(entry, "an entry")?, count]);
        bytes.extend(format::bytes(listed.iter().map(|kept| record(kept))));
        Ok(bytes)
    })
}

fn record(kept: &KeptThread) -> MINIDUMP_THREAD_INFO {
    let thread = &kept.thread;
    MINIDUMP_THREAD_INFO {
        thread_id: thread.id,
        dump_flags: if thread.context.is_none() {
            INVALID_CONTEXT
        } else {
            0
        },
        dump_error: 0,
        exit_status: RUNNING,
        create_time: thread.times.created,
        exit_time: 0,
        kernel_time: thread.times.kernel,
        user_time: thread.times.user,
        start_address: thread.times.start_address,
        affinity: thread.times.affinity,
    }
}
