//! What these tests would catch: a table of processes that is followed beyond its end or for ever, and a thread that is held or let
//! go more than once.

use std::os::windows::io::AsRawHandle;

use super::*;

/// An entry of the kernel's table: how far the next one is, the process, its threads.
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

#[test]
fn a_thread_is_held_once_and_let_go_once() {
    // Of this very process, so that its count can be looked at; nothing else of it is stopped.
    let access = Access::own();
    let (tell_id, id) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: asks nothing of its caller.
        tell_id
            .send(unsafe { windows_sys::Win32::System::Threading::GetCurrentThreadId() })
            .expect("heard");
        let _ = ended.recv();
    });
    let id = id.recv().expect("told");
    let suspended = || {
        // SAFETY: the handle is the thread's, which is resumed as often as it is suspended.
        unsafe {
            let before = SuspendThread(thread.as_raw_handle());
            ResumeThread(thread.as_raw_handle());
            before
        }
    };
    let mut threads = Threads::new(None);
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

    // SAFETY: the handle is the thread's.
    unsafe { SuspendThread(thread.as_raw_handle()) };
    let mut threads = Threads::new(None);
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

    let mut threads = Threads::new(None);
    threads.hold(&access, id);
    let fault = threads.find(id).expect_err("it has ended");
    assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
}
