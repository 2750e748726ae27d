//! The map of the address space, with VmQuery asked where the callback wants it.

use dumpwright_target::{AddressRange, Frozen, Region, RegionState, protect};

use crate::Error;
use crate::protocol::dialogue::{Dialogue, Queried};
use crate::protocol::vm_region::from_info;

/// How many regions a callback may invent before its map counts as endless. Real processes have up to
/// some 65,000 (the kernel's default limit of mappings), a few have raised that to a million.
const MOST_REGIONS: usize = 4 << 20;

/// All regions that are not free, ascending.
///
/// # Errors
/// VmQuery was answered with a failure, or the target cannot list its regions.
pub(crate) fn regions(frozen: &mut dyn Frozen, dialogue: &mut Dialogue<'_>) -> Result<Vec<Region>, Error> {
    let own = frozen.regions()?;
    if !dialogue.service().wants_reads() {
        return Ok(own);
    }
    Walk::over(&own).allocated(dialogue)
}

/// One walk over the address space, from 0 up, free regions included.
pub(super) struct Walk<'r> {
    own: &'r [Region],
    address: u64,
    visited: usize,
}

impl<'r> Walk<'r> {
    /// A walk that takes these regions where the callback has none of its own.
    pub fn over(own: &'r [Region]) -> Self {
        Self {
            own,
            address: 0,
            visited: 0,
        }
    }

    /// The next region, as the callback sees it if it wants the Vm questions.
    ///
    /// # Errors
    /// VmQuery was answered with a failure.
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

    /// All regions from here on, free ones included.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn all(mut self, dialogue: &mut Dialogue<'_>) -> Result<Vec<Region>, Error> {
        let mut regions = Vec::new();
        while let Some(region) = self.next(dialogue)? {
            regions.push(region);
        }
        Ok(regions)
    }

    /// All regions from here on that are not free.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn allocated(self, dialogue: &mut Dialogue<'_>) -> Result<Vec<Region>, Error> {
        let mut regions = self.all(dialogue)?;
        regions.retain(|region| region.state != RegionState::Free);
        Ok(regions)
    }
}

/// The region at `address` as `VirtualQuery` would tell it: a listed one (its rest from there on), or the
/// free one up to the next.
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
