//! How many system calls a dump makes, counted by strace. The counts do not depend on the load of
//! the machine.
//!
//! Would catch: small reads of memory, a write for each piece of the file, files of the system that
//! are read again and again, pages that are looked for with each read, and `smaps`, which takes the
//! kernel long, where it is not needed.

use std::fs;

use crate::support::dumper::dumpwright;
use crate::support::victim::{self, BigTruth, Frames, Victim};

/// The system calls of a dump, one in each line, as strace writes them.
struct Calls {
    calls: Vec<String>,
    /// The size of the dump in bytes.
    dump: u64,
}

impl Calls {
    fn of(victim: &mut Victim, types: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-qq", "-y", "-o"]).arg(&trace);
        command.arg(dumpwright().get_program());
        command.args(["dump", "--type", types, "--pid", &victim.pid().to_string(), "-o"]);
        let dump = folder.path().join("dump");
        let output = command.arg(&dump).output();
        let output = output.expect("strace is not installed: cargo xtask readers");
        assert!(output.status.success(), "{output:?}");
        victim.ping();
        let text = fs::read_to_string(trace).unwrap();
        let lines = text.lines().filter_map(|line| {
            let (_, call) = line.split_once(' ')?;
            Some(call.trim_start().to_owned())
        });
        Self {
            calls: lines.filter(|call| !call.starts_with("<...")).collect(),
            dump: fs::metadata(dump).unwrap().len(),
        }
    }

    /// The number of calls with this name whose line contains the text.
    fn count(&self, name: &str, text: &str) -> usize {
        let is_one = |call: &&String| {
            let rest = call.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('(')) && call.contains(text)
        };
        self.calls.iter().filter(is_one).count()
    }
}

#[test]
fn a_normal_dump_asks_once_and_has_no_small_writes() {
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &[] as &[&str]);
    let calls = Calls::of(&mut victim, "normal");
    // Pieces of 64 KiB are written directly, and what is between them is collected.
    let writes = calls.count("pwrite64", "") as u64;
    assert!(
        writes <= calls.dump / (32 << 10) + 1,
        "{writes} for {}",
        calls.dump
    );
    // Those of the target, of the dumper and of the first process.
    assert_eq!(calls.count("openat", "/mountinfo\""), 3);
    assert_eq!(calls.count("openat", "\"/proc/cpuinfo\""), 1);
    assert_eq!(calls.count("openat", "/smaps\""), 0);
    // Each thread's once, before it is stopped, and a few of the process.
    let threads = calls.count("ptrace", "PTRACE_SEIZE");
    let stats = calls.count("openat", "/stat\"");
    assert!(
        threads > 4 && stats < threads + 8,
        "{stats} for {threads} threads"
    );
    // The parts of the address space that the dump needs, not the reads.
    let reads = calls.count("process_vm_readv", "") + calls.count("pread64", "/mem>");
    assert!(reads > 30, "{reads}");
    // One after each scan: a scan of a process that is being killed finds nothing.
    let scans = calls.count("ioctl", "/pagemap>");
    let entries = calls.count("pread64", "/pagemap>");
    assert!(scans < 32, "{scans}");
    assert!(entries < 28 + scans, "{entries} for {scans} scans");
}

#[test]
fn a_full_dump_reads_and_writes_in_large_pieces() {
    const MEBIBYTES: usize = 128;
    /// The dump reads 256 KiB at once.
    const A_MEBIBYTE: usize = 4;
    let mut victim = Victim::start(&victim::c("big", Frames::NoPointers), &[MEBIBYTES.to_string()]);
    let truth: BigTruth = victim.truth();
    assert_eq!(truth.length, (MEBIBYTES as u64) << 20);
    let calls = Calls::of(&mut victim, "full");
    let needed = MEBIBYTES * A_MEBIBYTE;
    let others = 120;
    for call in ["process_vm_readv", "pwrite64"] {
        let count = calls.count(call, "");
        assert!((needed..needed + others).contains(&count), "{call}: {count}");
    }
    let scans = calls.count("ioctl", "/pagemap>");
    assert!(scans < 32, "{scans}");
    // One for 4 MiB, one after each scan, and a few for the rest of the process.
    let entries = calls.count("pread64", "/pagemap>");
    assert!(
        entries < MEBIBYTES / 4 + 32 + scans,
        "{entries} for {scans} scans"
    );
    assert_eq!(calls.count("openat", "/smaps\""), 1);
}
