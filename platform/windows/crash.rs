//! Reads the exception that ended a process, from the arguments of an exception handler.

use std::ffi::c_void;

use dumpwright_abi::ExceptionRecord;
use dumpwright_target::{CpuContext, Exception, Fault, FaultKind, MemoryExt};
use windows_sys::Win32::System::Diagnostics::Debug::{CONTEXT, EXCEPTION_RECORD};

use crate::WindowsProcess;
use crate::memory::word_at;
use crate::registers;

/// Offsets and sizes of `EXCEPTION_POINTERS` (x64, winnt.h).
mod layout {
    pub(super) const CONTEXT: usize = 8;
    pub(super) const POINTERS_SIZE: usize = 16;
}

const _: () = assert!(size_of::<EXCEPTION_RECORD>() == ExceptionRecord::SIZE);

/// Reads the exception of a handler in another process, from that process's memory.
///
/// This function is for watchers. The crashing process tells the watcher the id of its thread and
/// the address of its `EXCEPTION_POINTERS` (the argument of `SetUnhandledExceptionFilter`'s
/// function, or the result of `GetExceptionInformation`), and waits.
///
/// # Errors
/// The pointers, the record or the registers cannot be read, or the registers are not those of an
/// x86-64 thread.
pub fn exception(process: &WindowsProcess, thread_id: u32, pointers: u64) -> Result<Exception, Fault> {
    let access = &process.access()?;
    let mut memory = access;
    let operation = |what: &str, at: u64| format!("read the {what} at {at:#x} of process {}", access.id);
    let unreadable = |what, at| {
        Fault::new(
            FaultKind::Unreadable,
            operation(what, at),
            "not all of it can be read",
        )
    };
    let both: [u8; layout::POINTERS_SIZE] = memory
        .array(pointers)
        .map_err(|_| unreadable("exception pointers", pointers))?;
    let (record_at, context_at) = (word_at(&both, 0), word_at(&both, layout::CONTEXT));
    let record: [u8; ExceptionRecord::SIZE] = memory
        .array(record_at)
        .map_err(|_| unreadable("exception record", record_at))?;
    let context: [u8; size_of::<CONTEXT>()] = memory
        .array(context_at)
        .map_err(|_| unreadable("registers of the exception", context_at))?;
    let context = registers::from_foreign(context.to_vec()).ok_or_else(|| {
        Fault::new(
            FaultKind::Malformed,
            operation("registers of the exception", context_at),
            "they are not the registers of an x86-64 thread",
        )
    })?;
    Ok(from_record(
        thread_id,
        ExceptionRecord::from_bytes(&record),
        context,
    ))
}

/// Reads the exception of a handler in the calling process. The exception is one of a thread of
/// another process, or of a debuggee.
///
/// Returns `None` if one of the pointers is null, or if the registers are not those of an x86-64
/// thread.
///
/// # Safety
/// `pointers` is null or points to an `EXCEPTION_POINTERS`. The pointers in it are null or point to
/// an `EXCEPTION_RECORD` and a `CONTEXT`. All of these are initialised.
#[must_use]
pub unsafe fn exception_here(thread_id: u32, pointers: *const c_void) -> Option<Exception> {
    if pointers.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees that it points to this structure, which consists of two
    // pointers.
    let [record, context] = unsafe { pointers.cast::<[*const u8; 2]>().read_unaligned() };
    if record.is_null() || context.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees that the pointers, which are not null, point to these
    // structures, and that the structures are initialised. The record has padding, so it is read as
    // a structure. The registers have no padding: the size of the structure is the sum of its
    // members' sizes.
    let (record, context) = unsafe {
        (
            record.cast::<EXCEPTION_RECORD>().read_unaligned(),
            context.cast::<[u8; size_of::<CONTEXT>()]>().read_unaligned(),
        )
    };
    let context = registers::from_foreign(context.to_vec())?;
    Some(from_record(thread_id, record_here(&record), context))
}

/// Converts the record of an exception in this process. The members are read one by one, because
/// the record has padding, which must not be read as bytes.
pub(crate) fn record_here(record: &EXCEPTION_RECORD) -> ExceptionRecord {
    let count = record.NumberParameters as usize;
    ExceptionRecord {
        code: record.ExceptionCode.cast_unsigned(),
        flags: record.ExceptionFlags,
        record: record.ExceptionRecord.addr() as u64,
        address: record.ExceptionAddress.addr() as u64,
        // `NumberParameters` may be larger than the array.
        parameters: record
            .ExceptionInformation
            .iter()
            .take(count)
            .map(|word| *word as u64)
            .collect(),
    }
}

/// Combines a record and registers into an exception.
pub(crate) fn from_record(thread_id: u32, record: ExceptionRecord, context: CpuContext) -> Exception {
    Exception {
        thread_id,
        code: record.code,
        flags: record.flags,
        record: record.record,
        address: record.address,
        parameters: record.parameters,
        context,
    }
}

#[cfg(test)]
mod tests;
