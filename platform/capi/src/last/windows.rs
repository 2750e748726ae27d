//! The system's last error on Windows.

use windows_sys::Win32::Foundation::SetLastError;

pub(super) fn set_last_error(code: u32) {
    // SAFETY: the function has no requirements.
    unsafe { SetLastError(code) };
}
