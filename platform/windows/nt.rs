//! What Windows' headers do not declare or windows-sys has wrong: native structures, and functions that not every Windows
//! has, which are bound at run time.

use std::ffi::{CStr, c_void};

use windows_sys::Wdk::Foundation::NtQueryObject;
use windows_sys::Wdk::System::Threading::{NtQueryInformationThread, THREADINFOCLASS};
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS, RtlNtStatusToDosError};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::IMAGE_FILE_MACHINE;
use windows_sys::core::BOOL;

/// The address of a function of a DLL that is loaded in every process (`kernel32.dll`, `ntdll.dll`); `None` if this Windows has none of that name.
pub(crate) fn function(library: &CStr, name: &CStr) -> Option<unsafe extern "system" fn() -> isize> {
    #[cfg(test)]
    if let Some(function) = substitutes::of(name) {
        return Some(function);
    }
    // SAFETY: both texts end with NUL; the module is not unloaded, and stays as long as the process.
    unsafe {
        let module = GetModuleHandleA(library.as_ptr().cast());
        if module.is_null() {
            return None;
        }
        GetProcAddress(module, name.as_ptr().cast())
    }
}

/// A binding made at run time: a function of kernel32 or ntdll with its type; `None` where this Windows has none of that name.
macro_rules! bound {
    ($library:literal, $name:literal, $signature:ty) => {{
        $crate::nt::function($library, $name).map(|function| {
            // SAFETY: the name is that of the function which has this signature in the system's headers, whatever Windows it is.
            unsafe {
                std::mem::transmute::<unsafe extern "system" fn() -> isize, $signature>(function)
            }
        })
    }};
}
pub(crate) use bound;

/// For which machine a process is, if it runs under WOW64, and the machine itself; `None` before Windows 10 (1511).
pub(crate) fn machine(process: HANDLE) -> Option<(IMAGE_FILE_MACHINE, IMAGE_FILE_MACHINE)> {
    type IsWow64Process2 =
        unsafe extern "system" fn(HANDLE, *mut IMAGE_FILE_MACHINE, *mut IMAGE_FILE_MACHINE) -> BOOL;
    let ask = bound!(c"kernel32.dll", c"IsWow64Process2", IsWow64Process2)?;
    let (mut of_process, mut native) = (0, 0);
    // SAFETY: writes two integers to local ones; a handle that is none is an error.
    let told = unsafe { ask(process, &raw mut of_process, &raw mut native) };
    (told != 0).then_some((of_process, native))
}

/// For which machine a process is, emulated ones included; `None` before Windows 11.
pub(crate) fn machine_type(process: HANDLE) -> Option<IMAGE_FILE_MACHINE> {
    type GetProcessInformation = unsafe extern "system" fn(HANDLE, i32, *mut c_void, u32) -> BOOL;
    /// `ProcessMachineTypeInfo`, which asks for a `PROCESS_MACHINE_INFORMATION`: machine, reserved, attributes.
    const PROCESS_MACHINE_TYPE_INFO: i32 = 9;
    let ask = bound!(c"kernel32.dll", c"GetProcessInformation", GetProcessInformation)?;
    let mut information = [0_u16; 4];
    let size = size_of_val(&information) as u32;
    // SAFETY: writes at most `size` bytes to the local array; a handle that is none is an error.
    let told = unsafe {
        ask(
            process,
            PROCESS_MACHINE_TYPE_INFO,
            information.as_mut_ptr().cast(),
            size,
        )
    };
    (told != 0).then_some(information[0])
}

/// Asks the kernel about a thread: a class of `NtQueryInformationThread` that fills exactly this structure of words.
pub(crate) fn thread_information<const WORDS: usize>(
    thread: HANDLE,
    class: THREADINFOCLASS,
) -> Result<[u64; WORDS], u32> {
    let mut words = [0_u64; WORDS];
    // SAFETY: writes at most the given size to the local array.
    let status = unsafe {
        NtQueryInformationThread(
            thread,
            class,
            words.as_mut_ptr().cast(),
            size_of_val(&words) as u32,
            std::ptr::null_mut(),
        )
    };
    if status < 0 {
        return Err(win32_error(status));
    }
    Ok(words)
}

/// What may be done through a handle; `None` if it is none.
pub(crate) fn granted_access(handle: HANDLE) -> Option<u32> {
    /// `ObjectBasicInformation`, and its structure: attributes, granted access, numbers.
    const OBJECT_BASIC_INFORMATION: i32 = 0;
    let mut information = [0_u32; 14];
    // SAFETY: writes at most the given size to the local array.
    let status = unsafe {
        NtQueryObject(
            handle,
            OBJECT_BASIC_INFORMATION,
            information.as_mut_ptr().cast(),
            size_of_val(&information) as u32,
            std::ptr::null_mut(),
        )
    };
    (status >= 0).then_some(information[1])
}

/// The Win32 code of a native status.
pub(crate) fn win32_error(status: NTSTATUS) -> u32 {
    // SAFETY: asks nothing of its caller.
    unsafe { RtlNtStatusToDosError(status) }
}

/// For tests: functions in place of the system's, or of those that this system lacks, on the thread that sets them.
#[cfg(test)]
pub(crate) mod substitutes {
    use std::cell::RefCell;
    use std::ffi::CStr;

    type Function = unsafe extern "system" fn() -> isize;

    thread_local! {
        static SUBSTITUTES: RefCell<Vec<(&'static CStr, Function)>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn set(functions: Vec<(&'static CStr, Function)>) {
        SUBSTITUTES.set(functions);
    }

    pub(super) fn of(name: &CStr) -> Option<Function> {
        SUBSTITUTES.with_borrow(|all| {
            all.iter()
                .find(|(own, _)| *own == name)
                .map(|(_, function)| *function)
        })
    }
}
