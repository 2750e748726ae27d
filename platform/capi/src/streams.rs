//! Copies the user streams that a caller passes.

use dumpwright_abi::native::{MINIDUMP_USER_STREAM, MINIDUMP_USER_STREAM_INFORMATION};

use crate::last::Failure;
use crate::memory::{self, Space};

/// ERROR_INVALID_USER_BUFFER as an HRESULT: the error of DbgHelp 6.3.9600 for a stream that cannot
/// be read.
const INVALID_USER_BUFFER: u32 = 0x8007_06F8;

/// The maximum size of all streams together, in bytes. They must be in the first 4 GiB of the file.
const MOST: u64 = u32::MAX as u64;

/// Copies the user streams and returns the type and the bytes of each.
///
/// # Errors
/// A stream cannot be read, or together they are too large.
///
/// # Safety
/// The pointer is NULL or points to a valid structure.
#[allow(clippy::useless_conversion, reason = "needed where pointers have 32 bits")]
pub(crate) unsafe fn from_pointer(
    information: *const MINIDUMP_USER_STREAM_INFORMATION,
) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
    if information.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the caller guarantees that it is valid for reads. It may be unaligned.
    let MINIDUMP_USER_STREAM_INFORMATION {
        UserStreamCount: count,
        UserStreamArray: array,
    } = unsafe { information.read_unaligned() };
    let mut streams = Vec::new();
    let mut total = 0;
    let size = size_of::<MINIDUMP_USER_STREAM>() as u64;
    for index in 0..u64::from(if array == 0 { 0 } else { count }) {
        let unreadable = |what: &str| {
            Failure::new(
                INVALID_USER_BUFFER,
                format!("cannot read {what} of user stream {index} of {count}; check its pointer and size"),
            )
        };
        let entry: [u8; size_of::<MINIDUMP_USER_STREAM>()] = u64::from(array)
            .checked_add(index * size)
            .and_then(|at| memory::array(Space::Own, at))
            .ok_or_else(|| unreadable("the structure"))?;
        // SAFETY: the structure consists of numbers, for which all bytes are valid.
        let entry: MINIDUMP_USER_STREAM = unsafe { std::mem::transmute(entry) };
        total += u64::from(entry.BufferSize);
        if total > MOST {
            return Err(Failure::new(
                dumpwright::Hresult::FILE_TOO_LARGE.0,
                "the user streams do not fit into a minidump: together they are larger than 4 GiB",
            ));
        }
        let bytes = memory::copy(Space::Own, u64::from(entry.Buffer), entry.BufferSize as usize)
            .ok_or_else(|| unreadable("the buffer"))?;
        streams.push((entry.Type, bytes));
    }
    Ok(streams)
}
