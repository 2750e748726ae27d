//! Text in the file.

use super::dump::Dump;
use super::error::ReadError;

/// Longest `MINIDUMP_STRING` that is read, in bytes. No path or name of Windows exceeds what a `UNICODE_STRING` can
/// count (65534), and Linux paths end at 4096 bytes.
const LONGEST: u64 = 65_534;

/// How much text one listing may take out of the file, in bytes.
///
/// A few bytes of a hostile file can name the same long string over and over: a million module records all
/// pointing at one string of 64 KiB would ask for 64 GiB. Strings that do not overlap can't together be longer than the
/// file; some sharing (type names of handles) is honest, so the allowance is larger than that and still in proportion.
pub(super) struct TextBudget(u64);

impl TextBudget {
    pub(super) fn new(dump: &Dump) -> Self {
        Self(dump.len().saturating_mul(16).saturating_add(1 << 20))
    }
}

impl Dump {
    /// Reads a `MINIDUMP_STRING`: length in bytes, UTF-16 units, and a NUL that the length does not count.
    /// Unpaired surrogates become U+FFFD.
    ///
    /// # Errors
    ///
    /// The string lies outside the file, its length is odd, or it is longer than 65534 bytes.
    pub fn string(&self, rva: u32) -> Result<String, ReadError> {
        self.string_at(rva.into(), &mut TextBudget::new(self))
    }

    pub(super) fn string_at(&self, offset: u64, budget: &mut TextBudget) -> Result<String, ReadError> {
        const WHAT: &str = "a string";
        let mut length = [0; 4];
        self.fill(WHAT, offset, &mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
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
        let Some(left) = budget.0.checked_sub(length) else {
            return malformed(
                "the strings of this list overlap so much that they exceed the file".to_owned(),
            );
        };
        budget.0 = left;
        let bytes = self.bytes(WHAT, offset + 4, length)?;
        Ok(utf16(&bytes))
    }
}

/// UTF-16LE bytes as text.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}
