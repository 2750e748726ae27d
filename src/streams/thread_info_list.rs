//! ThreadInfoList: times, start addresses and affinities of threads.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::Platform;
use minidump_common::format::MINIDUMP_THREAD_INFO;

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;
use crate::{DumpType, capture::CapturedThread};

/// The size of the header. Unlike that of MemoryInfoList, it has no 64-bit count and no padding.
const HEADER: usize = 12;
/// STILL_ACTIVE.
const RUNNING: u32 = 0x103;
/// MINIDUMP_THREAD_INFO_EXITED_THREAD.
const EXITED: u32 = 4;
/// MINIDUMP_THREAD_INFO_INVALID_INFO.
const INVALID_INFO: u32 = 8;
/// MINIDUMP_THREAD_INFO_INVALID_CONTEXT.
const INVALID_CONTEXT: u32 = 0x10;
/// MINIDUMP_THREAD_INFO_INVALID_TEB.
const INVALID_TEB: u32 = 0x20;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.terms().dump_type.contains(DumpType::WITH_THREAD_INFO)
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let entry = format::size::<MINIDUMP_THREAD_INFO>();
    let listed: Vec<_> = snapshot
        .threads()
        .kept()
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::THREAD_INFO))
        .collect();
    let has_teb = snapshot.facts().platform() == Some(Platform::WindowsNt);
    plan.record(HEADER + listed.len() * entry, move |_| {
        let count = narrow(listed.len(), "the number of threads")?;
        let mut bytes = format::bytes([narrow(HEADER, "a header")?, narrow(entry, "an entry")?, count]);
        bytes.extend(format::bytes(listed.iter().map(|kept| record(kept, has_teb))));
        Ok(bytes)
    })
}

/// `has_teb`: whether threads of this system have a thread environment block. If they do, a thread
/// without one is a thread whose block could not be obtained.
fn record(kept: &CapturedThread, has_teb: bool) -> MINIDUMP_THREAD_INFO {
    let thread = &kept.thread;
    let times = thread.times.unwrap_or_default();
    let flags = [
        (thread.exit.is_some(), EXITED),
        (thread.times.is_none(), INVALID_INFO),
        (thread.context.is_none(), INVALID_CONTEXT),
        (has_teb && thread.teb == 0, INVALID_TEB),
    ];
    MINIDUMP_THREAD_INFO {
        thread_id: thread.id,
        dump_flags: flags
            .into_iter()
            .filter(|(applies, _)| *applies)
            .fold(0, |flags, (_, flag)| flags | flag),
        dump_error: 0,
        exit_status: thread.exit.map_or(RUNNING, |exit| exit.status),
        create_time: times.created,
        exit_time: thread.exit.map_or(0, |exit| exit.time),
        kernel_time: times.kernel,
        user_time: times.user,
        start_address: times.start_address,
        affinity: times.affinity,
    }
}
