//! Victims: compiled once per variant, started, listened to, and ended with the test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A victim that says nothing for so long hangs (it was left stopped, say). No test depends on how fast one
/// is.
const HANGS: Duration = Duration::from_secs(120);

/// How a victim in C is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frames {
    /// With frame pointers.
    Pointers,
    /// Without: a stack can only be walked by its call frame information.
    NoPointers,
}

const C_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    // Some victims recurse without end; that is what they are for.
    "-Wno-infinite-recursion",
    "-pthread",
    // Known functions keep their frames and their names.
    "-fno-optimize-sibling-calls",
    "-fno-inline-functions-called-once",
    "-fno-partial-inlining",
    "-fno-ipa-cp",
    "-fno-reorder-blocks-and-partition",
    "-Wl,--build-id",
];

/// The victim `tests/victims/NAME.c`, compiled.
pub fn c(name: &str, frames: Frames) -> PathBuf {
    c_from("tests/victims", name, frames, &[])
}

/// The same as a 32-bit program.
pub fn narrow(name: &str, frames: Frames) -> PathBuf {
    c_from("tests/victims", name, frames, &["-m32"])
}

/// The victim `tests/live_victims/NAME.c`, compiled: programs whose state only their own kind of test needs.
pub fn live(name: &str) -> PathBuf {
    c_from("tests/live_victims", name, Frames::NoPointers, &[])
}

/// The victim `tests/awkward_victims/NAME.c`, compiled: processes that are hard to dump truthfully.
pub fn awkward(name: &str) -> PathBuf {
    c_from("tests/awkward_victims", name, Frames::NoPointers, &[])
}

fn c_from(folder: &str, name: &str, frames: Frames, more_flags: &[&'static str]) -> PathBuf {
    let mut flags = [C_FLAGS, more_flags].concat();
    flags.push(match frames {
        Frames::Pointers => "-fno-omit-frame-pointer",
        Frames::NoPointers => "-fomit-frame-pointer",
    });
    let folder = super::repository().join(folder);
    let mut sources = vec![folder.join(format!("{name}.c")), source("victim.h")];
    sources.extend(Some(folder.join("known.h")).filter(|header| header.exists()));
    build(name, &sources, &flags, |into| {
        super::run_well(
            Command::new("gcc")
                .args(&flags)
                .arg("-o")
                .arg(into)
                .arg(&sources[0]),
        );
    })
}

/// The Go program that recovers from nil dereferences.
pub fn go() -> PathBuf {
    let sources = [source("recovers.go")];
    build("recovers-go", &sources, &[], |into| {
        let mut go = Command::new("go");
        go.env("GOCACHE", super::workshop().join("go-cache"))
            .env("GO111MODULE", "off")
            .env("CGO_ENABLED", "0");
        super::run_well(go.args(["build", "-o"]).arg(into).arg(&sources[0]));
    })
}

/// The folder with the class of the Java program that recovers from null dereferences: `java -cp FOLDER
/// Recovers`.
pub fn java_classes() -> PathBuf {
    let sources = [source("Recovers.java")];
    build("classes", &sources, &[], |into| {
        super::run_well(Command::new("javac").arg("-d").arg(into).arg(&sources[0]));
    })
}

fn source(file: &str) -> PathBuf {
    super::repository().join("tests/victims").join(file)
}

/// Makes `WORKSHOP/victims/HASH/NAME` unless it is there. The hash is that of sources and flags, so that a
/// change makes a new one; the rename lets several test processes do this at once.
pub fn build(name: &str, sources: &[PathBuf], flags: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    flags.hash(&mut hasher);
    for source in sources {
        fs::read(source)
            .unwrap_or_else(|error| panic!("{}: {error}", source.display()))
            .hash(&mut hasher);
    }
    let folder = super::workshop()
        .join("victims")
        .join(format!("{:016x}", hasher.finish()));
    let built = folder.join(name);
    if !built.exists() {
        fs::create_dir_all(&folder).unwrap();
        let temporary = tempfile::tempdir_in(&folder).unwrap();
        let making = temporary.path().join(name);
        make(&making);
        // A folder cannot replace another that is not empty: then someone else was faster, with the same
        // result.
        if let Err(error) = fs::rename(&making, &built) {
            assert!(built.exists(), "{}: {error}", built.display());
        }
    }
    built
}

/// A running victim. It is killed when this is dropped.
pub struct Victim {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it said of itself, as JSON.
    pub testimony: serde_json::Value,
    pongs: u64,
}

impl Victim {
    /// Starts it and waits until it is ready.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Victim {
        Victim::start_command(Command::new(program).args(arguments))
    }

    /// Starts it as the command says; input and output are taken over.
    pub fn start_command(command: &mut Command) -> Victim {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut victim = Victim {
            child,
            input,
            lines,
            testimony: serde_json::Value::Null,
            pongs: 0,
        };
        let ready = victim.line().expect("the victim ended before it was ready");
        victim.testimony = parse_ready(&ready);
        victim
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said of itself.
    pub fn truth<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.testimony.clone()).expect("the testimony of the victim")
    }

    /// The next line of its output; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(HANGS) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
                panic!("the victim has said nothing for {HANGS:?}:\n{status}")
            }
        }
    }

    /// Makes it answer: it runs, and has lost none of the earlier pings.
    pub fn ping(&mut self) {
        self.input
            .as_mut()
            .expect("the input is open")
            .write_all(b"ping\n")
            .expect("the victim reads");
        self.pongs += 1;
        assert_eq!(
            self.line(),
            Some(format!("pong {}", self.pongs)),
            "the victim's answer"
        );
    }

    /// Ends its input, which ends it. Gives the rest of its output and its status.
    pub fn finish(mut self) -> (Vec<String>, ExitStatus) {
        self.input = None;
        let mut rest = Vec::new();
        while let Some(line) = self.line() {
            rest.push(line);
        }
        (
            rest,
            self.child.wait().expect("the victim is a child of this process"),
        )
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The object behind READY.
pub fn parse_ready(line: &str) -> serde_json::Value {
    let object = line
        .strip_prefix("READY ")
        .unwrap_or_else(|| panic!("not a READY line: {line}"));
    serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The testimony in the file that the variable VICTIM_TESTIMONY named.
pub fn testimony_in<T: DeserializeOwned>(file: &Path) -> T {
    let mut text = String::new();
    fs::File::open(file)
        .and_then(|mut file| file.read_to_string(&mut text))
        .unwrap_or_else(|error| panic!("the victim left no testimony in {}: {error}", file.display()));
    serde_json::from_value(parse_ready(text.trim_end())).expect("the testimony of the victim")
}

/// Known memory: word k is seed + k * STEP.
#[derive(Clone, Debug, Deserialize)]
pub struct Pattern {
    pub name: String,
    pub address: u64,
    pub length: u64,
    pub seed: u64,
}

/// PATTERN_STEP of victim.h.
pub const PATTERN_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Pattern {
    /// The bytes that are there.
    pub fn bytes(&self) -> Vec<u8> {
        (0..self.length / 8)
            .flat_map(|k| self.seed.wrapping_add(k.wrapping_mul(PATTERN_STEP)).to_le_bytes())
            .collect()
    }
}

/// The testimony of `threads.c`.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadsTruth {
    pub pid: u32,
    pub threads: Vec<ThreadTruth>,
    /// How often `recurse` is on the stack of the thread "deep".
    pub depth: usize,
    pub registers: RegistersTruth,
    pub memory: Vec<Pattern>,
    /// A page without access.
    pub unreadable: [u64; 2],
    /// Pages that were mapped and never used: they do not exist.
    pub never_touched: [u64; 2],
    /// Where known functions begin.
    pub functions: BTreeMap<String, u64>,
}

/// One thread of `threads.c`.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadTruth {
    pub tid: u32,
    pub name: String,
    /// Innermost first; "recurse" stands once for all its frames.
    pub functions: Vec<String>,
    pub stack: [u64; 2],
    pub alternate_stack: Option<[u64; 2]>,
    pub fs_base: u64,
}

impl ThreadsTruth {
    /// The known functions on this thread's stack, innermost first, each as often as it is there.
    pub fn functions_of(&self, thread: &ThreadTruth) -> Vec<String> {
        let times = |name: &String| if name == "recurse" { self.depth } else { 1 };
        thread
            .functions
            .iter()
            .flat_map(|name| std::iter::repeat_n(name.clone(), times(name)))
            .collect()
    }

    /// The memory pattern of this name.
    pub fn pattern(&self, name: &str) -> &Pattern {
        self.memory
            .iter()
            .find(|pattern| pattern.name == name)
            .expect("a pattern that the victim has")
    }
}

/// The registers of the thread that spins with known values.
#[derive(Clone, Debug, Deserialize)]
pub struct RegistersTruth {
    pub tid: u32,
    pub general: BTreeMap<String, u64>,
    pub xmm: Vec<[u64; 2]>,
    pub mxcsr: u32,
    pub fcw: u32,
    /// The bits of the number, as a double, in ST(0).
    pub st0_double: u64,
}

/// The testimony of `crash.c`.
#[derive(Clone, Debug, Deserialize)]
pub struct CrashTruth {
    pub pid: u32,
    /// The thread that crashes.
    pub tid: u32,
    /// 0: none, it does not crash.
    pub signal: u32,
    /// si_code.
    pub code: i32,
    /// si_addr; means something for positive codes of synchronous signals only.
    pub address: u64,
    /// Known functions, innermost first.
    pub functions: Vec<String>,
    pub bystanders: Vec<u32>,
    pub stack: Option<[u64; 2]>,
    /// Where RIP is at the crash, if the program knows.
    pub instruction: Option<u64>,
    /// How many signals it handled.
    pub handled: Option<u64>,
}

/// The testimony of `big.c`.
#[derive(Clone, Debug, Deserialize)]
pub struct BigTruth {
    pub pid: u32,
    pub address: u64,
    pub length: u64,
    pub page: u64,
    pub seed: u64,
}

impl BigTruth {
    /// The first 16 bytes of the page with this number.
    pub fn page_start(&self, number: u64) -> Vec<u8> {
        let word = self.seed.wrapping_add(number.wrapping_mul(PATTERN_STEP));
        [(number + 1).to_le_bytes(), word.to_le_bytes()].concat()
    }
}
