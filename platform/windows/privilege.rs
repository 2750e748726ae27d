//! The privilege to examine the processes of other users.

use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_DEBUG_NAME, SE_PRIVILEGE_ENABLED,
    TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use crate::error::last_error;
use crate::tokens;

/// Enables the privilege to debug the processes of other users (`SeDebugPrivilege`) for this
/// program. Returns whether it is enabled now.
///
/// Elevated programs of administrators hold this privilege, but Windows leaves it disabled until a
/// program enables it. It applies to the whole program for as long as it runs. Therefore the
/// program decides about it, not a library.
pub fn use_debug_privilege() -> bool {
    // SAFETY: the function has no parameters. Its result is a constant that stands for this process
    // and must not be closed.
    let this = unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) };
    let Ok(token) = tokens::open(this, TOKEN_ADJUST_PRIVILEGES) else {
        return false;
    };
    let mut privileges = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Attributes: SE_PRIVILEGE_ENABLED,
            ..LUID_AND_ATTRIBUTES::default()
        }],
    };
    let number = &raw mut privileges.Privileges[0].Luid;
    // SAFETY: the name is a constant of the system and ends with 0. The LUID is written to the
    // local structure.
    if unsafe { LookupPrivilegeValueW(std::ptr::null(), SE_DEBUG_NAME, number) } == 0 {
        return false;
    }
    // SAFETY: the token is open as long as it is borrowed. The structure has as many privileges as
    // it declares. Null pointers mean that the previous state is not requested.
    let done = unsafe {
        AdjustTokenPrivileges(
            token.as_raw_handle(),
            0,
            &raw const privileges,
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    // The function also succeeds for a token without the privilege, and then sets the last error.
    done != 0 && last_error() == ERROR_SUCCESS
}
