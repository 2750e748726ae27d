//! Runs the program and examines what it leaves behind.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::dumper::dumpwright;
use crate::support::victim::{self, Victim};
use crate::support::{copy_program, proc};

/// A folder for output. Tests check which files appear in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Fails unless the folder holds exactly these names.
    pub fn assert_holds(&self, names: &[&str]) {
        let found: BTreeSet<OsString> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        let expected: BTreeSet<OsString> = names.iter().map(|name| OsString::from(*name)).collect();
        assert_eq!(found, expected, "what is in the folder");
    }
}

/// The result of one run of the program.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn of(command: &mut Command) -> Outcome {
        let output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{command:?}:\n{stderr}");
        Outcome {
            status: output.status,
            stdout: output.stdout,
            stderr,
        }
    }

    /// Fails unless the program ended with this status.
    pub fn expect(self, status: i32) -> Outcome {
        assert_eq!(
            self.status.code(),
            Some(status),
            "{self:?}{}",
            rights(&self.stderr)
        );
        self
    }

    /// The one JSON object that is all of the standard output.
    pub fn json(&self) -> Value {
        json(&self.stdout)
    }
}

/// Parses text that must be one JSON object on one line.
pub fn json(text: &[u8]) -> Value {
    let text = std::str::from_utf8(text).expect("JSON is UTF-8");
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert!(
        value.is_object() && text.ends_with('\n') && text.lines().count() == 1,
        "{text:?}"
    );
    value
}

/// A hint for a test that failed because of missing rights.
fn rights(stderr: &str) -> &'static str {
    if stderr.contains("not permit") {
        "\nThese tests dump processes that they start: run them as root, or set kernel.yama.ptrace_scope to 0; \
         in a container, add the capability SYS_PTRACE."
    } else {
        ""
    }
}

/// `dumpwright dump`, for more arguments.
pub fn dump() -> Command {
    let mut command = dumpwright();
    command.arg("dump");
    command
}

/// `dumpwright dump --pid VICTIM -o FILE`, for more arguments.
pub fn dump_of(victim: &Victim, file: &Path) -> Command {
    let mut command = dump();
    command.args(["--pid", &victim.pid().to_string(), "-o"]).arg(file);
    command
}

/// A victim with one thread.
pub fn plain() -> Victim {
    let nothing: [&str; 0] = [];
    Victim::start(&victim::live("plain"), &nothing)
}

/// A victim with several threads.
pub fn threads() -> Victim {
    let nothing: [&str; 0] = [];
    Victim::start(&victim::c("threads", victim::Frames::Pointers), &nothing)
}

/// Requests a dump that must be refused, with and without `--json`, and checks that both give the
/// same reason. Returns the reason.
pub fn refusal<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    refusal_by(dump, arguments)
}

/// The same, possibly as another user. `program` begins with `dumpwright dump`.
pub fn refusal_by<A: AsRef<OsStr>>(program: impl Fn() -> Command, arguments: &[A]) -> String {
    let words = Outcome::of(program().args(arguments)).expect(1);
    assert!(words.stdout.is_empty(), "{words:?}");
    let reason = words
        .stderr
        .strip_prefix("dumpwright: ")
        .and_then(|text| text.strip_suffix('\n'))
        .unwrap_or_else(|| panic!("one line, and who says it: {words:?}"));
    assert_eq!(reason.lines().count(), 1, "{words:?}");

    let with_json = Outcome::of(program().arg("--json").args(arguments)).expect(1);
    let object = with_json.json();
    assert_eq!(object["status"], "failed");
    assert_eq!(object["error"], reason, "JSON and words agree");
    assert!(object["file"].is_string(), "{object}");
    let hresult = object["hresult"].as_str().expect("a status code");
    assert!(
        hresult.starts_with("0x8") && hresult.len() == 10,
        "{hresult} is a failure"
    );
    reason.to_owned()
}

/// Fails unless the text has all of these parts.
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// A user without rights, and programs that this user can reach.
pub struct Nobody {
    folder: TempDir,
}

impl Nobody {
    pub fn new() -> Nobody {
        let folder = TempDir::new().unwrap();
        open_to_all(folder.path());
        Nobody { folder }
    }

    /// The program at `path`, to be run as the user nobody, or as the user who runs the tests if
    /// that is not root.
    pub fn runs(&self, path: impl AsRef<OsStr>) -> Command {
        self.runs_with(path, &[])
    }

    /// Like [`runs`](Self::runs), with the right to trace any process (`CAP_SYS_PTRACE`).
    pub fn runs_with_the_right_to_trace(&self, path: impl AsRef<OsStr>) -> Command {
        self.runs_with(
            path,
            &["--inh-caps=-all,+sys_ptrace", "--ambient-caps=-all,+sys_ptrace"],
        )
    }

    fn runs_with(&self, path: impl AsRef<OsStr>, rights: &[&str]) -> Command {
        let path = Path::new(path.as_ref());
        if !proc::is_root() {
            return Command::new(path);
        }
        // Parent folders of the original may be closed to others.
        let copy = self
            .folder
            .path()
            .join(path.file_name().expect("a program has a name"));
        if !copy.exists() {
            copy_program(path, &copy);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .args(rights)
            .arg("--")
            .arg(copy);
        command
    }
}

/// Lets everyone enter a folder and create files in it.
pub fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}
