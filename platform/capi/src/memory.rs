//! Reads memory through the system, so that a wrong pointer is an error and not a crash.

use crate::process::Client;

#[cfg_attr(target_os = "linux", path = "memory/linux.rs")]
#[cfg_attr(windows, path = "memory/windows.rs")]
mod system;

/// The process whose memory is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Space<'c> {
    /// The calling process.
    Own,
    /// The process that is dumped.
    Of(&'c Client),
}

/// The number of bytes that are read at once. The buffer grows by this much only after a successful
/// read, so a size that is too large costs no memory.
const CHUNK: usize = 1 << 20;

/// Copies `len` bytes from `address`. Returns `None` if not all of them can be read.
pub(crate) fn copy(space: Space<'_>, address: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let have = bytes.len();
        bytes.resize(len.min(have + CHUNK), 0);
        let at = usize::try_from(address).ok()?.checked_add(have)?;
        read(space, at, &mut bytes[have..])?;
    }
    Some(bytes)
}

/// Returns whether `len` bytes from `address` can be read, all of them. It is the system that
/// reads, so that a page that is not there is no crash.
pub(crate) fn is_readable(space: Space<'_>, address: u64, len: u64) -> bool {
    let Some(end) = address.checked_add(len) else {
        return false;
    };
    let mut buffer = vec![0; CHUNK.min(usize::try_from(len).unwrap_or(CHUNK))];
    let mut at = address;
    while at < end {
        let now = (end - at).min(CHUNK as u64);
        let (Ok(place), Ok(now_len)) = (usize::try_from(at), usize::try_from(now)) else {
            return false;
        };
        if read(space, place, &mut buffer[..now_len]).is_none() {
            return false;
        }
        at += now;
    }
    true
}

/// Copies `N` bytes from `address`. Returns `None` if not all of them can be read.
pub(crate) fn array<const N: usize>(space: Space<'_>, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    read(space, usize::try_from(address).ok()?, &mut bytes)?;
    Some(bytes)
}

fn read(space: Space<'_>, at: usize, into: &mut [u8]) -> Option<()> {
    at.checked_add(into.len())?;
    system::read(space, at, into)
}

/// These tests would catch: a wrong pointer that ends the process, a wrong size that takes
/// gigabytes of memory.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_copied_and_what_is_not_is_told() {
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|at| (at / 7) as u8).collect();
        let address = bytes.as_ptr().expose_provenance() as u64;
        assert_eq!(copy(Space::Own, address, bytes.len()).as_deref(), Some(&*bytes));
        assert_eq!(copy(Space::Own, 0, 0).as_deref(), Some(&[][..]));
        for (address, len) in [
            (0, 1),
            (16, 8),
            (u64::MAX - 3, 8),
            (u64::MAX, 1),
            (address, usize::MAX),
        ] {
            assert_eq!(copy(Space::Own, address, len), None, "{address:#x} {len}");
        }
        assert_eq!(array(Space::Own, address + 7), Some([1, 1, 1]));
    }
}
