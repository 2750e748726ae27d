//! The map of the address space. Asks VmQuery if the callback wants it.

use dumpwright_target::{AddressRange, Content, Diagnostic, Frozen, Region, RegionState, Subject, protect};

use crate::Error;
use crate::memory::reader::{self, Structures};
use crate::protocol::dialogue::{Dialogue, Queried};
use crate::protocol::vm_region::from_info;

/// How many regions a callback may return before its map counts as endless. Real processes have up
/// to about 65,000 (the kernel's default limit of mappings); on a few systems the limit is raised
/// to a million.
const MOST_REGIONS: usize = 4 << 20;

/// Returns all regions that are not free, in ascending order.
///
/// # Errors
/// If VmQuery was answered with a failure, or if the target cannot list its regions.
pub(crate) fn regions(frozen: &mut dyn Frozen, dialogue: &mut Dialogue<'_>) -> Result<Vec<Region>, Error> {
    let own = frozen.regions(&mut Structures(dialogue.service()))?;
    if !dialogue.service().wants_reads() {
        return Ok(own);
    }
    RegionWalk::over(&own).allocated(dialogue)
}

/// A walk over the address space, from address 0 upwards, free regions included.
pub(super) struct RegionWalk<'r> {
    own: &'r [Region],
    address: u64,
    visited: usize,
}

impl<'r> RegionWalk<'r> {
    /// Creates a walk that uses these regions where the callback provides none.
    pub fn over(own: &'r [Region]) -> Self {
        Self {
            own,
            address: 0,
            visited: 0,
        }
    }

    /// Returns the next region: as the callback describes it, if it wants VmQuery.
    ///
    /// # Errors
    /// If VmQuery was answered with a failure.
    pub fn next(&mut self, dialogue: &mut Dialogue<'_>) -> Result<Option<Region>, Error> {
        let found = match dialogue.vm_query(self.address)? {
            Queried::NoMore => None,
            Queried::Region(info) => from_info(info),
            Queried::AskSystem => own_region_at(self.own, self.address),
        };
        let region = found.filter(|region| region.range.end() > self.address);
        if let Some(region) = &region {
            self.address = region.range.end();
            self.visited += 1;
        }
        Ok(region.filter(|_| self.visited < MOST_REGIONS))
    }

    /// Returns all remaining regions, free ones included.
    ///
    /// # Errors
    /// Like [`next`](Self::next).
    pub fn all(mut self, dialogue: &mut Dialogue<'_>) -> Result<Vec<Region>, Error> {
        let mut regions = Vec::new();
        while let Some(region) = self.next(dialogue)? {
            regions.push(region);
        }
        Ok(regions)
    }

    /// Returns all remaining regions that are not free.
    ///
    /// # Errors
    /// Like [`next`](Self::next).
    pub fn allocated(self, dialogue: &mut Dialogue<'_>) -> Result<Vec<Region>, Error> {
        let mut regions = self.all(dialogue)?;
        regions.retain(|region| region.state != RegionState::Free);
        Ok(regions)
    }
}

/// Returns the map with each wanted region split where parts of it are known to be unreadable.
/// These parts become regions without access.
///
/// On Windows they would be regions of their own. On Linux, a guard page (`MADV_GUARD_INSTALL`) and
/// pages after the end of a mapped file are part of an ordinary mapping.
pub(super) fn split_at_holes(
    frozen: &mut dyn Frozen,
    map: &[Region],
    is_wanted: impl Fn(&Region) -> bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Region> {
    let mut split = Vec::with_capacity(map.len());
    for region in map {
        let mut holes = Vec::new();
        if is_wanted(region) {
            reader::survey(frozen, region.range, |part, content| match content {
                Content::Readable | Content::Zero => {}
                Content::Unreadable(reason) => {
                    holes.push(part);
                    diagnostics.push(Diagnostic::missing(Subject::Memory(part), reason));
                }
                Content::Nothing(reason) => {
                    holes.push(part);
                    diagnostics.push(Diagnostic::left_out(Subject::Memory(part), reason));
                }
            });
        }
        let mut at = region.range.start();
        for hole in holes {
            split.extend(AddressRange::new(at, hole.start()).map(|range| Region {
                range,
                ..region.clone()
            }));
            split.push(Region {
                range: hole,
                protect: protect::NOACCESS,
                ..region.clone()
            });
            at = hole.end();
        }
        split.extend(AddressRange::new(at, region.range.end()).map(|range| Region {
            range,
            ..region.clone()
        }));
    }
    split
}

/// Returns the region at `address`, as `VirtualQuery` would: the rest of a listed region from
/// `address` on, or the free region up to the next listed one.
fn own_region_at(own: &[Region], address: u64) -> Option<Region> {
    let index = own.partition_point(|region| region.range.end() <= address);
    let next = own.get(index)?;
    let start = next.range.start();
    if start > address {
        return AddressRange::new(address, start).map(free);
    }
    let mut rest = next.clone();
    rest.range = AddressRange::new(address.max(start), next.range.end())?;
    Some(rest)
}

fn free(range: AddressRange) -> Region {
    Region {
        range,
        allocation_base: 0,
        allocation_protect: 0,
        protect: protect::NOACCESS,
        state: RegionState::Free,
        kind: None,
        exclusion: None,
    }
}
