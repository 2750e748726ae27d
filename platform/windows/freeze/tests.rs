//! These tests would catch: a table of processes that is followed beyond its end or forever; a
//! thread that is suspended or resumed more than once.

use std::cell::RefCell;
use std::os::windows::io::AsRawHandle;

use dumpwright_target::ThreadTimes;
use windows_sys::Win32::System::Threading::{ResumeThread, SuspendThread};

use super::*;

/// Builds an entry of the kernel's table: the offset of the next entry, the process, and its
/// threads.
fn entry(next: u32, process: u32, threads: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; layout::FIRST_THREAD + threads.len() * layout::THREAD_SIZE];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(layout::NEXT, next);
    put(layout::THREADS, threads.len() as u32);
    put(layout::PROCESS_ID, process);
    for (index, id) in threads.iter().enumerate() {
        put(
            layout::FIRST_THREAD + index * layout::THREAD_SIZE + layout::THREAD_ID,
            *id,
        );
    }
    bytes
}

#[test]
fn threads_are_found_in_the_table() {
    let first = entry(0x150, 4, &[8]);
    let mut table = first.clone();
    assert_eq!(table.len(), 0x150);
    table.extend(entry(0, 12, &[16, 20]));
    assert_eq!(threads_of(&table, 4), Some(vec![8]));
    assert_eq!(threads_of(&table, 12), Some(vec![16, 20]));
    assert_eq!(threads_of(&table, 13), None);
    assert_eq!(
        threads_of(&table[..table.len() - 0x50], 12),
        Some(vec![16]),
        "cut off"
    );
    assert_eq!(threads_of(&first, 12), None, "the next one is beyond the end");
    assert_eq!(threads_of(&[], 4), None);
    assert_eq!(threads_of(&entry(u32::MAX, 4, &[]), 5), None);
}

thread_local! {
    static FAULTS: RefCell<Vec<u32>> = RefCell::default();
}

/// Called for each fault about a thread that is not held.
pub(super) fn made_fault(id: u32) {
    FAULTS.with_borrow_mut(|ids| ids.push(id));
}

/// Each thread is looked up many times, and a process can have tens of thousands. A lookup before
/// the thread is held must not create a fault that nothing reads.
#[test]
fn a_thread_that_is_held_costs_no_fault() {
    const COUNT: u32 = 2000;
    // Ids that no thread has, so that the system finds nothing else.
    let ids = || (0..COUNT).map(|index| 0x4000_0000 + 4 * index);
    let entry = |id| ThreadEntry {
        id,
        teb: 0,
        priority: 0,
        suspend_count: 1,
        times: ThreadTimes::default(),
        exit: None,
        registers: None,
    };
    let access = Access::own();
    let mut threads = TargetThreads::of_snapshot(ids().map(entry).collect(), 0x20);
    assert!(threads.list(&access).expect("listed").into_iter().eq(ids()));
    for _ in 0..2 {
        ids().for_each(|id| threads.hold(&access, id));
    }
    for id in ids() {
        assert_eq!(threads.find(id).expect("held").id, id);
    }
    assert_eq!(FAULTS.take(), []);
    assert!(threads.find(1).is_err());
    assert_eq!(FAULTS.take(), [1]);
    assert!(threads.ids().into_iter().eq(ids()));
}

#[test]
fn a_thread_is_held_once_and_let_go_once() {
    // A thread of this process, so that its suspend count can be read. Nothing else in this process
    // is suspended.
    let access = Access::own();
    let (tell_id, id) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: the function has no preconditions.
        tell_id
            .send(unsafe { windows_sys::Win32::System::Threading::GetCurrentThreadId() })
            .expect("heard");
        let _ = ended.recv();
    });
    let id = id.recv().expect("told");
    let suspended = || {
        // SAFETY: the handle belongs to the thread, which is resumed as often as it is suspended.
        unsafe {
            let before = SuspendThread(thread.as_raw_handle());
            ResumeThread(thread.as_raw_handle());
            before
        }
    };
    let mut threads = TargetThreads::new(None);
    assert!(threads.list(&access).expect("listed").contains(&id));
    assert!(threads.find(id).is_err(), "not held yet");
    threads.hold(&access, id);
    threads.hold(&access, id);
    assert_eq!(suspended(), 1);
    let held = threads.find(id).expect("held");
    assert_eq!(held.suspend_count, 0);
    assert!(held.registers.is_ok());
    let holding = threads.release();
    assert_eq!(holding.hold, "stop");
    assert!(!holding.pause.is_zero());
    assert_eq!(suspended(), 0);
    drop(threads);
    assert_eq!(suspended(), 0, "not let go again");

    // SAFETY: the handle belongs to the thread.
    unsafe { SuspendThread(thread.as_raw_handle()) };
    let mut threads = TargetThreads::new(None);
    threads.hold(&access, id);
    assert_eq!(
        threads.find(id).expect("held").suspend_count,
        1,
        "as it was before"
    );
    drop(threads);
    assert_eq!(suspended(), 1, "as it was before");
    // SAFETY: as above.
    unsafe { ResumeThread(thread.as_raw_handle()) };
    drop(end);
    thread.join().expect("it ends");

    let mut threads = TargetThreads::new(None);
    threads.hold(&access, id);
    let fault = threads.find(id).expect_err("it has ended");
    assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
}
