//! A Windows process to be dumped, and the two programs that dump it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use dumpwright::read::Dump;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::child::KilledOnDrop;
use crate::support::{repository, windows};

/// How long to wait for an event that must come. A machine under load may be slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running victim and its testimony.
pub struct Victim {
    child: KilledOnDrop,
    folder: TempDir,
    pub truth: Value,
}

impl Victim {
    /// Starts a victim and waits for its testimony.
    pub fn start(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let place = |name: &str| folder.path().join(name);
        let child = windows::wine(&compiled(name))
            .arg(windows::path(&place("truth.json")))
            .arg(windows::path(&place("beats")))
            .stdout(Stdio::null())
            .stderr(fs::File::create(place("stderr")).unwrap())
            .spawn()
            .expect("wine runs");
        let mut victim = Self {
            child: KilledOnDrop(child),
            truth: Value::Null,
            folder,
        };
        let mut text = String::new();
        await_that("the victim testifies", || {
            text = fs::read_to_string(victim.path("truth.json")).unwrap_or_default();
            let ended = victim.child.try_wait().unwrap();
            assert_eq!(
                ended,
                None,
                "{name}: {:?}",
                fs::read_to_string(victim.path("stderr"))
            );
            !text.is_empty()
        });
        victim.truth = serde_json::from_str(&text).unwrap();
        victim
    }

    pub fn pid(&self) -> u32 {
        number(&self.truth["pid"]) as u32
    }

    /// The testimony about one of its threads.
    pub fn thread(&self, role: &str) -> &Value {
        let threads = self.truth["threads"].as_array().unwrap();
        threads.iter().find(|thread| thread["role"] == role).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The counter of the thread with this index.
    fn beat(&self, place: usize) -> u64 {
        let table = fs::read(self.path("beats")).unwrap();
        u64::from_le_bytes(table[8 * place..8 * place + 8].try_into().unwrap())
    }

    /// Fails unless the threads with these indices run.
    pub fn assert_runs(&self, places: &[usize]) {
        for place in places {
            let before = self.beat(*place);
            await_that(&format!("thread {place} beats"), || {
                self.beat(*place) > before + 2
            });
        }
    }
}

/// Waits for an event that must come.
pub fn await_that(what: &str, mut come: impl FnMut() -> bool) {
    let started = Instant::now();
    while !come() {
        assert!(started.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The program of a victim, compiled.
pub fn compiled(name: &str) -> PathBuf {
    let source = repository()
        .join("tests/windows_victims")
        .join(name)
        .with_extension("c");
    windows::compile(&format!("{name}.exe"), &source, &["-O1", "-ladvapi32"], &[])
}

/// The result of a dump.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    /// The JSON that `--json` printed.
    pub result: Value,
    pub stderr: String,
}

/// Runs `dumpwright dump --json` with these options, into this file.
pub fn dump(file: &Path, options: &[&str]) -> Outcome {
    let mut command = windows::wine(windows::executable());
    command
        .args(["dump", "--json", "--backend", "dumpwright", "-o"])
        .arg(windows::path(file))
        .args(options);
    let output = windows::run(&mut command);
    let line = output.stdout.lines().last().unwrap_or_default();
    Outcome {
        status: output.status,
        result: serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output:?}")),
        stderr: output.stderr,
    }
}

/// Makes a dump that must be complete, and checks it.
pub fn complete(victim: &Victim, options: &[&str]) -> (Dump, Value) {
    let file = victim.path("victim.dmp");
    let pid = victim.pid().to_string();
    let mut all = vec!["--pid", &pid, "--force"];
    all.extend(options);
    let outcome = dump(&file, &all);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert_eq!(outcome.result["status"], "complete", "{outcome:?}");
    crate::support::dumper::check(&file).unwrap();
    (Dump::open(&file).unwrap(), outcome.result)
}

/// Runs the test program that links the library, with these arguments, and returns its JSON.
pub fn dumps(words: &[&str]) -> Value {
    let output = windows::run(windows::wine(windows::dumps()).args(words));
    assert!(output.status.success(), "{words:?}: {}", output.stderr);
    serde_json::from_str(output.stdout.trim()).unwrap()
}

/// A file name as an argument for a Windows program.
pub fn word(file: &Path) -> String {
    windows::path(file).into_string().unwrap()
}
