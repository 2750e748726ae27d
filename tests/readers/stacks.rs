//! The stack traces of `show`, compared with LLDB's for programs in C, C++ and Rust, with and
//! without frame pointers, and in Go, which always has them.
//!
//! Would catch: a frame that is left out, added or in another place; a function with another name
//! than LLDB gives it; a trace that ends early; a binary that is used although it is another build;
//! names that are lost because they are in a separate debug file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::dumper::{Dump, dumpwright};
use crate::support::readers::lldb;
use crate::support::victim::{self, Frames, Victim};
use crate::support::{repository, run_well};

const NOTHING: [&str; 0] = [];

fn frames_flag(frames: Frames) -> &'static str {
    match frames {
        Frames::Pointers => "-fno-omit-frame-pointer",
        Frames::NoPointers => "-fomit-frame-pointer",
    }
}

fn cpp(frames: Frames) -> PathBuf {
    let source = repository().join("tests/victims/stacks.cpp");
    let flags = [
        "-std=c++17",
        "-O2",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        "-fno-optimize-sibling-calls",
        frames_flag(frames),
        "-Wl,--build-id",
    ];
    victim::build("stacks-cpp", std::slice::from_ref(&source), &flags, |into| {
        run_well(Command::new("g++").args(flags).arg("-o").arg(into).arg(&source));
    })
}

fn rust(frames: Frames) -> PathBuf {
    let source = repository().join("tests/victims/stacks.rs");
    let pointers = match frames {
        Frames::Pointers => "force-frame-pointers=yes",
        Frames::NoPointers => "force-frame-pointers=no",
    };
    let flags = [
        "--edition=2024",
        "-O",
        "-g",
        "-C",
        pointers,
        "-C",
        "symbol-mangling-version=v0",
    ];
    let flags = [&flags[..], &["-C", "link-arg=-Wl,--build-id"]].concat();
    victim::build("stacks-rust", std::slice::from_ref(&source), &flags, |into| {
        run_well(
            Command::new("rustc")
                .args(&flags)
                .arg("-o")
                .arg(into)
                .arg(&source),
        );
    })
}

/// The function of a frame, if it is known.
type Frame = Option<String>;

/// Returns the frames in the module with this name, of each thread.
fn shown(dump: &Path, more: &[&str], module: &str) -> Vec<(u64, Vec<Frame>)> {
    let json = run_well(dumpwright().args(["show", "--json"]).args(more).arg(dump));
    let json: Value = serde_json::from_str(&json).unwrap();
    let threads = json["threads"].as_array().unwrap().iter();
    let frames = |thread: &Value| {
        let frames = thread["frames"].as_array().unwrap().iter();
        let own = frames.filter(|frame| frame["module"] == module);
        own.map(|frame| frame["function"].as_str().map(plain)).collect()
    };
    threads
        .map(|thread| (thread["id"].as_u64().unwrap(), frames(thread)))
        .collect()
}

/// Returns a name without what demanglers disagree about: spaces, the hash of a crate, how a lambda
/// function is written as a template argument, and whether the function that contains it is const.
fn plain(name: &str) -> String {
    let has_lambda = name.contains("lambda");
    let mut text = String::new();
    let mut depth = 0_u32;
    for letter in name.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '<' if has_lambda => depth += 1,
            '>' if has_lambda => depth = depth.saturating_sub(1),
            ' ' => {}
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    match text.strip_suffix("const") {
        Some(rest) if has_lambda => rest.to_owned(),
        _ => text,
    }
}

/// How much of a trace LLDB shows.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Whole,
    /// LLDB 19 ends the traces of the program in C++ early: it hides functions of the C++ library,
    /// and does not find the caller of a function that `main` calls.
    Beginning,
}

/// Compares the frames in the program with LLDB's, and checks that these functions are among them.
fn judge(program: &Path, functions: &[&str], extent: Extent) {
    let victim = Victim::start(program, &NOTHING);
    let dump = Dump::of(&victim, "normal");
    let module = program.file_name().unwrap().to_str().unwrap();
    let own = shown(&dump.path, &[], module);
    let all: Vec<&String> = own.iter().flat_map(|(_, frames)| frames).flatten().collect();
    for function in functions {
        assert!(
            all.iter().any(|name| name.contains(&plain(function))),
            "{function} is not in {all:#?}"
        );
    }
    let report = lldb::report(&dump.path, &[]).expect("LLDB opens it");
    for thread in &report.threads {
        let frames = thread.frames.iter();
        let inside = frames.filter(|frame| frame.module.as_deref() == Some(module));
        let theirs: Vec<Frame> = inside.map(|frame| frame.function.as_deref().map(plain)).collect();
        let (_, ours) = own
            .iter()
            .find(|(id, _)| *id == u64::from(thread.tid))
            .expect("the thread");
        assert!(!theirs.is_empty(), "thread {}", thread.tid);
        let compared = match extent {
            Extent::Whole => &ours[..],
            Extent::Beginning => &ours[..theirs.len()],
        };
        assert_eq!(compared, theirs, "thread {}", thread.tid);
    }
}

#[test]
fn c_functions_are_those_of_lldb() {
    for frames in [Frames::Pointers, Frames::NoPointers] {
        judge(
            &victim::c("threads", frames),
            &["alpha_leaf", "main_inner", "recurse", "interrupted_leaf"],
            Extent::Whole,
        );
    }
}

#[test]
fn cpp_functions_are_those_of_lldb() {
    for frames in [Frames::Pointers, Frames::NoPointers] {
        let functions = [
            "(anonymous namespace)::asleep(int)",
            "pool::twice<long>",
            "pool::Worker::run",
            "main",
        ];
        judge(&cpp(frames), &functions, Extent::Beginning);
    }
}

#[test]
fn rust_functions_are_those_of_lldb() {
    for frames in [Frames::Pointers, Frames::NoPointers] {
        let functions = [
            "stacks::asleep",
            "stacks::pool::twice::<i64>",
            "<stacks::pool::Worker>::run",
            "stacks::main",
        ];
        judge(&rust(frames), &functions, Extent::Whole);
    }
}

#[test]
fn go_functions_are_those_of_lldb() {
    let functions = [
        "main.main",
        "bufio.(*Scanner).Scan",
        "os.(*File).Read",
        "runtime.futex",
    ];
    judge(&victim::go(), &functions, Extent::Whole);
}

/// A copy of a victim that tests may strip and replace.
struct Copied {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Copied {
    fn new() -> Copied {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("victim");
        fs::copy(victim::c("threads", Frames::NoPointers), &program).unwrap();
        Copied { folder, program }
    }

    fn run(&self, tool: &str, arguments: &[&str]) {
        run_well(Command::new(tool).current_dir(self.folder.path()).args(arguments));
    }

    /// Dumps it, and returns how often this function is in the traces.
    fn count(&self, dump: &Path, more: &[&str], function: &str) -> usize {
        let threads = shown(dump, more, "victim");
        let frames = threads.iter().flat_map(|(_, frames)| frames);
        frames.filter(|name| name.as_deref() == Some(function)).count()
    }
}

#[test]
fn names_of_a_stripped_binary_come_from_its_debug_file() {
    let copied = Copied::new();
    copied.run("objcopy", &["--only-keep-debug", "victim", "victim.debug"]);
    copied.run("strip", &["victim"]);
    let dump = |copied: &Copied| Dump::of(&Victim::start(&copied.program, &NOTHING), "normal");
    let bare = dump(&copied);
    assert_eq!(copied.count(&bare.path, &[], "alpha_leaf"), 0, "it is stripped");
    // The link is a section of its own. The build id stays the same.
    copied.run("objcopy", &["--add-gnu-debuglink=victim.debug", "victim"]);
    assert_eq!(copied.count(&bare.path, &[], "alpha_leaf"), 1);
    // The same without a link, by the build id below another folder.
    copied.run("objcopy", &["--remove-section=.gnu_debuglink", "victim"]);
    assert_eq!(copied.count(&bare.path, &[], "alpha_leaf"), 0);
    let id = build_id(&bare.path);
    let folder = copied.folder.path().join("symbols");
    let place = folder.join(".build-id").join(&id[..2]);
    fs::create_dir_all(&place).unwrap();
    fs::rename(
        copied.folder.path().join("victim.debug"),
        place.join(format!("{}.debug", &id[2..])),
    )
    .unwrap();
    let binaries = folder.to_str().unwrap();
    assert_eq!(
        copied.count(&bare.path, &["--binaries", binaries], "alpha_leaf"),
        1
    );
}

fn build_id(dump: &Path) -> String {
    let dump = dumpwright::read::Dump::open(dump).unwrap();
    let modules = dump.modules().unwrap();
    let program = modules
        .iter()
        .find(|module| module.file_name() == Some("victim"))
        .unwrap();
    program.code_id.clone().unwrap()
}

#[test]
fn another_build_gives_no_names() {
    let copied = Copied::new();
    let dump = Dump::of(&Victim::start(&copied.program, &NOTHING), "normal");
    assert_eq!(copied.count(&dump.path, &[], "alpha_leaf"), 1);
    let elsewhere = copied.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&copied.program, elsewhere.join("victim")).unwrap();
    fs::copy(victim::c("threads", Frames::Pointers), &copied.program).unwrap();
    assert_eq!(copied.count(&dump.path, &[], "alpha_leaf"), 0);
    let text = run_well(dumpwright().arg("show").arg(&dump.path));
    let line = text
        .lines()
        .find(|line| line.contains("another build"))
        .expect("it says why");
    assert!(line.contains("victim"), "{line}");
    let binaries = ["--binaries", elsewhere.to_str().unwrap()];
    assert_eq!(copied.count(&dump.path, &binaries, "alpha_leaf"), 1);
    let text = run_well(dumpwright().arg("show").args(binaries).arg(&dump.path));
    assert!(!text.contains("another build"), "{text}");
}

#[test]
fn a_binary_without_an_id_is_known_by_its_code() {
    let program = victim::live_without_id("parked");
    let victim = Victim::start(&program, &NOTHING);
    let dump = Dump::of(&victim, "normal");
    let threads = shown(&dump.path, &[], "parked");
    let named = threads
        .iter()
        .flat_map(|(_, frames)| frames)
        .filter(|name| name.is_some());
    assert!(named.count() > 0, "{threads:?}");
}
