//! These tests would catch: a thread that is not suspended although the system says so; a thread
//! that is suspended twice, or stays suspended; a process that cannot be dumped where the functions
//! of Windows 11 fail.
//!
//! Wine 8 does not have these functions, so stand-ins take their place. They suspend the thread by
//! its count, and cannot show what the kernel does when the dumper ends.

use std::cell::RefCell;
use std::io::{PipeWriter, Write, pipe};
use std::os::windows::io::IntoRawHandle;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use windows_sys::Win32::Foundation::STATUS_ACCESS_DENIED;
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

use super::*;
use crate::access::Access;
use crate::freeze::TargetThreads;
use crate::nt::{Function, substitutes};

/// What the stand-ins do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    /// What they say.
    Honest,
    /// They say that they have suspended the thread, and have not.
    Lying,
    /// They refuse to make the object.
    Refusing,
    /// They make the object, and refuse the change.
    Stuck,
    /// They suspend the thread, and fail to resume it.
    Forgetful,
}

#[derive(Default)]
struct StandIns {
    system: Option<System>,
    calls: Vec<&'static str>,
    /// The objects are reading ends of pipes. A pipe breaks when its object is closed.
    objects: Vec<PipeWriter>,
}

thread_local! {
    static STAND_INS: RefCell<StandIns> = RefCell::default();
}

fn called(what: &'static str) -> System {
    STAND_INS.with_borrow_mut(|all| {
        all.calls.push(what);
        all.system.expect("it is set")
    })
}

/// Returns the calls so far, after a check that all objects have been closed.
fn calls() -> Vec<&'static str> {
    let mut all = STAND_INS.take();
    for object in &mut all.objects {
        assert!(object.write(b"?").is_err(), "{:?}: an object is open", all.system);
    }
    all.calls
}

unsafe extern "system" fn create(
    into: *mut HANDLE,
    access: u32,
    attributes: *const c_void,
    thread: HANDLE,
    reserved: u64,
) -> NTSTATUS {
    assert!(attributes.is_null() && !thread.is_null());
    assert_eq!((access, reserved), (0x1f_0001, 0));
    if called("create") == System::Refusing {
        return STATUS_ACCESS_DENIED;
    }
    let (object, other_end) = pipe().expect("a pipe");
    STAND_INS.with_borrow_mut(|all| all.objects.push(other_end));
    // SAFETY: the caller's pointer is valid.
    unsafe { into.write(OwnedHandle::from(object).into_raw_handle()) };
    0
}

unsafe extern "system" fn change(
    object: HANDLE,
    thread: HANDLE,
    change: i32,
    buffer: *const c_void,
    size: usize,
    reserved: u64,
) -> NTSTATUS {
    assert!(!object.is_null() && buffer.is_null());
    assert_eq!((size, reserved), (0, 0));
    match (change, called(["suspend", "resume"][change as usize])) {
        (_, System::Stuck) => STATUS_ACCESS_DENIED,
        (_, System::Lying) => 0,
        // SAFETY: the handle is the caller's, who keeps it open during this call.
        (SUSPEND, _) => (unsafe { SuspendThread(thread) } == u32::MAX).into(),
        (_, System::Forgetful) => STATUS_ACCESS_DENIED,
        // SAFETY: as above.
        (_, _) => (unsafe { ResumeThread(thread) } == u32::MAX).into(),
    }
}

/// Replaces the system's functions on this test's thread.
fn provide(system: System) {
    STAND_INS.set(StandIns {
        system: Some(system),
        ..StandIns::default()
    });
    /// Converts a function to the type that all functions have until they are bound.
    macro_rules! erased {
        ($function:expr, fn($($parameter:ty),*)) => {
            // SAFETY: the caller converts the function back to its own type before the call.
            unsafe {
                std::mem::transmute::<unsafe extern "system" fn($($parameter),*) -> NTSTATUS, Function>($function)
            }
        };
    }
    substitutes::set(vec![
        (
            c"NtCreateThreadStateChange",
            erased!(create, fn(*mut HANDLE, u32, *const c_void, HANDLE, u64)),
        ),
        (
            c"NtChangeThreadState",
            erased!(change, fn(HANDLE, HANDLE, i32, *const c_void, usize, u64)),
        ),
    ]);
}

/// A thread of this process that waits until this is dropped.
struct Waiting {
    id: u32,
    thread: JoinHandle<()>,
    _end: Sender<()>,
}

impl Waiting {
    fn start() -> Self {
        let (tell_id, id) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: the function has no preconditions.
            tell_id.send(unsafe { GetCurrentThreadId() }).expect("heard");
            let _ = ended.recv();
        });
        let id = id.recv().expect("told");
        Self {
            id,
            thread,
            _end: end,
        }
    }

    /// How often the thread is suspended, as another function than the tested one says it.
    fn suspended(&self) -> u32 {
        // SAFETY: the handle belongs to the thread, which is resumed as often as it is suspended.
        unsafe {
            let before = SuspendThread(self.thread.as_raw_handle());
            ResumeThread(self.thread.as_raw_handle());
            before
        }
    }
}

/// Holds and releases a thread with these functions. Returns their calls.
fn held(system: System, suspended_before: u32) -> Vec<&'static str> {
    provide(system);
    let access = Access::own();
    let waiting = Waiting::start();
    for _ in 0..suspended_before {
        // SAFETY: the handle belongs to the thread, which is resumed below.
        unsafe { SuspendThread(waiting.thread.as_raw_handle()) };
    }
    let mut threads = TargetThreads::new(None);
    threads.hold(&access, waiting.id);
    threads.hold(&access, waiting.id);
    assert_eq!(waiting.suspended(), suspended_before + 1, "{system:?}");
    let found = threads.find(waiting.id).expect("it is held");
    assert_eq!(found.suspend_count, suspended_before, "{system:?}");
    assert!(found.registers.is_ok(), "{system:?}: {:?}", found.registers);
    threads.release();
    let left = waiting.suspended();
    threads.release();
    assert_eq!(waiting.suspended(), left, "{system:?}: it is released once");
    // A real system would resume the thread when the object is closed.
    let forgotten = u32::from(system == System::Forgetful);
    assert_eq!(left, suspended_before + forgotten, "{system:?}");
    for _ in 0..left {
        // SAFETY: as above.
        unsafe { ResumeThread(waiting.thread.as_raw_handle()) };
    }
    calls()
}

#[test]
fn a_thread_is_held_by_an_object_where_the_system_has_them() {
    for suspended_before in [0, 2] {
        assert_eq!(
            held(System::Honest, suspended_before),
            ["create", "suspend", "resume"]
        );
    }
}

#[test]
fn a_claim_that_is_not_true_is_noticed() {
    for suspended_before in [0, 2] {
        // The thread is suspended by its count, and resumed in the same way.
        assert_eq!(held(System::Lying, suspended_before), ["create", "suspend"]);
    }
}

#[test]
fn a_refusal_leaves_the_other_way() {
    assert_eq!(held(System::Refusing, 0), ["create"]);
    assert_eq!(held(System::Stuck, 0), ["create", "suspend"]);
}

/// The object is closed in any case, which resumes the thread on a real system.
#[test]
fn a_failure_to_resume_closes_the_object() {
    assert_eq!(held(System::Forgetful, 0), ["create", "suspend", "resume"]);
}

/// Wine 8, and Windows before 11.
#[test]
fn without_the_functions_the_count_is_used() {
    substitutes::set(Vec::new());
    let waiting = Waiting::start();
    let mut threads = TargetThreads::new(None);
    threads.hold(&Access::own(), waiting.id);
    assert_eq!(waiting.suspended(), 1);
    drop(threads);
    assert_eq!(waiting.suspended(), 0);
}
