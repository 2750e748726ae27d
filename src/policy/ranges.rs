use std::ops::Range;

use dumpwright_callback::{Ask, Callback, MemoryAnswer, ProcessAsked};
use dumpwright_target::AddressRange;

use super::regions::{self, whole_pages};
use crate::memory::set::RangeSet;

/// The largest size of one answer, which has 32 bits for it. Longer ranges take several answers and
/// are cut at pages.
const LONGEST: u64 = 0xFFFF_F000;

/// Ranges that answer Memory or RemoveMemory one at a time. Every dump starts again with the first.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// Ranges that are not yet joined into `ranges`.
    added: Vec<AddressRange>,
    ranges: RangeSet,
    /// Everything below this address has been returned.
    done: u64,
}

impl Ranges {
    pub fn add(&mut self, range: Range<u64>) {
        self.added.extend(AddressRange::new(range.start, range.end));
    }

    pub fn from_set(ranges: RangeSet) -> Self {
        Self {
            ranges,
            ..Self::default()
        }
    }

    pub fn begin(&mut self) {
        self.done = 0;
    }

    /// Returns all ranges, whether or not [`next`](Self::next) has returned them. Joins the added
    /// ranges once, on the first call.
    pub fn set(&mut self) -> &RangeSet {
        if !self.added.is_empty() {
            self.ranges = RangeSet::union(self.ranges.iter().chain(self.added.drain(..)));
        }
        &self.ranges
    }

    /// Fills the slot with the next range. Returns `false` if there are no more.
    pub fn next(&mut self, slot: &mut MemoryAnswer) -> bool {
        let done = self.done;
        let next = self.set().first_behind(done);
        let Some(next) = next.and_then(|range| AddressRange::new(range.start().max(done), range.end()))
        else {
            return false;
        };
        let size = next.len().min(LONGEST);
        self.done = next.start() + size;
        *slot = MemoryAnswer {
            base: next.start(),
            size: u32::try_from(size).expect("at most LONGEST"),
        };
        true
    }
}

/// Adds memory by address.
///
/// The part that cannot be read is left out. A dump of full memory contains the memory anyway.
///
/// ```
/// use dumpwright::policy::AddMemory;
///
/// let mut tables = AddMemory::new()
///     .range(0x6000_0000..0x6000_4000)
///     .range(0x7000_0000..0x7000_0100);
/// # let _ = &mut tables;
/// ```
#[derive(Default)]
pub struct AddMemory(Ranges);

impl AddMemory {
    /// Creates a policy without ranges.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds this range. An empty range has no effect.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.0.add(range);
        self
    }
}

impl Callback for AddMemory {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.0.begin();
                true
            }
            Ask::Memory { wanted } => self.0.next(wanted),
            _ => true,
        }
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

/// Removes memory by address.
///
/// The memory is removed no matter why it was selected: as a stack, an added range, code around an
/// instruction pointer, or a data segment. A dump of full memory loses whole pages: every page that
/// contains a part of one of the ranges.
///
/// Removed memory is not read either. An answer has 32 bits for the size, so a range takes one call
/// of the callback for every 4 GiB; avoid ranges of many terabytes. To overwrite single bytes and
/// keep the bytes around them, use [`Redact::range`](super::Redact::range).
///
/// ```
/// use dumpwright::policy::RemoveMemory;
///
/// let mut key_store = RemoveMemory::new().range(0x6000_0000..0x6000_1000);
/// # let _ = &mut key_store;
/// ```
#[derive(Default)]
pub struct RemoveMemory {
    ranges: Ranges,
    /// The ranges, extended to whole pages. Computed when the first region is offered.
    pages: Option<RangeSet>,
}

impl RemoveMemory {
    /// Creates a policy without ranges.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes this range. An empty range has no effect.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.ranges.add(range);
        self.pages = None;
        self
    }
}

impl Callback for RemoveMemory {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.ranges.begin();
                true
            }
            Ask::RemoveMemory { unwanted } => self.ranges.next(unwanted),
            Ask::IncludeVmRegion { answer } => {
                if let Some(offered) = regions::range(&answer.region) {
                    let pages = || RangeSet::union(self.ranges.set().iter().map(whole_pages));
                    let removed = self.pages.get_or_insert_with(pages);
                    let left = RangeSet::union([offered]).subtract(removed);
                    regions::answer(answer, left.iter().next());
                }
                true
            }
            _ => true,
        }
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_beyond_32_bits_are_handed_out_in_pieces_and_again_in_the_next_dump() {
        let mut ranges = Ranges::default();
        [0x1000..0x2_0000_1000, 5..5, 0x10..0x20]
            .into_iter()
            .for_each(|range| ranges.add(range));
        for _ in 0..2 {
            let mut slot = MemoryAnswer::default();
            let mut given = Vec::new();
            while ranges.next(&mut slot) {
                given.push((slot.base, slot.size));
            }
            assert_eq!(
                given,
                [
                    (0x10, 0x10),
                    (0x1000, 0xFFFF_F000),
                    (0x1_0000_0000, 0xFFFF_F000),
                    (0x1_FFFF_F000, 0x2000)
                ]
            );
            ranges.begin();
        }
    }
}
