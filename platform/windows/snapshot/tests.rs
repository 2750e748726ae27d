//! What these tests would catch: structures of snapshots read at wrong places, a copy that is taken without what a dump needs,
//! that is not freed or freed twice, or that is freed though it is somebody else's, and threads that are suspended though there is a copy.
//!
//! Wine 8 has no snapshots. The functions here stand in for the system's: they describe a snapshot in the
//! structures of `processsnapshot.h`, and the live process plays the copy of its memory.

use std::cell::RefCell;
use std::ffi::c_void;

use dumpwright_target::{Need, Target};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT;
use windows_sys::Win32::System::Diagnostics::ProcessSnapshotting::{
    PSS_CAPTURE_THREAD_CONTEXT, PSS_CAPTURE_THREADS, PSS_CAPTURE_VA_CLONE, PSS_PROCESS_INFORMATION,
    PSS_THREAD_ENTRY, PSS_VA_CLONE_INFORMATION,
};

use crate::WindowsProcess;
use crate::nt::substitutes;
use crate::testing::{Victim, is_victim, tell, wait};

/// What stands for a snapshot's handle.
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
    // SAFETY: the caller gives a place for a handle.
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
            // SAFETY: the caller gives such a structure, as its size says.
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
    // SAFETY: the caller gives a place for a handle, and the marker is freed by `free_marker`.
    unsafe { made.write(Box::into_raw(Box::new(0_u32)).cast()) };
    0
}

unsafe extern "system" fn free_marker(marker: *mut c_void) -> u32 {
    MADE.with_borrow_mut(|all| all.markers -= 1);
    // SAFETY: it was made by `create_marker`.
    drop(unsafe { Box::from_raw(marker.cast::<u32>()) });
    0
}

/// Two threads: one with registers, one that had ended.
unsafe extern "system" fn walk(
    _: *mut c_void,
    class: i32,
    marker: *mut c_void,
    into: *mut c_void,
    size: u32,
) -> u32 {
    assert_eq!((class, size as usize), (3, size_of::<PSS_THREAD_ENTRY>()));
    // SAFETY: it was made by `create_marker`.
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
    // SAFETY: the caller gives such a structure, as its size says.
    unsafe { into.cast::<PSS_THREAD_ENTRY>().write(entry) };
    0
}

/// Gives this test's thread snapshots, of the process with this id.
fn provide(process_id: u32, stack_pointer: u64) {
    /// A function under the type that all share until they are bound.
    macro_rules! erased {
        ($function:expr, $signature:ty) => {
            // SAFETY: whoever calls it turns it back to its own type before.
            unsafe {
                std::mem::transmute::<$signature, unsafe extern "system" fn() -> isize>(
                    $function as $signature,
                )
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
    type Handle = *mut c_void;
    substitutes::set(vec![
        (
            c"PssCaptureSnapshot",
            erased!(
                capture,
                unsafe extern "system" fn(HANDLE, u32, u32, *mut Handle) -> u32
            ),
        ),
        (
            c"PssFreeSnapshot",
            erased!(free, unsafe extern "system" fn(HANDLE, Handle) -> u32),
        ),
        (
            c"PssQuerySnapshot",
            erased!(query, unsafe extern "system" fn(Handle, i32, Handle, u32) -> u32),
        ),
        (
            c"PssWalkSnapshot",
            erased!(
                walk,
                unsafe extern "system" fn(Handle, i32, Handle, Handle, u32) -> u32
            ),
        ),
        (
            c"PssWalkMarkerCreate",
            erased!(
                create_marker,
                unsafe extern "system" fn(*const c_void, *mut Handle) -> u32
            ),
        ),
        (
            c"PssWalkMarkerFree",
            erased!(free_marker, unsafe extern "system" fn(Handle) -> u32),
        ),
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

/// What a dump learns of the snapshot above.
fn look(process: &mut WindowsProcess, victim: &Victim) {
    let bytes = victim.number("bytes");
    let mut frozen = process.freeze(&Need::default()).expect("it can be copied");
    assert_eq!(frozen.thread_ids().expect("two"), [3, 7]);
    for id in [3, 7] {
        frozen.hold_thread(id);
    }
    let first = frozen.thread(3).expect("it is in the snapshot");
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
    let second = frozen.thread(7).expect("it is in the snapshot");
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
    MADE.with_borrow_mut(|all| all.process = live.access().process.expose_provenance());
    // SAFETY: the handle is one that the functions above know.
    let mut process =
        unsafe { WindowsProcess::with_handle(std::ptr::without_provenance_mut(SNAPSHOT), victim.id()) };
    let snapshot = process.as_snapshot().expect("it is one");
    assert_eq!(snapshot.clone_handle, Some(live.access().process.addr() as u64));
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
    // SAFETY: the handle is open as long as `live` is.
    let mut process = unsafe { WindowsProcess::with_handle(live.access().process, victim.id()) };
    assert_eq!(process.as_snapshot(), None);
}

/// On a Windows that has snapshots this makes a real one.
#[test]
fn without_the_functions_there_is_none() {
    let victim = victim();
    let process = WindowsProcess::open(victim.id()).expect("it runs");
    let has_them = crate::nt::function(c"kernel32.dll", c"PssCaptureSnapshot").is_some();
    let snapshot = process.snapshot().expect("no failure");
    assert_eq!(snapshot.is_some(), has_them);
    if let Some(snapshot) = snapshot {
        assert_eq!(
            snapshot.look().expect("it can be looked into").process_id,
            victim.id()
        );
    }
}
