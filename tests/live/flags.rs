//! Each dump type, on a process that reports its own areas: a dump has the areas that its type
//! includes, whole, and no others.

use std::process::Command;

use dumpwright::read::stream_type;
use serde::Deserialize;

use crate::capture::{Capture, memory_of};
use crate::support::proc;
use crate::support::run_well;
use crate::support::victim::{self, Pattern, Victim};

const ENVIRONMENT: &str = "TOKEN-0d55-in-the-environment";

#[derive(Deserialize)]
struct Areas {
    pid: u32,
    areas: Vec<Pattern>,
    /// The address in a word on the stack.
    pointer: u64,
    constant: [u64; 2],
    code: [u64; 2],
}

/// Areas that a normal dump lacks, besides those that only one type includes.
const BODIES: [&str; 9] = [
    "data",
    "bss",
    "heap",
    "private",
    "copied",
    "shared",
    "shared anonymous",
    "read-only",
    "thread",
];

/// Types, and the areas that they add to a normal dump. Areas that are not listed must be absent.
const TYPES: &[(&str, &[&str])] = &[
    ("normal", &[]),
    ("with-data-segs", &["data", "bss"]),
    ("with-handle-data", &[]),
    ("scan-memory", &[]),
    ("with-unloaded-modules", &[]),
    ("filter-module-paths", &[]),
    ("with-process-thread-data", &["thread", "environment"]),
    (
        "with-private-read-write-memory",
        &["heap", "private", "thread", "environment"],
    ),
    (
        "without-optional-data,with-private-read-write-memory,with-process-thread-data",
        &[],
    ),
    ("with-full-memory-info", &[]),
    ("with-thread-info", &[]),
    ("with-code-segs", &["code"]),
    ("without-auxiliary-state", &[]),
    ("with-full-auxiliary-state", &[]),
    ("with-private-write-copy-memory", &["copied", "data"]),
    ("ignore-inaccessible-memory", &[]),
    ("with-module-headers", &[]),
    ("with-ipt-trace", &[]),
    ("scan-inaccessible-partial-pages", &[]),
    ("filter-write-combined-memory", &[]),
    ("no-ignore-inaccessible-memory", &[]),
];

struct Session {
    victim: Victim,
    truth: Areas,
    _folder: tempfile::TempDir,
}

impl Session {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(victim::live("areas"));
        let victim = Victim::start_command(command.arg(folder.path()).env("SECRET", ENVIRONMENT));
        Self {
            truth: victim.truth(),
            victim,
            _folder: folder,
        }
    }

    fn area(&self, name: &str) -> &Pattern {
        self.truth.areas.iter().find(|area| area.name == name).unwrap()
    }

    /// Checks that the dump has all of an area, or nothing of it.
    fn assert_area(&self, capture: &Capture, name: &str, expected: bool, types: &str) {
        let area = self.area(name);
        if expected {
            let found = capture.memory(name, area.address, area.length);
            assert!(found == area.bytes(), "{types}: {name} differs from the target's");
        } else {
            // The ends may be in pages, or in ranges around pointers, that are included for another
            // reason.
            let middle = area.address + area.length / 2;
            let found = capture.dump.memory(middle, 8).unwrap();
            assert_eq!(found, None, "{types}: {name} is in the dump");
        }
    }
}

#[test]
fn each_type_adds_what_it_asks_for_and_nothing_else() {
    let mut session = Session::start();
    let pid = session.truth.pid;
    for (types, adds) in TYPES {
        let capture = Capture::of(pid, types);
        capture.check();
        session.assert_area(&capture, "stack", true, types);
        for name in BODIES {
            // The first bytes of .bss share a page with .data; its middle does not.
            session.assert_area(&capture, name, adds.contains(&name), types);
        }
        session.assert_area(&capture, "pointed at", false, types);
        let [start, end] = session.truth.code;
        let code = capture.dump.memory(start, end - start).unwrap();
        assert_eq!(code.is_some(), adds.contains(&"code"), "{types}: code");
        if let Some(code) = code {
            assert!(code == memory_of(pid, start, code.len()), "{types}: code");
        }
        let constant = capture.dump.memory(session.truth.constant[0], 8).unwrap();
        assert_eq!(constant, None, "{types}: constants");
        let has_environment = !capture.dump.contains_nowhere(ENVIRONMENT.as_bytes()).unwrap();
        assert_eq!(
            has_environment,
            adds.contains(&"environment"),
            "{types}: environment"
        );
    }
    session.victim.ping();
}

#[test]
fn all_memory_has_all_areas() {
    let mut session = Session::start();
    for types in [
        "with-full-memory",
        "full",
        "with-full-memory,no-ignore-inaccessible-memory",
        "with-full-memory,filter-write-combined-memory",
    ] {
        let capture = Capture::of(session.truth.pid, types);
        for area in session.truth.areas.iter().filter(|area| area.length > 0) {
            session.assert_area(&capture, &area.name, true, types);
        }
        let [start, end] = session.truth.constant;
        let constant = capture.memory("constants", start, end - start);
        assert!(constant.starts_with(b"a constant\0"));
        assert!(!capture.dump.contains_nowhere(ENVIRONMENT.as_bytes()).unwrap());
    }
    session.victim.ping();
}

#[test]
fn what_a_stack_word_points_to() {
    let mut session = Session::start();
    let capture = Capture::of(session.truth.pid, "with-indirectly-referenced-memory");
    let area = session.area("pointed at");
    let (from, to) = (session.truth.pointer - 0x100, session.truth.pointer + 0x300);
    let found = capture.memory("what is pointed to", from, to - from);
    let inside = usize::try_from(from - area.address).unwrap();
    assert!(found == area.bytes()[inside..inside + found.len()]);
    let capture = Capture::of(session.truth.pid, "normal");
    assert_eq!(capture.dump.memory(session.truth.pointer, 1).unwrap(), None);
    session.victim.ping();
}

/// Stacks, with the two filters: the dump has nothing of the areas.
#[test]
fn filters_leave_nothing_of_the_areas() {
    let mut session = Session::start();
    for (types, fill) in [("filter-memory", 0), ("filter-triage", 0xAA)] {
        let capture = Capture::of(session.truth.pid, types);
        capture.check();
        let stack = session.area("stack");
        let found = capture.memory("stack", stack.address, stack.length);
        assert!(found.iter().all(|byte| *byte == fill), "{types}: {found:x?}");
        for name in BODIES {
            session.assert_area(&capture, name, false, types);
        }
    }
    session.victim.ping();
}

/// An area of a file as `readelf` lists it: type or name, address, bytes, flags.
struct Listed {
    name: String,
    address: u64,
    size: u64,
    flags: String,
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn segments(file: &str) -> Vec<Listed> {
    let text = run_well(Command::new("readelf").args(["--program-headers", "--wide", file]));
    let lines = text.lines().filter(|line| line.trim_start().starts_with("LOAD "));
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            Listed {
                name: words[0].to_owned(),
                address: hex(words[2]),
                size: hex(words[5]),
                flags: words[6..words.len() - 1].concat(),
            }
        })
        .collect()
}

fn sections(file: &str) -> Vec<Listed> {
    let text = run_well(Command::new("readelf").args(["--section-headers", "--wide", file]));
    let lines = text.lines().filter_map(|line| line.split_once(']'));
    lines
        .filter_map(|(_, line)| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words.len() > 6 && words[0].starts_with('.')).then(|| Listed {
                name: words[0].to_owned(),
                address: hex(words[2]),
                size: hex(words[4]),
                flags: String::new(),
            })
        })
        .collect()
}

/// The files of modules with their load addresses. `readelf` reads these files.
fn modules(pid: u32) -> Vec<(u64, String)> {
    let mut modules: Vec<(u64, String)> = Vec::new();
    for mapping in proc::maps(pid) {
        if mapping.name.starts_with('/')
            && mapping.name.contains("/lib")
            && !modules.iter().any(|(_, name)| *name == mapping.name)
        {
            modules.push((mapping.start, mapping.name));
        }
    }
    assert!(modules.len() >= 2, "the C library and the linker at least");
    modules
}

#[test]
fn segments_of_libraries_are_exactly_those_of_their_files() {
    let mut session = Session::start();
    let pid = session.truth.pid;
    let data = Capture::of(pid, "with-data-segs");
    let code = Capture::of(pid, "with-code-segs");
    let ends = |capture: &Capture, end: u64| capture.dump.memory(end, 1).unwrap().is_none();
    for (base, file) in modules(pid) {
        for segment in segments(&file) {
            let start = base + segment.address;
            let what = format!("{file} {:#x}", segment.address);
            if segment.flags.contains('W') {
                data.memory(&what, start, segment.size);
                assert!(ends(&data, start + segment.size), "{what} ends");
            }
            if segment.flags.contains('E') {
                let found = code.memory(&what, start, segment.size);
                assert!(found == memory_of(pid, start, found.len()), "{what}");
                assert!(ends(&code, start + segment.size), "{what} ends");
            }
        }
    }
    session.victim.ping();
}

/// The dump has the parts that identify a module and unwind its frames, and not its code.
#[test]
fn module_headers_identify_and_unwind() {
    let mut session = Session::start();
    let pid = session.truth.pid;
    let capture = Capture::of(pid, "with-module-headers");
    for (base, file) in modules(pid) {
        capture.memory(&file, base, 64);
        let wanted = [
            ".note.gnu.build-id",
            ".dynamic",
            ".dynstr",
            ".eh_frame_hdr",
            ".eh_frame",
        ];
        let sections = sections(&file);
        for name in wanted {
            let section = sections.iter().find(|section| section.name == name).unwrap();
            let start = base + section.address;
            let found = capture.memory(&format!("{file} {name}"), start, section.size);
            assert!(found == memory_of(pid, start, found.len()), "{file} {name}");
        }
        let text = sections.iter().find(|section| section.name == ".text").unwrap();
        let middle = base + text.address + text.size / 2;
        assert_eq!(capture.dump.memory(middle, 1).unwrap(), None, "{file}: code");
    }
    session.victim.ping();
}

/// Any path may contain a user's name.
#[test]
fn filtered_paths_stand_nowhere_in_the_dump() {
    let mut session = Session::start();
    let pid = session.truth.pid;
    let folder = modules(pid)[0].1.rsplit_once('/').unwrap().0.to_owned();
    let wide: Vec<u8> = folder.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let capture = Capture::of(pid, "normal");
    assert!(!capture.dump.contains_nowhere(&wide).unwrap());
    let capture = Capture::of(pid, "filter-module-paths,filter-memory");
    assert!(capture.dump.contains_nowhere(&wide).unwrap());
    assert!(capture.dump.contains_nowhere(folder.as_bytes()).unwrap());
    let maps = capture.dump.text(stream_type::LINUX_MAPS).unwrap().unwrap();
    assert!(maps.contains(" areas\n") && maps.contains("[stack]"), "{maps}");
    session.victim.ping();
}
