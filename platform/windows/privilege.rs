//! The privilege to examine other users' processes.

use windows_sys::Win32::Foundation::{CloseHandle, ERROR_SUCCESS};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_DEBUG_NAME, SE_PRIVILEGE_ENABLED,
    TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use crate::access::last_error;

/// Has this program use the privilege to debug other users' processes (`SeDebugPrivilege`), if it has it: elevated programs of
/// administrators do, and Windows leaves it switched off until it is asked for. Returns whether it is on now.
///
/// It is one for the whole program, and for as long as it runs; so only a program decides on it, no library does.
pub fn use_debug_privilege() -> bool {
    let mut token = std::ptr::null_mut();
    // SAFETY: the token's handle goes to a local variable.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &raw mut token) } == 0 {
        return false;
    }
    let mut privileges = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Attributes: SE_PRIVILEGE_ENABLED,
            ..LUID_AND_ATTRIBUTES::default()
        }],
    };
    let number = &raw mut privileges.Privileges[0].Luid;
    // SAFETY: the name ends with 0, and the number goes to the local structure, which has as many privileges as it says. The token
    // was opened above and is closed once. What the privileges were before is not wanted.
    unsafe {
        let known = LookupPrivilegeValueW(std::ptr::null(), SE_DEBUG_NAME, number) != 0;
        let asked = known
            && AdjustTokenPrivileges(
                token,
                0,
                &raw const privileges,
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            ) != 0;
        // It succeeds also when the token has no such privilege, and says so by the last error.
        let on = asked && last_error() == ERROR_SUCCESS;
        CloseHandle(token);
        on
    }
}
