//! The rules of `check`: each one reports a dump that breaks it, and only that rule does. None
//! reports a valid dump.

use std::collections::BTreeSet;
use std::io;

use dumpwright::read::{
    ByteSource, CheckOptions, Dump, Level, Rule, Violation, check, check_with, stream_type,
};

use crate::cases::CASES;
use crate::sample::{self, Block, LIBRARY, PRIVATE, STACK_1, Sample, range};

/// Ids of the rules that a dump breaks, if losses are expected.
fn broken(dump: &Dump) -> Vec<&'static str> {
    let found = check_with(dump, CheckOptions { expect_losses: true }).expect("the dump can be read");
    let ids: BTreeSet<_> = found.iter().map(|violation| violation.rule.id()).collect();
    ids.into_iter().collect()
}

fn open(sample: &Sample) -> Dump {
    Dump::from_bytes(&sample.bytes[..]).expect("the sample is a minidump")
}

#[test]
fn good_dumps_break_no_rule() {
    for sample in [
        sample::normal(),
        sample::every(),
        sample::full(),
        sample::compressed(),
        sample::sample_with(128, 0),
    ] {
        let found = check(&open(&sample)).unwrap();
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn trailing_bytes_break_no_rule() {
    let mut sample = sample::normal();
    sample.bytes.extend([0xab; 1000]);
    assert!(broken(&open(&sample)).is_empty());
}

#[test]
fn each_damage_breaks_its_rule_and_no_other() {
    for (number, (rule, good, damage)) in CASES.iter().enumerate() {
        let mut sample = good();
        let before = broken(&open(&sample));
        damage(&mut sample);
        let mut expected: BTreeSet<_> = before.iter().copied().collect();
        assert!(
            expected.insert(rule.id()),
            "case {number}: {} is broken before the damage",
            rule.id()
        );
        let after: BTreeSet<_> = broken(&open(&sample)).into_iter().collect();
        assert_eq!(after, expected, "case {number} for {}", rule.id());
    }
}

/// A file with only a pretended length, which the cases above cannot contain.
struct Sparse {
    head: Vec<u8>,
    length: u64,
}

impl ByteSource for Sparse {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if offset + into.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (at, byte) in (offset..).zip(into) {
            *byte = usize::try_from(at)
                .ok()
                .and_then(|at| self.head.get(at))
                .copied()
                .unwrap_or(0);
        }
        Ok(())
    }
}

fn sparse(sample: Sample, length: u64) -> Dump {
    Dump::from_source(Sparse {
        head: sample.bytes,
        length,
    })
    .expect("the sample is a minidump")
}

#[test]
fn streams_that_end_above_4_gib() {
    let mut sample = sample::normal();
    sample.enter(PRIVATE, 0x10, 0xffff_fff0);
    assert!(
        broken(&sparse(sample.clone(), 5 << 30)).is_empty(),
        "the last byte below 4 GiB is in reach"
    );
    sample.enter(PRIVATE, 0x11, 0xffff_fff0);
    assert_eq!(broken(&sparse(sample, 5 << 30)), [Rule::StreamPast32Bits.id()]);
}

#[test]
fn ranges_that_breakpad_refuses_to_read() {
    let with_range = |size: u32| {
        let mut sample = sample::normal();
        let at = sample.mark("memory list");
        let known = sample.bytes[at + 4..at + 52].to_vec();
        let rva = sample.len() + 0x1000;
        let list = Block::new()
            .u32(4)
            .bytes(&known)
            .bytes(&range(0x1_0000_0000, size, rva));
        sample.put_stream(stream_type::MEMORY_LIST, "large range", &list.0);
        broken(&sparse(sample, 1 << 30))
    };
    assert!(with_range(64 << 20).is_empty());
    assert_eq!(with_range((64 << 20) + 1), [Rule::MemoryRangeLarge.id()]);
}

#[test]
fn known_bytes_beyond_4_gib_are_found() {
    let mut sample = sample::full();
    let list = Block::new()
        .u64(2)
        .u64(0x1_0000)
        .u64(0x10_0000_0000)
        .u64(6 << 30)
        .u64(STACK_1)
        .u64(0x200);
    sample.put_stream(stream_type::MEMORY64_LIST, "huge list", &list.0);
    let dump = sparse(sample, 0x1_0000 + (6 << 30) + 0x200);
    assert_eq!(
        dump.memory(0x10_0000_0000 + (5 << 30), 16).unwrap(),
        Some(vec![0; 16])
    );
    assert_eq!(dump.memory_ranges().unwrap()[1].file_offset, 0x1_0000 + (6 << 30));
    assert_eq!(dump.memory(0x10_0000_0000 + (6 << 30), 1).unwrap(), None);
}

#[test]
fn every_rule_has_a_case() {
    let mut tested: BTreeSet<_> = CASES.iter().map(|case| case.0.id()).collect();
    tested.insert(Rule::StreamPast32Bits.id());
    tested.insert(Rule::MemoryRangeLarge.id());
    // In the tests of files whose tables are as long as the format allows.
    tested.insert(Rule::ListTooLong.id());
    let all: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
    assert_eq!(tested, all);
    assert_eq!(all.len(), Rule::ALL.len(), "ids differ");
    for id in all {
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{id}"
        );
    }
}

#[test]
fn losses_fail_the_check_unless_they_are_expected() {
    let dump = open(&sample::with_losses());
    let severities = |found: &[Violation]| {
        found
            .iter()
            .map(|one| (one.rule, one.severity))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        severities(&check(&dump).unwrap()),
        [(Rule::MemoryLost, Level::Error)]
    );
    let expected = check_with(&dump, CheckOptions { expect_losses: true }).unwrap();
    assert_eq!(severities(&expected), [(Rule::MemoryLost, Level::Warning)]);
}

#[test]
fn a_violation_names_the_place_the_rule_and_who_minds() {
    let mut sample = sample::normal();
    let at = sample.mark("exception") as u64 + 32;
    sample.set_u32(at as usize, 16);
    let found = check(&open(&sample)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].offset, found[0].severity), (at, Level::Error));
    let line =
        format!("error: exception-parameters: at {at:#x}: NumberParameters is 16 (rust-minidump panics)");
    assert_eq!(found[0].to_string(), line);
}

#[test]
fn a_thousand_violations_of_one_rule_are_told_by_a_hundred() {
    let mut sample = sample::normal();
    let list = Block::new().u32(16).u32(48).u64(1000).zeros(48 * 1000);
    sample.put_stream(stream_type::MEMORY_INFO_LIST, "empty regions", &list.0);
    let found = check(&open(&sample)).unwrap();
    assert_eq!(found.len(), 100);
    assert!(
        found[99].text.ends_with("; and 900 more like this"),
        "{}",
        found[99].text
    );
}

#[test]
fn what_microsofts_writer_does_is_no_error() {
    // Observed with DbgHelp 6.3.9600: unused slots at the end of the directory; a declined context
    // that keeps its size; a range that could not be read, with size 0; a CodeView record that was
    // declined late and keeps its size.
    let mut sample = sample::full();
    sample.set_u32(sample.mark("thread list") + 4 + 44, 0);
    sample.set_u32(sample.mark("module list") + 4 + 80, 0);
    let list = sample.mark("memory64 list");
    sample.set_u64(list + 16 + 40, 0);
    let found = check(&open(&sample)).unwrap();
    assert!(
        found.iter().all(|violation| violation.severity == Level::Warning),
        "{found:#?}"
    );
    assert!(!found.is_empty());
}

#[test]
fn overlapping_modules_are_an_error_on_windows_only() {
    let severity = |platform: u32| {
        let mut sample = sample::normal();
        sample.set_u32(sample.mark("system info") + 20, platform);
        sample.set_u64(sample.mark("module list") + 4, LIBRARY - 0x3fff);
        let found = check(&open(&sample)).unwrap();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].rule, Rule::ModuleOverlap);
        found[0].severity
    };
    assert_eq!(severity(2), Level::Error);
    assert_eq!(severity(0x8201), Level::Warning);
}

/// Dumps of other writers that Breakpad and LLDB read in full: Breakpad's writer for Linux writes
/// no MiscInfo and aligns LinuxDsoDebug, its writer for macOS pads the lists.
#[test]
fn what_breakpads_writers_do_is_no_error() {
    let mut sample = sample::normal();
    sample.remove(stream_type::MISC_INFO);
    for (stream, entry) in [
        (stream_type::THREAD_LIST, 48),
        (stream_type::MODULE_LIST, 108),
        (stream_type::MEMORY_LIST, 16),
    ] {
        let (size, rva) = sample.stream(stream);
        let list = sample.bytes[rva as usize..(rva + size) as usize].to_vec();
        let padded = Block::new().bytes(&list[..4]).zeros(4).bytes(&list[4..]);
        assert_eq!((size - 4) % entry, 0);
        sample.put_stream(stream, "padded", &padded.0);
    }
    let dump = open(&sample);
    let found = check(&dump).unwrap();
    let rules: BTreeSet<_> = found.iter().map(|one| (one.rule.id(), one.severity)).collect();
    let expected = [
        ("list-padded", Level::Warning),
        ("misc-info-missing", Level::Warning),
    ];
    assert_eq!(rules, BTreeSet::from(expected), "{found:#?}");
    assert_eq!(dump.modules().unwrap().len(), 2);
    assert_eq!(dump.threads().unwrap()[1].id, sample::THREAD_2);
}
