//! Its address space.

use dumpwright_target::{
    AddressRange, Content, Extent, Fault, FaultKind, Region, RegionKind, RegionState, protect,
};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_IMAGE, MEM_MAPPED, MEM_PRIVATE, MEM_RESERVE, MEMORY_BASIC_INFORMATION, VirtualQueryEx,
};

use crate::access::{Access, last_error};

/// How many regions a process may have. A process that maps page by page all that 128 TiB of address space have room for would have more than any
/// dump can hold.
const MOST_REGIONS: usize = 4 << 20;

/// All regions, free ones included, ascending.
///
/// # Errors
/// The system does not tell: the process has ended, or the handle does not allow it.
pub(crate) fn regions(access: &Access) -> Result<Vec<Region>, Fault> {
    let mut regions = Vec::new();
    let mut at = 0;
    while let Some(region) = region_at(access, at) {
        at = region.range.end();
        regions.push(region);
        if regions.len() == MOST_REGIONS {
            return Err(Fault::new(
                FaultKind::Malformed,
                format!("list the regions of process {}", access.id),
                format!("it has more than {MOST_REGIONS}"),
            ));
        }
    }
    if regions.is_empty() {
        let operation = format!("list the regions of process {}", access.id);
        return Err(access.failure(operation, last_error()));
    }
    Ok(regions)
}

/// The region that an address lies in, from the page of the address on; `None` behind the last.
fn region_at(access: &Access, address: u64) -> Option<Region> {
    let mut found = MEMORY_BASIC_INFORMATION::default();
    let at = std::ptr::without_provenance(usize::try_from(address).ok()?);
    // SAFETY: writes at most the structure's size to the local one.
    let written = unsafe { VirtualQueryEx(access.memory, at, &raw mut found, size_of_val(&found)) };
    if written == 0 {
        return None;
    }
    let range = AddressRange::at(found.BaseAddress.addr() as u64, found.RegionSize as u64)?;
    // Else the walk would not come to an end.
    if range.end() <= address {
        return None;
    }
    let state = match found.State {
        MEM_COMMIT => RegionState::Commit,
        MEM_RESERVE => RegionState::Reserve,
        _ => RegionState::Free,
    };
    Some(Region {
        range,
        allocation_base: found.AllocationBase.addr() as u64,
        allocation_protect: found.AllocationProtect,
        protect: found.Protect,
        state,
        kind: match found.Type {
            MEM_PRIVATE => Some(RegionKind::Private),
            MEM_MAPPED => Some(RegionKind::Mapped),
            MEM_IMAGE => Some(RegionKind::Image),
            _ => None,
        },
        exclusion: None,
    })
}

/// The region of readable memory that an address lies in.
pub(crate) fn readable_at(access: &Access, address: u64) -> Option<AddressRange> {
    let region = region_at(access, address)?;
    (content(&region) == Content::Readable && region.range.contains(address)).then_some(region.range)
}

/// Where the bytes of a range come from.
pub(crate) fn survey(access: &Access, range: AddressRange) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = range.start();
    while at < range.end() {
        let region = region_at(access, at);
        let end = region.as_ref().map_or(u64::MAX, |region| region.range.end());
        let content = region
            .as_ref()
            .map_or(Content::Nothing("no address of the process"), content);
        let Some(part) = AddressRange::new(at, end.min(range.end())) else {
            break;
        };
        at = part.end();
        match extents.last_mut().filter(|last| last.content == content) {
            Some(last) => {
                last.range = AddressRange::new(last.range.start(), part.end()).expect("it grows");
            }
            None => extents.push(Extent { range: part, content }),
        }
    }
    extents
}

/// What of a region can be read.
///
/// Windows refuses to read pages without access, guard pages and what is only reserved; Wine 8 reads them all. What counts is
/// what the region says.
fn content(region: &Region) -> Content {
    match region.state {
        RegionState::Free => Content::Nothing("nothing is mapped there"),
        RegionState::Reserve => Content::Nothing("addresses are reserved, memory is not there"),
        RegionState::Commit if region.protect & protect::GUARD != 0 => Content::Unreadable("guard page"),
        RegionState::Commit if region.protect & protect::NOACCESS != 0 => {
            Content::Unreadable("no access is allowed")
        }
        RegionState::Commit => Content::Readable,
    }
}

#[cfg(test)]
mod tests;
