//! Dumps that a program makes of itself, with the whole dialogue.
//!
//! Would catch: a dump that lacks threads or memory, or has what changed after the moment of the
//! dump; a stack of the calling thread that does not lead to its caller; a callback that waits for
//! ever because a thread was stopped that has a lock; a program that does not survive thousands of
//! dumps while its threads allocate, load libraries, fork and end.
//!
//! Each test runs in a process of its own, which it dumps. It needs the right to trace itself:
//! root, or `kernel.yama.ptrace_scope` below 2; in a container the capability SYS_PTRACE.
#![cfg(target_os = "linux")]

mod storm;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use dumpwright::callback::AskKind;
use dumpwright::read::Dump;
use dumpwright::{Ask, Callback, DumpType, Report, Request, dump, dump_to_file, native};
use dumpwright_fixtures::dumper::{self, dumpwright};
use dumpwright_fixtures::{alone, cargo, proc, run_well};

/// Dumps this program; the dump must be complete.
fn dump_self(request: &Request, callback: Option<&mut dyn Callback>) -> (Report, Dump) {
    let mut bytes = Vec::new();
    let mut process = native::current().expect("it may be examined");
    let report = dump(&mut process, request, callback, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_complete(), "{:?}", report.missing().collect::<Vec<_>>());
    (report, Dump::from_bytes(bytes).unwrap())
}

/// Returns the names of the threads in the dump.
fn names(dump: &Dump) -> BTreeMap<u32, Option<String>> {
    let names = dump.thread_names().unwrap().into_iter();
    names.map(|name| (name.thread_id, name.name)).collect()
}

#[test]
fn all_threads_and_all_memory_are_those_at_the_call() {
    alone!();
    let done = Arc::new(Barrier::new(4));
    let ready = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let (ready, done) = (Arc::clone(&ready), Arc::clone(&done));
            let wait = move || {
                ready.wait();
                done.wait();
            };
            thread::Builder::new()
                .name(format!("waiter {number}"))
                .spawn(wait)
                .unwrap()
        })
        .collect();
    ready.wait();
    let own: BTreeMap<u32, Option<String>> = proc::task_ids(std::process::id())
        .into_iter()
        .map(|tid| {
            let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap();
            (tid, Some(name.trim_end().to_owned()))
        })
        .collect();
    for types in [
        DumpType::NORMAL,
        DumpType::WITH_FULL_MEMORY | DumpType::WITH_HANDLE_DATA,
    ] {
        let pattern: Vec<u8> = (0..1_u32 << 20).map(|at| (at * 7 + at / 251) as u8).collect();
        let mut on_heap = pattern.clone();
        let place = on_heap.as_ptr().addr() as u64;
        // The program goes on, and changes its memory.
        let mut callback = |ask: Ask<'_>| {
            if matches!(ask, Ask::IncludeThread { .. }) {
                on_heap.fill(0xee);
            }
            true
        };
        let before = descriptors();
        let (report, dump) = dump_self(&Request::new(types), Some(&mut callback));
        assert_eq!(descriptors(), before);
        assert_eq!(report.holding.hold, "clone");
        assert_eq!(names(&dump), own);
        let listed: Vec<u32> = dump.threads().unwrap().iter().map(|thread| thread.id).collect();
        assert_eq!(listed, proc::task_ids(std::process::id()));
        if types.contains(DumpType::WITH_FULL_MEMORY) {
            let bytes = dump
                .memory(place, pattern.len() as u64)
                .unwrap()
                .expect("all of it");
            assert!(bytes == pattern, "as it was before the dialogue");
            let numbers: Vec<u64> = dump
                .handles()
                .unwrap()
                .iter()
                .map(|handle| handle.handle)
                .collect();
            assert_eq!(numbers, before, "none of the capture");
        }
    }
    done.wait();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The numbers of the descriptors, without that of the list.
fn descriptors() -> Vec<u64> {
    let listed = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = listed.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.retain(|number| fs::exists(format!("/proc/self/fd/{number}")).unwrap());
    numbers.sort_unstable();
    numbers
}

#[inline(never)]
fn outer_caller(path: &std::path::Path) -> u32 {
    black_box(inner_caller(path)) + 1
}

#[inline(never)]
fn inner_caller(path: &std::path::Path) -> u32 {
    let mut process = native::current().unwrap();
    let report = dump_to_file(&mut process, &Request::new(DumpType::NORMAL), None, path).unwrap();
    black_box(u32::from(report.is_complete()))
}

#[test]
fn the_stack_of_the_calling_thread_leads_to_its_caller() {
    alone!();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("self.dmp");
    assert_eq!(outer_caller(&path), 2);
    dumper::check(&path).unwrap();
    let shown = run_well(dumpwright().arg("show").arg(&path));
    let (inner, outer) = (shown.find("inner_caller"), shown.find("outer_caller"));
    assert!(inner.is_some() && inner < outer, "{shown}");
}

#[test]
fn a_callback_may_allocate_and_lock() {
    alone!();
    let enough = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..3_usize)
        .map(|number| {
            let (enough, shared) = (Arc::clone(&enough), Arc::clone(&shared));
            thread::spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let mut list = shared.lock().unwrap();
                    list.push(vec![number as u8; 100 + number]);
                    if list.len() > 100 {
                        list.clear();
                    }
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let mut asked: Vec<AskKind> = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            asked.push(ask.kind());
            let mut list = shared.lock().unwrap();
            list.push(format!("{ask:?}").into_bytes());
            true
        };
        dump_self(&Request::new(DumpType::WITH_THREAD_INFO), Some(&mut callback));
        for kind in [
            AskKind::IncludeThread,
            AskKind::Thread,
            AskKind::Module,
            AskKind::Cancel,
        ] {
            assert!(asked.contains(&kind), "{kind:?}");
        }
    }
    enough.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn the_example_dumps_itself() {
    let program = cargo::build(&["--example", "dump_itself"], "dump_itself");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("self.dmp");
    let text = run_well(std::process::Command::new(program).arg(&path));
    let dump = Dump::open(&path).unwrap();
    let names = names(&dump);
    assert!(
        names.values().any(|name| name.as_deref() == Some("worker")),
        "{names:?}"
    );
    assert_eq!(names.len(), 2);
    for id in names.keys() {
        assert!(text.contains(&id.to_string()), "{text}");
    }
}
