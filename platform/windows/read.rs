//! The bytes of its memory.

use dumpwright_target::{Fault, FaultKind};
use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;

use crate::access::Access;

/// Size of a page.
const PAGE: u64 = 0x1000;

/// Reads bytes; fewer than wanted when something behind the first cannot be read.
///
/// A read that touches one page that cannot be read fails as a whole on Windows, with ERROR_PARTIAL_COPY; so it is tried again
/// page by page.
///
/// # Errors
/// The first byte cannot be read.
pub(crate) fn read(access: &Access, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
    if read_once(access, at, into).is_ok() {
        return Ok(into.len());
    }
    let mut done = 0;
    while done < into.len() {
        let from = at.wrapping_add(done as u64);
        let in_page = usize::try_from(PAGE - from % PAGE).expect("no more than a page");
        let end = into.len().min(done + in_page);
        match read_once(access, from, &mut into[done..end]) {
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

/// Reads all of the bytes or tells the system's error.
fn read_once(access: &Access, at: u64, into: &mut [u8]) -> Result<(), u32> {
    let mut count = 0;
    let from = std::ptr::without_provenance(at as usize);
    // SAFETY: writes at most the buffer's length to the buffer.
    let done = unsafe {
        ReadProcessMemory(
            access.memory,
            from,
            into.as_mut_ptr().cast(),
            into.len(),
            &mut count,
        )
    };
    if done != 0 && count == into.len() {
        return Ok(());
    }
    // SAFETY: asks nothing of its caller.
    Err(unsafe { GetLastError() })
}

/// Reads so many bytes; `None` if not all of them can be read.
pub(crate) fn array<const N: usize>(access: &Access, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (read(access, at, &mut bytes).ok()? == N).then_some(bytes)
}

/// Reads a word, as pointers are.
pub(crate) fn word(access: &Access, at: u64) -> Option<u64> {
    array(access, at).map(u64::from_le_bytes)
}
