//! The meaning of answers to IncludeVmRegion, for policies that forward the call.

use dumpwright_callback::{MemoryInfo, RegionAnswer};
use dumpwright_target::AddressRange;

/// Regions, and the parts in answers, begin and end at multiples of this.
pub(super) const PAGE: u64 = 4096;

/// Detects where a new pass begins. Within a pass, the regions ascend.
#[derive(Debug, Default)]
pub(super) struct Passes {
    last: Option<u64>,
}

impl Passes {
    /// Whether a new pass begins with the region at `base`.
    pub fn begins(&mut self, base: u64) -> bool {
        let begins = self.last.is_none_or(|last| base <= last);
        self.last = Some(base);
        begins
    }
}

/// The meaning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassAnswer {
    /// Dump this part of the offered range, and continue after it.
    Part(AddressRange),
    /// Dump nothing of it, and continue.
    Skip,
    /// Send no more calls in this pass; all that is left is wanted.
    NoMore,
}

impl PassAnswer {
    /// Interprets an answer as the writer does. A part that is outside the offered range, or not
    /// aligned to pages, ends the calls.
    pub fn read(offered: AddressRange, returned: Option<bool>, answer: &RegionAnswer) -> Self {
        if returned != Some(true) || !answer.cont {
            return Self::NoMore;
        }
        if answer.region.region_size == 0 {
            return Self::Skip;
        }
        match AddressRange::at(answer.region.base_address, answer.region.region_size) {
            Some(part)
                if offered.covers(part)
                    && part.start().is_multiple_of(PAGE)
                    && part.end().is_multiple_of(PAGE) =>
            {
                Self::Part(part)
            }
            _ => Self::NoMore,
        }
    }
}

/// Returns the range of a region; `None` if it is empty.
pub(super) fn range(region: &MemoryInfo) -> Option<AddressRange> {
    AddressRange::at(region.base_address, region.region_size)
}

/// Stores an answer in the slot: dump this part of the region, or nothing if `None`, and continue.
pub(super) fn answer(slot: &mut RegionAnswer, part: Option<AddressRange>) {
    slot.cont = true;
    match part {
        Some(part) => (slot.region.base_address, slot.region.region_size) = (part.start(), part.len()),
        None => slot.region.region_size = 0,
    }
}

/// Returns the smallest range of whole pages that contains a range.
pub(super) fn whole_pages(range: AddressRange) -> AddressRange {
    let start = range.start() - range.start() % PAGE;
    // The end of the last page of the address space cannot be represented. Its last byte is never
    // mapped.
    let end = range.end().checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    AddressRange::new(start, end).expect("grew")
}
