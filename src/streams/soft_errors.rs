//! MozSoftErrors: what is missing from the dump, as JSON. Other Linux writers use the same stream.
//!
//! The content is a list of `{"severity", "subject", "reason"}`. Losses that occur while memory is
//! being written are in the trailer instead.

use dumpwright_target::Severity;
use serde_json::json;

use super::{BlockId, PieceBlocks, Plan, Snapshot};

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot
        .diagnostics()
        .iter()
        .any(|diagnostic| diagnostic.severity > Severity::Note)
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let list: Vec<_> = snapshot
        .diagnostics()
        .iter()
        .filter(|diagnostic| diagnostic.severity > Severity::Note)
        .map(|diagnostic| {
            json!({
                "severity": if diagnostic.severity == Severity::Missing { "missing" } else { "left out" },
                "subject": diagnostic.subject.to_string(),
                "reason": diagnostic.reason,
            })
        })
        .collect();
    plan.bytes(serde_json::Value::from(list).to_string().into_bytes())
}
