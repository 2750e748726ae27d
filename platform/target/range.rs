use std::fmt;

/// A non-empty range of addresses, `start..end` with the end exclusive.
///
/// The last byte of a 64-bit address space cannot be part of one; no system maps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    start: u64,
    end: u64,
}

impl AddressRange {
    /// The range from `start` up to `end`; `None` if that holds no byte.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The `len` bytes at `start`; `None` if that is empty or passes the end of the address space.
    #[must_use]
    pub fn at(start: u64, len: u64) -> Option<Self> {
        Self::new(start, start.checked_add(len)?)
    }

    /// The first address.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// The first address behind the range.
    #[must_use]
    pub fn end(self) -> u64 {
        self.end
    }

    /// The number of bytes, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// What both have in common.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Consecutive parts of at most `size` bytes.
    pub fn chunks(self, size: u64) -> impl Iterator<Item = Self> {
        assert!(size > 0, "chunks of no bytes");
        let mut at = self.start;
        std::iter::from_fn(move || {
            let part = Self::new(at, self.end.min(at.saturating_add(size)))?;
            at = part.end;
            Some(part)
        })
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::AddressRange;

    #[test]
    fn a_range_that_passes_the_end_of_the_address_space_is_none() {
        assert_eq!(AddressRange::at(u64::MAX - 1, 2), None);
        assert_eq!(AddressRange::at(5, 0), None);
        assert_eq!(AddressRange::at(u64::MAX - 2, 2).map(|r| r.len()), Some(2));
    }

    #[test]
    fn chunks_cover_the_range_in_order() {
        let range = AddressRange::new(10, 35).expect("not empty");
        let parts: Vec<_> = range.chunks(10).map(|part| (part.start(), part.end())).collect();
        assert_eq!(parts, [(10, 20), (20, 30), (30, 35)]);
    }
}
