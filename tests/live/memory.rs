//! Full memory: the dump has the target's bytes of every kind of memory, and invents none.

use serde::Deserialize;

use crate::capture::{Capture, memory_of, steady};
use crate::support::proc;
use crate::support::victim::{self, Frames, Pattern, ThreadsTruth, Victim};

const FULL: &str = "with-full-memory";

#[derive(Deserialize)]
struct MemoryTruth {
    pid: u32,
    patterns: Vec<Pattern>,
    /// Memory that reads as zero.
    zero: Vec<[u64; 2]>,
    /// Addresses that are mapped and have no readable bytes.
    nothing: Vec<[u64; 2]>,
    dont_dump: Pattern,
}

fn assert_has(capture: &Capture, pattern: &Pattern) {
    assert!(
        capture.memory(&pattern.name, pattern.address, pattern.length) == pattern.bytes(),
        "{} differs from the target's",
        pattern.name
    );
}

fn assert_has_none(capture: &Capture, [start, end]: [u64; 2]) {
    for page in (start..end).step_by(4096) {
        assert_eq!(
            capture.dump.memory(page, 1).unwrap(),
            None,
            "{page:#x} has no bytes"
        );
    }
}

#[test]
fn every_kind_of_memory_is_the_targets() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&victim::live("memory"), &[folder.path()]);
    let truth: MemoryTruth = victim.truth();
    let capture = Capture::of(truth.pid, FULL);
    capture.check();
    for pattern in &truth.patterns {
        assert_has(&capture, pattern);
    }
    for [start, end] in &truth.zero {
        let bytes = capture.memory("zeros", *start, end - start);
        assert!(bytes.iter().all(|byte| *byte == 0), "{start:#x}");
    }
    for range in &truth.nothing {
        assert_has_none(&capture, *range);
    }

    // Left out by default and reported; the dump is not partial.
    let kept = &truth.dont_dump;
    assert_has_none(&capture, [kept.address, kept.address + kept.length]);
    assert!(capture.dump.contains_nowhere(&kept.bytes()[..64]).unwrap());
    let left_out = capture.result["left_out"].to_string();
    assert!(left_out.contains("do not dump"), "{left_out}");
    let capture = Capture::with(truth.pid, &["--type", FULL, "--include-dontdump"]);
    assert_has(&capture, kept);
    assert!(!capture.result["left_out"].to_string().contains("do not dump"));
    victim.ping();
}

#[test]
fn what_the_program_has_written_everywhere() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::NoPointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    let capture = Capture::of(truth.pid, FULL);
    for pattern in &truth.memory {
        assert_has(&capture, pattern);
    }
    assert_has_none(&capture, truth.unreadable);
    victim.ping();
}

/// The dump has each readable mapping, whole. The target does not run in the meantime, so its
/// memory is the same afterwards.
#[test]
fn every_readable_mapping_is_there() {
    let mut victim = steady(&victim::live("plain"));
    let pid = victim.pid();
    let capture = Capture::of(pid, FULL);
    // The kernel's own pages, which no other process can read.
    let kernel = |name: &str| name.starts_with("[vvar") || name == "[vsyscall]";
    let maps = proc::maps(pid);
    let readable = maps
        .iter()
        .filter(|mapping| mapping.access.starts_with('r') && !kernel(&mapping.name));
    let mut bytes = 0;
    for mapping in readable {
        // After the end of its file, a mapping has no bytes. The system's own files end in their
        // last page.
        let length = mapping.end - mapping.start;
        let own = memory_of(pid, mapping.start, length as usize);
        assert!(
            capture.memory(&mapping.name, mapping.start, length) == own,
            "{mapping:?}"
        );
        bytes += length;
    }
    assert_eq!(capture.result["memory_bytes"], bytes, "and nothing else");
    victim.ping();
}
