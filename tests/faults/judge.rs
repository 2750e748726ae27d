//! The rule that every run must keep.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::contents::{self, Excluded, Fields, Process, differences};
use crate::points::Point;

/// The dump without a fault, and what its report said.
pub struct Reference {
    pub fields: Fields,
    pub report: Value,
    pub process: Process,
}

/// How a run ended, all being well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Complete,
    Partial,
    Failed,
    /// Complete or partial; the result could not be printed.
    Unprinted,
}

/// Judges one run: `folder` is where the dump was to be, as `dump.dmp`, and nothing else.
///
/// # Errors
/// What is not true, in words.
pub fn judge(
    point: &Point,
    output: &Output,
    folder: &Path,
    reference: &Reference,
    excluded: &Excluded,
) -> Result<Ending, String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("panicked") {
        return Err(format!("a panic: {stderr}"));
    }
    let names: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.file_name().into_string().unwrap_or_default()))
        .collect();
    let ending = match output.status.code() {
        Some(0) => Ending::Complete,
        Some(3) => Ending::Partial,
        Some(1) => Ending::Failed,
        Some(4) => Ending::Unprinted,
        _ => return Err(format!("it ended with {}: {stderr}", output.status)),
    };
    if ending == Ending::Failed {
        if !names.is_empty() {
            return Err(format!("it failed and left {names:?}"));
        }
        // Messages are written, too.
        if stderr.trim().is_empty() && !point.prevents_messages() {
            return Err("it failed without a message".to_owned());
        }
        return Ok(ending);
    }
    if names != ["dump.dmp"] {
        return Err(format!("it left {names:?}"));
    }
    let dump = folder.join("dump.dmp");
    let mode = std::fs::metadata(&dump)
        .map_err(|error| error.to_string())?
        .mode();
    if mode & 0o777 != 0o600 {
        return Err(format!("the mode of the dump is {mode:o}"));
    }
    contents::check(&dump)?;
    let fields = contents::of(&dump, excluded, reference.process)?;
    let mut lost = differences(&reference.fields, &fields);
    let some = |lost: &[String]| {
        let first = lost.iter().take(5).map(|name| {
            let values =
                [&reference.fields, &fields].map(|all| all.get(name).map_or("absent", String::as_str));
            format!("{name} ({} -> {})", values[0], values[1])
        });
        format!(
            "{} fields differ: {}",
            lost.len(),
            first.collect::<Vec<_>>().join(", ")
        )
    };
    if point.hides_a_file() && ending != Ending::Partial {
        lost.retain(|field| !OPTIONAL.iter().any(|optional| field.starts_with(optional)));
    }
    // The result may be lost on its way out; the dump itself and the status are true then.
    let report: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let Some(report) = report else {
        return match (ending, lost.is_empty()) {
            (Ending::Complete, false) => Err(format!("complete, but {}", some(&lost))),
            (Ending::Partial, true) => Err("partial, but nothing is lost".to_owned()),
            (Ending::Unprinted, false) if stderr.contains("is complete") => {
                Err(format!("said to be complete, but {}", some(&lost)))
            }
            (Ending::Unprinted, true) if stderr.contains("is partial") => {
                Err("said to be partial, but nothing is lost".to_owned())
            }
            _ => Ok(ending),
        };
    };
    let missing = report["missing"].as_array().cloned().unwrap_or_default();
    match ending {
        Ending::Complete if !lost.is_empty() => Err(format!(
            "complete, but {}; notes {}, left out {}",
            some(&lost),
            report["notes"],
            report["left_out"]
        )),
        Ending::Complete if report["left_out"] != reference.report["left_out"] && !point.hides_a_file() => {
            Err(format!("complete, but left out {}", report["left_out"]))
        }
        Ending::Partial if missing.is_empty() => Err("partial without a list".to_owned()),
        // A fault may hide that the process has nothing for a stream, which the reference leaves
        // out.
        Ending::Partial
            if lost.is_empty()
                && (missing.iter().all(is_not_compared) || are_left_out(&missing, reference)) =>
        {
            Ok(ending)
        }
        Ending::Partial if lost.is_empty() => {
            Err(format!("partial, but nothing is lost: {}", report["missing"]))
        }
        Ending::Partial => match lost.iter().find(|field| !is_named(field, &missing)) {
            Some(field) => Err(format!(
                "{field} is lost, which is not in the list: {}",
                report["missing"]
            )),
            None => Ok(ending),
        },
        _ => Ok(ending),
    }
}

/// Whether a loss is that of a field that `docs/faults.md` excludes.
fn is_not_compared(loss: &Value) -> bool {
    let reason = loss["reason"].as_str().unwrap_or_default();
    reason.starts_with("cannot query the counts of handle")
}

/// Whether these subjects are streams that the dump without a fault has nothing for either.
fn are_left_out(missing: &[Value], reference: &Reference) -> bool {
    let left_out = reference.report["left_out"].as_array();
    let left_out = left_out.map_or(&[][..], Vec::as_slice);
    missing.iter().all(|entry| {
        let subject = entry["subject"].as_str().unwrap_or_default();
        subject.starts_with("stream ") && left_out.iter().any(|left| left["subject"] == subject)
    })
}

/// Fields from files that a system need not have. That such a file is absent is no loss.
const OPTIONAL: &[&str] = &[
    "header.number_of_streams",
    "texts.LinuxLsbRelease",
    "process.flags",
    "process.processor_power",
    "process.time_zone",
    "system_memory",
];

/// What the loss of memory may be named by: a thread that is lost takes its stack with it.
const MEMORY: &[&str] = &[
    "memory",
    "thread",
    "process",
    "module",
    "stream Memory",
    "stream ModuleList",
    "stream ThreadList",
];

/// The beginnings of fields, and the beginnings of subjects by which their loss may be named. The
/// first row that fits counts.
const SUBJECTS: &[(&str, &[&str])] = &[
    (
        "exception",
        &["stream Exception", "thread", "stream ThreadList", "process"],
    ),
    ("threads", &["thread", "stream Thread", "memory", "process"]),
    ("modules", &["module", "stream ModuleList"]),
    ("memory", MEMORY),
    ("contents", MEMORY),
    ("compressed", MEMORY),
    ("regions", &["stream MemoryInfoList", "process", "memory"]),
    ("handles", &["stream HandleData", "handle"]),
    ("dso_debug", &["stream LinuxDsoDebug"]),
    ("texts", &["stream Linux", "stream MozLinux"]),
    ("system_memory", &["stream SystemMemoryInfo"]),
    ("system", &["stream SystemInfo"]),
    // The layout of extended registers is stored if a thread has some.
    ("process.extended_state", &["stream MiscInfo", "thread"]),
    ("process.size_of_info", &["stream MiscInfo", "thread"]),
    ("process", &["stream MiscInfo"]),
    ("vm_counters", &["stream ProcessVmCounters"]),
    ("tokens", &["stream Token", "thread"]),
    ("breakpad_info", &["stream BreakpadInfo"]),
    ("unloaded_modules", &["stream UnloadedModuleList"]),
    ("handle_operations", &["stream HandleOperationList"]),
    ("function_tables", &["stream FunctionTable"]),
];

/// Whether the list of losses names the part of the dump that a field belongs to.
fn is_named(field: &str, missing: &[Value]) -> bool {
    let part = field.split(['.', '[']).next().unwrap_or_default();
    // They follow from the others.
    if ["streams", "header", "soft_errors", "losses", "bytes", "problems"].contains(&part) {
        return true;
    }
    let Some((_, beginnings)) = SUBJECTS.iter().find(|(name, _)| field.starts_with(name)) else {
        return false;
    };
    missing.iter().any(|entry| {
        let subject = entry["subject"].as_str().unwrap_or_default();
        beginnings.iter().any(|beginning| subject.starts_with(beginning))
    })
}
