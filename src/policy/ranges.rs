use std::ops::Range;

use dumpwright_callback::{Ask, Callback, MemoryAnswer};
use dumpwright_target::AddressRange;

use super::regions::{self, whole_pages};
use crate::memory::set::RangeSet;

/// An answer has 32 bits for the size; longer ranges take several, cut at pages.
const LONGEST: u64 = 0xFFFF_F000;

/// Ranges to be handed out one by one, from the beginning in every dump.
#[derive(Default)]
pub(super) struct Ranges {
    ranges: RangeSet,
    /// Everything below has been handed out.
    done: u64,
}

impl Ranges {
    pub fn add(&mut self, range: Range<u64>) {
        let new = AddressRange::new(range.start, range.end);
        self.ranges = RangeSet::union(self.ranges.iter().chain(new));
    }

    pub fn from_set(ranges: RangeSet) -> Self {
        Self { ranges, done: 0 }
    }

    pub fn begin(&mut self) {
        self.done = 0;
    }

    /// Fills the slot with the next range; `false` if there are no more.
    pub fn next(&mut self, slot: &mut MemoryAnswer) -> bool {
        let next = self.ranges.iter().find(|range| range.end() > self.done);
        let Some(next) = next.and_then(|range| AddressRange::new(range.start().max(self.done), range.end()))
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

/// More memory, by address.
///
/// What of it cannot be read is left out. A dump of full memory holds it anyway.
///
/// ```
/// use dumpwright::policy::AddMemory;
///
/// let mut tables = AddMemory::new().range(0x6000_0000..0x6000_4000).range(0x7000_0000..0x7000_0100);
/// # let _ = &mut tables;
/// ```
#[derive(Default)]
pub struct AddMemory(Ranges);

impl AddMemory {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This range, too. An empty one counts for nothing.
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
}

/// Memory that must not be in the dump, by address.
///
/// It is cut out of whatever else would bring it in: stacks, added ranges, code around instruction pointers, data
/// segments. From a dump of full memory, whole pages are left out: every page that one of the ranges touches.
///
/// It is never read, either. An answer has 32 bits for a size, so a range takes a question for every 4 GiB of it; do not
/// name half an address space. [`Redact::range`](super::Redact::range) is for the case that the bytes around must stay to
/// the byte.
///
/// ```
/// use dumpwright::policy::RemoveMemory;
///
/// let mut key_store = RemoveMemory::new().range(0x6000_0000..0x6000_1000);
/// # let _ = &mut key_store;
/// ```
#[derive(Default)]
pub struct RemoveMemory(Ranges);

impl RemoveMemory {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This range, too. An empty one counts for nothing.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.0.add(range);
        self
    }
}

impl Callback for RemoveMemory {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.0.begin();
                true
            }
            Ask::RemoveMemory { unwanted } => self.0.next(unwanted),
            Ask::IncludeVmRegion { answer } => {
                if let Some(offered) = regions::range(&answer.region) {
                    let removed = RangeSet::union(self.0.ranges.iter().map(whole_pages));
                    let left = RangeSet::union([offered]).subtract(&removed);
                    regions::answer(answer, left.iter().next());
                }
                true
            }
            _ => true,
        }
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
