//! The Linux streams that are files of `/proc`, as they are.

use dumpwright_target::LinuxTextKind;

use super::{BlockId, Plan, Snapshot};

pub(super) fn find(snapshot: &Snapshot, kind: LinuxTextKind) -> Option<&[u8]> {
    let texts = &snapshot.linux.as_ref()?.texts;
    texts
        .iter()
        .find(|text| text.kind == kind)
        .map(|text| text.bytes.as_slice())
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, kind: LinuxTextKind) -> BlockId {
    plan.bytes(find(snapshot, kind).unwrap_or_default())
}
