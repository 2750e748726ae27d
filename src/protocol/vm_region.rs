//! Conversion of regions between `MemoryInfo`, which the callback uses, and `Region`, which the
//! target uses.

use dumpwright_callback::MemoryInfo;
use dumpwright_target::{AddressRange, Region, RegionKind, RegionState};

/// Converts a region that the callback returned. Returns `None` if it is not a valid region.
pub(crate) fn from_info(info: MemoryInfo) -> Option<Region> {
    let state = [RegionState::Commit, RegionState::Reserve, RegionState::Free];
    let kind = [RegionKind::Private, RegionKind::Mapped, RegionKind::Image];
    Some(Region {
        range: AddressRange::at(info.base_address, info.region_size)?,
        allocation_base: info.allocation_base,
        allocation_protect: info.allocation_protect,
        protect: info.protect,
        state: state.into_iter().find(|state| state.value() == info.state)?,
        kind: kind.into_iter().find(|kind| kind.value() == info.kind),
        exclusion: None,
    })
}

/// Converts a region of the target for the callback.
pub(crate) fn to_info(region: &Region) -> MemoryInfo {
    MemoryInfo {
        base_address: region.range.start(),
        allocation_base: region.allocation_base,
        allocation_protect: region.allocation_protect,
        region_size: region.range.len(),
        state: region.state.value(),
        protect: region.protect,
        kind: region.kind.map_or(0, RegionKind::value),
    }
}
