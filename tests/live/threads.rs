//! All threads: which ones, with which names, registers and stacks.

use std::collections::BTreeMap;

use dumpwright::read::stream_type;

use crate::capture::{Capture, memory_of, steady};
use crate::support::proc::{self, until};
use crate::support::victim::{self, Frames, ThreadTruth, ThreadsTruth, Victim};

/// ABI for x86-64, section 3.2.2.
const RED_ZONE: u64 = 128;

fn threads() -> (Victim, ThreadsTruth) {
    let victim = steady(&victim::c("threads", Frames::NoPointers));
    let truth = victim.truth();
    (victim, truth)
}

/// Whether this is the thread that never sleeps.
fn runs(thread: &ThreadTruth) -> bool {
    thread.name == "registers"
}

#[test]
fn every_thread_is_there_once_by_its_name() {
    let (mut victim, truth) = threads();
    for types in ["normal", "with-full-memory"] {
        let capture = Capture::of(victim.pid(), types);
        let listed: Vec<u32> = capture
            .dump
            .threads()
            .unwrap()
            .iter()
            .map(|thread| thread.id)
            .collect();
        assert_eq!(
            listed,
            proc::task_ids(victim.pid()),
            "{types}: the first thread first, then ascending"
        );
        let names: BTreeMap<u32, Option<String>> = capture
            .dump
            .thread_names()
            .unwrap()
            .into_iter()
            .map(|name| (name.thread_id, name.name))
            .collect();
        let own: BTreeMap<u32, Option<String>> = truth
            .threads
            .iter()
            .map(|thread| (thread.tid, Some(thread.name.clone())))
            .collect();
        assert_eq!(names, own, "{types}");
        for thread in capture.dump.threads().unwrap() {
            let of_truth = truth.threads.iter().find(|own| own.tid == thread.id).unwrap();
            assert_eq!(thread.teb, of_truth.fs_base, "{types}, {}", of_truth.name);
            assert_eq!(
                (thread.suspend_count, thread.priority_class, thread.priority),
                (0, 0x20, proc::inherited_priority())
            );
        }
        victim.ping();
    }
}

#[test]
fn registers_are_those_of_the_thread() {
    let (_victim, truth) = threads();
    let own = &truth.registers;
    for types in ["normal", "with-full-memory"] {
        let capture = Capture::of(truth.pid, types);
        let registers = capture.thread(own.tid).registers().unwrap();
        let general: BTreeMap<&str, u64> = BTreeMap::from([
            ("rax", registers.rax),
            ("rbx", registers.rbx),
            ("rcx", registers.rcx),
            ("rdx", registers.rdx),
            ("rsi", registers.rsi),
            ("rdi", registers.rdi),
            ("r8", registers.r8),
            ("r9", registers.r9),
            ("r10", registers.r10),
            ("r11", registers.r11),
            ("r12", registers.r12),
            ("r13", registers.r13),
            ("r14", registers.r14),
            ("r15", registers.r15),
        ]);
        let expected: BTreeMap<&str, u64> = own
            .general
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        assert_eq!(general, expected, "{types}");
        let xmm: Vec<u128> = own
            .xmm
            .iter()
            .map(|[low, high]| u128::from(*high) << 64 | u128::from(*low))
            .collect();
        assert_eq!(registers.xmm.to_vec(), xmm, "{types}");
        assert_eq!(
            (registers.mxcsr, registers.float_save_mxcsr),
            (own.mxcsr, own.mxcsr)
        );
        assert_eq!(u32::from(registers.fcw), own.fcw);
        let spins = truth.functions["spin_with_patterns"];
        assert!(
            (spins..spins + 400).contains(&registers.rip),
            "{:#x}",
            registers.rip
        );
        // What winnt.h calls CONTEXT_ALL for AMD64, as far as it was read: control, integer,
        // segments, floating point, debug registers.
        assert_eq!(registers.context_flags, 0x0010_001F);
        // Selectors of 64-bit user code on Linux.
        assert_eq!((registers.cs, registers.ss), (0x33, 0x2b));
    }
}

/// A thread in a system call has the stack pointer and the instruction pointer that the kernel
/// shows.
#[test]
fn pointers_of_sleeping_threads_are_those_that_the_kernel_shows() {
    let (_victim, truth) = threads();
    let capture = Capture::of(truth.pid, "normal");
    for thread in truth.threads.iter().filter(|thread| !runs(thread)) {
        // "NUMBER ARGUMENTS… SP PC" for a thread in a system call (proc_pid_syscall(5)). It is
        // "running" until the detached thread is back in the call.
        let path = format!("/proc/{}/task/{}/syscall", truth.pid, thread.tid);
        let mut text = String::new();
        until("it sleeps again", || {
            text = std::fs::read_to_string(&path).unwrap();
            text.trim() != "running"
        });
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
        let registers = capture.thread(thread.tid).registers().unwrap();
        assert_eq!(
            (registers.rsp, registers.rip),
            (number(words[7]), number(words[8])),
            "{}",
            thread.name
        );
    }
}

#[test]
fn stacks_are_whole_and_hold_what_the_target_has_there() {
    let (_victim, truth) = threads();
    let capture = Capture::of(truth.pid, "normal");
    for own in &truth.threads {
        let what = &own.name;
        let thread = capture.thread(own.tid);
        let pointer = thread.registers().unwrap().rsp;
        let (start, end) = (thread.stack.start, thread.stack.end().unwrap());
        assert_eq!(start, pointer - RED_ZONE, "{what}: from the red zone");
        let bytes = capture.memory(what, start, end - start);
        if !runs(own) {
            assert_eq!(bytes, memory_of(truth.pid, start, bytes.len()), "{what}");
        }
        match own.alternate_stack {
            Some([low, high]) => {
                assert!((low..high).contains(&pointer));
                assert_eq!(end, high, "{what}: to the end of the alternate stack");
                // The dump also has the stack that the handler interrupted, up to the thread's
                // control block.
                let [low, high] = own.stack;
                assert!((low..high).contains(&own.fs_base));
                let interrupted = own.fs_base - 256;
                let bytes = capture.memory(what, interrupted, 256);
                assert_eq!(bytes, memory_of(truth.pid, interrupted, 256), "{what}");
            }
            None if own.tid == truth.pid => {}
            None => {
                // glibc has the control block, of less than a page, at the top of each stack.
                assert!(
                    (own.fs_base + 1..=own.stack[1] + 4096).contains(&end),
                    "{what}: {end:#x}"
                );
            }
        }
    }
    let pattern = truth.pattern("stack");
    assert_eq!(
        capture.memory("the pattern on a stack", pattern.address, pattern.length),
        pattern.bytes()
    );
}

#[test]
fn around_each_instruction_pointer_there_are_256_bytes() {
    let (_victim, truth) = threads();
    let capture = Capture::of(truth.pid, "normal");
    for thread in capture.dump.threads().unwrap() {
        let at = thread.registers().unwrap().rip;
        let bytes = capture.memory("code", at - 128, 256);
        assert_eq!(bytes, memory_of(truth.pid, at - 128, 256));
    }
}

/// The streams of a normal dump, and those that are on request.
#[test]
fn streams_come_by_type() {
    let (_victim, truth) = threads();
    let streams = |types| -> Vec<u32> {
        let capture = Capture::of(truth.pid, types);
        capture.check();
        let mut types: Vec<u32> = capture
            .dump
            .directory()
            .iter()
            .map(|entry| entry.stream_type)
            .collect();
        types.sort_unstable();
        types
    };
    let normal = streams("normal");
    for always in [
        stream_type::THREAD_LIST,
        stream_type::MODULE_LIST,
        stream_type::MEMORY_LIST,
        stream_type::SYSTEM_INFO,
        stream_type::MISC_INFO,
        stream_type::THREAD_NAMES,
        stream_type::BREAKPAD_INFO,
        stream_type::LINUX_CPU_INFO,
        stream_type::LINUX_PROC_STATUS,
        stream_type::LINUX_LSB_RELEASE,
        stream_type::LINUX_AUXV,
        stream_type::LINUX_MAPS,
        stream_type::LINUX_DSO_DEBUG,
        stream_type::MOZ_LINUX_LIMITS,
    ] {
        assert!(
            normal.contains(&always),
            "{always:#x} is in every dump: {normal:x?}"
        );
    }
    // A dump on request has no exception.
    assert!(!normal.contains(&stream_type::EXCEPTION));
    for (types, stream) in [
        ("with-handle-data", stream_type::HANDLE_DATA),
        ("with-full-memory-info", stream_type::MEMORY_INFO_LIST),
        ("with-thread-info", stream_type::THREAD_INFO_LIST),
        ("with-process-thread-data", stream_type::LINUX_ENVIRON),
        ("with-process-thread-data", stream_type::LINUX_CMD_LINE),
    ] {
        assert!(!normal.contains(&stream), "{stream:#x} has to be asked for");
        assert!(streams(types).contains(&stream), "{types}");
    }
    let full = streams("with-full-memory");
    assert!(full.contains(&stream_type::MEMORY64_LIST));
}
