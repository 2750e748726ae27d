//! Shared mappings of files that are mostly holes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::Deserialize;

use super::judges::{Truth, Walk, assert_memory, assert_threads, readings};
use crate::support::dumper::{self, Dump};
use crate::support::readers::{lldb, python};
use crate::support::victim::{self, Victim};
use crate::support::{proc, run_well};

const MIB: u64 = 1 << 20;

#[derive(Deserialize)]
struct Files {
    files: Vec<Sparse>,
}

#[derive(Deserialize)]
struct Sparse {
    name: String,
    descriptor: u32,
    address: u64,
    size: u64,
}

/// How much of a mapping and of its file exists.
#[derive(Debug, PartialEq, Eq)]
struct Existing {
    /// In the target's page tables, in kilobytes (`Rss` of proc_pid_smaps(5)).
    resident: String,
    /// In the file, in blocks of 512 bytes.
    blocks: u64,
}

impl Existing {
    fn of(pid: u32, file: &Sparse) -> Existing {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let entry = format!("{:x}-", file.address);
        let resident = smaps
            .lines()
            .skip_while(|line| !line.starts_with(&entry))
            .find_map(|line| line.strip_prefix("Rss:"));
        let status = fs::metadata(format!("/proc/{pid}/fd/{}", file.descriptor)).unwrap();
        Existing {
            resident: resident.expect("mapped").trim().to_owned(),
            blocks: status.blocks(),
        }
    }
}

/// The dump has everything that was written, by any process and in any way. The holes are zeros,
/// and the dump creates no pages. Holes of more than 1 GiB are left out and reported.
#[test]
fn shared_mappings_with_holes() {
    let folder = tempfile::tempdir_in(crate::support::scratch()).unwrap();
    let mut victim = Victim::start(&victim::awkward("sparse"), &[folder.path()]);
    let truth: Truth = victim.truth();
    let Files { files } = victim.truth();
    let existing = || -> Vec<Existing> { files.iter().map(|file| Existing::of(truth.pid, file)).collect() };
    let (before, tables) = (existing(), proc::status(truth.pid, "VmPTE"));
    let dump = Dump::of(&victim, "full");
    assert_eq!(existing(), before);
    assert_eq!(proc::status(truth.pid, "VmPTE"), tables, "page tables");

    for reading in readings(&dump.path) {
        assert_threads(&reading, &truth.threads, Walk::Whole);
    }
    assert_memory(&dump.path, &truth.bulk);

    // Around the pages, between them, and at both ends.
    let page = truth.bulk[0].length;
    let zeros: Vec<(u64, u64)> = files
        .iter()
        .filter(|file| file.size < 1 << 30)
        .flat_map(|file| {
            let own = truth.bulk.iter().filter(|pattern| pattern.name == file.name);
            let around = own.flat_map(|pattern| [pattern.address - page, pattern.address + page]);
            around.chain([file.address, file.address + file.size - page])
        })
        .map(|address| (address, page))
        .collect();
    let skelsec = python::skelsec(&dump.path, &zeros).expect("skelsec's minidump reads it");
    let lldb = lldb::report(&dump.path, &zeros).expect("LLDB reads it");
    for (reader, memory) in [("skelsec", &skelsec.memory), ("LLDB", &lldb.memory)] {
        for (place, read) in zeros.iter().zip(memory) {
            let read = read
                .as_deref()
                .unwrap_or_else(|| panic!("{reader}: {place:x?} is not there"));
            assert!(read.bytes().all(|digit| digit == b'0'), "{reader}: {place:x?}");
        }
    }

    // Holes use no disk space in the dump either. (stat -c %b counts what `du` does.)
    let blocks = run_well(
        std::process::Command::new("stat")
            .args(["-c", "%b"])
            .arg(&dump.path),
    );
    let on_disk = blocks.trim().parse::<u64>().unwrap() * 512;
    assert!(on_disk < 64 * MIB, "{on_disk} bytes on disk");
    let left_out = dump.result["left_out"].to_string();
    assert!(left_out.contains("only be a hole"), "{left_out}");
    dumper::check(&dump.path).unwrap();
    victim.ping();
}
