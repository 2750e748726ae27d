//! Targets that are held by a clone: their dumps, and that they notice nothing.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use dumpwright::read::{Dump, LossReason, stream_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capture::{Capture, steady};
use crate::pause::start_stalled;
use crate::support::child::{KilledOnDrop, Talking};
use crate::support::proc::{self, signal, states, until};
use crate::support::victim::{self, Frames, Pattern, Victim};

const CLONE: [&str; 2] = ["--hold", "clone"];

#[derive(Deserialize)]
pub(crate) struct ClonedTruth {
    pub(crate) memory: Vec<Pattern>,
}

/// Starts the victim `cloned.c`.
pub(crate) fn start(mut command: Command, what: &str) -> (Talking, ClonedTruth) {
    let mut program = Talking::start(command.arg(what));
    let ready = program.line().expect("the victim ended before it was ready");
    let truth = serde_json::from_value(victim::parse_ready(&ready)).unwrap();
    (program, truth)
}

pub(crate) fn cloned(what: &str) -> (Talking, ClonedTruth) {
    start(Command::new(victim::live("cloned")), what)
}

pub(crate) fn answer(program: &mut Talking, line: &str) -> String {
    program.tell(&format!("{line}\n"));
    program.line().expect("it lives")
}

/// Dumps by a clone. The dump must be complete.
fn by_clone(pid: u32, options: &[&str]) -> Capture {
    let capture = Capture::with(pid, &[options, &CLONE].concat());
    assert_eq!(capture.result["hold"], "clone", "{}", capture.result);
    assert_eq!(capture.result["tracer"], "helper");
    assert_no_clones(pid);
    capture
}

/// The processes that run the same program, other than `pid`, and that are not zombies.
fn clones(pid: u32) -> Vec<u32> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|other| *other != pid)
        .filter(|other| fs::read_link(format!("/proc/{other}/exe")).is_ok_and(|path| path == program))
        .filter(|other| proc::Stat::of(other).is_some_and(|stat| !['Z', 'X'].contains(&stat.state())))
        // Each start of the program has its own addresses. Children have those of their parent.
        .filter(|other| first_address(*other) == first_address(pid))
        .collect()
}

fn first_address(pid: u32) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.split('-').next().map(str::to_owned)
}

pub(crate) fn assert_no_clones(pid: u32) {
    until("the clone has ended", || clones(pid).is_empty());
    until("it has no child", || proc::children(pid).is_empty());
}

/// A list of a dump without the places of its entries in the file, and without times.
fn contents(list: impl Serialize) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(strip),
            Value::Object(fields) => {
                let is_place = |name: &str| {
                    ["offset", "rva", "location"]
                        .iter()
                        .any(|end| name.ends_with(end))
                        || name == "info"
                };
                fields.retain(|name, _| !is_place(name));
                fields.values_mut().for_each(strip);
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(list).unwrap();
    strip(&mut value);
    value
}

/// The streams that have no times, no counters of the system, and no places in the file.
const SAME: [&str; 8] = [
    "SystemInfoStream",
    "LinuxLsbRelease",
    "LinuxCmdLine",
    "LinuxEnviron",
    "LinuxAuxv",
    "LinuxMaps",
    "MozLinuxLimits",
    "MemoryInfoListStream",
];

/// Fails if two dumps of a process that does nothing differ in more than times and counters.
fn assert_same(one: &Dump, other: &Dump) {
    let kinds = |dump: &Dump| -> Vec<u32> {
        let streams = dump.directory().iter();
        streams.map(|entry| entry.stream_type).collect()
    };
    assert_eq!(kinds(one), kinds(other));
    let lists = |dump: &Dump| {
        [
            contents(dump.threads().unwrap()),
            contents(dump.modules().unwrap()),
            contents(dump.memory_ranges().unwrap()),
            contents(dump.memory_regions().unwrap()),
            contents(dump.handles().unwrap()),
            contents(dump.dso_debug().unwrap()),
        ]
    };
    assert_eq!(lists(one), lists(other));
    for kind in kinds(one) {
        if stream_name(kind).is_some_and(|name| SAME.contains(&name)) {
            let bytes = |dump: &Dump| dump.stream_bytes(kind).unwrap();
            assert!(bytes(one) == bytes(other), "stream {kind:#x}");
        }
    }
    for range in one.memory_ranges().unwrap() {
        let bytes = |dump: &Dump| {
            dump.memory(range.address, range.size)
                .unwrap()
                .expect("it is there")
        };
        assert!(bytes(one) == bytes(other), "memory at {:#x}", range.address);
    }
}

#[test]
fn it_has_what_a_stop_has() {
    for types in [
        "normal",
        "heap",
        "full",
        "with-full-memory,with-avx-x-state-context",
    ] {
        let victim = steady(&victim::live("parked"));
        let stopped = Capture::with(victim.pid(), &["--type", types]);
        let cloned = by_clone(victim.pid(), &["--type", types]);
        cloned.check();
        assert_same(&stopped.dump, &cloned.dump);
        for list in ["missing", "left_out"] {
            assert_eq!(stopped.result[list], cloned.result[list], "{types}");
        }
    }
}

#[test]
fn it_has_every_kind_of_memory_that_a_stop_has() {
    for options in [
        &["--type", "with-full-memory"][..],
        &["--type", "full", "--include-dontdump"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut victim = Victim::start_command(
            Command::new(victim::live("memory"))
                .arg(folder.path())
                .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0"),
        );
        let stopped = Capture::with(victim.pid(), options);
        let cloned = by_clone(victim.pid(), options);
        assert_same(&stopped.dump, &cloned.dump);
        victim.ping();
    }
}

/// The target changes all of its memory after the clone was made, and before it is read.
#[test]
fn what_the_target_writes_meanwhile_is_not_in_the_dump() {
    let (mut program, truth) = cloned("plain");
    let mut dumper = start_stalled(program.pid(), &CLONE);
    let mut output = dumper.stdout.take().unwrap();
    // The dump is larger than the pipe, so the dumper waits. The target runs.
    assert_eq!(answer(&mut program, "change"), "changed");
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
    proc::assert_released(program.pid());
    let (mut bytes, mut text) = (Vec::new(), String::new());
    output.read_to_end(&mut bytes).unwrap();
    dumper.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(dumper.wait().unwrap().success(), "{text}");
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["hold"], "clone");
    let dump = Dump::from_bytes(bytes).unwrap();
    for pattern in &truth.memory {
        let memory = dump.memory(pattern.address, pattern.length).unwrap();
        assert!(memory.unwrap() == pattern.bytes(), "{}", pattern.name);
    }
    assert_no_clones(program.pid());
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
}

/// Reads the dump of a clone that was ended at its limit.
fn read_limited(mut dumper: KilledOnDrop) {
    let (mut bytes, mut text) = (Vec::new(), String::new());
    let (mut output, mut errors) = (dumper.stdout.take().unwrap(), dumper.stderr.take().unwrap());
    output.read_to_end(&mut bytes).unwrap();
    errors.read_to_string(&mut text).unwrap();
    assert_eq!(dumper.wait().unwrap().code(), Some(3), "{text}");
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&result["status"], &result["hold"]),
        (&"partial".into(), &"clone".into())
    );
    let missing: Vec<&str> = result["missing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| lost["reason"].as_str().unwrap())
        .collect();
    let reason = "the limit of 2000 ms for the clone had passed";
    let headline = format!("{reason}, so its clone was ended; what had not been read by then is missing");
    assert!(missing.contains(&headline.as_str()), "{missing:?}");
    let filled = format!("not read, because {reason}; filled with 0xDD");
    assert!(missing.contains(&filled.as_str()), "{missing:?}");
    let dump = Dump::from_bytes(bytes).unwrap();
    let losses = dump.losses().unwrap();
    assert!(!losses.is_empty() && losses.iter().all(|loss| loss.reason == LossReason::TargetResumed));
}

/// The clone ends while the dumper waits for the reader of a pipe, and also while the dumper itself
/// is stopped.
#[test]
fn it_ends_at_its_limit() {
    for stops in [false, true] {
        let (mut program, _) = cloned("plain");
        let dumper = start_stalled(program.pid(), &[&CLONE[..], &["--max-clone", "2s"]].concat());
        if stops {
            signal(dumper.id(), libc::SIGSTOP);
        }
        let made = clones(program.pid());
        // Ended, and waited for.
        until("the clone has ended", || {
            clones(program.pid()).is_empty() && made.iter().all(|pid| proc::Stat::of(pid).is_none())
        });
        assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
        if stops {
            assert!(states(dumper.id()).iter().all(|state| *state == 'T'));
            signal(dumper.id(), libc::SIGCONT);
        }
        read_limited(dumper);
    }
}

/// Dumps a victim that checks itself many times.
fn capture_often(captures: usize) {
    let mut program = Talking::start(&mut Command::new(victim::live("checking")));
    let ready = program.line().expect("the victim ended before it was ready");
    victim::parse_ready(&ready);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    let mut by_stop = 0;
    for number in 0..captures {
        let types = ["normal", "full"][number % 2];
        let result = dump(program.pid(), types, &path);
        if result["hold"] != "clone" {
            // It may be just starting a child.
            let notes = result["notes"].to_string();
            assert!(notes.contains("one of its threads did not stop"), "{notes}");
            by_stop += 1;
        }
        proc::assert_released(program.pid());
        assert_eq!(answer(&mut program, "check"), "whole", "capture {number}");
    }
    assert!(by_stop < captures, "all {captures} by a stop");
    until("no clone is left", || clones(program.pid()).is_empty());
}

/// Dumps a process completely.
fn dump(pid: u32, types: &str, path: &Path) -> Value {
    let result = crate::capture::dump(pid, types, &CLONE, path);
    assert_eq!(result["status"], "complete", "{result}");
    result
}

#[test]
fn a_busy_target_notices_nothing() {
    capture_often(20);
}

#[test]
#[ignore = "takes minutes; cargo test --test live clone -- --ignored"]
fn a_busy_target_notices_nothing_a_thousand_times() {
    capture_often(1000);
}

/// Stops may come in at any moment of the injected calls.
#[test]
fn no_signal_is_lost() {
    for what in ["signals", "stops"] {
        let victim = Victim::start(&victim::c("storm", Frames::Pointers), &[what]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        let clones = (0..40).filter(|_| dump(victim.pid(), "normal", &path)["hold"] == "clone");
        assert!(clones.count() > 0, "{what}");
        proc::assert_released(victim.pid());
        crate::storms::assert_no_signal_lost(victim);
    }
}
