//! Reads the operations on a process's handles, if Application Verifier records them.
//!
//! `verifier.dll` can read the record. This DLL is a part of Windows that not every machine has
//! (Wine 8 does not have it). It is loaded from the system's folder only.

use std::ffi::c_void;
use std::os::windows::io::AsRawHandle;

use dumpwright_target::{HandleOperation, HandleOperationKind};
use windows_sys::Win32::Foundation::{FreeLibrary, HANDLE, HMODULE};
use windows_sys::Win32::System::ApplicationVerifier::{
    AVRF_HANDLE_OPERATION, AVRF_RESOURCE_ENUMERATE_CALLBACK, AvrfResourceHandleTrace,
    HeapEnumerationEverything, HeapEnumerationStop, OperationDbBADREF, OperationDbCLOSE, OperationDbOPEN,
};
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW,
};
use windows_sys::core::w;

use crate::access::Access;

/// The maximum number of operations. No record is configured to hold more.
const MOST: usize = 1 << 16;

/// The type of `VerifierEnumerateResource`.
type Enumerate =
    unsafe extern "system" fn(HANDLE, u32, u32, AVRF_RESOURCE_ENUMERATE_CALLBACK, *mut c_void) -> u32;

/// Returns the operations on handles in the order of the record, the latest first. Returns none if
/// there is no record.
pub(crate) fn handle_operations(access: &Access<'_>) -> Vec<HandleOperation> {
    let Some(verifier) = Verifier::load() else {
        return Vec::new();
    };
    let Some(enumerate) = verifier.enumerate() else {
        return Vec::new();
    };
    // SAFETY: the function is the documented one, and its DLL stays loaded until this function
    // returns. The handle is open as long as it is borrowed.
    unsafe { operations(enumerate, access.process().as_raw_handle()) }
}

/// Reads the record with this function.
///
/// The function fails for a process that has no record or a malformed one. Operations that it has
/// reported before it failed are returned.
///
/// # Safety
/// `enumerate` is `VerifierEnumerateResource` or a function that calls the callback in the same
/// way. The handle is open, or the function does not use it.
unsafe fn operations(enumerate: Enumerate, process: HANDLE) -> Vec<HandleOperation> {
    let mut found: Vec<HandleOperation> = Vec::new();
    // SAFETY: for this resource type, the function calls `take` with one operation each time and
    // with the pointer to the list, which nothing else uses until the function returns.
    let code = unsafe {
        enumerate(
            process,
            0,
            AvrfResourceHandleTrace.cast_unsigned(),
            Some(take),
            (&raw mut found).cast(),
        )
    };
    tracing::debug!(code, found = found.len(), "operations on handles");
    found
}

/// Adds one operation of the record to the list.
///
/// # Safety
/// `operation` points to an operation. `found` is the pointer to the list that was passed to the
/// function. `level` can be written.
unsafe extern "system" fn take(operation: *mut c_void, found: *mut c_void, level: *mut u32) -> u32 {
    // SAFETY: the caller guarantees that one points to an operation, which need not be aligned
    // here, and that the other points to the list, which nothing else uses in the meantime.
    let (operation, found) = unsafe {
        (
            operation.cast::<AVRF_HANDLE_OPERATION>().read_unaligned(),
            &mut *found.cast::<Vec<HandleOperation>>(),
        )
    };
    found.extend(translate(&operation));
    let next = if found.len() < MOST {
        HeapEnumerationEverything
    } else {
        HeapEnumerationStop
    };
    // SAFETY: the caller guarantees that it can be written.
    unsafe { level.write(next.cast_unsigned()) };
    0
}

/// Converts an operation. Returns `None` if the entry of the record is unused.
fn translate(operation: &AVRF_HANDLE_OPERATION) -> Option<HandleOperation> {
    let kinds = [
        (OperationDbOPEN, HandleOperationKind::Open),
        (OperationDbCLOSE, HandleOperationKind::Close),
        (OperationDbBADREF, HandleOperationKind::BadReference),
    ];
    let number = operation.OperationType.cast_signed();
    let (_, kind) = kinds.into_iter().find(|(of_kind, _)| *of_kind == number)?;
    let trace = &operation.BackTraceInformation;
    let depth = (trace.Depth as usize).min(trace.ReturnAddresses.len());
    Some(HandleOperation {
        handle: operation.Handle,
        process_id: operation.ProcessId,
        thread_id: operation.ThreadId,
        kind,
        index: trace.Index,
        return_addresses: trace.ReturnAddresses[..depth].to_vec(),
    })
}

/// A loaded `verifier.dll`.
struct Verifier(HMODULE);

impl Verifier {
    fn load() -> Option<Self> {
        // SAFETY: the name ends with NUL. The DLL is searched in the system's folder only, and
        // programs may load it.
        let library = unsafe {
            LoadLibraryExW(
                w!("verifier.dll"),
                std::ptr::null_mut(),
                LOAD_LIBRARY_SEARCH_SYSTEM32,
            )
        };
        (!library.is_null()).then_some(Self(library))
    }

    fn enumerate(&self) -> Option<Enumerate> {
        // SAFETY: the library is loaded as long as `self` exists, and the name ends with NUL. A
        // call through either type is unsafe. The signature is that of avrfsdk.h.
        unsafe {
            let function = GetProcAddress(self.0, c"VerifierEnumerateResource".as_ptr().cast())?;
            Some(std::mem::transmute::<
                unsafe extern "system" fn() -> isize,
                Enumerate,
            >(function))
        }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // SAFETY: the library was loaded once and is freed once. The function from it is not kept
        // beyond `handle_operations`.
        unsafe { FreeLibrary(self.0) };
    }
}

/// These tests would catch: an operation that is lost or converted to another one; a record that
/// never ends; a depth that is not checked. A function of the tests replaces the one of Windows,
/// because Wine 8 has no verifier.dll.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::ApplicationVerifier::AVRF_BACKTRACE_INFORMATION;

    use super::*;

    /// Reports operations with the types 0 to 4, of which three are defined, in the documented way
    /// of the system's function.
    unsafe extern "system" fn five(
        _: HANDLE,
        flags: u32,
        kind: u32,
        callback: AVRF_RESOURCE_ENUMERATE_CALLBACK,
        context: *mut c_void,
    ) -> u32 {
        assert_eq!((flags, kind), (0, 1));
        for number in 0..5 {
            let mut operation = AVRF_HANDLE_OPERATION {
                Handle: 0x40 + u64::from(number),
                ProcessId: 7,
                ThreadId: 8,
                OperationType: number,
                Spare0: 0,
                BackTraceInformation: AVRF_BACKTRACE_INFORMATION {
                    Depth: if number == 3 { u32::MAX } else { number },
                    Index: 100 + number,
                    ReturnAddresses: [0x1000; 32],
                },
            };
            let mut level = 0;
            // SAFETY: the first pointer points to an operation, and the context was passed with the
            // callback.
            unsafe { callback.expect("one")((&raw mut operation).cast(), context, &mut level) };
            assert_eq!(level, 0);
        }
        0
    }

    /// Reports operations until the callback stops it.
    unsafe extern "system" fn endless(
        _: HANDLE,
        _: u32,
        _: u32,
        callback: AVRF_RESOURCE_ENUMERATE_CALLBACK,
        context: *mut c_void,
    ) -> u32 {
        let mut operation = AVRF_HANDLE_OPERATION {
            OperationType: 1,
            ..AVRF_HANDLE_OPERATION::default()
        };
        let mut level = 0;
        while level == 0 {
            // SAFETY: the first pointer points to an operation, and the context was passed with the
            // callback.
            unsafe { callback.expect("one")((&raw mut operation).cast(), context, &mut level) };
        }
        0
    }

    #[test]
    fn operations_are_taken_as_they_are() {
        // SAFETY: the function calls the callback as documented, and does not use the handle.
        let found = unsafe { operations(five, std::ptr::null_mut()) };
        let kinds: Vec<_> = found.iter().map(|operation| operation.kind.value()).collect();
        assert_eq!(kinds, [1, 2, 3]);
        let second = &found[1];
        assert_eq!(
            (second.handle, second.process_id, second.thread_id, second.index),
            (0x42, 7, 8, 102)
        );
        assert_eq!(second.return_addresses, [0x1000, 0x1000]);
        assert_eq!(found[2].return_addresses.len(), 32);
    }

    #[test]
    fn a_record_without_end_is_ended() {
        // SAFETY: as above.
        let found = unsafe { operations(endless, std::ptr::null_mut()) };
        assert_eq!(found.len(), MOST);
    }

    #[test]
    fn an_operation_has_the_length_that_dumps_give_it() {
        assert_eq!(size_of::<AVRF_HANDLE_OPERATION>(), 288);
    }
}
