use std::fmt;

/// A non-empty range of addresses, `start..end`. The end is exclusive.
///
/// The last byte of a 64-bit address space cannot be part of a range. No system maps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    start: u64,
    end: u64,
}

impl AddressRange {
    /// Returns the range from `start` up to `end`, or `None` if it would be empty.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Returns the range of `len` bytes at `start`, or `None` if it would be empty or extend past
    /// the end of the address space.
    #[must_use]
    pub fn at(start: u64, len: u64) -> Option<Self> {
        Self::new(start, start.checked_add(len)?)
    }

    /// Returns the first address.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// Returns the first address after the range.
    #[must_use]
    pub fn end(self) -> u64 {
        self.end
    }

    /// Returns the number of bytes, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Returns whether `address` is in the range.
    #[must_use]
    pub fn contains(self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Returns whether all of `other` is in the range.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Returns the addresses that are in both ranges, or `None` if there are none.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Splits the range into consecutive parts of at most `size` bytes.
    ///
    /// # Panics
    /// Panics if `size` is 0.
    pub fn chunks(self, size: u64) -> impl Iterator<Item = Self> {
        assert!(size > 0, "the chunk size must not be 0");
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
