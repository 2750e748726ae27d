//! Stack pointers outside the known stacks.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::capture::Capture;
use crate::support::victim::{self, Pattern, Victim};

#[derive(Deserialize)]
struct StacksTruth {
    pid: u32,
    threads: BTreeMap<String, Odd>,
}

#[derive(Deserialize)]
struct Odd {
    tid: u32,
    pointer: u64,
    memory: Pattern,
}

/// Checks which part of its memory the dump has as a thread's stack. Both ends are offsets in that
/// memory.
fn assert_stack(capture: &Capture, odd: &Odd, from: u64, to: u64) {
    let what = &odd.memory.name;
    let thread = capture.thread(odd.tid);
    assert_eq!(thread.registers().unwrap().rsp, odd.pointer, "{what}");
    let base = odd.memory.address;
    let stack = (thread.stack.start - base, thread.stack.end().unwrap() - base);
    assert_eq!(stack, (from, to), "{what}");
    let bytes = capture.memory(what, thread.stack.start, to - from);
    assert!(
        bytes == odd.memory.bytes()[from as usize..to as usize],
        "{what}: other bytes"
    );
}

#[test]
fn a_stack_is_found_wherever_the_stack_pointer_is() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("stacks"), &nothing);
    let truth: StacksTruth = victim.truth();
    let capture = Capture::of(truth.pid, "normal");
    capture.check();
    let odd = |name: &str| &truth.threads[name];

    // Below its stack, in a page without access: all of the stack above is in use.
    let overflowed = odd("overflowed");
    assert_stack(&capture, overflowed, 0, overflowed.memory.length);
    // A stack with an unknown end: the red zone and 1 MiB, and a note in the report.
    let coroutine = odd("coroutine");
    let pointer = coroutine.pointer - coroutine.memory.address;
    assert_stack(&capture, coroutine, pointer - 128, pointer + (1 << 20));
    let notes = capture.result["notes"].to_string();
    assert!(notes.contains(&format!("thread {}", coroutine.tid)), "{notes}");
    // A stack that ends before that.
    let nearly_empty = odd("nearly-empty");
    let length = nearly_empty.memory.length;
    assert_stack(&capture, nearly_empty, length - 64 - 128, length);
    assert!(
        !notes.contains(&format!("thread {}", nearly_empty.tid)),
        "{notes}"
    );
    victim.ping();
}

#[derive(Deserialize)]
struct BuffersTruth {
    pid: u32,
    threads: Vec<BufferTruth>,
}

#[derive(Deserialize)]
struct BufferTruth {
    tid: u32,
    local: u64,
    buffer: u64,
}

#[test]
fn large_thread_local_buffers_are_no_part_of_the_stacks() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("buffers"), &nothing);
    let truth: BuffersTruth = victim.truth();
    let capture = Capture::of(truth.pid, "normal");
    for thread in &truth.threads {
        let stack = capture.thread(thread.tid).stack;
        let end = stack.end().unwrap();
        assert!(stack.start <= thread.local && thread.local < end);
        // The frames of the C library are between them.
        assert!(end <= thread.buffer, "{end:#x}, {:#x}", thread.buffer);
        assert!(end - stack.start < 16 << 10, "{}", end - stack.start);
    }
    victim.ping();
}
