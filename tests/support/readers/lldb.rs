//! LLDB 19, through `tests/reader_scripts/lldb_report.py`.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::{Crash, Reading, Thread};

/// The report of the script.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub pid: u32,
    pub selected_tid: u32,
    pub threads: Vec<ReportThread>,
    pub modules: Vec<Module>,
    /// The start, the end, and whether something is mapped there.
    pub regions: Vec<(u64, u64, bool)>,
    /// The requested bytes, in hexadecimal. `None` if the dump does not have them.
    pub memory: Vec<Option<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ReportThread {
    pub tid: u32,
    pub frames: Vec<Frame>,
    pub registers: std::collections::BTreeMap<String, u64>,
    /// A value of `lldb::StopReason`.
    pub stop_reason: u32,
    /// For a signal, its number.
    pub stop_data: Vec<u64>,
    pub stop_description: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Frame {
    pub function: Option<String>,
    pub module: Option<String>,
    pub pc: u64,
    pub sp: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Module {
    pub path: String,
    /// The build id, as LLDB formats it.
    pub uuid: Option<String>,
    pub base: u64,
}

/// `lldb::eStopReasonSignal` and `lldb::eStopReasonException`.
const STOPPED_BY: [u32; 2] = [5, 6];

/// Returns LLDB's report on a dump, with the memory at these addresses and lengths. Returns LLDB's
/// message if it refuses the dump.
pub fn report(dump: &Path, memory: &[(u64, u64)]) -> Result<Report, String> {
    report_with(dump, memory, &[])
}

/// Like [`report`], with directories of binaries that are not at the paths in the dump.
pub fn report_with(dump: &Path, memory: &[(u64, u64)], binaries: &[&Path]) -> Result<Report, String> {
    let script = crate::repository().join("tests/reader_scripts/lldb_report.py");
    let mut ask = format!("report '{}'", dump.display());
    for (address, length) in memory {
        ask.push_str(&format!(" {address}:{length}"));
    }
    let mut command = Command::new("lldb-19");
    // Use neither the user's settings nor symbols from the network.
    command.args(["--no-lldbinit", "--batch"]);
    for folder in binaries {
        let folder = folder.display();
        command
            .arg("-o")
            .arg(format!("settings append target.exec-search-paths '{folder}'"));
    }
    command
        .arg("-o")
        .arg(format!("command script import '{}'", script.display()));
    let output = crate::run(command.arg("-o").arg(ask).env_remove("DEBUGINFOD_URLS"));
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(found) = text.lines().find_map(|line| line.strip_prefix("REPORT ")) else {
        return Err(format!(
            "{}: {text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    };
    serde_json::from_str(found).map_err(|error| format!("{error}: {found}"))
}

/// Unwinds every thread with the binaries on disk.
pub fn read(dump: &Path) -> Reading {
    read_with(dump, &[])
}

/// Like [`read`], with directories of further binaries.
pub fn read_with(dump: &Path, binaries: &[&Path]) -> Reading {
    let report = report_with(dump, &[], binaries)
        .unwrap_or_else(|error| panic!("LLDB refuses {}: {error}", dump.display()));
    reading(&report)
}

/// Converts a report to the form that all readers which unwind share.
pub fn reading(report: &Report) -> Reading {
    let crashed = report
        .threads
        .iter()
        .find(|thread| STOPPED_BY.contains(&thread.stop_reason));
    let crash = crashed.map(|thread| Crash {
        tid: thread.tid,
        reason: thread.stop_description.clone(),
        address: None,
    });
    let threads = report.threads.iter().map(|thread| Thread {
        tid: thread.tid,
        name: None,
        functions: thread
            .frames
            .iter()
            .map(|frame| frame.function.clone().unwrap_or_default())
            .collect(),
        instruction: thread.frames.first().map(|frame| frame.pc),
    });
    Reading {
        reader: "LLDB",
        threads: threads.collect(),
        crash,
        modules: report.modules.len(),
        shows_names: false,
        crosses_signal_frames: true,
        pid: Some(report.pid),
        complaints: Vec::new(),
    }
}
