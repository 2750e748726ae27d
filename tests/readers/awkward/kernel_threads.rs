//! Threads that the kernel creates in a process.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use serde::Deserialize;

use super::judges::{Known, Truth, Walk, assert_threads, readings};
use crate::support::dumper::{self, Dump, Exec};
use crate::support::proc;
use crate::support::readers::{lldb, python};
use crate::support::victim::{self, Victim};

#[derive(Deserialize)]
struct Made {
    made_by_kernel: Vec<u32>,
    /// The reason why the system has none.
    refused: Option<String>,
}

/// These threads have run no code of the program and have no stack there. They are listed under
/// their names, without anything to unwind, and the dump is complete. The request in which one of
/// them waits continues: stopping the worker would end it.
#[test]
fn io_uring_workers_are_listed_without_a_stack() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&victim::awkward("uring"), &[folder.path()]);
    let truth: Truth = victim.truth();
    let made: Made = victim.truth();
    if let Some(reason) = &made.refused {
        eprintln!(
            "IO_URING IS NOT PERMITTED HERE ({reason}): no thread of the kernel's making was dumped. \
             Is kernel.io_uring_disabled 0? Does the container's seccomp profile let io_uring_setup through?"
        );
        assert_eq!(made.made_by_kernel, [0; 0], "a ring was refused");
    } else {
        assert!(!made.made_by_kernel.is_empty());
    }
    // Complete: Dump::of accepts no other.
    let dump = Dump::of(&victim, "normal,with-thread-info");
    proc::assert_released(truth.pid);
    let mut threads = truth.threads.clone();
    threads.extend(made.made_by_kernel.iter().map(|tid| Known {
        tid: *tid,
        functions: Vec::new(),
    }));
    for mut reading in readings(&dump.path) {
        // Breakpad's message about a thread without a stack. It continues, and shows the thread.
        reading.complaints.retain(|complaint| {
            !complaint.contains("has a memory region problem, 0x0+0x0")
                && !complaint.contains("No memory region for")
        });
        assert_threads(&reading, &threads, Walk::Whole);
        for tid in &made.made_by_kernel {
            let thread = reading.thread(*tid);
            assert!(
                thread.functions.iter().all(String::is_empty),
                "{} finds functions where there is no stack: {thread:?}",
                reading.reader
            );
            if reading.shows_names {
                let name = thread.name.as_deref().unwrap_or_default();
                assert!(name.starts_with("iou-"), "{}: {thread:?}", reading.reader);
            }
        }
    }
    let skelsec = python::skelsec(&dump.path, &[]).expect("skelsec's minidump reads it");
    for thread in &skelsec.threads {
        let by_kernel = made.made_by_kernel.contains(&thread.tid);
        let (pointer, stack) = (thread.registers["rsp"], thread.stack[1]);
        assert_eq!((pointer == 0, stack == 0), (by_kernel, by_kernel), "{thread:?}");
    }
    dumper::check(&dump.path).unwrap();
    victim.ping();
    let (said, status) = victim.finish();
    assert!(status.success(), "{status}");
    let expected: &[&str] = if made.refused.is_some() { &[] } else { &["opened"] };
    assert_eq!(said, expected, "what came of the request");
}

/// A program that dumpwright has started and traces itself: the kernel does not attach it to such
/// threads.
#[test]
fn io_uring_workers_of_a_program_started_for_its_dump() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [folder.path().as_os_str(), OsStr::new("abort")];
    let run = Exec::run(600_000, true, &victim::awkward("uring"), &arguments);
    assert_eq!(run.status.code(), Some(0), "{}", run.complaints);
    let truth: Truth = run.truth();
    let made: Made = run.truth();
    let mut expected = made.made_by_kernel;
    expected.push(truth.pid);
    expected.sort_unstable();
    let skelsec = python::skelsec(&run.path, &[]).expect("skelsec's minidump reads it");
    let lldb = lldb::report(&run.path, &[]).expect("LLDB reads it");
    let skelsec: BTreeSet<u32> = skelsec.threads.iter().map(|thread| thread.tid).collect();
    let lldb: BTreeSet<u32> = lldb.threads.iter().map(|thread| thread.tid).collect();
    for (reader, threads) in [("skelsec", skelsec), ("LLDB", lldb)] {
        assert_eq!(Vec::from_iter(threads), expected, "{reader}");
    }
    dumper::check(&run.path).unwrap();
}
