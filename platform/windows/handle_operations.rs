//! What was done with its handles, where Application Verifier keeps a record of it.
//!
//! `verifier.dll` knows how to read the record. It is a part of Windows that not every machine has (Wine 8 does not), and is loaded for this from the system's
//! folder, from nowhere else.

use std::ffi::c_void;

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

/// More than a record is ever set to hold.
const MOST: usize = 1 << 16;

/// VerifierEnumerateResource.
type Enumerate =
    unsafe extern "system" fn(HANDLE, u32, u32, AVRF_RESOURCE_ENUMERATE_CALLBACK, *mut c_void) -> u32;

/// What was done with handles, as the record has it: the latest first. Nothing if nobody keeps one.
pub(crate) fn handle_operations(access: &Access) -> Vec<HandleOperation> {
    let Some(verifier) = Verifier::load() else {
        return Vec::new();
    };
    verifier
        .enumerate()
        .map(|enumerate| operations(enumerate, access.process))
        .unwrap_or_default()
}

/// Asks for the record with this function. It fails for processes that have none, and for those whose record makes no sense: what it has told by then counts.
fn operations(enumerate: Enumerate, process: HANDLE) -> Vec<HandleOperation> {
    let mut found: Vec<HandleOperation> = Vec::new();
    // SAFETY: the function calls `take` with one operation each time, and with our list, which lives until it returns; flags 0 suspend nothing.
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

/// Takes one operation of the record.
///
/// # Safety
/// `operation` is one, and `found` the list that was given with the question; `level` may be written.
unsafe extern "system" fn take(operation: *mut c_void, found: *mut c_void, level: *mut u32) -> u32 {
    // SAFETY: promised by the caller. The structure need not be aligned.
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
    // SAFETY: promised by the caller.
    unsafe { level.write(next.cast_unsigned()) };
    0
}

/// An operation, unless its place in the record is not in use.
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

/// `verifier.dll`, loaded.
struct Verifier(HMODULE);

impl Verifier {
    fn load() -> Option<Self> {
        // SAFETY: the name is a literal; the system's own DLL is loaded, which has nothing against it.
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
        // SAFETY: the name ends with NUL; the function of this name has this signature (avrfsdk.h).
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
        // SAFETY: it was loaded once and is freed once; nothing of it is kept.
        unsafe { FreeLibrary(self.0) };
    }
}

/// What these tests would catch: an operation that is lost, or translated into another; a record that never ends; a depth that is believed. The function that
/// Windows has is played by another one: Wine 8 has no verifier.dll.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::ApplicationVerifier::AVRF_BACKTRACE_INFORMATION;

    use super::*;

    /// Calls with operations 0 to 4, of which there are three kinds, as the documentation says the system's function does.
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
            // SAFETY: an operation, and the context that came with the callback.
            unsafe { callback.expect("one")((&raw mut operation).cast(), context, &mut level) };
            assert_eq!(level, 0);
        }
        0
    }

    /// Goes on until it is told to stop.
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
            // SAFETY: an operation, and the context that came with the callback.
            unsafe { callback.expect("one")((&raw mut operation).cast(), context, &mut level) };
        }
        0
    }

    #[test]
    fn operations_are_taken_as_they_are() {
        let found = operations(five, std::ptr::null_mut());
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
        assert_eq!(operations(endless, std::ptr::null_mut()).len(), MOST);
    }

    #[test]
    fn an_operation_has_the_length_that_dumps_give_it() {
        assert_eq!(size_of::<AVRF_HANDLE_OPERATION>(), 288);
    }
}
