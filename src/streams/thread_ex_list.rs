//! ThreadExList: the thread list with backing stores, in its place when the request asks for it.

use super::thread_list::{self, Entry};
use super::{BlockId, Pieces, Plan, Snapshot};

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.thread_ex
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &Pieces) -> BlockId {
    thread_list::list(snapshot, plan, pieces, Entry::WithBackingStore)
}
