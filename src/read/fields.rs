//! Access to the little-endian fields of a record.

use serde::{Serialize, Serializer};

/// The bytes of one record, from which fields are read at the offsets that the specification gives.
///
/// Fields beyond the end of the record read as zero. The format has structures that grew over time,
/// such as MiscInfo, and a short one lacks the later fields. Reading past the end does not panic.
#[derive(Clone, Copy)]
pub(super) struct FieldReader<'a>(pub(super) &'a [u8]);

impl<'a> FieldReader<'a> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        at.checked_add(N)
            .and_then(|end| self.0.get(at..end))
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; N])
    }

    pub(super) fn u8(self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }

    pub(super) fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(super) fn i32(self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub(super) fn u128(self, at: usize) -> u128 {
        u128::from_le_bytes(self.array(at))
    }

    pub(super) fn location(self, at: usize) -> Location {
        Location {
            size: self.u32(at),
            rva: self.u32(at + 4),
        }
    }

    /// Returns the UTF-16 text in a field of `units` code units, up to the first NUL.
    pub(super) fn fixed_text(self, at: usize, units: usize) -> String {
        let text: Vec<u16> = (0..units)
            .map(|unit| self.u16(at + 2 * unit))
            .take_while(|unit| *unit != 0)
            .collect();
        String::from_utf16_lossy(&text)
    }
}

/// The location of data in the file, below 4 GiB (`MINIDUMP_LOCATION_DESCRIPTOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Location {
    /// The size in bytes.
    pub size: u32,
    /// The file offset. 0 means that the data is absent, even if the size is not 0: Microsoft's
    /// DbgHelp 6.3.9600 keeps the size of a context that the callback declined.
    pub rva: u32,
}

impl Location {
    /// Returns whether the data is present: neither the size nor the offset is 0.
    #[must_use]
    pub fn is_present(self) -> bool {
        self.size != 0 && self.rva != 0
    }
}

/// Serializes a number as the string `"0x…"`, for use with `#[serde(serialize_with)]`.
///
/// This is for addresses, flags and other numbers that are usually read in hexadecimal. JSON
/// readers that store numbers as doubles (JavaScript, jq 1.6) would silently round addresses in the
/// upper half of the address space.
pub(super) fn hex<T: std::fmt::LowerHex, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

/// Serializes a list of numbers as strings, like [`hex`].
pub(super) fn hex_list<T: std::fmt::LowerHex, S: Serializer>(
    values: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| format!("{value:#x}")))
}
