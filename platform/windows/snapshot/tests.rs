//! These tests would catch: structures of snapshots that are read at wrong offsets; a copy that
//! lacks what a dump needs, is not freed or is freed twice, or is freed although somebody else owns
//! it; threads that are suspended although there is a copy.
//!
//! Wine 8 has no snapshots. The functions in this file replace those of the system. They describe a
//! snapshot with the structures of `processsnapshot.h`, and use the live process as the copy of its
//! memory.

use std::cell::RefCell;
use std::ffi::c_void;

use dumpwright_target::{Direct, Need, Target};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT;
use windows_sys::Win32::System::Diagnostics::ProcessSnapshotting::{
    PSS_CAPTURE_THREAD_CONTEXT, PSS_CAPTURE_THREADS, PSS_CAPTURE_VA_CLONE, PSS_PROCESS_INFORMATION,
    PSS_THREAD_ENTRY, PSS_VA_CLONE_INFORMATION,
};

use super::{Hpss, HpssWalk};
use crate::WindowsProcess;
use crate::nt::{Function, Library, function, substitutes};
use crate::testing::{Victim, is_victim, tell, wait};

/// The handle of the snapshot.
const SNAPSHOT: usize = 0x51ea0;
const NO_MORE_ITEMS: u32 = 259;

#[derive(Default)]
struct Made {
    process: usize,
    process_id: u32,
    flags: Vec<u32>,
    context: Option<Box<CONTEXT>>,
    freed: usize,
    markers: i32,
}

thread_local! {
    static MADE: RefCell<Made> = RefCell::new(Made::default());
}

unsafe extern "system" fn capture(process: HANDLE, flags: u32, context: u32, made: *mut *mut c_void) -> u32 {
    MADE.with_borrow_mut(|all| {
        all.process = process.expose_provenance();
        all.flags = vec![flags, context];
    });
    // SAFETY: the caller passes a pointer to a handle.
    unsafe { made.write(std::ptr::without_provenance_mut(SNAPSHOT)) };
    0
}

unsafe extern "system" fn free(_: HANDLE, snapshot: *mut c_void) -> u32 {
    assert_eq!(snapshot.addr(), SNAPSHOT);
    MADE.with_borrow_mut(|all| all.freed += 1);
    0
}

unsafe extern "system" fn query(snapshot: *mut c_void, class: i32, into: *mut c_void, size: u32) -> u32 {
    const INVALID_HANDLE: u32 = 6;
    if snapshot.addr() != SNAPSHOT {
        return INVALID_HANDLE;
    }
    MADE.with_borrow(|all| match class {
        0 => {
            assert_eq!(size as usize, size_of::<PSS_PROCESS_INFORMATION>());
            let information = PSS_PROCESS_INFORMATION {
                ProcessId: all.process_id,
                PriorityClass: 0x80,
                ..PSS_PROCESS_INFORMATION::default()
            };
            // SAFETY: the caller passes a pointer to this structure, as the size shows.
            unsafe { into.cast::<PSS_PROCESS_INFORMATION>().write(information) };
            0
        }
        1 => {
            assert_eq!(size as usize, size_of::<PSS_VA_CLONE_INFORMATION>());
            let information = PSS_VA_CLONE_INFORMATION {
                VaCloneHandle: std::ptr::with_exposed_provenance_mut(all.process),
            };
            // SAFETY: as above.
            unsafe { into.cast::<PSS_VA_CLONE_INFORMATION>().write(information) };
            0
        }
        _ => 1,
    })
}

unsafe extern "system" fn create_marker(_: *const c_void, made: *mut *mut c_void) -> u32 {
    MADE.with_borrow_mut(|all| all.markers += 1);
    // SAFETY: the caller passes a pointer to a handle, and the marker is freed by `free_marker`.
    unsafe { made.write(Box::into_raw(Box::new(0_u32)).cast()) };
    0
}

unsafe extern "system" fn free_marker(marker: *mut c_void) -> u32 {
    MADE.with_borrow_mut(|all| all.markers -= 1);
    // SAFETY: the marker was created by `create_marker`.
    drop(unsafe { Box::from_raw(marker.cast::<u32>()) });
    0
}

/// Reports two threads: one with registers, and one that had ended.
unsafe extern "system" fn walk(
    _: *mut c_void,
    class: i32,
    marker: *mut c_void,
    into: *mut c_void,
    size: u32,
) -> u32 {
    assert_eq!((class, size as usize), (3, size_of::<PSS_THREAD_ENTRY>()));
    // SAFETY: the marker was created by `create_marker`.
    let position = unsafe { &mut *marker.cast::<u32>() };
    *position += 1;
    let time = |low| windows_sys::Win32::Foundation::FILETIME {
        dwLowDateTime: low,
        dwHighDateTime: 1,
    };
    let entry = match position {
        1 => PSS_THREAD_ENTRY {
            ThreadId: 3,
            Priority: -1,
            SuspendCount: 2,
            AffinityMask: 5,
            CreateTime: time(7),
            UserTime: time(8),
            Win32StartAddress: std::ptr::without_provenance_mut(0x40_2000),
            SizeOfContextRecord: size_of::<CONTEXT>() as u16,
            ContextRecord: MADE
                .with_borrow_mut(|all| std::ptr::from_mut(&mut **all.context.as_mut().unwrap())),
            ..PSS_THREAD_ENTRY::default()
        },
        2 => PSS_THREAD_ENTRY {
            ThreadId: 7,
            ExitStatus: 9,
            ExitTime: time(10),
            Flags: 1,
            ..PSS_THREAD_ENTRY::default()
        },
        _ => return NO_MORE_ITEMS,
    };
    // SAFETY: the caller passes a pointer to this structure, as the size shows.
    unsafe { into.cast::<PSS_THREAD_ENTRY>().write(entry) };
    0
}

/// Replaces the system's functions on this test's thread. The snapshots are of the process with
/// this id.
fn provide(process_id: u32, stack_pointer: u64) {
    /// Converts a function to the type that all functions have until they are bound.
    macro_rules! erased {
        ($function:expr, fn($($parameter:ty),*) -> $result:ty) => {
            // SAFETY: the caller converts the function back to its own type before the call.
            unsafe {
                std::mem::transmute::<unsafe extern "system" fn($($parameter),*) -> $result, Function>($function)
            }
        };
    }
    MADE.with_borrow_mut(|all| {
        all.process_id = process_id;
        all.context = Some(Box::new(CONTEXT {
            ContextFlags: 0x10_001f,
            Rip: 0x40_1000,
            Rsp: stack_pointer,
            ..CONTEXT::default()
        }));
    });
    substitutes::set(vec![
        (
            c"PssCaptureSnapshot",
            erased!(capture, fn(HANDLE, u32, u32, *mut Hpss) -> u32),
        ),
        (c"PssFreeSnapshot", erased!(free, fn(HANDLE, Hpss) -> u32)),
        (
            c"PssQuerySnapshot",
            erased!(query, fn(Hpss, i32, *mut c_void, u32) -> u32),
        ),
        (
            c"PssWalkSnapshot",
            erased!(walk, fn(Hpss, i32, HpssWalk, *mut c_void, u32) -> u32),
        ),
        (
            c"PssWalkMarkerCreate",
            erased!(create_marker, fn(*const c_void, *mut HpssWalk) -> u32),
        ),
        (c"PssWalkMarkerFree", erased!(free_marker, fn(HpssWalk) -> u32)),
    ]);
}

static KNOWN: [u8; 16] = *b"copied with care";

#[test]
fn a_child_with_known_bytes() {
    if is_victim("snapshot::tests::a_child_with_known_bytes") {
        tell("bytes", KNOWN.as_ptr().addr());
        wait();
    }
}

fn victim() -> Victim {
    Victim::that("snapshot::tests::a_child_with_known_bytes")
}

/// Checks what a dump reads from the snapshot above.
fn look(process: &mut WindowsProcess, victim: &Victim) {
    let bytes = victim.number("bytes");
    let mut frozen = process.freeze(&Need::default()).expect("it can be copied");
    assert_eq!(frozen.thread_ids().expect("two"), [3, 7]);
    for id in [3, 7] {
        frozen.suspend_thread(id);
    }
    let first = frozen.thread(3, &mut Direct).expect("it is in the snapshot");
    let context = first.context.expect("it has registers");
    assert_eq!(
        (context.instruction_pointer(), context.stack_pointer()),
        (0x40_1000, bytes)
    );
    assert_eq!(
        (first.suspend_count, first.priority_class, first.priority),
        (2, 0x80, -1)
    );
    let times = first.times.expect("it has times");
    assert_eq!(
        (times.created, times.user, times.start_address),
        (1 << 32 | 7, 1 << 32 | 8, 0x40_2000)
    );
    assert_eq!(times.affinity, 5);
    let second = frozen.thread(7, &mut Direct).expect("it is in the snapshot");
    assert_eq!(
        second.exit.map(|exit| (exit.status, exit.time)),
        Some((9, 1 << 32 | 10))
    );
    assert_eq!(second.context, None);
    let mut read = [0; 16];
    assert_eq!(frozen.read(bytes, &mut read).expect("the copy has it"), 16);
    assert_eq!(read, KNOWN);
    assert_eq!(frozen.thaw().hold, "clone");
    assert_eq!(MADE.with_borrow(|all| all.markers), 0, "all markers are freed");
}

#[test]
fn a_process_is_copied_and_the_copy_freed() {
    let victim = victim();
    provide(victim.id(), victim.number("bytes"));
    let mut process = WindowsProcess::open(victim.id()).expect("it runs");
    process.hold_clone(true);
    look(&mut process, &victim);
    MADE.with_borrow(|all| {
        let needed = PSS_CAPTURE_VA_CLONE | PSS_CAPTURE_THREADS | PSS_CAPTURE_THREAD_CONTEXT;
        assert_eq!(all.flags[0] & needed, needed);
        assert_eq!(all.flags[1], 0x10_001f);
        assert_eq!(all.freed, 1);
    });
}

#[test]
fn a_snapshot_of_the_callers_own_is_left_to_it() {
    let victim = victim();
    provide(victim.id(), victim.number("bytes"));
    let live = WindowsProcess::open(victim.id()).expect("it runs");
    MADE.with_borrow_mut(|all| all.process = live.raw_handle().expose_provenance());
    // SAFETY: the functions above know the handle.
    let mut process =
        unsafe { WindowsProcess::with_handle(std::ptr::without_provenance_mut(SNAPSHOT), victim.id()) };
    let snapshot = process.as_snapshot().expect("it is one");
    assert_eq!(snapshot.clone_handle, Some(live.process_handle()));
    look(&mut process, &victim);
    MADE.with_borrow(|all| {
        assert_eq!(all.flags, [0_u32; 0], "none is made");
        assert_eq!(all.freed, 0);
    });
}

#[test]
fn a_process_is_no_snapshot() {
    let victim = victim();
    provide(victim.id(), 0);
    let live = WindowsProcess::open(victim.id()).expect("it runs");
    // SAFETY: the handle is open as long as `live` exists.
    let mut process = unsafe { WindowsProcess::with_handle(live.raw_handle(), victim.id()) };
    assert_eq!(process.as_snapshot(), None);
}

/// On a version of Windows that has snapshots, this test takes a real one.
#[test]
fn without_the_functions_there_is_none() {
    let victim = victim();
    let process = WindowsProcess::open(victim.id()).expect("it runs");
    let has_them = function(Library::Kernel32, c"PssCaptureSnapshot").is_some();
    let snapshot = process.snapshot().expect("no failure");
    assert_eq!(snapshot.is_some(), has_them);
    if let Some(snapshot) = snapshot {
        assert_eq!(
            snapshot.look().expect("it can be looked into").process_id,
            victim.id()
        );
    }
}
