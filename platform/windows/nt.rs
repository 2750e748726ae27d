//! Functions that not every version of Windows has. They are looked up at run time.

use std::ffi::{CStr, c_void};
use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::IMAGE_FILE_MACHINE;
use windows_sys::core::BOOL;

/// A function whose type is not known.
pub(crate) type Function = unsafe extern "system" fn() -> isize;

/// A DLL that is loaded in every process and never unloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Kernel32,
    Ntdll,
}

/// Returns the address of a function, or `None` if this version of Windows does not have it.
pub(crate) fn function(library: Library, name: &CStr) -> Option<Function> {
    #[cfg(test)]
    if let Some(function) = substitutes::of(name) {
        return Some(function);
    }
    let library = match library {
        Library::Kernel32 => c"kernel32.dll",
        Library::Ntdll => c"ntdll.dll",
    };
    // SAFETY: both strings end with NUL, and both DLLs stay loaded until the process ends.
    unsafe {
        let module = GetModuleHandleA(library.as_ptr().cast());
        if module.is_null() {
            return None;
        }
        GetProcAddress(module, name.as_ptr().cast())
    }
}

/// Looks up a function of a [`Library`] and gives it a type. The result is `None` if this version
/// of Windows does not have the function.
///
/// The type is written as `fn(A, B) -> C` and becomes `unsafe extern "system"`. The code that calls
/// the function argues why the call is sound and that the signature is the one in the system's
/// headers.
macro_rules! bound {
    ($library:ident, $name:literal, fn($($parameter:ty),*) $(-> $result:ty)?) => {
        $crate::nt::function($crate::nt::Library::$library, $name).map(|function| {
            // SAFETY: both types are function pointers, and a call through either one is unsafe.
            unsafe {
                std::mem::transmute::<
                    $crate::nt::Function,
                    unsafe extern "system" fn($($parameter),*) $(-> $result)?,
                >(function)
            }
        })
    };
}
pub(crate) use bound;

/// Returns the machine that a process was compiled for if it runs under WOW64, and the native
/// machine. Returns `None` before Windows 10 (1511).
pub(crate) fn machine(process: BorrowedHandle<'_>) -> Option<(IMAGE_FILE_MACHINE, IMAGE_FILE_MACHINE)> {
    let ask = bound!(
        Kernel32,
        c"IsWow64Process2",
        fn(HANDLE, *mut IMAGE_FILE_MACHINE, *mut IMAGE_FILE_MACHINE) -> BOOL
    )?;
    let (mut of_process, mut native) = (0, 0);
    // SAFETY: the signature is that of wow64apiset.h. The handle is open as long as it is borrowed.
    // The results are written to two local integers.
    let known = unsafe { ask(process.as_raw_handle(), &raw mut of_process, &raw mut native) };
    (known != 0).then_some((of_process, native))
}

/// Returns the machine that a process was compiled for, also if it is emulated. Returns `None`
/// before Windows 11.
pub(crate) fn machine_type(process: BorrowedHandle<'_>) -> Option<IMAGE_FILE_MACHINE> {
    /// `ProcessMachineTypeInfo`. Its structure is `PROCESS_MACHINE_INFORMATION`: machine, reserved
    /// (16 bits each), attributes (32 bits).
    const PROCESS_MACHINE_TYPE_INFO: i32 = 9;
    let ask = bound!(
        Kernel32,
        c"GetProcessInformation",
        fn(HANDLE, i32, *mut c_void, u32) -> BOOL
    )?;
    let mut information = [0_u32; 2];
    let size = size_of_val(&information) as u32;
    // SAFETY: the signature is that of processthreadsapi.h. The handle is open as long as it is
    // borrowed. The system writes at most `size` bytes to the local array, which has the
    // structure's alignment.
    let known = unsafe {
        ask(
            process.as_raw_handle(),
            PROCESS_MACHINE_TYPE_INFO,
            information.as_mut_ptr().cast(),
            size,
        )
    };
    (known != 0).then_some((information[0] & 0xffff) as IMAGE_FILE_MACHINE)
}

/// Functions that tests use in place of the system's functions, or of functions that this system
/// does not have. They apply to the thread that sets them.
#[cfg(test)]
pub(crate) mod substitutes {
    use std::cell::RefCell;
    use std::ffi::CStr;

    use super::Function;

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
