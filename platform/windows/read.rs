//! Reads the memory of a process.

use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use dumpwright_target::{Diagnostic, Fault, FaultKind, Memory, Subject};
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use crate::access::Access;
use crate::error::{fault, last_error};
use crate::regions;

/// The size of a page in bytes.
const PAGE: u64 = 0x1000;

/// The memory of a process. The implementation is for a shared reference, because a read needs only
/// the process's handle.
impl Memory for &Access<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        tracing::trace!(at, len = into.len(), "read");
        read(self, at, into)
    }
}

/// The memory of a process. It records the first read that failed although the memory is readable.
/// Such a failure is a loss: the fault of the system, and not a property of the process.
#[derive(Debug)]
pub(crate) struct WatchedMemory<'a> {
    access: &'a Access<'a>,
    lost: Option<Fault>,
}

impl<'a> WatchedMemory<'a> {
    pub(crate) fn new(access: &'a Access<'a>) -> Self {
        Self { access, lost: None }
    }

    /// Returns the diagnostic, if something was lost.
    pub(crate) fn diagnostic(self, subject: Subject) -> Option<Diagnostic> {
        let lost = self.lost?;
        Some(Diagnostic::missing(subject, lost.to_string()))
    }
}

impl Memory for WatchedMemory<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let mut access = self.access;
        let result = (&mut access).read(at, into);
        let end = match &result {
            Ok(count) if *count == into.len() => return result,
            Ok(count) => at.wrapping_add(*count as u64),
            Err(_) => at,
        };
        if self.lost.is_none() && is_readable(access, end) {
            let operation = format!("read memory of process {} at {end:#x}", access.id);
            self.lost = Some(match &result {
                Err(fault) => fault.clone(),
                Ok(_) => Fault::new(
                    FaultKind::Unreadable,
                    operation,
                    "the system does not read all of it",
                ),
            });
        }
        result
    }
}

/// The memory of the calling process. The system reads it, so an unmapped address causes an error
/// instead of a crash.
pub(crate) struct OwnMemory;

impl Memory for OwnMemory {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        // SAFETY: the function has no parameters. Its result is a constant that stands for this
        // process and must not be closed.
        let own = unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) };
        match read_once(own, at, into) {
            Ok(()) => Ok(into.len()),
            Err(code) => Err(fault(format!("read memory of this process at {at:#x}"), code)),
        }
    }
}

/// Reads bytes at an address. Returns their number, which is smaller than the buffer if a later
/// page cannot be read.
///
/// If a read touches a page that cannot be read, Windows fails the whole read with
/// ERROR_PARTIAL_COPY. Therefore the read is repeated page by page. The system may lack memory for
/// a moment, so a page that should be readable is read again.
///
/// # Errors
/// The first byte cannot be read.
fn read(access: &Access<'_>, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
    if read_once(access.memory(), at, into).is_ok() {
        return Ok(into.len());
    }
    let mut done = 0;
    while done < into.len() {
        let from = at.wrapping_add(done as u64);
        let in_page = usize::try_from(PAGE - from % PAGE).expect("no more than a page");
        let end = into.len().min(done + in_page);
        let mut attempt = read_once(access.memory(), from, &mut into[done..end]);
        if attempt.is_err() && is_readable(access, from) {
            attempt = read_once(access.memory(), from, &mut into[done..end]);
        }
        match attempt {
            Ok(()) => done = end,
            Err(code) if done == 0 => {
                let fault = access.failure(format!("read memory of process {} at {at:#x}", access.id), code);
                return Err(match fault.kind {
                    FaultKind::Gone => fault,
                    _ => Fault {
                        kind: FaultKind::Unreadable,
                        ..fault
                    },
                });
            }
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Whether memory at an address can be read, according to its state and protection. If the system
/// does not say, it can be.
fn is_readable(access: &Access<'_>, at: u64) -> bool {
    !matches!(regions::readable_at(access, at), Ok(None))
}

/// Fills the whole buffer.
///
/// # Errors
/// The system's Win32 code, if not all bytes can be read.
fn read_once(memory: BorrowedHandle<'_>, at: u64, into: &mut [u8]) -> Result<(), u32> {
    let mut count = 0;
    let from = std::ptr::without_provenance(at as usize);
    // SAFETY: the handle is open as long as it is borrowed. The address belongs to the other
    // process and need not be mapped. The system writes at most the buffer's length to the buffer,
    // and the number of bytes to a local integer.
    let done = unsafe {
        ReadProcessMemory(
            memory.as_raw_handle(),
            from,
            into.as_mut_ptr().cast(),
            into.len(),
            &raw mut count,
        )
    };
    if done != 0 && count == into.len() {
        return Ok(());
    }
    Err(last_error())
}
