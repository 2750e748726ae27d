//! These tests would catch: a handle that is lost or belongs to another process; a wrong type,
//! name, count or state of an object; counts that include this crate's duplicates; duplicates that
//! are not closed; failure for a process with very many handles.

use std::fs::File;
use std::os::windows::io::IntoRawHandle;

use dumpwright_target::ObjectInformation;
use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{CreateFileMappingW, PAGE_READWRITE};
use windows_sys::Win32::System::Pipes::CreatePipe;
use windows_sys::Win32::System::Threading::{CreateEventW, CreateMutexW, CreateSemaphoreW};

use super::*;
use crate::testing::{Victim, is_victim, tell, wait};

const HAS: &str = "handles::tests::a_child_with_objects";
/// The number of objects. 32768 works too, but Wine needs half a millisecond for each.
const MANY: usize = 8192;
const HAS_MANY: &str = "handles::tests::a_child_with_many_objects";

fn wide(name: &str) -> Vec<u16> {
    name.encode_utf16().chain([0]).collect()
}

#[test]
fn a_child_with_objects() {
    if !is_victim(HAS) {
        return;
    }
    let id = std::process::id();
    let name = |what: &str| wide(&format!("dumpwright {id} {what}"));
    // SAFETY: names end with NUL, and the handles were created here.
    unsafe {
        let none = std::ptr::null();
        let event = CreateEventW(none, 1, 1, name("event").as_ptr());
        let auto = CreateEventW(none, 0, 0, none.cast());
        let mutex = CreateMutexW(none, 1, name("mutex").as_ptr());
        let semaphore = CreateSemaphoreW(none, 2, 3, name("semaphore").as_ptr());
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            none,
            PAGE_READWRITE,
            0,
            0x1_2000,
            name("section").as_ptr(),
        );
        let (mut reads, mut writes) = (std::ptr::null_mut(), std::ptr::null_mut());
        assert_ne!(CreatePipe(&mut reads, &mut writes, none, 0), 0);
        let mut second = std::ptr::null_mut();
        let own = GetCurrentProcess();
        assert_ne!(DuplicateHandle(own, event, own, &mut second, 0x10_0000, 0, 0), 0);
        let closed = CreateEventW(none, 0, 0, none.cast());
        let file = File::open(std::env::current_exe().expect("there is one")).expect("opens");
        tell("file", file.into_raw_handle().addr());
        CloseHandle(closed);
        for (what, handle) in [
            ("event", event),
            ("auto", auto),
            ("mutex", mutex),
            ("semaphore", semaphore),
            ("section", section),
            ("pipe", reads),
            ("second", second),
            ("closed", closed),
        ] {
            assert!(!handle.is_null(), "{what}");
            tell(what, handle.addr());
        }
    }
    wait();
}

#[test]
fn handles_lead_to_the_objects_that_the_child_has_made() {
    let victim = Victim::that(HAS);
    let mut diagnostics = Vec::new();
    let handles = handles(&victim.access(), &mut diagnostics).expect("listed");
    assert_eq!(diagnostics, []);
    assert!(handles.is_sorted_by(|one, other| one.number < other.number));
    let find = |what: &str| handles.iter().find(|handle| handle.number == victim.number(what));
    let of = |what: &str| find(what).unwrap_or_else(|| panic!("no {what}: {handles:#?}"));
    for (what, type_name) in [
        ("event", "Event"),
        ("auto", "Event"),
        ("mutex", "Mutant"),
        ("semaphore", "Semaphore"),
        ("section", "Section"),
        ("pipe", "File"),
        ("file", "File"),
        ("second", "Event"),
    ] {
        assert_eq!(of(what).type_name, type_name, "{what}");
    }
    for what in ["event", "mutex", "semaphore", "section"] {
        let name = of(what).object_name.as_deref().expect("has a name");
        let end = format!("\\dumpwright {} {what}", victim.id());
        assert!(
            name.contains("BaseNamedObjects") && name.ends_with(&end),
            "{name}"
        );
    }
    assert_eq!(of("auto").object_name, None);
    // The child's own handle and its second one, but not the duplicate of this process.
    assert_eq!(of("event").handle_count, 2);
    assert_eq!(of("second").handle_count, 2);
    assert_eq!(of("auto").handle_count, 1);
    // EVENT_ALL_ACCESS, and SYNCHRONIZE, with which the handle was duplicated.
    assert_eq!(of("event").granted_access, 0x1f_0003);
    assert_eq!(of("second").granted_access, 0x10_0000);
    assert_eq!(of("event").information, [ObjectInformation::event(false, true)]);
    assert_eq!(of("auto").information, [ObjectInformation::event(true, false)]);
    // A thread of the child owns it once.
    assert_eq!(
        of("mutex").information,
        [ObjectInformation::mutant(0, false, false)]
    );
    let section = &of("section").information;
    // SEC_COMMIT.
    assert_eq!(section[..], [ObjectInformation::section(0, 0x800_0000, 0x1_2000)]);
    // Another object may have the same handle number by now.
    assert!(
        find("closed").is_none_or(|handle| handle.type_name != "Event"),
        "{:?}",
        find("closed")
    );
}

#[test]
fn a_child_with_many_objects() {
    if !is_victim(HAS_MANY) {
        return;
    }
    for _ in 0..MANY {
        // SAFETY: creates events without a name, which are never closed.
        assert!(!unsafe { CreateEventW(std::ptr::null(), 0, 0, std::ptr::null()) }.is_null());
    }
    wait();
}

#[test]
fn very_many_handles_are_all_listed_and_none_is_left_with_us() {
    let victim = Victim::that(HAS_MANY);
    let access = victim.access();
    let mut diagnostics = Vec::new();
    let handles = handles(&access, &mut diagnostics).expect("listed");
    assert_eq!(diagnostics, []);
    let events = handles
        .iter()
        .filter(|handle| handle.type_name == "Event")
        .count();
    assert!(events >= MANY, "{events}");
    assert!(
        handles
            .iter()
            .filter(|handle| handle.type_name == "Event")
            .all(|handle| handle.handle_count <= 2)
    );
    // Other tests of this process have open handles at the same time, but not thousands.
    // SAFETY: the function has no preconditions.
    let id = unsafe { windows_sys::Win32::System::Threading::GetCurrentProcessId() };
    let list = crate::query::system_list(64, 256 << 20).expect("listed");
    let ours = list::of_system(list.bytes(), id).expect("a list").len();
    assert!(ours < 10_000, "{ours}");
}

#[test]
fn handles_that_cannot_be_duplicated_are_told_once() {
    let mut refused = Refused::default();
    assert_eq!(refused.diagnostic(), None);
    refused.add(50);
    refused.add(50);
    let diagnostic = refused.diagnostic().expect("something to tell");
    assert_eq!(diagnostic.severity, dumpwright_target::Severity::Note);
    assert!(diagnostic.reason.starts_with("2 handles"), "{diagnostic}");
    refused.add(ERROR_ACCESS_DENIED);
    assert_eq!(
        refused.diagnostic().expect("told").severity,
        dumpwright_target::Severity::Missing
    );
}
