//! Reads the system's structures from a target's memory. Nothing in them is trusted.

use dumpwright_target::{Memory, MemoryExt};

/// Reads the text of a `UNICODE_STRING` from its 16 bytes. The text has at most 64 KiB, the most
/// that the structure's length field can express.
pub(crate) fn unicode_string(memory: &mut dyn Memory, string: &[u8]) -> Option<String> {
    let len = usize::from(half_at(string, 0) & !1);
    let bytes = memory.bytes(word_at(string, 8), len).ok()?;
    Some(utf16(&bytes))
}

/// Decodes UTF-16 bytes.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| half_at(unit, 0)).collect();
    String::from_utf16_lossy(&units)
}

/// Returns the 16-bit number at an offset of a structure.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Returns the 32-bit number at an offset of a structure.
pub(crate) fn int_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Returns the 64-bit number at an offset of a structure.
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
