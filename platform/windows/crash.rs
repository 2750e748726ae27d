//! What brought a process down: an exception, as its handlers are told of it.

use std::ffi::c_void;

use dumpwright_target::{CpuContext, Exception, Fault, FaultKind};
use windows_sys::Win32::System::Diagnostics::Debug::{CONTEXT, EXCEPTION_RECORD};

use crate::WindowsProcess;
use crate::access::Access;
use crate::{read, registers};

/// Offsets in `EXCEPTION_POINTERS` and `EXCEPTION_RECORD` (x64, winnt.h).
mod layout {
    pub(super) const CONTEXT: u64 = 8;
    pub(super) const POINTERS_SIZE: usize = 16;
    pub(super) const RECORD_SIZE: usize = 0x98;
}

/// `EXCEPTION_MAXIMUM_PARAMETERS`.
const MOST_PARAMETERS: usize = 15;

const _: () = {
    assert!(size_of::<EXCEPTION_RECORD>() == layout::RECORD_SIZE);
    assert!(std::mem::offset_of!(EXCEPTION_RECORD, ExceptionInformation) == 0x20);
};

/// The exception that a handler in another process was told of, read from that process' memory.
///
/// For watchers: the crashing process tells the id of the thread and the address of its `EXCEPTION_POINTERS` (what
/// `SetUnhandledExceptionFilter`'s function is given, or `GetExceptionInformation` tells), and waits.
///
/// # Errors
/// The pointers, the record or the registers cannot be read, or there are no registers of an x86-64 thread at that place.
pub fn exception(process: &WindowsProcess, thread_id: u32, pointers: u64) -> Result<Exception, Fault> {
    let access = process.access();
    let operation = |what: &str, at: u64| format!("read the {what} at {at:#x} of process {}", access.id);
    let unreadable = |what, at| {
        Fault::new(
            FaultKind::Unreadable,
            operation(what, at),
            "not all of it can be read",
        )
    };
    let both: [u8; layout::POINTERS_SIZE] =
        array(access, pointers).ok_or_else(|| unreadable("exception pointers", pointers))?;
    let word = |at: u64| u64_at(&both, at as usize);
    let (record_at, context_at) = (word(0), word(layout::CONTEXT));
    let record: [u8; layout::RECORD_SIZE] =
        array(access, record_at).ok_or_else(|| unreadable("exception record", record_at))?;
    let context: [u8; size_of::<CONTEXT>()] =
        array(access, context_at).ok_or_else(|| unreadable("registers of the exception", context_at))?;
    let context = registers::from_foreign(context.to_vec()).ok_or_else(|| {
        Fault::new(
            FaultKind::Malformed,
            operation("registers of the exception", context_at),
            "they are not those of an x86-64 thread",
        )
    })?;
    Ok(from_record(thread_id, &record, context))
}

/// The exception that a handler in this very process was told of, about a thread of another one or of a debuggee.
///
/// `None` if one of the pointers is null, or the registers are not those of an x86-64 thread.
///
/// # Safety
/// `pointers` is null or points to an `EXCEPTION_POINTERS`, whose pointers are null or point to an `EXCEPTION_RECORD` and a
/// `CONTEXT`, all of them initialised.
#[must_use]
pub unsafe fn exception_here(thread_id: u32, pointers: *const c_void) -> Option<Exception> {
    if pointers.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let [record, context] = unsafe { pointers.cast::<[*const u8; 2]>().read_unaligned() };
    if record.is_null() || context.is_null() {
        return None;
    }
    // SAFETY: as the caller promises; both are plain numbers of these sizes.
    let (record, context) = unsafe {
        (
            record.cast::<[u8; layout::RECORD_SIZE]>().read_unaligned(),
            context.cast::<[u8; size_of::<CONTEXT>()]>().read_unaligned(),
        )
    };
    let context = registers::from_foreign(context.to_vec())?;
    Some(from_record(thread_id, &record, context))
}

/// The exception of a record (`EXCEPTION_RECORD`'s bytes) and registers.
pub(crate) fn from_record(
    thread_id: u32,
    record: &[u8; layout::RECORD_SIZE],
    context: CpuContext,
) -> Exception {
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"));
    let parameters = (u32_at(0x18) as usize).min(MOST_PARAMETERS);
    Exception {
        thread_id,
        code: u32_at(0),
        flags: u32_at(4),
        record: u64_at(record, 8),
        address: u64_at(record, 16),
        parameters: (0..parameters)
            .map(|index| u64_at(record, 0x20 + 8 * index))
            .collect(),
        context,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn array<const N: usize>(access: &Access, at: u64) -> Option<[u8; N]> {
    read::array(access, at)
}

#[cfg(test)]
mod tests;
