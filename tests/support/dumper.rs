//! Runs the program under test, `dumpwright`, in the way its users do.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::victim::{Victim, testimony_in};

/// Returns a command for the program, without arguments.
///
/// It is the program that was built with the tests, unless the variable `DUMPWRIGHT_UNDER_TEST`
/// names another build.
pub fn dumpwright() -> Command {
    let built = || crate::built_with_this().join("dumpwright").into_os_string();
    Command::new(std::env::var_os("DUMPWRIGHT_UNDER_TEST").unwrap_or_else(built))
}

/// Runs `dumpwright check` on a dump. Returns the program's output as an error if it finds a
/// violation.
pub fn check(dump: &Path) -> Result<(), String> {
    let output = super::run(dumpwright().arg("check").arg(dump));
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&said).into_owned())
    }
}

/// A dump in a temporary directory, which is removed when this is dropped.
pub struct Dump {
    folder: TempDir,
    /// The path of the dump.
    pub path: PathBuf,
    /// The output of `--json`.
    pub result: serde_json::Value,
}

impl Dump {
    /// Dumps a running victim. `types` is the argument of `--type`.
    ///
    /// # Panics
    ///
    /// If the dump is not complete.
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

    /// Returns the path of a file with this name, in the directory of the dump.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads the bytes of the dump.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

/// The result of `dump --exec -- PROGRAM`.
pub struct Exec {
    folder: TempDir,
    /// The path of the dump, which may not exist.
    pub path: PathBuf,
    /// The exit status of dumpwright.
    pub status: ExitStatus,
    /// The standard error of dumpwright.
    pub complaints: String,
}

impl Exec {
    /// Runs `dumpwright dump --exec` with this program. `after` is in milliseconds.
    ///
    /// With `input`, the program's standard input stays open until dumpwright has ended. Without
    /// it, the input is empty.
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

    /// Returns the program's testimony.
    pub fn truth<T: DeserializeOwned>(&self) -> T {
        testimony_in(&self.folder.path().join("testimony"))
    }
}

/// Runs a command. Returns its exit status, its standard error, and its peak memory in bytes.
// The examples for Windows are compiled with this crate, and do not measure memory.
#[cfg(unix)]
#[expect(
    clippy::zombie_processes,
    reason = "wait4 below waits for the child, which the lint does not recognise"
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
    // SAFETY: rusage is a structure of numbers, for which all zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = child.id().cast_signed();
    // SAFETY: both pointers are valid for writes during the call. The child is ours and has not
    // been reaped, and `child` is not waited for afterwards.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(reaped, pid, "{}", std::io::Error::last_os_error());
    let peak = u64::try_from(usage.ru_maxrss).expect("a size") * 1024;
    (ExitStatus::from_raw(status), complaints, peak)
}
