//! Dumps with compressed memory of live processes, decoded by a reader that knows only the format.

use std::fs;
use std::process::Command;

use dumpwright::read::{Dump, check};

use crate::support::compressed_memory::{bytes_at, memory, stream};
use crate::support::dumper::dumpwright;
use crate::support::victim::{self, BigTruth, Frames, ThreadsTruth, Victim};
use crate::support::{proc, run_well};

#[test]
fn every_byte_that_the_victim_knows_is_there() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::NoPointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("victim.dmp");
    for (list, hold) in [
        ("with-memory-compressed", "stop"),
        ("full,with-memory-compressed", "clone"),
    ] {
        let mut command = dumpwright();
        command.args(["dump", "--force", "--type", list, "--hold", hold]);
        command.args(["--pid", &victim.pid().to_string(), "-o"]);
        run_well(command.arg(&path));
        victim.ping();
        let file = fs::read(&path).unwrap();
        let found = memory(&file);
        let dump = Dump::open(&path).unwrap();
        for pattern in &truth.memory {
            let size = usize::try_from(pattern.length).unwrap();
            let expected = pattern.bytes();
            assert!(
                bytes_at(&found, pattern.address, size) == Some(&expected),
                "{}",
                pattern.name
            );
            assert!(dump.memory(pattern.address, pattern.length).unwrap() == Some(expected));
        }
        let [start, end] = truth.never_touched;
        let zeros = vec![0; usize::try_from(end - start).unwrap()];
        assert!(bytes_at(&found, start, zeros.len()) == Some(&zeros));
        assert_eq!(bytes_at(&found, truth.unreadable[0], 1), None);
        // The stacks stand in a MemoryList as well, with the same bytes.
        let threads = dump.threads().unwrap();
        assert_eq!(threads.len(), truth.threads.len());
        for thread in &threads {
            let stack = thread.stack;
            let mut bytes = vec![0; stack.size as usize];
            dump.read_file(stack.rva.into(), &mut bytes).unwrap();
            assert!(
                bytes_at(&found, stack.start, bytes.len()) == Some(&bytes),
                "{}",
                thread.id
            );
        }
        let violations = check(&dump).unwrap();
        let errors: Vec<_> = violations
            .iter()
            .filter(|violation| violation.severity == dumpwright::read::Level::Error)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

/// The limit counts all memory that the dumper can write to, also that of its threads. The file is
/// larger than the limit after decompression, and each of its pages differs from all others.
#[test]
fn a_big_process_needs_bounded_memory_and_no_page_is_misplaced() {
    let folder = tempfile::tempdir_in(crate::support::scratch()).unwrap();
    let path = folder.path().join("big.dmp");
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &["256"]);
    let truth: BigTruth = victim.truth();
    let script = "ulimit -d 65536; exec \"$0\" dump --type with-memory-compressed --pid $1 -o \"$2\"";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(dumpwright().get_program());
    run_well(command.arg(victim.pid().to_string()).arg(&path));
    victim.ping();
    let file = fs::read(&path).unwrap();
    let stream = stream(&file);
    assert!(
        stream.bytes_read > 256 << 20 && file.len() < 64 << 20,
        "{}",
        file.len()
    );
    let (first, end) = (truth.address, truth.address + truth.length);
    let mut seen = 0;
    stream.each_region(&file, |address, bytes| {
        for (page, at) in bytes.chunks(4096).zip((address..).step_by(4096)) {
            if at < first || at >= end {
                continue;
            }
            assert_eq!((at - first) % truth.page, 0);
            let number = (at - first) / truth.page;
            assert_eq!(page[..16], truth.page_start(number), "page {number}");
            assert!(page[16..].iter().all(|byte| *byte == 0));
            seen += 1;
        }
    });
    assert_eq!(seen, truth.length / truth.page);
}

const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// Dumps a process with a mapping of this size (`live_victims/vast.c`), and checks each page of the
/// mapping. Returns the size of the file.
fn vast(kind: &str, mebibytes: u64) -> u64 {
    let folder = tempfile::tempdir_in(crate::support::scratch()).unwrap();
    let path = folder.path().join("vast.dmp");
    let mut victim = Victim::start(&victim::live("vast"), &[kind, &mebibytes.to_string()]);
    let truth: BigTruth = victim.truth();
    let tables = proc::status(truth.pid, "VmPTE");
    let mut command = dumpwright();
    command.args(["dump", "--type", "full,with-memory-compressed", "--pid"]);
    run_well(command.arg(victim.pid().to_string()).arg("-o").arg(&path));
    victim.ping();
    assert_eq!(proc::status(truth.pid, "VmPTE"), tables, "page tables");
    let file = fs::read(&path).unwrap();
    let (first, end) = (truth.address, truth.address + truth.length);
    let mut expected = ZEROS;
    let mut next = first;
    stream(&file).each_region(&file, |address, bytes| {
        for (page, at) in bytes.chunks(PAGE).zip((address..).step_by(PAGE)) {
            if at < first || at >= end {
                continue;
            }
            assert_eq!(at, next, "the mapping has no gap");
            next += PAGE as u64;
            let number = (at - first) / truth.page;
            let expected = match kind {
                "huge" => {
                    expected[..16].copy_from_slice(&truth.page_start(number));
                    &expected
                }
                _ => sparse_page(&truth, number, &mut expected),
            };
            assert!(page == expected, "page {number}");
        }
    });
    assert_eq!(next, end, "the mapping is whole");
    fs::metadata(&path).unwrap().len()
}

/// The contents of a page of the sparse mapping.
fn sparse_page<'p>(truth: &BigTruth, number: u64, page: &'p mut [u8; PAGE]) -> &'p [u8; PAGE] {
    const GROUP: u64 = 2048;
    let (group, inside) = (number / GROUP, number % GROUP);
    let from = group * 37 % (GROUP - 64);
    if group % 2 == 1 || !(from..=from + group % 64).contains(&inside) {
        return &ZEROS;
    }
    for (word, index) in page.chunks_exact_mut(8).zip(number * 512..) {
        let value = truth.seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        word.copy_from_slice(&value.to_le_bytes());
    }
    page
}

#[test]
fn a_mapping_of_huge_pages_is_whole() {
    vast("huge", 64);
}

#[test]
fn a_mapping_with_few_pages_is_whole_and_takes_little_space() {
    assert!(vast("sparse", 1024) < 16 << 20);
}

#[test]
#[ignore = "needs 5 GiB of memory: cargo test --test live -- --ignored gibibytes"]
fn four_gibibytes_of_huge_pages_are_whole() {
    vast("huge", 4 << 10);
}

/// About 0.5 GiB exist. Half of that is zero.
#[test]
#[ignore = "takes a minute: cargo test --test live -- --ignored gibibytes"]
fn thirty_two_gibibytes_with_few_pages_are_whole() {
    assert!(vast("sparse", 32 << 10) < 300 << 20);
}
