//! ThreadExList: the thread list with backing stores. It takes the place of the ThreadList if the
//! request asks for it.

use super::thread_list::{self, ThreadListKind};
use super::{BlockId, PieceBlocks, Plan, Snapshot};

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.terms().thread_ex
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &PieceBlocks) -> BlockId {
    thread_list::list(snapshot, plan, pieces, ThreadListKind::WithBackingStore)
}
