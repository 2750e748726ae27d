//! ThreadNames: what threads are called.

use dumpwright_callback::ThreadWriteFlags;
use minidump_common::format::MINIDUMP_THREAD_NAME;

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    named(snapshot).next().is_some()
}

fn named(snapshot: &Snapshot) -> impl Iterator<Item = (u32, &str)> {
    snapshot
        .threads
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::THREAD))
        .filter_map(|kept| Some((kept.thread.id, kept.thread.name.as_deref()?)))
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let names: Vec<_> = named(snapshot)
        .map(|(id, name)| (id, plan.string(name)))
        .collect();
    plan.record(
        4 + names.len() * format::size::<MINIDUMP_THREAD_NAME>(),
        move |offsets| {
            // Counted as written: a count of all threads would shift the names of those behind a nameless one.
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
