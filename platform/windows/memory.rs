//! Memory that parsers look into: the target's, or in tests some bytes made up.

use crate::access::Access;
use crate::read::read;

/// Bytes at addresses, none of which is believed.
pub(crate) trait Memory {
    /// Reads all of these bytes; `false` if not all of them can be read.
    fn fill(&self, at: u64, into: &mut [u8]) -> bool;

    /// Reads a structure of this size.
    fn array<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(at, &mut bytes).then_some(bytes)
    }

    /// Reads a pointer.
    fn pointer(&self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// Reads so many bytes. The caller has seen to it that they are not too many.
    fn bytes(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.fill(at, &mut bytes).then_some(bytes)
    }

    /// Reads the text of a `UNICODE_STRING` whose 16 bytes these are: at most 64 KiB, which is as much as its length can say.
    fn unicode_string(&self, string: &[u8]) -> Option<String> {
        let bytes = self.bytes(word_at(string, 8), usize::from(half_at(string, 0) & !1))?;
        let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| half_at(unit, 0)).collect();
        Some(String::from_utf16_lossy(&units))
    }
}

impl Memory for Access {
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        into.is_empty() || read(self, at, into).is_ok_and(|count| count == into.len())
    }
}

/// The 16 bits at this place of a structure.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The 32 bits at this place of a structure.
pub(crate) fn int_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The 64 bits at this place of a structure.
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// For tests: pieces of memory at their addresses, ascending.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces(pub(crate) Vec<(u64, Vec<u8>)>);

#[cfg(test)]
impl Memory for Pieces {
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        let behind = self.0.partition_point(|(start, _)| *start <= at);
        let found = || {
            let (start, bytes) = self.0[..behind].last()?;
            let from = usize::try_from(at - start).ok()?;
            bytes.get(from..from.checked_add(into.len())?)
        };
        found().is_some_and(|bytes| {
            into.copy_from_slice(bytes);
            true
        })
    }
}
