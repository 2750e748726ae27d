//! Threads that the kernel makes inside a process.

use serde::Deserialize;

use crate::judges::{Known, Truth, Walk, assert_threads, readings};
use crate::support::dumper::{self, Dump};
use crate::support::proc;
use crate::support::readers::python;
use crate::support::victim::{self, Victim};

#[derive(Deserialize)]
struct Made {
    made_by_kernel: Vec<u32>,
    /// Why the system has none.
    refused: Option<String>,
}

/// They have run no code of the program and have no stack there: listed under their names, with nothing to unwind, and
/// the dump is complete.
#[test]
fn io_uring_workers_are_listed_without_a_stack() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::awkward("uring"), &nothing);
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
    // Complete: Dump::of takes no other.
    let dump = Dump::of(&victim, "normal,with-thread-info");
    proc::assert_released(truth.pid);
    let mut threads = truth.threads.clone();
    threads.extend(made.made_by_kernel.iter().map(|tid| Known {
        tid: *tid,
        functions: Vec::new(),
    }));
    for mut reading in readings(&dump.path) {
        // What Breakpad says of a thread without a stack; it goes on, and shows the thread.
        reading.complaints.retain(|complaint| {
            !complaint.contains("has a memory region problem, 0x0+0x0") && !complaint.contains("No memory region for")
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
    // They work on.
    victim.ping();
    assert_eq!(proc::task_ids(truth.pid).len(), threads.len());
}
