//! MozSoftErrors: what the dump lacks, as JSON, where other Linux writers say it too.
//!
//! A list of `{"gravity", "subject", "reason"}`; losses met while memory is being written stand in the trailer instead.

use dumpwright_target::Gravity;
use serde_json::json;

use super::{BlockId, Pieces, Plan, Snapshot};

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot
        .remarks
        .iter()
        .any(|remark| remark.gravity > Gravity::Note)
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let list: Vec<_> = snapshot
        .remarks
        .iter()
        .filter(|remark| remark.gravity > Gravity::Note)
        .map(|remark| {
            json!({
                "gravity": if remark.gravity == Gravity::Missing { "missing" } else { "left out" },
                "subject": remark.subject.to_string(),
                "reason": remark.reason,
            })
        })
        .collect();
    plan.bytes(serde_json::Value::from(list).to_string().into_bytes())
}
