//! What these tests would catch: a handle that is taken for what it is not, and processes that are refused for the wrong reason.

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

/// Why a handle is refused.
fn refused(handle: HANDLE, id: u32) -> Fault {
    // SAFETY: nobody closes the handle meanwhile.
    let mut process = unsafe { WindowsProcess::with_handle(handle, id) };
    match process.freeze(&Need::default()) {
        Ok(_) => panic!("it was not refused"),
        Err(fault) => fault,
    }
}

#[test]
fn handles_that_are_of_no_process() {
    // SAFETY: asks for an event without a name, with the defaults.
    let event = unsafe { CreateEventW(std::ptr::null(), 0, 0, std::ptr::null()) };
    for handle in [
        event,
        std::ptr::null_mut(),
        std::ptr::without_provenance_mut(0x7ffc),
    ] {
        let fault = refused(handle, 4);
        assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
        assert!(fault.reason.contains("not one of a process"), "{fault}");
    }
    // SAFETY: made above, and closed once.
    unsafe { CloseHandle(event) };
}

#[test]
fn a_handle_of_another_process() {
    let victim = victim();
    let access = victim.access();
    let fault = refused(access.process, victim.id() + 4);
    assert_eq!(fault.kind, FaultKind::NoSuchProcess, "{fault}");
    assert!(
        fault
            .to_string()
            .contains(&format!("one of process {}", victim.id())),
        "{fault}"
    );
}

#[test]
fn a_handle_with_too_few_rights() {
    let victim = victim();
    // SAFETY: asks nothing of its caller.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, victim.id()) };
    let fault = refused(handle, victim.id());
    assert_eq!(
        (fault.kind, fault.os_code),
        (FaultKind::NotPermitted, Some(5)),
        "{fault}"
    );
    assert!(fault.to_string().contains("PROCESS_VM_READ"), "{fault}");
    // SAFETY: opened above, and closed once.
    unsafe { CloseHandle(handle) };
}

#[test]
fn this_process_by_number_and_by_handle() {
    let fault = WindowsProcess::open(std::process::id()).expect_err("refused");
    assert_eq!(fault.kind, FaultKind::OwnProcess, "{fault}");
    // SAFETY: asks nothing of its caller.
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
    let handle = std::os::windows::io::AsRawHandle::as_raw_handle(&child);
    let fault = refused(handle, child.id());
    assert_eq!(fault.kind, FaultKind::Gone, "{fault}");
}

#[test]
fn no_process_has_such_a_number() {
    let fault = WindowsProcess::open(4_000_003).expect_err("there is none");
    assert_eq!((fault.kind, fault.os_code), (FaultKind::NoSuchProcess, Some(87)));
}

#[test]
fn reasons_are_half_sentences() {
    let fault = fault("do it".to_owned(), ERROR_ACCESS_DENIED);
    assert_eq!(fault.kind, FaultKind::NotPermitted);
    assert!(
        !fault.reason.contains("os error") && !fault.reason.ends_with('.'),
        "{fault}"
    );
    assert_eq!(
        super::fault(String::new(), 0x1234_5678).os_code,
        Some(0x1234_5678)
    );
}
