//! rust-minidump's `minidump-stackwalk`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Crash, Reading, Thread};

/// The source of call frame information and names.
#[derive(Clone, Copy, Debug)]
pub enum Symbols<'a> {
    /// `--use-local-debuginfo`: the binaries on this machine.
    Local,
    /// `--symbols-path`: Breakpad symbols.
    Folder(&'a Path),
}

/// Warnings that say nothing about the dump.
const HARMLESS: &[&str] = &[
    // The vdso has no file, so it has no symbols.
    "failed to load symbol map for linux-gate.so",
    "failed to open linux-gate.so for debug info",
    // It reads regions from MemoryInfoList and from LinuxMaps. We write both, as Breakpad's client
    // does.
    "UnifiedMemoryInfoList got both kinds of info! (using InfoList)",
    // It warns about every extended context, and reads the basic one.
    "Cpu context has extra XSTATE that is being ignored",
    // It analyses crashing instructions on x86-64 only.
    "failed to analyze the thread context: unsupported CPU architecture",
    // The end of a stack, or a frame that it cannot unwind. The tests check the functions instead.
    "failed to unwind frame",
];

fn program() -> Command {
    let mut command = Command::new(super::cache().join("rust-minidump/bin/minidump-stackwalk"));
    command.args(["--no-color", "--no-interactive", "--verbose", "warn"]);
    command
}

/// Unwinds every thread.
pub fn read(dump: &Path, symbols: Symbols) -> Reading {
    let mut command = program();
    command.arg("--json").arg(dump);
    let reader = match symbols {
        Symbols::Local => {
            command.arg("--use-local-debuginfo");
            "minidump-stackwalk --use-local-debuginfo"
        }
        Symbols::Folder(folder) => {
            command.arg("--symbols-path").arg(folder);
            "minidump-stackwalk --symbols-path"
        }
    };
    let output = crate::run(&mut command);
    let complaints = complaints(&output.stderr);
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        panic!("{command:?}: {}\n{complaints:#?}", output.status);
    };
    let threads: Vec<Thread> = list(&report["threads"]).iter().map(thread).collect();
    let crash = crash(&report["crash_info"], &threads);
    let pid = report["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    Reading {
        reader,
        threads,
        crash,
        modules: list(&report["modules"]).len(),
        shows_names: true,
        crosses_signal_frames: false,
        pid,
        complaints,
    }
}

/// A module, as the reader shows it.
#[derive(Clone, Debug)]
pub struct Module {
    pub base: u64,
    /// The name of its file, without the path.
    pub name: String,
    pub build_id: Option<String>,
}

/// Returns the modules of a dump.
pub fn modules(dump: &Path) -> Vec<Module> {
    let mut command = program();
    let output = crate::run(command.arg("--json").arg(dump));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{command:?}: {}: {error}", output.status));
    let modules = list(&report["modules"]).iter().map(|module| Module {
        base: super::hexadecimal(&text(&module["base_addr"])).expect("an address"),
        name: text(&module["filename"]),
        build_id: module["code_id"].as_str().map(str::to_owned),
    });
    modules.collect()
}

fn thread(thread: &Value) -> Thread {
    Thread {
        tid: u32::try_from(thread["thread_id"].as_u64().expect("thread_id")).expect("a thread id"),
        name: thread["thread_name"].as_str().map(str::to_owned),
        functions: list(&thread["frames"])
            .iter()
            .map(|frame| text(&frame["function"]))
            .collect(),
        instruction: thread["frames"][0]["offset"]
            .as_str()
            .and_then(super::hexadecimal),
    }
}

fn crash(info: &Value, threads: &[Thread]) -> Option<Crash> {
    let index = usize::try_from(info["crashing_thread"].as_u64()?).ok()?;
    let address = info["address"].as_str().and_then(super::hexadecimal);
    Some(Crash {
        tid: threads[index].tid,
        reason: text(&info["type"]),
        address,
    })
}

/// Returns the output of `--dump --brief`, and its complaints.
pub fn raw(dump: &Path) -> (String, Vec<String>) {
    let output = crate::run(program().args(["--dump", "--brief"]).arg(dump));
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints(&output.stderr),
    )
}

fn complaints(stderr: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(stderr)
        .lines()
        .filter(|line| !HARMLESS.iter().any(|harmless| line.contains(harmless)))
        .map(str::to_owned)
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
