//! The meaning of a HANDLE on Linux: a process id or a descriptor, with or without a tag.
//!
//! Microsoft's functions take processes and files as HANDLE. Most programs pass process ids and
//! descriptors as plain numbers. A tag expresses two things that a plain number cannot:
//!
//! * descriptor 0, which as a plain number is NULL and therefore means that there is no file;
//! * whether a handle is that of a process or of a file, which CloseHandle needs.
//!
//! `dumpwright.h` has functions that add and remove tags.

use std::os::fd::RawFd;

use crate::RawHandle;

/// The position of the tag, which is the top three bits of 32. Plain numbers do not reach these
/// bits: process ids end at 0x400000 (`PID_MAX_LIMIT`), and a descriptor table with such a large
/// number would take 4 GiB of the kernel's memory.
const SHIFT: u32 = 29;
const PROCESS: u32 = 1;
const FILE: u32 = 2;

/// The number in a handle, and its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandleNumber {
    Plain(u32),
    Process(u32),
    File(u32),
    /// Not a handle: negative, or more than 32 bits.
    None,
}

/// Splits a handle into its tag and its number.
fn number(handle: RawHandle) -> HandleNumber {
    let Ok(value) = u32::try_from(handle.addr()) else {
        return HandleNumber::None;
    };
    let untagged = value & ((1 << SHIFT) - 1);
    match value >> SHIFT {
        PROCESS => HandleNumber::Process(untagged),
        FILE => HandleNumber::File(untagged),
        _ => HandleNumber::Plain(value),
    }
}

/// Returns the process id of a handle. Returns `None` for NULL and for the handle of a file.
pub(crate) fn process_id(handle: RawHandle) -> Option<u32> {
    match number(handle) {
        HandleNumber::Plain(id) | HandleNumber::Process(id) => Some(id).filter(|id| *id != 0),
        HandleNumber::File(_) | HandleNumber::None => None,
    }
}

/// Returns the descriptor of a handle. Returns -1 for NULL, `INVALID_HANDLE_VALUE` and the handle
/// of a process.
pub(crate) fn descriptor(handle: RawHandle) -> RawFd {
    let number = match number(handle) {
        HandleNumber::Plain(number) => Some(number).filter(|number| *number != 0),
        HandleNumber::File(number) => Some(number),
        HandleNumber::Process(_) | HandleNumber::None => None,
    };
    number
        .and_then(|number| RawFd::try_from(number).ok())
        .unwrap_or(-1)
}

/// Returns the tagged handle of a descriptor, which may be 0.
pub(crate) fn of_descriptor(descriptor: RawFd) -> RawHandle {
    let number = match u32::try_from(descriptor) {
        Ok(number) if number >> SHIFT == 0 => number as usize | (FILE as usize) << SHIFT,
        Ok(number) => number as usize,
        Err(_) => usize::MAX,
    };
    std::ptr::without_provenance_mut(number)
}

/// These tests would catch: NULL taken for standard input, a process handle taken for a file, tags
/// that differ from those of the header.
#[cfg(test)]
mod tests {
    use super::*;

    fn handle(number: usize) -> RawHandle {
        std::ptr::without_provenance_mut(number)
    }

    #[test]
    fn plain_numbers_are_processes_and_descriptors() {
        for number in [1, 7, 0x40_0000, 0x7fff_fff0] {
            assert_eq!(process_id(handle(number)), Some(number as u32));
            assert_eq!(descriptor(handle(number)), number as RawFd);
        }
        for none in [0, usize::MAX, 0xffff_ffff, 1 << 40] {
            assert_eq!(descriptor(handle(none)), -1, "{none:#x}");
        }
        assert_eq!(process_id(handle(0)), None);
        assert_eq!(process_id(handle(usize::MAX)), None);
    }

    #[test]
    fn tags_tell_processes_from_files() {
        assert_eq!(of_descriptor(0), handle(0x4000_0000));
        for number in [0, 1, 0xffff] {
            assert_eq!(descriptor(of_descriptor(number)), number);
            assert_eq!(process_id(of_descriptor(number)), None);
        }
        assert_eq!(descriptor(of_descriptor(-1)), -1);
        assert_eq!(of_descriptor(-1), handle(usize::MAX));
        assert_eq!(process_id(handle(0x2000_1234)), Some(0x1234));
        assert_eq!(descriptor(handle(0x2000_1234)), -1);
    }
}
