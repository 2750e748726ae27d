//! Little-endian fields of one record.

use serde::{Serialize, Serializer};

/// The bytes of one record, read field by field at the offsets the specification gives.
///
/// What lies behind the end of the record reads as zero. That is what the growing structures of the format mean
/// (a short MiscInfo has none of the later fields), and it leaves no index that could panic.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
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

    /// UTF-16 text in a field of `units` units, up to the first NUL.
    pub(super) fn fixed_text(self, at: usize, units: usize) -> String {
        let text: Vec<u16> = (0..units)
            .map(|unit| self.u16(at + 2 * unit))
            .take_while(|unit| *unit != 0)
            .collect();
        String::from_utf16_lossy(&text)
    }
}

/// `MINIDUMP_LOCATION_DESCRIPTOR`: a piece of the file below 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Location {
    /// Bytes.
    pub size: u32,
    /// File offset. 0 means that the piece is absent, even if a size is given (Microsoft's DbgHelp 6.3.9600 keeps
    /// the size of a context that the callback declined).
    pub rva: u32,
}

impl Location {
    /// Whether there is anything: neither size nor offset is zero.
    #[must_use]
    pub fn is_present(self) -> bool {
        self.size != 0 && self.rva != 0
    }
}

/// For `#[serde(serialize_with)]`: numbers that people read as addresses go out as `"0x…"`. JSON readers that keep
/// numbers as doubles (JavaScript, jq 1.6) would silently round the upper half of the address space.
pub(super) fn hex<T: std::fmt::LowerHex, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

/// The same for a list.
pub(super) fn hex_list<T: std::fmt::LowerHex, S: Serializer>(
    values: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| format!("{value:#x}")))
}
