//! What the answers to IncludeVmRegion mean, for policies that pass the question on.

use dumpwright_callback::{MemoryInfo, RegionAnswer};
use dumpwright_target::AddressRange;

/// Regions begin and end at pages, and so do the answers.
pub(super) const PAGE: u64 = 4096;

/// Tells the passes apart: within one, the regions ascend.
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

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// This part of the offered range, and go on behind it.
    Part(AddressRange),
    /// Nothing of it, and go on.
    Skip,
    /// Ask no more in this pass; all that is left is wanted.
    NoMore,
}

impl Said {
    /// Reads an answer as the writer does: what lies outside the offer, or not on pages, ends the questions.
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

/// The range of a region; `None` if it is empty.
pub(super) fn range(region: &MemoryInfo) -> Option<AddressRange> {
    AddressRange::at(region.base_address, region.region_size)
}

/// Writes a decision into the slot: this part of the region (nothing: skip it), and go on.
pub(super) fn answer(slot: &mut RegionAnswer, part: Option<AddressRange>) {
    slot.cont = true;
    match part {
        Some(part) => (slot.region.base_address, slot.region.region_size) = (part.start(), part.len()),
        None => slot.region.region_size = 0,
    }
}

/// The smallest range of whole pages around a range.
pub(super) fn whole_pages(range: AddressRange) -> AddressRange {
    let start = range.start() - range.start() % PAGE;
    // The last page of the address space ends where no range can; its last byte is never mapped.
    let end = range.end().checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    AddressRange::new(start, end).expect("grew")
}
