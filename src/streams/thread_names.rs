//! ThreadNames: the names of threads.

use dumpwright_callback::ThreadWriteFlags;
use minidump_common::format::MINIDUMP_THREAD_NAME;

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    named(snapshot).next().is_some()
}

fn named(snapshot: &Snapshot) -> impl Iterator<Item = (u32, &str)> {
    snapshot
        .threads()
        .kept()
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::THREAD))
        .filter_map(|kept| Some((kept.thread.id, kept.thread.name.as_deref()?)))
        .filter(|(_, name)| !name.is_empty())
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let names: Vec<_> = named(snapshot)
        .map(|(id, name)| (id, plan.string(name)))
        .collect();
    plan.record(
        4 + names.len() * format::size::<MINIDUMP_THREAD_NAME>(),
        move |offsets| {
            // The number of names that are written. With the number of all threads, names after a
            // thread without one would be assigned to wrong threads.
            let mut bytes = format::bytes([narrow(names.len(), "the number of thread names")?]);
            bytes.extend(format::bytes(names.iter().map(|(thread_id, name)| {
                MINIDUMP_THREAD_NAME {
                    thread_id: *thread_id,
                    thread_name_rva: offsets.rva64(*name),
                }
            })));
            Ok(bytes)
        },
    )
}
