//! What `dump` tells of its outcome: in words, or as one JSON object.

use std::path::Path;

use dumpwright::{Backend, Error, Remark, Report};
use serde_json::{Value, json};

/// The outcome as one JSON object.
pub(super) fn success_json(file: &Path, report: &Report) -> Value {
    let remarks = |list: Vec<&Remark>| -> Vec<Value> {
        list.into_iter()
            .map(|remark| json!({ "subject": remark.subject.to_string(), "reason": remark.reason }))
            .collect()
    };
    json!({
        "file": file.to_string_lossy(),
        "bytes": report.bytes,
        "status": status(report),
        "backend": report.backend.name(),
        "type": format!("{:#x}", report.dump_type.bits()),
        "threads": report.threads,
        "modules": report.modules,
        "memory_ranges": report.memory_ranges,
        "memory_bytes": report.memory_bytes,
        "pause_us": report.holding.pause.as_micros(),
        "elapsed_us": report.elapsed.as_micros(),
        "hold": report.holding.hold,
        "dbghelp": dbghelp(&report.backend),
        "missing": remarks(report.missing().collect()),
        "left_out": remarks(report.left_out().collect()),
        "notes": remarks(report.notes().collect()),
    })
}

/// Which DbgHelp it was, if it was one.
fn dbghelp(backend: &Backend) -> Value {
    match backend {
        Backend::Dumpwright => Value::Null,
        Backend::DbgHelp { file, version } => {
            json!({ "file": file.to_string_lossy(), "version": version })
        }
    }
}

/// A failure as one JSON object.
pub(super) fn failure_json(file: &Path, error: &Error) -> Value {
    json!({
        "file": file.to_string_lossy(),
        "status": "failed",
        "error": error.to_string(),
        "hresult": error.hresult().to_string(),
    })
}

/// The outcome in words: a line on what was written, then a line for everything it lacks.
pub(super) fn success_text(file: &Path, report: &Report) -> String {
    let by = match &report.backend {
        Backend::Dumpwright => String::new(),
        dbghelp @ Backend::DbgHelp { .. } => format!(" by {dbghelp}"),
    };
    let mut text = format!(
        "{}: {} dump{by} ({}), {} bytes; {} threads, {} modules, {} bytes of memory in {} ranges; paused for {:.1} ms\n",
        file.display(),
        status(report),
        report.dump_type,
        report.bytes,
        report.threads,
        report.modules,
        report.memory_bytes,
        report.memory_ranges,
        report.holding.pause.as_secs_f64() * 1000.0,
    );
    for (word, remarks) in [
        ("missing", report.missing().collect::<Vec<_>>()),
        ("left out", report.left_out().collect()),
        ("note", report.notes().collect()),
    ] {
        const MOST: usize = 20;
        for remark in remarks.iter().take(MOST) {
            text.push_str(&format!("  {word}: {remark}\n"));
        }
        if remarks.len() > MOST {
            text.push_str(&format!(
                "  {word}: and {} more (--json lists all)\n",
                remarks.len() - MOST
            ));
        }
    }
    text
}

fn status(report: &Report) -> &'static str {
    if report.is_complete() {
        "complete"
    } else {
        "partial"
    }
}
