//! The Linux streams that contain an unchanged file of `/proc`.

use dumpwright_target::LinuxTextKind;

use super::{BlockId, Plan, Snapshot};

pub(super) fn find(snapshot: &Snapshot, kind: LinuxTextKind) -> Option<&[u8]> {
    let texts = &snapshot.facts().linux()?.texts;
    texts
        .iter()
        .find(|text| text.kind == kind)
        .map(|text| text.bytes.as_slice())
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, kind: LinuxTextKind) -> BlockId {
    plan.bytes(find(snapshot, kind).unwrap_or_default())
}
