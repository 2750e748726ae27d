//! Readers that others wrote, on the golden dumps of the cases that are meant to be whole.
//!
//! Would catch: a callback's answer that leaves a file which breaks a rule of the format: a thread without
//! its stack's bytes, a list that a reader drops, counts that do not agree, memory where the ranges do not say.

#[path = "cases/case.rs"]
#[expect(dead_code, reason = "golden files are read here, not made")]
mod case;
mod support;

use std::path::Path;

use case::Case;
use dumpwright::read::{CheckOptions, Dump, Severity, check_with};
use support::readers::rust_minidump::Symbols;
use support::readers::{breakpad, lldb, python, rust_minidump};

/// What the readers have to find.
struct Expected {
    threads: Vec<u32>,
    modules: usize,
}

fn whole() -> Vec<Case> {
    let mut cases = case::all();
    cases.retain(|case| case.facts.whole);
    assert!(!cases.is_empty());
    cases
}

fn expected(dump: &Path) -> Expected {
    let dump = Dump::open(dump).expect("a minidump");
    Expected {
        threads: sorted(dump.threads().expect("threads").iter().map(|thread| thread.id)),
        modules: dump.modules().expect("modules").len(),
    }
}

fn sorted(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}

#[test]
fn our_own_checker_finds_no_error() {
    for case in whole() {
        let dump = Dump::open(case.path("dump.dmp")).expect("a minidump");
        let found = check_with(&dump, CheckOptions::default()).expect("a dump that can be checked");
        let errors: Vec<_> = found
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", case.name);
    }
}

#[test]
fn rust_minidump_accepts_them() {
    for case in whole() {
        let (file, folder) = (case.path("dump.dmp"), tempfile::tempdir().expect("a folder"));
        let reading = rust_minidump::read(&file, Symbols::Folder(folder.path()));
        judge(&case, &reading, &expected(&file));
    }
}

#[test]
fn breakpad_accepts_them() {
    for case in whole() {
        let (file, folder) = (case.path("dump.dmp"), tempfile::tempdir().expect("a folder"));
        let reading = breakpad::read(&file, folder.path());
        judge(&case, &reading, &expected(&file));
    }
}

#[test]
fn lldb_accepts_them() {
    for case in whole() {
        let file = case.path("dump.dmp");
        judge(&case, &lldb::read(&file), &expected(&file));
    }
}

#[test]
fn skelsec_minidump_accepts_them() {
    for case in whole() {
        let file = case.path("dump.dmp");
        let expected = expected(&file);
        let found = python::skelsec(&file, &[]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(found.complaints, [""; 0], "{}", case.name);
        let threads = sorted(found.threads.iter().map(|thread| thread.tid));
        assert_eq!(threads, expected.threads, "{}", case.name);
        assert_eq!(found.modules.len(), expected.modules, "{}", case.name);
    }
}

fn judge(case: &Case, reading: &support::readers::Reading, expected: &Expected) {
    let (name, reader) = (&case.name, reading.reader);
    assert_eq!(reading.complaints, [""; 0], "{name}: {reader}");
    let threads = sorted(reading.threads.iter().map(|thread| thread.tid));
    assert_eq!(threads, expected.threads, "{name}: {reader}");
    assert_eq!(reading.modules, expected.modules, "{name}: {reader}");
}
