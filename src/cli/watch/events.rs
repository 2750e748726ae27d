//! The log of a watch: words on standard error, or JSON lines in a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};

use std::os::unix::process::ExitStatusExt;

use dumpwright::Error;
use dumpwright::target::Fault;
use dumpwright::watch::{Reason, Relation};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::dump::Written;
use super::super::{JSON_VERSION, print, result};

/// Why a dump is made.
#[derive(Debug, Clone)]
pub(super) enum DumpCause {
    /// A limit was exceeded, or the time has come.
    Rule(Reason),
    /// This signal is about to kill a process, in this thread.
    Crash { signal: i32, thread_id: u32 },
}

impl std::fmt::Display for DumpCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(reason) => reason.fmt(f),
            Self::Crash { signal, thread_id } => {
                write!(f, "crash: {} in thread {thread_id}", signal_name(*signal))
            }
        }
    }
}

impl DumpCause {
    fn to_json(&self) -> Value {
        let findings = match self {
            Self::Rule(Reason::Conditions(findings)) => findings
                .iter()
                .map(|finding| {
                    json!({
                        "metric": finding.metric.name(),
                        "relation": match finding.relation {
                            Relation::AtLeast => "at-least",
                            Relation::Below => "below",
                        },
                        "value": finding.value,
                        "limit": finding.limit,
                        "lasted_ms": u64::try_from(finding.lasted.as_millis()).unwrap_or(u64::MAX),
                    })
                })
                .collect(),
            _ => Vec::new(),
        };
        let kind = match self {
            Self::Rule(Reason::Schedule(_)) => "schedule",
            Self::Rule(_) => "limit",
            Self::Crash { .. } => "crash",
        };
        let signal = match self {
            Self::Crash { signal, .. } => Some(signal_name(*signal)),
            Self::Rule(_) => None,
        };
        json!({ "kind": kind, "text": self.to_string(), "findings": findings, "signal": signal })
    }
}

/// Returns the name of a signal.
pub(super) fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string())
}

/// What has happened.
#[derive(Debug)]
pub(super) enum Happening<'a> {
    /// A process is watched from now on.
    Watching { program: &'a str },
    /// It was dumped.
    Dumped {
        cause: &'a DumpCause,
        file: &'a Path,
        written: &'a Written,
    },
    /// It could not be dumped.
    Failed { cause: &'a DumpCause, error: &'a Error },
    /// It was not dumped, because the greatest number of dumps has been reached.
    Skipped { cause: &'a DumpCause },
    /// It has ended. The status is known for a program that was started, and for a process that
    /// was traced.
    Ended { status: Option<ExitStatus> },
    /// It cannot be watched.
    Unwatched { fault: &'a Fault },
}

/// Where events go.
#[derive(Debug)]
pub(super) struct EventLog {
    file: Option<Mutex<File>>,
}

impl EventLog {
    /// Opens the file, or chooses standard error.
    pub(super) fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let append = |path| std::fs::OpenOptions::new().append(true).create(true).open(path);
        let file = path.map(append).transpose()?;
        Ok(Self {
            file: file.map(Mutex::new),
        })
    }

    /// Records an event of a process.
    pub(super) fn record(&self, process_id: u32, happening: &Happening<'_>) {
        let Some(file) = &self.file else {
            return print::complain(words(process_id, happening));
        };
        if matches!(happening, Happening::Failed { .. } | Happening::Unwatched { .. }) {
            print::complain(words(process_id, happening));
        }
        let mut object = object(happening);
        object["version"] = JSON_VERSION.into();
        object["time"] = jiff::Timestamp::now().to_string().into();
        object["process_id"] = process_id.into();
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write for each line, so that the lines of several writers do not mix.
        if let Err(error) = file.write_all(format!("{object}\n").as_bytes()) {
            print::complain(format_args!("cannot write to the file of --events: {error}"));
        }
    }
}

fn object(happening: &Happening<'_>) -> Value {
    match happening {
        Happening::Watching { program } => json!({ "event": "watching", "program": program }),
        Happening::Dumped { cause, file, written } => json!({
            "event": "dumped",
            "reason": cause.to_json(),
            "dump": result::success_json(file, written),
        }),
        Happening::Failed { cause, error } => json!({
            "event": "failed",
            "reason": cause.to_json(),
            "error": error.to_string(),
        }),
        Happening::Skipped { cause } => json!({ "event": "skipped", "reason": cause.to_json() }),
        Happening::Ended { status } => json!({
            "event": "ended",
            "exit_code": status.and_then(|status| status.code()),
            "signal": status.and_then(|status| status.signal()).map(signal_name),
        }),
        Happening::Unwatched { fault } => {
            json!({ "event": "unwatched", "error": fault.to_string() })
        }
    }
}

fn words(process_id: u32, happening: &Happening<'_>) -> String {
    match happening {
        Happening::Watching { program } => {
            format!("watching process {process_id} ({})", print::printable(program))
        }
        Happening::Dumped { cause, file, written } => {
            let text = result::success_text(file, written);
            format!("process {process_id}: {cause}\n{}", text.trim_end())
        }
        Happening::Failed { cause, error } => {
            format!("process {process_id}: {cause}; there is no dump: {error}")
        }
        Happening::Skipped { cause } => {
            format!("process {process_id}: {cause}; not dumped, because the limit of --max-dumps is reached")
        }
        Happening::Ended { status: None } => format!("process {process_id} has ended"),
        Happening::Ended { status: Some(status) } => {
            format!("process {process_id} has ended: {status}")
        }
        Happening::Unwatched { fault } => fault.to_string(),
    }
}
