//! A dump of a live victim, made by the program and opened by dumpwright's reader.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dumpwright::read::{Dump, Thread};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::child::KilledOnDrop;
use crate::support::dumper::{self, dumpwright};
use crate::support::proc;
use crate::support::victim::Victim;

pub struct Capture {
    folder: TempDir,
    /// The JSON that `--json` printed.
    pub result: Value,
    pub dump: Dump,
}

impl Capture {
    /// Dumps a process; the dump must be complete. `types` is an argument of `--type`.
    pub fn of(pid: u32, types: &str) -> Capture {
        Capture::with(pid, &["--type", types])
    }

    /// The same with any options.
    pub fn with(pid: u32, options: &[&str]) -> Capture {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("victim.dmp");
        let mut command = dumpwright();
        command
            .args(["dump", "--json", "--pid", &pid.to_string(), "-o"])
            .arg(&path)
            .args(options);
        let result = complete(&mut command);
        proc::assert_released(pid);
        let dump = Dump::open(&path).unwrap();
        Capture { folder, result, dump }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("victim.dmp")
    }

    /// Fails if `dumpwright check` reports anything.
    pub fn check(&self) {
        dumper::check(&self.path()).unwrap();
    }

    pub fn thread(&self, id: u32) -> Thread {
        let mut threads = self.dump.threads().unwrap();
        let index = threads
            .iter()
            .position(|thread| thread.id == id)
            .unwrap_or_else(|| panic!("no thread {id}"));
        threads.swap_remove(index)
    }

    /// Memory that must be in the dump.
    pub fn memory(&self, what: &str, address: u64, length: u64) -> Vec<u8> {
        self.dump
            .memory(address, length)
            .unwrap()
            .unwrap_or_else(|| panic!("{what}: {length} bytes at {address:#x} are not all in the dump"))
    }
}

/// Starts a victim whose memory does not change while it sleeps. It runs without restartable
/// sequences (rseq(2)), for which the kernel writes the number of the current processor next to
/// each thread's control block.
pub fn steady(program: &Path) -> Victim {
    Victim::start_command(Command::new(program).env("GLIBC_TUNABLES", "glibc.pthread.rseq=0"))
}

/// Makes a dump that must be complete, and returns the result. The command must have `--json`.
pub fn complete(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(0),
        "{command:?}: {}\n{stdout}{stderr}{}",
        output.status,
        if stdout.contains("not permit") {
            "These tests need the right to trace processes that they start: root, or kernel.yama.ptrace_scope 0; \
             in a container the capability SYS_PTRACE."
        } else {
            ""
        }
    );
    let result: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert_eq!(result["status"], "complete", "{result}");
    assert_eq!(result["missing"], serde_json::json!([]), "{result}");
    result
}

/// Dumps a process into a file, replacing it, and fails if that does not end. Returns the result of
/// a complete or a partial dump.
pub fn dump(pid: u32, types: &str, options: &[&str], into: &Path) -> Value {
    let mut command = dumpwright();
    command
        .args(["dump", "--json", "--force", "--type", types])
        .args(["--pid", &pid.to_string()])
        .args(options)
        .arg("-o")
        .arg(into)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut dumper = KilledOnDrop(command.spawn().unwrap());
    proc::until("the dump ends", || dumper.try_wait().unwrap().is_some());
    let output = dumper.0.stdout.take().expect("it is piped");
    let status = dumper.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{types}: {status}");
    proc::assert_released(pid);
    serde_json::from_reader(output).unwrap()
}

/// The target's own memory, as the system shows it. Tests compare it where the target does not
/// change it.
pub fn memory_of(pid: u32, address: u64, length: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; length];
    std::fs::File::open(format!("/proc/{pid}/mem"))
        .and_then(|memory| memory.read_exact_at(&mut bytes, address))
        .unwrap_or_else(|error| panic!("{length} bytes at {address:#x} of {pid}: {error}"));
    bytes
}
