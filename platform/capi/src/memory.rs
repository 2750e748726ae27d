//! Memory that pointers lead to, read by the system: a wrong pointer is an answer, not a crash.

use crate::process::Client;

#[cfg_attr(target_os = "linux", path = "memory/linux.rs")]
#[cfg_attr(windows, path = "memory/windows.rs")]
mod system;

/// Whose memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Space<'c> {
    /// The calling process'.
    Own,
    /// That of the process that is dumped.
    Of(&'c Client),
}

/// Nothing is read further than this at once, so that a lying size costs no memory.
const CHUNK: usize = 1 << 20;

/// Copies `len` bytes from `address`; `None` if not all of them can be read.
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

/// The same for a few bytes.
pub(crate) fn array<const N: usize>(space: Space<'_>, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    read(space, usize::try_from(address).ok()?, &mut bytes)?;
    Some(bytes)
}

fn read(space: Space<'_>, at: usize, into: &mut [u8]) -> Option<()> {
    at.checked_add(into.len())?;
    system::read(space, at, into)
}

/// What these tests would catch: a wrong pointer that ends the process, and a lying size that takes gigabytes.
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
