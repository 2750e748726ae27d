//! Strings in the file.

use super::dump::Dump;
use super::error::ReadError;
use super::fields::FieldReader;

/// The length of the longest `MINIDUMP_STRING` that is read, in bytes. Windows stores paths and
/// names in a `UNICODE_STRING`, which has at most 65,534 bytes. Linux limits paths to 4096 bytes.
const LONGEST: u64 = 65_534;

/// The number of bytes of strings that may still be read for one list.
///
/// In a hostile file, many records can refer to the same long string: a million module records that
/// all refer to one string of 64 KiB would take 64 GiB of memory. Strings that do not overlap
/// cannot be longer than the file in total. Valid files share some strings, such as the type names
/// of handles, so the limit is 16 times the length of the file plus 1 MiB, but at most 64 MiB: a
/// sparse file may be much longer than the data in it.
pub(super) struct TextBudget {
    left: u64,
    limit: u64,
}

impl TextBudget {
    /// The maximum for files of any length, in bytes. The names of a million threads or of ten
    /// thousand modules with the longest paths have less.
    const MOST: u64 = 64 << 20;

    pub(super) fn new(dump: &Dump) -> Self {
        let limit = dump
            .len()
            .saturating_mul(16)
            .saturating_add(1 << 20)
            .min(Self::MOST);
        Self { left: limit, limit }
    }
}

impl Dump {
    /// Reads the `MINIDUMP_STRING` at a file offset. It consists of its length in bytes, UTF-16
    /// code units, and a NUL that is not included in the length. Unpaired surrogates become U+FFFD.
    ///
    /// # Errors
    ///
    /// The string lies outside the file, its length is odd, or it is longer than 65,534 bytes.
    pub fn string(&self, rva: u32) -> Result<String, ReadError> {
        self.string_at(rva.into(), &mut TextBudget::new(self))
    }

    pub(super) fn string_at(&self, offset: u64, budget: &mut TextBudget) -> Result<String, ReadError> {
        const WHAT: &str = "a string";
        /// Most strings are shorter than this with their length, and take one read.
        const FIRST: u64 = 256;
        let mut first = [0; FIRST as usize];
        let have = FIRST.min(self.len().saturating_sub(offset)).max(4) as usize;
        self.fill(WHAT, offset, &mut first[..have])?;
        let (head, first) = first[..have].split_at(4);
        let length = u64::from(FieldReader(head).u32(0));
        let malformed = |reason| {
            Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason,
            })
        };
        if length % 2 != 0 {
            return malformed(format!("its length of {length} bytes is odd"));
        }
        if length > LONGEST {
            return malformed(format!("its length of {length} bytes is more than {LONGEST}"));
        }
        let Some(left) = budget.left.checked_sub(length) else {
            let limit = budget.limit;
            return malformed(format!(
                "the strings of its list have more than {limit} bytes together"
            ));
        };
        budget.left = left;
        match first.get(..length as usize) {
            Some(bytes) => Ok(utf16(bytes)),
            None => Ok(utf16(&self.bytes(WHAT, offset + 4, length)?)),
        }
    }
}

/// Decodes UTF-16LE. Unpaired surrogates become U+FFFD.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
