//! Stacks next to heaps, in heaps, and left for signal handlers.

use super::judges::{Truth, Walk, assert_memory, assert_no_memory, assert_threads, places, readings};
use crate::support::dumper::{self, Dump};
use crate::support::readers::{breakpad, python};
use crate::support::victim::{self, Victim};

const NOTHING: [&str; 0] = [];
const MIB: u64 = 1 << 20;

/// The dump has the whole stack of each thread, and nothing of the 100 MiB next to it, from which
/// no border separates it. Breakpad refuses a memory range larger than 64 MiB, and with it the
/// list.
#[test]
fn a_stack_that_adjoins_100_mib_of_heap() {
    let mut victim = Victim::start(&victim::awkward("neighbours"), &["100"]);
    let truth: Truth = victim.truth();
    let dump = Dump::of(&victim, "normal");
    for reading in readings(&dump.path) {
        assert_threads(&reading, &truth.threads, Walk::Whole);
    }
    assert_memory(&dump.path, &truth.stacks);
    assert_no_memory(&dump.path, &truth.bulk);
    assert!(
        dump.result["memory_bytes"].as_u64().unwrap() < 2 * MIB,
        "{}",
        dump.result
    );
    dumper::check(&dump.path).unwrap();

    // A full dump has the heap too, and still each stack is a separate range.
    let full = Dump::of(&victim, "full");
    for reading in readings(&full.path) {
        assert_threads(&reading, &truth.threads, Walk::Whole);
    }
    assert_memory(&full.path, &[truth.stacks.clone(), truth.bulk.clone()].concat());
    let skelsec = python::skelsec(&full.path, &places(&truth.stacks)).unwrap();
    for thread in &skelsec.threads {
        assert!(
            thread.stack[1] < MIB,
            "the stack of {}: {:x?}",
            thread.tid,
            thread.stack
        );
    }
    dumper::check(&full.path).unwrap();
    victim.ping();
}

/// The end of such a stack cannot be known from outside. The dump has 1 MiB of the heap around it,
/// and the report says so.
#[test]
fn coroutines_on_memory_from_malloc() {
    let mut victim = Victim::start(&victim::awkward("coroutines"), &NOTHING);
    let truth: Truth = victim.truth();
    let dump = Dump::of(&victim, "normal");
    for reading in readings(&dump.path) {
        assert_threads(&reading, &truth.threads, Walk::Whole);
    }
    assert_memory(&dump.path, &truth.stacks);
    assert_no_memory(&dump.path, &truth.bulk);
    let notes = dump.result["notes"].to_string();
    assert!(notes.contains(&format!("thread {}", truth.pid)), "{notes}");
    dumper::check(&dump.path).unwrap();
    victim.ping();
}

#[test]
fn signal_handlers_inside_signal_handlers() {
    let mut victim = Victim::start(&victim::awkward("nested"), &NOTHING);
    let truth: Truth = victim.truth();
    let dump = Dump::of(&victim, "normal");
    for reading in readings(&dump.path) {
        assert_threads(&reading, &truth.threads, Walk::FromHandler(2));
    }
    // The stacks of all three levels.
    assert_memory(&dump.path, &truth.stacks);
    let (_, complaints) = breakpad::raw(&dump.path);
    assert_eq!(complaints, [""; 0]);
    dumper::check(&dump.path).unwrap();
    victim.ping();
}
