//! Handles that are ours, and closed when they are dropped.

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};

/// A handle of this process, of its own.
#[derive(Debug)]
pub(crate) struct Owned(HANDLE);

// SAFETY: a handle is a number that all threads of the process may use.
unsafe impl Send for Owned {}

impl Owned {
    /// Takes over a handle; `None` if it is none.
    ///
    /// # Safety
    /// Nobody else closes it.
    pub(crate) unsafe fn new(handle: HANDLE) -> Option<Self> {
        (!handle.is_null()).then_some(Self(handle))
    }

    /// The handle, as long as this lives.
    pub(crate) fn get(&self) -> HANDLE {
        self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it is ours, and closed once.
        unsafe { CloseHandle(self.0) };
    }
}
