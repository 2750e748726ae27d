//! The golden cases in `testdata/cases`. A scenario and a script give the same transcript, dump and
//! listing, byte by byte, on every machine and at any time. To add a case, add a folder;
//! `cargo xtask bless` writes its files.
//!
//! Would catch: a call that comes at another time, with other facts or another default; an answer
//! with another effect; a dump type that adds or takes away something that it should not; a byte of
//! a dump that has changed, or that depends on the machine, the clock or the build; a callback type
//! or a field of an answer without a case; a script whose calls differ for a live process.

mod case;
mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::compressed_memory;
use crate::support::victim::{self, Frames, Victim};
use case::{Case, GOLDEN, Listing, Rehearsal};
use dumpwright::callback::AskKind;
use dumpwright::protocol::{Status, Transcript};

/// The largest golden dump. Golden dumps stay in the history of the repository.
const LARGEST: u64 = 100 << 10;

#[test]
fn every_case_gives_its_files_again() {
    let mut surprises = Vec::new();
    for case in case::all() {
        assert!(
            !case.facts.whole || case.facts.ending == Status::Complete,
            "{} cannot be whole",
            case.name
        );
        let rehearsal = case.rehearse();
        if let Ok(dump) = fs::metadata(rehearsal.path("dump.dmp")) {
            assert!(dump.len() <= LARGEST, "{}: {} bytes", case.name, dump.len());
        }
        if crate::support::blessing() {
            bless(&case, &rehearsal);
        }
        if let Some(difference) = difference(&case, &rehearsal) {
            surprises.push(format!(
                "case {} ({}): {difference}\nagain: {}\nif it is meant: cargo xtask bless",
                case.name, case.facts.about, rehearsal.command
            ));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n\n"));
}

fn bless(case: &Case, rehearsal: &Rehearsal) {
    for file in GOLDEN {
        let (from, to) = (rehearsal.path(file), case.path(file));
        if from.exists() {
            fs::copy(from, to).expect("the golden file is written");
        } else if to.exists() {
            fs::remove_file(to).expect("the golden file is removed");
        }
    }
}

/// The first difference from the golden files, in the file where it is easiest to read.
fn difference(case: &Case, rehearsal: &Rehearsal) -> Option<String> {
    let golden = fs::read_to_string(case.path("transcript.jsonl")).unwrap_or_default();
    let golden = Transcript::parse(&golden).expect("a golden transcript");
    if let Some(difference) = golden.difference(&rehearsal.transcript) {
        return Some(format!("the dialogue is another one\n{difference}"));
    }
    GOLDEN.iter().find_map(|file| {
        let read = |path: &Path| fs::read(path).ok();
        let (expected, found) = (read(&case.path(file)), read(&rehearsal.path(file)));
        fn comparable(bytes: &Option<Vec<u8>>) -> Option<Decoded<'_>> {
            bytes.as_deref().map(decoded)
        }
        (expected != found && comparable(&expected) != comparable(&found)).then(|| match (expected, found) {
            (Some(expected), Some(found)) => {
                format!("{file} differs {}", first_difference(&expected, &found))
            }
            (None, _) => format!("{file} has not been made"),
            (_, None) => format!("there is no {file}"),
        })
    })
}

/// The bytes before compressed memory, and this memory by address.
type Decoded<'f> = (&'f [u8], BTreeMap<u64, Vec<u8>>);

/// The bytes of a file up to its compressed memory, and this memory. Another version of LZ4 may
/// compress in another way.
fn decoded(file: &[u8]) -> Decoded<'_> {
    if !file.starts_with(b"MDMP") || compressed_memory::entry(file, 25).is_none() {
        return (file, BTreeMap::new());
    }
    let stream = compressed_memory::stream(file);
    (&file[..stream.offset], compressed_memory::memory(file))
}

/// The first line that differs in texts, or the first byte in other files.
fn first_difference(expected: &[u8], found: &[u8]) -> String {
    if let (Ok(expected), Ok(found)) = (str::from_utf8(expected), str::from_utf8(found)) {
        let mut lines = expected.lines().zip(found.lines()).enumerate();
        if let Some((line, (expected, found))) = lines.find(|(_, (expected, found))| expected != found) {
            return format!(
                "in line {}\n  expected: {expected}\n  found:    {found}",
                line + 1
            );
        }
    }
    let same = expected
        .iter()
        .zip(found)
        .take_while(|(expected, found)| expected == found);
    let (offset, sizes) = (same.count(), (expected.len(), found.len()));
    format!("from byte {offset:#x}; {} bytes became {}", sizes.0, sizes.1)
}

/// A dump type adds and removes exactly what its case states.
#[test]
fn cases_differ_from_each_other_as_they_say() {
    let cases = case::all();
    let mut surprises = Vec::new();
    for case in &cases {
        let Some(base) = &case.facts.compared_with else {
            continue;
        };
        let base = cases.iter().find(|other| other.name == *base);
        let base = base.unwrap_or_else(|| panic!("{}: nothing to compare with", case.name));
        let (this, other) = (Listing::of(case), Listing::of(base));
        let sorted = |lines: &[String]| {
            let mut lines = lines.to_vec();
            lines.sort();
            lines
        };
        let said = (sorted(&case.facts.adds), sorted(&case.facts.lacks));
        let found = (this.beyond(&other), other.beyond(&this));
        if said != found {
            surprises.push(format!(
                "{} differs from {} in this way:\nadds = {:#?}\nlacks = {:#?}",
                case.name, base.name, found.0, found.1
            ));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n\n"));
}

#[test]
fn differences_are_told_with_their_place() {
    let text = first_difference(b"a\nb\n", b"a\nc\n");
    assert!(text.contains("line 2") && text.contains("expected: b"), "{text}");
    let text = first_difference(b"\xff\0\x01", b"\xff\0\x02\x03");
    assert!(
        text.contains("byte 0x2") && text.contains("3 bytes became 4"),
        "{text}"
    );
}

/// Compares a generated file with what `generated` makes of its present content, or renews it.
fn holds(file: &str, generated: impl Fn(&str) -> String) {
    let path = crate::support::repository().join(file);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let expected = generated(&found);
    if crate::support::blessing() {
        fs::write(&path, expected).expect("the document is written");
    } else {
        assert!(found == expected, "{file} is out of date: cargo xtask bless");
    }
}

#[test]
fn every_question_and_every_field_of_an_answer_has_a_case() {
    let rehearsed: Vec<_> = case::all()
        .into_iter()
        .map(|case| {
            let rehearsal = case.rehearse();
            (case, rehearsal.transcript)
        })
        .collect();
    let document = document::Document::of(&rehearsed);
    // A script cannot set these two fields, and they have no effect.
    let unused = ["numa_node_info_size", "reserved"];
    let unused = unused.map(|field| (AskKind::CompressedMemoryStreamStart, field.to_owned()));
    assert_eq!(
        document.without_case(),
        BTreeSet::from(unused),
        "fields without a case"
    );
    holds("docs/callbacks.md", |_| document.text());
}

/// Needs the right to trace: root, or `kernel.yama.ptrace_scope` 0; in a container the capability
/// SYS_PTRACE.
#[test]
fn a_live_process_is_asked_the_same_kinds_of_questions() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    let pid = victim.pid().to_string();
    let kinds = |transcript: &Transcript| {
        let kinds = transcript.entries.iter().map(|entry| entry.ask);
        kinds.collect::<BTreeSet<_>>()
    };
    for case in case::all().iter().filter(|case| case.facts.live) {
        let live = kinds(&case.dump(&["--pid".as_ref(), pid.as_ref()]).transcript);
        let simulated = kinds(&case.rehearse().transcript);
        // A live process is read to find its threads and modules; a simulated process has them
        // already.
        let reads = BTreeSet::from([AskKind::VmPreRead, AskKind::VmPostRead]);
        assert!(live.is_superset(&simulated), "case {}", case.name);
        assert_eq!(&live - &reads, &simulated - &reads, "case {}", case.name);
        victim.ping();
    }
}

#[test]
fn golden_texts_name_no_machine() {
    let folder = crate::support::repository();
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--files-with-matches", "--fixed-strings"])
        .arg(folder.to_string_lossy().as_ref())
        .arg(folder.join("testdata/cases"));
    assert_eq!(
        String::from_utf8_lossy(&crate::support::run(&mut grep).stdout),
        ""
    );
}
