//! The result of `dump`, as text or as one JSON object.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use dumpwright::{Backend, Diagnostic, Error, Report};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::JSON_VERSION;
use super::dump::Written;
use super::print::{merged, printable};

/// Returns the JSON object for a dump that was written.
pub(super) fn success_json(file: &Path, written: &Written) -> Value {
    let report = &written.report;
    #[cfg(target_os = "linux")]
    let spool = written.spool.as_ref().map(|spooled| spooled.json());
    #[cfg(not(target_os = "linux"))]
    let spool = Value::Null;
    let diagnostics = |list: Vec<&Diagnostic>| -> Vec<Value> {
        list.into_iter()
            .map(|diagnostic| json!({ "subject": diagnostic.subject.to_string(), "reason": diagnostic.reason }))
            .collect()
    };
    json!({
        "version": JSON_VERSION,
        "file": file.to_string_lossy(),
        "bytes": report.bytes,
        "compressed_bytes": written.compressed,
        "status": status(report),
        "spool": spool,
        "backend": report.backend.name(),
        "process_id": report.process_id,
        "exception": report.exception.as_ref().map(|exception| {
            json!({ "thread_id": exception.thread_id, "description": exception.description })
        }),
        "type": format!("{:#x}", report.dump_type.bits()),
        "threads": report.threads,
        "modules": report.modules,
        "memory_ranges": report.memory_ranges,
        "memory_bytes": report.memory_bytes,
        "pause_us": report.holding.pause.as_micros(),
        "elapsed_us": report.elapsed.as_micros(),
        "hold": report.holding.hold,
        "tracer": report.holding.tracer,
        "dbghelp": dbghelp(&report.backend),
        "missing": diagnostics(report.missing().collect()),
        "left_out": diagnostics(report.left_out().collect()),
        "notes": diagnostics(report.notes().collect()),
    })
}

/// Returns the file and the version of the DbgHelp that wrote the dump, or null if dumpwright wrote
/// it.
fn dbghelp(backend: &Backend) -> Value {
    match backend {
        Backend::Dumpwright => Value::Null,
        Backend::DbgHelp { file, version } => {
            json!({ "file": file.to_string_lossy(), "version": version })
        }
    }
}

/// Returns the JSON object for a dump that failed.
pub(super) fn failure_json(file: &Path, error: &Error) -> Value {
    json!({
        "version": JSON_VERSION,
        "file": file.to_string_lossy(),
        "status": "failed",
        "error": error.to_string(),
        "hresult": error.hresult().to_string(),
    })
}

/// Returns the text for a dump that was written: a summary line, then the [`details`].
pub(super) fn success_text(file: &Path, written: &Written) -> String {
    let report = &written.report;
    let compressed = written
        .compressed
        .map(|bytes| format!(" (compressed to {})", HumanBytes(bytes)));
    let by = match &report.backend {
        Backend::Dumpwright => String::new(),
        dbghelp @ Backend::DbgHelp { .. } => format!(" by {}", printable(&dbghelp.to_string())),
    };
    #[cfg(target_os = "linux")]
    let spool = written
        .spool
        .as_ref()
        .map(|spooled| spooled.text())
        .unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    let spool = "";
    format!(
        "{}: {} dump{by} ({}), {}{}; {}{}\n{}{}",
        printable(&file.display().to_string()),
        status(report),
        report.dump_type,
        HumanBytes(report.bytes),
        compressed.unwrap_or_default(),
        contents(report),
        // The process of a core had ended.
        match report.holding.hold {
            "core" => String::new(),
            _ => format!("; paused for {}", pause(report.holding.pause)),
        },
        spool,
        details(report),
    )
}

/// Returns what the dump contains, in one line without its end.
pub(super) fn contents(report: &Report) -> String {
    format!(
        "{}, {}, {} of memory in {}",
        counted(report.threads, "thread"),
        counted(report.modules, "module"),
        HumanBytes(report.memory_bytes),
        counted(report.memory_ranges, "range"),
    )
}

/// Returns the exception, and one line for each diagnostic, at most 20 of each severity.
pub(super) fn details(report: &Report) -> String {
    let mut text = String::new();
    if let Some(exception) = &report.exception {
        text.push_str(&format!(
            "  exception: {} in thread {} of process {}\n",
            exception.description, exception.thread_id, report.process_id
        ));
    }
    for (word, diagnostics) in [
        ("missing", report.missing().collect::<Vec<_>>()),
        ("left out", report.left_out().collect()),
        ("note", report.notes().collect()),
    ] {
        const MOST: usize = 20;
        let pairs: Vec<_> = diagnostics
            .iter()
            .map(|diagnostic| (diagnostic.subject.to_string(), diagnostic.reason.as_str()))
            .collect();
        let lines = merged(pairs.iter().map(|(subject, reason)| (subject.as_str(), *reason)));
        for line in lines.iter().take(MOST) {
            text.push_str(&format!("  {word}: {}\n", printable(line)));
        }
        if lines.len() > MOST {
            text.push_str(&format!(
                "  {word}: and {} more (--json lists all)\n",
                lines.len() - MOST
            ));
        }
    }
    text
}

/// Formats the time for which the process stood still.
pub(super) fn pause(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_millis() {
        0..1000 => format!("{:.1} ms", seconds * 1000.0),
        1000..60_000 => format!("{seconds:.1} s"),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// Returns a number with its noun, which is plural unless the number is 1.
pub(super) fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

pub(super) fn status(report: &Report) -> &'static str {
    if report.is_complete() {
        "complete"
    } else {
        "partial"
    }
}
