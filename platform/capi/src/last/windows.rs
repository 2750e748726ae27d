//! Windows' own last error.

use windows_sys::Win32::Foundation::SetLastError;

pub(super) fn set_last_error(code: u32) {
    // SAFETY: asks nothing of its caller.
    unsafe { SetLastError(code) };
}
