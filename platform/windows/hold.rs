//! Suspends a thread, in a way that ends with this program where the system can do that.
//!
//! `SuspendThread` increments a count, and the thread stays suspended if the program ends before it
//! has decremented the count. Windows 11 has objects that keep a thread suspended only as long as
//! they exist, and the kernel closes them when the program ends. Microsoft's DbgHelp of 2026 uses
//! them as well. The functions are not in Microsoft's documentation. Their signatures are those of
//! the headers of System Informer (ntpsapi.h).

use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Wdk::System::Threading::ThreadSuspendCount;
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS};
use windows_sys::Win32::System::Threading::{ResumeThread, SuspendThread};

use crate::access::exit_status;
use crate::error::last_error;
use crate::nt::bound;
use crate::query;

/// A suspended thread.
#[derive(Debug)]
pub(crate) enum Suspension {
    /// The thread's suspend count was incremented.
    Counted,
    /// The object keeps the thread suspended. The kernel resumes the thread when the object's last
    /// handle is closed.
    Bound(OwnedHandle, StateChange),
}

/// The functions of Windows 11 that change the state of a thread by an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateChange {
    /// `NtCreateThreadStateChange`: where the handle goes, access, attributes, thread, reserved.
    create: unsafe extern "system" fn(*mut HANDLE, u32, *const c_void, HANDLE, u64) -> NTSTATUS,
    /// `NtChangeThreadState`: object, thread, change, a buffer and its size, reserved.
    change: unsafe extern "system" fn(HANDLE, HANDLE, i32, *const c_void, usize, u64) -> NTSTATUS,
}

/// `THREAD_STATE_ALL_ACCESS`: STANDARD_RIGHTS_ALL, and the right to change the state.
const THREAD_STATE_ALL_ACCESS: u32 = 0x001f_0001;
/// `ThreadStateChangeSuspend`.
const SUSPEND: i32 = 0;
/// `ThreadStateChangeResume`.
const RESUME: i32 = 1;

impl StateChange {
    /// Returns the functions, if the system has them.
    pub(crate) fn of_system() -> Option<Self> {
        Some(Self {
            create: bound!(
                Ntdll,
                c"NtCreateThreadStateChange",
                fn(*mut HANDLE, u32, *const c_void, HANDLE, u64) -> NTSTATUS
            )?,
            change: bound!(
                Ntdll,
                c"NtChangeThreadState",
                fn(HANDLE, HANDLE, i32, *const c_void, usize, u64) -> NTSTATUS
            )?,
        })
    }

    /// Suspends a thread, and returns its suspend count before. `None` if that does not work, or if
    /// the system says that it has worked and the thread is not suspended. Wine 8 does the latter
    /// with an older form of this call, `NtSetInformationThread` with class 51, which is not used
    /// here.
    fn suspend(self, thread: BorrowedHandle<'_>) -> Option<(Suspension, u32)> {
        let before = suspend_count(thread)?;
        let mut object = null_mut();
        // SAFETY: the signature is that of ntpsapi.h. The thread's handle is open as long as it is
        // borrowed. The result is written to a local variable.
        let status = unsafe {
            (self.create)(
                &raw mut object,
                THREAD_STATE_ALL_ACCESS,
                null(),
                thread.as_raw_handle(),
                0,
            )
        };
        if status < 0 || object.is_null() {
            return None;
        }
        // SAFETY: the function has just created it, and nothing else owns it.
        let object = unsafe { OwnedHandle::from_raw_handle(object) };
        if self.change(&object, thread, SUSPEND) < 0 {
            return None;
        }
        // Without a result, this closes the object, which undoes the change if there was one.
        (suspend_count(thread)? > before).then_some((Suspension::Bound(object, self), before))
    }

    fn change(self, object: &OwnedHandle, thread: BorrowedHandle<'_>, change: i32) -> NTSTATUS {
        // SAFETY: the signature is that of ntpsapi.h. Both handles are open as long as they are
        // borrowed, and there is no buffer. The thread belongs to the target, which is another
        // process, so it holds no lock that this program waits for.
        unsafe {
            (self.change)(
                object.as_raw_handle(),
                thread.as_raw_handle(),
                change,
                null(),
                0,
                0,
            )
        }
    }
}

/// Suspends a thread, and returns its suspend count before.
///
/// # Errors
/// The system's Win32 code.
pub(crate) fn suspend(
    thread: BorrowedHandle<'_>,
    state_change: Option<StateChange>,
) -> Result<(Suspension, u32), u32> {
    if let Some(bound) = state_change.and_then(|functions| functions.suspend(thread)) {
        return Ok(bound);
    }
    // SAFETY: the handle is open as long as it is borrowed. The thread belongs to the target, which
    // is another process, so it holds no lock that this program waits for.
    match unsafe { SuspendThread(thread.as_raw_handle()) } {
        u32::MAX => Err(last_error()),
        before => Ok((Suspension::Counted, before)),
    }
}

impl Suspension {
    /// Resumes the thread. Nobody else will, so the attempt is repeated.
    ///
    /// # Errors
    /// The system's Win32 code, if the thread stays suspended.
    pub(crate) fn resume(self, thread: BorrowedHandle<'_>) -> Result<(), u32> {
        if let Self::Bound(object, functions) = self {
            // If this fails, the end of the object resumes the thread.
            functions.change(&object, thread, RESUME);
            return Ok(());
        }
        const ATTEMPTS: usize = 3;
        let mut code = 0;
        for _ in 0..ATTEMPTS {
            // SAFETY: the handle is open as long as it is borrowed. The thread was suspended once,
            // and is not resumed again after a success.
            if unsafe { ResumeThread(thread.as_raw_handle()) } != u32::MAX {
                return Ok(());
            }
            code = last_error();
            if exit_status(thread).is_some() {
                return Ok(());
            }
        }
        Err(code)
    }
}

/// Returns how often a thread is suspended, if the system says it (Windows 8.1 and later).
fn suspend_count(thread: BorrowedHandle<'_>) -> Option<u32> {
    let count = query::thread(thread, ThreadSuspendCount).ok();
    count.map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
