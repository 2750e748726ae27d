//! Compiles victims (once for each variant), starts them, and ends them with the test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::child::Talking;

/// How a C victim is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frames {
    /// With frame pointers.
    Pointers,
    /// Without frame pointers. Such a stack can be unwound only with call frame information.
    NoPointers,
}

const C_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    // Some victims recurse infinitely on purpose.
    "-Wno-infinite-recursion",
    "-pthread",
    // Keep the frames and names of known functions.
    "-fno-optimize-sibling-calls",
    "-fno-inline-functions-called-once",
    "-fno-partial-inlining",
    "-fno-ipa-cp",
    "-fno-reorder-blocks-and-partition",
    "-Wl,--build-id",
];

/// Compiles the victim `tests/victims/NAME.c`.
pub fn c(name: &str, frames: Frames) -> PathBuf {
    c_from("tests/victims", name, frames, &[])
}

/// Like [`c`], as a 32-bit program.
pub fn narrow(name: &str, frames: Frames) -> PathBuf {
    c_from("tests/victims", name, frames, &["-m32"])
}

/// Compiles the victim `tests/live_victims/NAME.c`. These programs are needed by only one kind of
/// test.
pub fn live(name: &str) -> PathBuf {
    c_from("tests/live_victims", name, Frames::NoPointers, &[])
}

/// Like [`live`], without a build id.
pub fn live_without_id(name: &str) -> PathBuf {
    c_from(
        "tests/live_victims",
        name,
        Frames::NoPointers,
        &["-Wl,--build-id=none"],
    )
}

/// Compiles the victim `tests/live_victims/NAME.c` without the C library.
pub fn bare(name: &str) -> PathBuf {
    let flags = [
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-stack-protector",
        // Else loops become calls of memcpy and memset.
        "-fno-tree-loop-distribute-patterns",
    ];
    c_from("tests/live_victims", name, Frames::NoPointers, &flags)
}

/// Compiles the victim `tests/awkward_victims/NAME.c`. These processes are hard to dump correctly.
pub fn awkward(name: &str) -> PathBuf {
    c_from("tests/awkward_victims", name, Frames::NoPointers, &[])
}

/// Compiles the program `tests/programs/NAME.c`, which is not a victim, but helps a test.
pub fn helping(name: &str) -> PathBuf {
    const FLAGS: &[&str] = &[
        "-std=gnu11",
        "-O2",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
    ];
    let folder = super::repository().join("tests/programs");
    let sources = [folder.join(format!("{name}.c")), folder.join("check.h")];
    build(name, &sources, FLAGS, |into| {
        super::run_well(
            Command::new("gcc")
                .args(FLAGS)
                .arg("-o")
                .arg(into)
                .arg(&sources[0]),
        );
    })
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

/// Compiles the Go program that recovers from nil dereferences.
pub fn go() -> PathBuf {
    let sources = [source("recovers.go")];
    build("recovers-go", &sources, &[], |into| {
        let mut go = Command::new("go");
        go.env("GOCACHE", super::scratch().join("go-cache"))
            .env("GO111MODULE", "off")
            .env("CGO_ENABLED", "0");
        super::run_well(go.args(["build", "-o"]).arg(into).arg(&sources[0]));
    })
}

/// Compiles the Java program that recovers from null dereferences. Returns the directory of its
/// class, for `java -cp FOLDER Recovers`.
pub fn java_classes() -> PathBuf {
    let sources = [source("Recovers.java")];
    build("classes", &sources, &[], |into| {
        super::run_well(Command::new("javac").arg("-d").arg(into).arg(&sources[0]));
    })
}

fn source(file: &str) -> PathBuf {
    super::repository().join("tests/victims").join(file)
}

/// Creates `SCRATCH/victims/HASH/NAME` with `make`, unless it exists.
///
/// The hash covers the sources and flags, so a change of them results in a new directory. The
/// result is renamed to its final path, so several test processes may build it at the same time.
pub fn build(name: &str, sources: &[PathBuf], flags: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    flags.hash(&mut hasher);
    for source in sources {
        fs::read(source)
            .unwrap_or_else(|error| panic!("{}: {error}", source.display()))
            .hash(&mut hasher);
    }
    let folder = super::scratch()
        .join("victims")
        .join(format!("{:016x}", hasher.finish()));
    let built = folder.join(name);
    if !built.exists() {
        fs::create_dir_all(&folder).unwrap();
        let temporary = tempfile::tempdir_in(&folder).unwrap();
        let making = temporary.path().join(name);
        make(&making);
        // A directory cannot replace another one that is not empty. In that case another process
        // was faster, with the same result.
        if let Err(error) = fs::rename(&making, &built) {
            assert!(built.exists(), "{}: {error}", built.display());
        }
    }
    built
}

/// A running victim. Dropping this kills it.
pub struct Victim {
    /// Dropped before the victim is reaped.
    #[cfg(unix)]
    stops: crate::stops::Stops,
    program: Talking,
    /// Its testimony: the JSON object that it printed about itself.
    pub testimony: serde_json::Value,
    pongs: u64,
}

impl Victim {
    /// Starts a victim and waits until it is ready.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Victim {
        Victim::start_command(Command::new(program).args(arguments))
    }

    /// Starts the command as a victim, with pipes as its standard input and output.
    pub fn start_command(command: &mut Command) -> Victim {
        let mut program = Talking::start(command);
        let ready = program.line().expect("the victim ended before it was ready");
        Victim {
            #[cfg(unix)]
            stops: crate::stops::Stops::of(program.pid()),
            program,
            testimony: parse_ready(&ready),
            pongs: 0,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Returns how long the longest stop by a tracer lasted at least.
    #[cfg(unix)]
    pub fn longest_stop(&self) -> std::time::Duration {
        self.stops.longest()
    }

    /// Returns its testimony.
    pub fn truth<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.testimony.clone()).expect("the testimony of the victim")
    }

    /// Reads the next line of its output. Returns `None` at the end of the output.
    pub fn line(&mut self) -> Option<String> {
        self.program.line()
    }

    /// Sends a ping and checks the reply, which shows that the victim runs and has received all
    /// earlier pings.
    pub fn ping(&mut self) {
        self.program.tell("ping\n");
        self.pongs += 1;
        assert_eq!(
            self.line(),
            Some(format!("pong {}", self.pongs)),
            "the victim's answer"
        );
    }

    /// Closes its standard input, which ends it. Returns the rest of its output and its exit
    /// status.
    pub fn finish(mut self) -> (Vec<String>, ExitStatus) {
        self.program.close();
        let mut rest = Vec::new();
        while let Some(line) = self.line() {
            rest.push(line);
        }
        (rest, self.program.wait())
    }
}

/// Parses the JSON object in a READY line.
pub fn parse_ready(line: &str) -> serde_json::Value {
    let object = line
        .strip_prefix("READY ")
        .unwrap_or_else(|| panic!("not a READY line: {line}"));
    serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Reads the testimony in a file that was named by the variable `VICTIM_TESTIMONY`.
pub fn testimony_in<T: DeserializeOwned>(file: &Path) -> T {
    let mut text = String::new();
    fs::File::open(file)
        .and_then(|mut file| file.read_to_string(&mut text))
        .unwrap_or_else(|error| panic!("the victim left no testimony in {}: {error}", file.display()));
    serde_json::from_value(parse_ready(text.trim_end())).expect("the testimony of the victim")
}

/// Memory with a known pattern: word k is `seed + k * PATTERN_STEP`.
#[derive(Clone, Debug, Deserialize)]
pub struct Pattern {
    pub name: String,
    pub address: u64,
    pub length: u64,
    pub seed: u64,
}

/// `PATTERN_STEP` in `victim.h`.
pub const PATTERN_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Pattern {
    /// Returns the bytes of the pattern.
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
    /// The number of `recurse` frames on the stack of the thread "deep".
    pub depth: usize,
    pub registers: RegistersTruth,
    pub memory: Vec<Pattern>,
    /// The range of a page without access.
    pub unreadable: [u64; 2],
    /// The range of pages that were mapped but never used, so that they do not exist.
    pub never_touched: [u64; 2],
    /// The start addresses of known functions.
    pub functions: BTreeMap<String, u64>,
}

/// One thread of `threads.c`.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadTruth {
    pub tid: u32,
    pub name: String,
    /// The known functions on its stack, the innermost first. All frames of `recurse` are one
    /// entry.
    pub functions: Vec<String>,
    pub stack: [u64; 2],
    pub alternate_stack: Option<[u64; 2]>,
    pub fs_base: u64,
}

impl ThreadsTruth {
    /// Returns the known functions on this thread's stack, the innermost first, with one entry for
    /// each frame.
    pub fn functions_of(&self, thread: &ThreadTruth) -> Vec<String> {
        let times = |name: &String| if name == "recurse" { self.depth } else { 1 };
        thread
            .functions
            .iter()
            .flat_map(|name| std::iter::repeat_n(name.clone(), times(name)))
            .collect()
    }

    /// Returns the memory pattern with this name.
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
    /// The bits of the number in ST(0), as a double.
    pub st0_double: u64,
}

/// The testimony of `crash.c`.
#[derive(Clone, Debug, Deserialize)]
pub struct CrashTruth {
    pub pid: u32,
    /// The thread that crashes.
    pub tid: u32,
    /// The number of the signal. 0 if it does not crash.
    pub signal: u32,
    /// The field `si_code`.
    pub code: i32,
    /// The field `si_addr`. It is meaningful only for positive codes of synchronous signals.
    pub address: u64,
    /// The known functions, the innermost first.
    pub functions: Vec<String>,
    pub bystanders: Vec<u32>,
    pub stack: Option<[u64; 2]>,
    /// The value of RIP at the crash, if the program can determine it.
    pub instruction: Option<u64>,
    /// The number of signals that it has handled.
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
    /// Returns the first 16 bytes of the page with this number.
    pub fn page_start(&self, number: u64) -> Vec<u8> {
        let word = self.seed.wrapping_add(number.wrapping_mul(PATTERN_STEP));
        [(number + 1).to_le_bytes(), word.to_le_bytes()].concat()
    }
}
