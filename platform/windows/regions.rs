//! Lists the regions of a process's address space.

use std::os::windows::io::AsRawHandle;

use dumpwright_target::{
    AddressRange, Content, Diagnostic, Extent, Fault, FaultKind, Region, RegionKind, RegionState, Subject,
    protect,
};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_IMAGE, MEM_MAPPED, MEM_PRIVATE, MEM_RESERVE, MEMORY_BASIC_INFORMATION, VirtualQueryEx,
};
use windows_sys::Win32::System::SystemInformation::{GetNativeSystemInfo, SYSTEM_INFO};

use crate::access::Access;
use crate::error::last_error;

/// The maximum number of regions. A process that maps single pages throughout its 128 TiB of
/// address space would have more regions than a dump can hold.
const MOST_REGIONS: usize = 4 << 20;

/// Returns all regions in ascending order, including free ones. If the system stops reporting them
/// before the end of the address space, the regions so far are returned, with a diagnostic.
///
/// # Errors
/// The system does not report any region, because the process has ended or the handle lacks access
/// rights; or there are too many regions.
pub(crate) fn regions(access: &Access<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<Region>, Fault> {
    let mut regions = Vec::new();
    let mut at = 0;
    loop {
        let region = match region_at(access, at) {
            Ok(Some(region)) => region,
            Ok(None) => break,
            Err(code) => {
                let operation = format!("list the regions of process {} from {at:#x} on", access.id);
                let fault = access.failure(operation, code);
                if let Some(rest) = AddressRange::new(at, highest()) {
                    let reason = format!("which memory is there is not known: {fault}");
                    diagnostics.push(Diagnostic::missing(Subject::Memory(rest), reason));
                }
                if regions.is_empty() {
                    return Err(fault);
                }
                diagnostics.push(Diagnostic::missing(
                    Subject::Stream("MemoryInfoList"),
                    fault.to_string(),
                ));
                break;
            }
        };
        at = region.range.end();
        regions.push(region);
        if regions.len() == MOST_REGIONS {
            return Err(Fault::new(
                FaultKind::Malformed,
                format!("list the regions of process {}", access.id),
                format!("it has more than {MOST_REGIONS} regions"),
            ));
        }
    }
    Ok(regions)
}

/// Returns the highest address that a process can use.
fn highest() -> u64 {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: the facts are written to a local structure.
    unsafe { GetNativeSystemInfo(&raw mut info) };
    info.lpMaximumApplicationAddress.addr() as u64
}

/// Asks the system about an address. The system may lack memory for the answer, so a failure is
/// tried once more.
///
/// # Errors
/// The system's Win32 code.
pub(crate) fn query(access: &Access<'_>, address: u64) -> Result<MEMORY_BASIC_INFORMATION, u32> {
    let mut found = MEMORY_BASIC_INFORMATION::default();
    let memory = access.memory().as_raw_handle();
    let mut code = 0;
    for _ in 0..2 {
        let at = std::ptr::without_provenance(address as usize);
        // SAFETY: the handle is open as long as it is borrowed. The address belongs to the other
        // process. The system writes at most the structure's size to the local structure.
        let written = unsafe { VirtualQueryEx(memory, at, &raw mut found, size_of_val(&found)) };
        if written != 0 {
            return Ok(found);
        }
        code = last_error();
        if address > highest() {
            break;
        }
    }
    Err(code)
}

/// Returns the region that contains an address, from the page of the address on. Returns `None`
/// after the last region.
///
/// # Errors
/// The system's Win32 code, if it does not describe an address that a process can use.
fn region_at(access: &Access<'_>, address: u64) -> Result<Option<Region>, u32> {
    let found = match query(access, address) {
        Ok(found) => found,
        Err(code) if address <= highest() => return Err(code),
        Err(_) => return Ok(None),
    };
    let range = AddressRange::at(found.BaseAddress.addr() as u64, found.RegionSize as u64);
    // If a region did not end after the address, the walk would not end.
    let Some(range) = range.filter(|range| range.end() > address) else {
        return Ok(None);
    };
    let state = match found.State {
        MEM_COMMIT => RegionState::Commit,
        MEM_RESERVE => RegionState::Reserve,
        _ => RegionState::Free,
    };
    Ok(Some(Region {
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
    }))
}

/// Returns the readable region that contains an address, from the page of the address on.
///
/// # Errors
/// As for [`region_at`].
pub(crate) fn readable_at(access: &Access<'_>, address: u64) -> Result<Option<AddressRange>, u32> {
    let region = region_at(access, address)?;
    let readable =
        region.filter(|region| content(region) == Content::Readable && region.range.contains(address));
    Ok(readable.map(|region| region.range))
}

/// Returns which parts of a range can be read. A part that the system does not describe counts as
/// readable: reading it shows whether it is.
pub(crate) fn survey(access: &Access<'_>, range: AddressRange) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = range.start();
    while at < range.end() {
        let (end, content) = match region_at(access, at) {
            Ok(Some(region)) => (region.range.end(), content(&region)),
            Ok(None) => (u64::MAX, Content::Nothing("not an address of the process")),
            Err(_) => (u64::MAX, Content::Readable),
        };
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

/// Returns whether a region can be read.
///
/// Windows refuses to read pages without access, guard pages and reserved pages. Wine 8 reads all
/// of them. The state and protection of the region decide.
fn content(region: &Region) -> Content {
    match region.state {
        RegionState::Free => Content::Nothing("nothing is mapped there"),
        RegionState::Reserve => Content::Nothing("the addresses are reserved, but not committed"),
        RegionState::Commit if region.protect & protect::GUARD != 0 => Content::Unreadable("guard page"),
        RegionState::Commit if region.protect & protect::NOACCESS != 0 => {
            Content::Unreadable("no access is allowed")
        }
        RegionState::Commit => Content::Readable,
    }
}

#[cfg(test)]
mod tests;
