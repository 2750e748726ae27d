//! The program under test, `dumpwright`, as its users call it.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::victim::{Victim, testimony_in};

/// The program, with no arguments yet: the one built with the tests, or another build of it named by the variable
/// `DUMPWRIGHT_UNDER_TEST`.
pub fn dumpwright() -> Command {
    let program = std::env::var_os("DUMPWRIGHT_UNDER_TEST");
    Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_dumpwright").into()))
}

/// Asks our own checker whether a dump keeps the rules; `Err` is what it objects to.
pub fn check(dump: &Path) -> Result<(), String> {
    let output = super::run(dumpwright().arg("check").arg(dump));
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&said).into_owned())
    }
}

/// A dump in a folder of its own, which goes with it.
pub struct Dump {
    folder: TempDir,
    /// The file.
    pub path: PathBuf,
    /// What `--json` said.
    pub result: serde_json::Value,
}

impl Dump {
    /// Dumps a running victim, completely; `types` as `--type` takes it.
    pub fn of(victim: &Victim, types: &str) -> Dump {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("victim.dmp");
        let mut command = dumpwright();
        command
            .args([
                "dump",
                "--pid",
                &victim.pid().to_string(),
                "--type",
                types,
                "--json",
                "-o",
            ])
            .arg(&path);
        let result =
            serde_json::from_str(&super::run_well(&mut command)).expect("--json prints one JSON object");
        Dump { folder, path, result }
    }

    /// A file of this name beside the dump.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The dump's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

/// What came of `dump --exec -- PROGRAM`.
pub struct Exec {
    folder: TempDir,
    /// Where the dump is, if there is one.
    pub path: PathBuf,
    /// dumpwright's own status.
    pub status: ExitStatus,
    /// Its standard error.
    pub complaints: String,
}

impl Exec {
    /// Lets dumpwright start the program, with `after` in milliseconds. With `input` the program's standard
    /// input stays open until dumpwright has ended, without it the input is empty.
    pub fn run<A: AsRef<OsStr>>(after: u64, input: bool, program: &Path, arguments: &[A]) -> Exec {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("exec.dmp");
        let mut command = dumpwright();
        command
            .args(["dump", "--exec", "--after", &after.to_string(), "-o"])
            .arg(&path)
            .arg("--")
            .arg(program)
            .args(arguments);
        command.env("VICTIM_TESTIMONY", folder.path().join("testimony"));
        command.stdin(if input { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let held_open = child.stdin.take();
        let mut complaints = String::new();
        child
            .stderr
            .take()
            .expect("it is piped")
            .read_to_string(&mut complaints)
            .unwrap();
        let status = child.wait().unwrap();
        drop(held_open);
        Exec {
            folder,
            path,
            status,
            complaints,
        }
    }

    /// What the program said of itself.
    pub fn truth<T: DeserializeOwned>(&self) -> T {
        testimony_in(&self.folder.path().join("testimony"))
    }
}

/// Runs a command to its end; gives its status, standard error and peak memory in bytes.
#[expect(
    clippy::zombie_processes,
    reason = "wait4 below waits for it, which the lint cannot see"
)]
pub fn run_measured(command: &mut Command) -> (ExitStatus, String, u64) {
    use std::os::unix::process::ExitStatusExt;

    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .expect("it is piped")
        .read_to_string(&mut complaints)
        .unwrap();
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage, a structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = child.id().cast_signed();
    // SAFETY: both pointers are valid for writes for the length of the call; the child is ours and not
    // reaped yet, and `child` is not waited for afterwards.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(reaped, pid, "{}", std::io::Error::last_os_error());
    let peak = u64::try_from(usage.ru_maxrss).expect("a size") * 1024;
    (ExitStatus::from_raw(status), complaints, peak)
}
