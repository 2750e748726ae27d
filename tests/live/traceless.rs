//! The dumper's system calls, and their traces in the target: there are none.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::capture::{Capture, complete};
use crate::support::dumper::dumpwright;
use crate::support::proc;
use crate::support::run_well;
use crate::support::victim::{self, Frames, Pattern, Victim};

/// The ptrace requests that attach, stop, detach and read. All others write into the target or
/// change its behaviour.
const HARMLESS_REQUESTS: &[&str] = &[
    "PTRACE_SEIZE",
    "PTRACE_INTERRUPT",
    "PTRACE_LISTEN",
    "PTRACE_DETACH",
    "PTRACE_GETREGS",
    "PTRACE_GETFPREGS",
    "PTRACE_GETREGSET",
    "PTRACE_GETSIGINFO",
    "PTRACE_GETSIGMASK",
    "PTRACE_PEEKSIGINFO",
    "PTRACE_PEEKUSER",
    "PTRACE_PEEKDATA",
    "PTRACE_GET_SYSCALL_INFO",
];

/// Calls by which one process changes another.
const HARMFUL_CALLS: &[&str] = &[
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_send_signal",
    "pidfd_getfd",
    "setpriority",
    "ioprio_set",
    "sched_setaffinity",
    "sched_setscheduler",
    "sched_setparam",
    "sched_setattr",
    "move_pages",
    "migrate_pages",
    "kcmp",
];

/// Calls that write to a descriptor. strace prints the path of the descriptor.
const WRITES: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "ioctl",
    "sendfile",
];

/// The objection to a line of `strace -f -y`, if it is a call that could change process `pid`.
fn objection(line: &str, pid: u32) -> Option<&'static str> {
    // "[pid 12] name(arguments…" or "12 name(arguments…". Other lines report signals and ends.
    let (before, arguments) = line.split_once('(')?;
    let call = before.rsplit(' ').next()?;
    let target = format!("/proc/{pid}/");
    match call {
        "ptrace" => {
            let request = arguments.split([',', ')']).next()?;
            // The options of PTRACE_SEIZE are its data argument; only 0 leaves the target's events
            // alone. strace splits a line in two if a call of another thread comes between.
            let plain = ["NULL, 0)", "NULL, 0 <unfinished ...>"];
            let seizes_with_options =
                request == "PTRACE_SEIZE" && !plain.iter().any(|end| arguments.contains(end));
            (!HARMLESS_REQUESTS.contains(&request) || seizes_with_options)
                .then_some("a request that changes the target")
        }
        _ if HARMFUL_CALLS.contains(&call) => Some("a call that changes other processes"),
        "open" | "openat" | "openat2" | "creat" => {
            let writable = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"]
                .iter()
                .any(|flag| arguments.contains(flag));
            (arguments.contains(&target) && (writable || call == "creat")).then_some("opened for writing")
        }
        "prlimit64" => (!arguments.starts_with("0,")).then_some("limits of another process"),
        _ if WRITES.contains(&call) => {
            let descriptor = arguments.split([',', ')']).next()?;
            // Queries which pages exist (PAGEMAP_SCAN in linux/fs.h).
            let asks =
                call == "ioctl" && arguments.contains("/pagemap>, _IOC(_IOC_READ|_IOC_WRITE, 0x66, 0x10, ");
            (descriptor.contains(&target) && !asks).then_some("written to")
        }
        _ => None,
    }
}

#[test]
fn the_objections_are_raised_where_they_should_be() {
    for harmless in [
        "12 ptrace(PTRACE_SEIZE, 77, NULL, 0) = 0",
        "12 ptrace(PTRACE_SEIZE, 78, NULL, 0 <unfinished ...>",
        "12 ptrace(PTRACE_GETREGS, 77, {r15=0,  <unfinished ...>",
        "12 openat(AT_FDCWD, \"/proc/77/maps\", O_RDONLY|O_CLOEXEC) = 3</proc/77/maps>",
        "12 openat(AT_FDCWD, \"/tmp/77\", O_WRONLY|O_TMPFILE, 0600) = 3</tmp/#1>",
        "12 write(3</tmp/#1>, \"/proc/77/mem\", 12) = 12",
        "12 process_vm_readv(77, [{iov_base=1, iov_len=2}], 1, [{iov_base=1}], 1, 0) = 2",
        "12 +++ exited with 0 +++",
    ] {
        assert_eq!(objection(harmless, 77), None, "{harmless}");
    }
    for harmful in [
        "12 ptrace(PTRACE_POKEDATA, 77, 0x1000, 1) = 0",
        "12 ptrace(PTRACE_SETREGSET, 77, NT_PRSTATUS, {iov_base=1}) = 0",
        "12 ptrace(PTRACE_SETSIGMASK, 77, 8, []) = 0",
        "12 ptrace(PTRACE_CONT, 77, NULL, 0) = 0",
        "12 ptrace(PTRACE_SEIZE, 77, NULL, PTRACE_O_TRACECLONE) = 0",
        "12 process_vm_writev(77, [], 1, [], 1, 0) = 2",
        "12 openat(AT_FDCWD, \"/proc/77/mem\", O_RDWR) = 3</proc/77/mem>",
        "12 pwrite64(3</proc/77/mem>, \"\", 1, 4096) = 1",
        "12 write(3</proc/77/clear_refs>, \"1\", 1) = 1",
        "12 tgkill(77, 77, SIGSTOP) = 0",
        "12 prlimit64(77, RLIMIT_CORE, {rlim_cur=0}, NULL) = 0",
    ] {
        assert!(objection(harmful, 77).is_some(), "{harmful}");
    }
}

#[test]
fn nothing_is_written_into_the_target() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    for types in ["normal", "full", "heap,with-process-thread-data"] {
        let folder = tempfile::tempdir().unwrap();
        let (dump, log) = (folder.path().join("dump"), folder.path().join("log"));
        let mut command = Command::new("strace");
        command
            .args(["-f", "-y", "-s", "0", "-o"])
            .arg(&log)
            .arg(dumpwright().get_program());
        command
            .args([
                "dump",
                "--json",
                "--type",
                types,
                "--pid",
                &victim.pid().to_string(),
                "-o",
            ])
            .arg(dump);
        // "full" and "heap" include flags without effect, which the report notes. The dump is
        // complete nevertheless.
        complete(&mut command);
        let log = fs::read_to_string(&log).unwrap();
        let objections: Vec<_> = log
            .lines()
            .filter_map(|line| objection(line, victim.pid()).map(|why| format!("{why}: {line}")))
            .collect();
        assert!(objections.is_empty(), "{types}: {objections:#?}");
        // The log has the calls that the test looks for.
        let threads = proc::task_ids(victim.pid()).len();
        let seized = |line: &&str| {
            line.contains("ptrace(PTRACE_SEIZE, ")
                && (line.ends_with("= 0") || line.ends_with("<unfinished ...>"))
        };
        assert_eq!(log.lines().filter(seized).count(), threads, "{types}");
        victim.ping();
    }
}

#[derive(Deserialize)]
struct UntouchedTruth {
    pid: u32,
    reserved: [u64; 2],
    file: [u64; 2],
}

/// Reading the memory of another process can create its pages. Then the dump makes the process
/// larger.
#[test]
fn memory_that_was_never_touched_is_not_made_by_dumping_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&victim::live("untouched"), &[folder.path().join("file")]);
    let truth: UntouchedTruth = victim.truth();
    let sizes =
        |pid| ["VmPTE", "RssAnon", "RssFile", "RssShmem", "VmSwap"].map(|field| proc::status(pid, field));
    // The victim answers one ping first, so that later answers need no new pages.
    victim.ping();
    let before = sizes(truth.pid);
    let faults = |pid| proc::Stat::of(pid).unwrap().number(10);
    let faults_before = faults(truth.pid);
    let capture = Capture::of(truth.pid, "with-full-memory");
    assert_eq!(sizes(truth.pid), before, "page tables and resident memory");
    assert_eq!(faults(truth.pid), faults_before, "page faults");

    // It is in the dump nevertheless: zeros, and the bytes of the file.
    let [start, end] = truth.reserved;
    for at in [start, start + (end - start) / 2, end - 4096] {
        assert!(
            capture
                .memory("untouched", at, 4096)
                .iter()
                .all(|byte| *byte == 0)
        );
    }
    let [start, end] = truth.file;
    let bytes = capture.memory("mapped file", start, end - start);
    assert!(bytes == fs::read(folder.path().join("file")).unwrap());
    // Zeros are a hole in the file and use no disk blocks.
    assert!(blocks(&capture.path()) < 64 << 20);
    victim.ping();
}

#[derive(Deserialize)]
struct ForkedTruth {
    pid: u32,
    child: u32,
    memory: Vec<Pattern>,
}

/// The memory of a process, how much of it is shared, and its page tables. `Pss` is not among them,
/// because it depends on all processes that use the same libraries. `Private_Dirty` and its like
/// are not, because they count pages of files that the kernel has not written to the disk yet, such
/// as those of a program that was just built.
fn weight(pid: u32) -> Vec<String> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kinds = ["Rss:", "Pss_Anon:", "Anonymous:", "AnonHugePages:"];
    let lines = rollup
        .lines()
        .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)))
        .map(str::to_owned);
    lines
        .chain(["VmPTE", "VmSwap"].map(|field| format!("{field} {}", proc::status(pid, field))))
        .collect()
}

/// Reading a page in a way that pins it makes the kernel copy it for the target.
#[test]
fn memory_that_is_shared_since_a_fork_stays_shared() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("forked"), &nothing);
    let truth: ForkedTruth = victim.truth();
    victim.ping();
    // Both have come to rest, and use no new page any more.
    for (pid, call) in [(truth.pid, libc::SYS_read), (truth.child, libc::SYS_pause)] {
        proc::until("it waits", || {
            let waits = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
            waits.starts_with(&format!("{call} "))
        });
    }
    for types in ["normal", "mini", "triage", "heap", "full"] {
        for dumped in [truth.child, truth.pid] {
            let before = [truth.pid, truth.child].map(weight);
            let capture = Capture::of(dumped, types);
            let after = [truth.pid, truth.child].map(weight);
            assert_eq!(before, after, "parent and child, after {types} of {dumped}");
            if types == "full" {
                for pattern in &truth.memory {
                    let bytes = capture.memory(&pattern.name, pattern.address, pattern.length);
                    assert!(bytes == pattern.bytes(), "{} of {dumped}", pattern.name);
                }
            }
        }
    }
    victim.ping();
}

/// The bytes that a file uses on the disk.
fn blocks(file: &Path) -> u64 {
    run_well(Command::new("stat").args(["-c", "%b"]).arg(file))
        .trim()
        .parse::<u64>()
        .unwrap()
        * 512
}
