//! These tests would catch: a handle that is taken for what it is not; a process that is refused
//! for the wrong reason.

use std::os::windows::io::FromRawHandle;
use std::process::{Command, Stdio};

use windows_sys::Win32::System::Threading::{
    CreateEventW, GetCurrentProcess, PROCESS_QUERY_LIMITED_INFORMATION,
};

use dumpwright_target::{Need, Target};

use super::*;
use crate::WindowsProcess;
use crate::testing::{Victim, is_victim, wait};

#[test]
fn a_child_that_waits() {
    if is_victim("access::tests::a_child_that_waits") {
        wait();
    }
}

fn victim() -> Victim {
    Victim::that("access::tests::a_child_that_waits")
}

/// Returns the fault with which a handle is refused.
fn refused(handle: HANDLE, id: u32) -> Fault {
    // SAFETY: nothing closes the handle in the meantime.
    let mut process = unsafe { WindowsProcess::with_handle(handle, id) };
    match process.freeze(&Need::default()) {
        Ok(_) => panic!("it was not refused"),
        Err(fault) => fault,
    }
}

#[test]
fn handles_that_are_of_no_process() {
    // SAFETY: creates an event without a name; its handle is new and has no other owner.
    let event =
        unsafe { OwnedHandle::from_raw_handle(CreateEventW(std::ptr::null(), 0, 0, std::ptr::null())) };
    for handle in [
        event.as_raw_handle(),
        std::ptr::null_mut(),
        std::ptr::without_provenance_mut(0x7ffc),
    ] {
        let fault = refused(handle, 4);
        assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
        assert!(fault.reason.contains("not a process handle"), "{fault}");
    }
}

#[test]
fn a_handle_of_another_process() {
    let victim = victim();
    let access = victim.access();
    let fault = refused(access.process().as_raw_handle(), victim.id() + 4);
    assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
    assert!(
        fault
            .to_string()
            .contains(&format!("refers to process {}", victim.id())),
        "{fault}"
    );
}

#[test]
fn a_handle_with_too_few_rights() {
    let victim = victim();
    // SAFETY: the parameters are integers. The handle is new and has no other owner.
    let handle = unsafe {
        OwnedHandle::from_raw_handle(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, victim.id()))
    };
    let fault = refused(handle.as_raw_handle(), victim.id());
    assert_eq!(
        (fault.kind, fault.os_code),
        (FaultKind::NotPermitted, Some(5)),
        "{fault}"
    );
    assert!(fault.to_string().contains("PROCESS_VM_READ"), "{fault}");
}

/// A thread that has ended is distinguished from one that may not be opened, whether its id is free
/// or now belongs to a thread of another process.
#[test]
fn threads_that_are_not_this_process_ones_have_ended() {
    let victim = victim();
    let access = victim.access();
    // SAFETY: the function has no parameters and returns an integer.
    let ours = unsafe { windows_sys::Win32::System::Threading::GetCurrentThreadId() };
    for id in [ours, 4_000_003] {
        let fault = access
            .open_thread(id, thread_rights::QUERY)
            .expect_err("not its own");
        assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
        assert!(fault.reason.contains("has ended"), "{fault}");
    }
    drop(victim);
    let fault = access
        .open_thread(4_000_003, thread_rights::QUERY)
        .expect_err("ended");
    assert_eq!(fault.kind, FaultKind::Gone, "{fault}");
}

#[test]
fn this_process_by_number_and_by_handle() {
    let fault = WindowsProcess::open(std::process::id()).expect_err("refused");
    assert_eq!(fault.kind, FaultKind::OwnProcess, "{fault}");
    // SAFETY: the function has no parameters and returns an integer.
    let fault = refused(unsafe { GetCurrentProcess() }, std::process::id());
    assert_eq!(fault.kind, FaultKind::OwnProcess, "{fault}");
    assert!(fault.advice.expect("some").contains("--backend dbghelp"));
}

#[test]
fn a_process_that_has_ended() {
    let program = std::env::current_exe().expect("there is one");
    let mut child = Command::new(program)
        .args(["--exact", "no::such::test"])
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    child.wait().expect("it ends");
    let handle = child.as_raw_handle();
    let fault = refused(handle, child.id());
    assert_eq!(fault.kind, FaultKind::Gone, "{fault}");
}

#[test]
fn no_process_has_such_a_number() {
    let fault = WindowsProcess::open(4_000_003).expect_err("there is none");
    assert_eq!((fault.kind, fault.os_code), (FaultKind::NoSuchProcess, Some(87)));
}
