//! Callbacks on a live process.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dumpwright::callback::{AskKind, ThreadWriteFlags};
use dumpwright::{Ask, DumpType, Error, Request, dump_to_file, native};

use super::captures::{Captured, complete};
use crate::support::proc;
use crate::support::victim::{self, Frames, Pattern, ThreadsTruth, Victim};

fn threads() -> (Victim, ThreadsTruth) {
    let nothing: [&str; 0] = [];
    let victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    let truth = victim.truth();
    (victim, truth)
}

fn request() -> Request {
    Request::new(DumpType::WITH_THREAD_INFO)
}

/// Whether the file contains any 64 consecutive bytes of the pattern.
fn has_any(captured: &Captured, pattern: &Pattern) -> bool {
    let bytes = pattern.bytes();
    bytes
        .chunks_exact(64)
        .any(|part| !captured.dump.contains_nowhere(part).unwrap())
}

fn thread_ids(captured: &Captured) -> Vec<u32> {
    captured
        .dump
        .threads()
        .unwrap()
        .iter()
        .map(|thread| thread.id)
        .collect()
}

#[test]
fn an_excluded_thread_is_nowhere_in_the_file() {
    let (mut victim, truth) = threads();
    let alpha = truth
        .threads
        .iter()
        .find(|thread| thread.name == "alpha")
        .unwrap()
        .tid;
    assert!(has_any(
        &complete(truth.pid, &request(), None),
        truth.pattern("stack")
    ));

    let mut asked = Vec::new();
    let mut callback = |ask: Ask<'_>| match ask {
        Ask::IncludeThread { thread_id, .. } => {
            asked.push(thread_id);
            thread_id != alpha
        }
        Ask::Thread { thread, .. } => {
            assert_ne!(thread.thread_id, alpha, "not asked about any more");
            true
        }
        _ => true,
    };
    let captured = complete(truth.pid, &request(), Some(&mut callback));
    assert_eq!(asked, proc::task_ids(truth.pid), "every thread was offered");
    let others: Vec<u32> = asked.into_iter().filter(|id| *id != alpha).collect();
    assert_eq!(thread_ids(&captured), others);
    let dump = &captured.dump;
    assert!(
        dump.thread_names()
            .unwrap()
            .iter()
            .all(|name| name.thread_id != alpha)
    );
    assert!(
        dump.thread_infos()
            .unwrap()
            .iter()
            .all(|info| info.thread_id != alpha)
    );
    assert!(!has_any(&captured, truth.pattern("stack")));
    victim.ping();
}

#[test]
fn a_thread_without_its_stack_stays_listed() {
    let (_victim, truth) = threads();
    let alpha = truth
        .threads
        .iter()
        .find(|thread| thread.name == "alpha")
        .unwrap()
        .tid;
    let mut callback = |ask: Ask<'_>| {
        if let Ask::Thread { thread, keep } = ask
            && thread.thread_id == alpha
        {
            assert!(keep.contains(ThreadWriteFlags::STACK | ThreadWriteFlags::CONTEXT));
            keep.remove(ThreadWriteFlags::STACK);
        }
        true
    };
    let captured = complete(truth.pid, &request(), Some(&mut callback));
    assert_eq!(thread_ids(&captured), proc::task_ids(truth.pid));
    let threads = captured.dump.threads().unwrap();
    let thread = threads.iter().find(|thread| thread.id == alpha).unwrap();
    assert!(thread.registers().is_some());
    assert!(!has_any(&captured, truth.pattern("stack")));
}

#[test]
fn memory_is_added_and_removed() {
    let (mut victim, truth) = threads();
    let (heap, stack) = (truth.pattern("heap"), truth.pattern("stack"));
    assert!(
        !has_any(&complete(truth.pid, &request(), None), heap),
        "not by itself"
    );
    let (mut added, mut removed) = (false, false);
    let mut callback = |ask: Ask<'_>| match ask {
        Ask::Memory { wanted } if !added => {
            added = true;
            (wanted.base, wanted.size) = (heap.address, u32::try_from(heap.length).unwrap());
            true
        }
        Ask::RemoveMemory { unwanted } if !removed => {
            removed = true;
            (unwanted.base, unwanted.size) = (stack.address, u32::try_from(stack.length).unwrap());
            true
        }
        Ask::Memory { .. } | Ask::RemoveMemory { .. } => false,
        _ => true,
    };
    let captured = complete(truth.pid, &request(), Some(&mut callback));
    let dump = &captured.dump;
    assert_eq!(
        dump.memory(heap.address, heap.length).unwrap(),
        Some(heap.bytes())
    );
    for at in (stack.address..stack.address + stack.length).step_by(8) {
        assert_eq!(dump.memory(at, 1).unwrap(), None);
    }
    assert!(!has_any(&captured, stack), "nor anywhere else");
    // The dump has the stack around it.
    assert!(dump.has_memory(stack.address - 8, 8).unwrap());
    assert!(dump.has_memory(stack.address + stack.length, 8).unwrap());
    victim.ping();
}

/// Dumps into a file. If that fails, the folder must be empty afterwards. Returns the error.
fn no_file(pid: u32, request: &Request, callback: &mut dyn FnMut(Ask<'_>) -> bool) -> Option<Error> {
    let folder = tempfile::tempdir().unwrap();
    let mut callback = |ask: Ask<'_>| callback(ask);
    let mut target = native::process(pid).unwrap();
    let outcome = dump_to_file(
        &mut target,
        request,
        Some(&mut callback),
        folder.path().join("dump"),
    );
    proc::assert_released(pid);
    if outcome.is_err() {
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }
    outcome.err()
}

#[test]
fn a_cancelled_dump_leaves_a_running_target_and_no_file() {
    let (mut victim, truth) = threads();
    for dump_type in [DumpType::NORMAL, DumpType::WITH_FULL_MEMORY] {
        // Cancels at the first opportunity, at the second, and so on, in growing steps, until there
        // are no more.
        let mut at = 0;
        loop {
            let mut polls = 0;
            let mut callback = |ask: Ask<'_>| {
                if let Ask::Cancel { answer } = ask {
                    answer.check_cancel = true;
                    answer.cancel = polls == at;
                    polls += 1;
                }
                true
            };
            let error = no_file(truth.pid, &Request::new(dump_type), &mut callback);
            victim.ping();
            match error {
                Some(error) => assert!(matches!(error, Error::Cancelled), "{error}"),
                None => break,
            }
            at += 1 + at / 4;
        }
        assert!(at > 10, "{at}: it can be cancelled in the middle");
    }
}

#[test]
fn a_callback_that_panics_leaves_a_running_target() {
    let (mut victim, truth) = threads();
    for kind in [
        AskKind::SecondaryFlags,
        AskKind::IncludeThread,
        AskKind::Module,
        AskKind::Thread,
        AskKind::Memory,
        AskKind::RemoveMemory,
        AskKind::WriteKernelMinidump,
    ] {
        let mut callback = |ask: Ask<'_>| {
            assert!(ask.kind() != kind, "as the test wants");
            !matches!(ask, Ask::Memory { .. } | Ask::RemoveMemory { .. })
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut target = native::process(truth.pid).unwrap();
            dump_to_file(&mut target, &request(), Some(&mut callback), &path)
        }));
        assert!(panicked.is_err(), "{kind:?} was asked");
        proc::assert_released(truth.pid);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        victim.ping();
    }
}
