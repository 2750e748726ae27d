//! What the kernel tells by the numbers of its information classes.

use dumpwright_target::Fault;
use windows_sys::Wdk::System::SystemInformation::NtQuerySystemInformation;
use windows_sys::Wdk::System::Threading::NtQueryInformationProcess;
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, RtlNtStatusToDosError, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL,
    STATUS_INFO_LENGTH_MISMATCH,
};

use crate::access::fault;

/// An answer of fixed size. The kernel refuses buffers for some classes that are not aligned as their structures are
/// (STATUS_DATATYPE_MISALIGNMENT); none needs more than this.
#[repr(C, align(16))]
struct Answer<const N: usize>([u8; N]);

/// A fact about a process, of a class whose structure has this size.
///
/// # Errors
/// The kernel's status: it has no such class, the process may not be asked, or the structure has another size on this system.
pub(crate) fn process<const N: usize>(process: HANDLE, class: i32) -> Result<[u8; N], NTSTATUS> {
    let mut answer = Answer([0; N]);
    let len = u32::try_from(N).expect("structures are small");
    let mut filled = 0;
    // SAFETY: writes at most the buffer's length to the buffer, and the length to the variable.
    let status =
        unsafe { NtQueryInformationProcess(process, class, answer.0.as_mut_ptr().cast(), len, &mut filled) };
    if status < 0 { Err(status) } else { Ok(answer.0) }
}

/// A fact about a process that is one word of 32 bits; `None` if this system has no such fact or does not tell.
pub(crate) fn process_word(handle: HANDLE, class: i32) -> Option<u32> {
    process(handle, class).ok().map(u32::from_le_bytes)
}

/// A fact about the machine, of a class whose structure has this size.
///
/// # Errors
/// As [`process`].
pub(crate) fn system<const N: usize>(class: i32) -> Result<[u8; N], NTSTATUS> {
    system_in_part(class).map(|(answer, _)| answer)
}

/// The same of a structure that is shorter on some systems, with how long it was.
///
/// # Errors
/// As [`process`].
pub(crate) fn system_in_part<const N: usize>(class: i32) -> Result<([u8; N], usize), NTSTATUS> {
    let mut answer = Answer([0; N]);
    let len = u32::try_from(N).expect("structures are small");
    let mut filled = 0;
    // SAFETY: writes at most the buffer's length to the buffer, and the length to the variable.
    let status = unsafe { NtQuerySystemInformation(class, answer.0.as_mut_ptr().cast(), len, &mut filled) };
    if status < 0 {
        Err(status)
    } else {
        Ok((answer.0, filled as usize))
    }
}

/// A list that the machine keeps, as long as it may be.
///
/// # Errors
/// The kernel's status, that of a buffer too short if the list is longer than `most` bytes.
pub(crate) fn system_list(class: i32, most: usize) -> Result<Vec<u64>, NTSTATUS> {
    list(most, |buffer, len, filled| {
        // SAFETY: the caller hands over a buffer of this length, and a variable.
        unsafe { NtQuerySystemInformation(class, buffer, len, filled) }
    })
}

/// A list that a process has, as long as it may be.
///
/// # Errors
/// As [`system_list`].
pub(crate) fn process_list(process: HANDLE, class: i32, most: usize) -> Result<Vec<u64>, NTSTATUS> {
    list(most, |buffer, len, filled| {
        // SAFETY: the caller hands over a buffer of this length, and a variable.
        unsafe { NtQueryInformationProcess(process, class, buffer, len, filled) }
    })
}

/// How much room a list is given first; most have enough of it.
const FIRST: usize = 64 << 10;

/// Asks with more and more room. Lists grow while they are asked for, and of some the system does not tell how long they are;
/// so it is at least doubled each time.
fn list(
    most: usize,
    ask: impl Fn(*mut std::ffi::c_void, u32, &mut u32) -> NTSTATUS,
) -> Result<Vec<u64>, NTSTATUS> {
    let mut len = FIRST.min(most);
    loop {
        let mut buffer = vec![0_u64; len.div_ceil(8)];
        let mut filled = 0;
        let bytes = u32::try_from(buffer.len() * 8).expect("no list may be that long");
        match ask(buffer.as_mut_ptr().cast(), bytes, &mut filled) {
            STATUS_INFO_LENGTH_MISMATCH | STATUS_BUFFER_TOO_SMALL | STATUS_BUFFER_OVERFLOW if len < most => {
                len = (len * 2).max(filled as usize + FIRST).min(most);
            }
            status if status < 0 => return Err(status),
            _ => return Ok(buffer),
        }
    }
}

/// A status of the kernel's as the reason of a fault.
pub(crate) fn nt_fault(operation: String, status: NTSTATUS) -> Fault {
    // SAFETY: asks nothing of its caller.
    fault(operation, unsafe { RtlNtStatusToDosError(status) })
}

/// What these tests would catch: a list that is cut off, or asked for without end.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_grows_is_got_and_one_without_end_given_up() {
        let wanted = std::cell::Cell::new(100_000_u32);
        let found = list(1 << 20, |_, len, _| {
            if len < wanted.get() {
                wanted.set(wanted.get() + 50_000);
                STATUS_INFO_LENGTH_MISMATCH
            } else {
                0
            }
        });
        assert!(found.expect("fits").len() * 8 >= 200_000);
        let calls = std::cell::Cell::new(0);
        let endless = list(1 << 20, |_, len, filled| {
            calls.set(calls.get() + 1);
            *filled = len.saturating_mul(2);
            STATUS_INFO_LENGTH_MISMATCH
        });
        assert_eq!(endless, Err(STATUS_INFO_LENGTH_MISMATCH));
        assert!(calls.get() <= 6, "{}", calls.get());
    }
}
