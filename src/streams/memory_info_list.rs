//! MemoryInfoList: the map of the address space.

use dumpwright_target::{Region, RegionKind};
use minidump_common::format::{MINIDUMP_MEMORY_INFO, MINIDUMP_MEMORY_INFO_LIST};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let regions = snapshot.map().regions().unwrap_or_default();
    let header = format::size::<MINIDUMP_MEMORY_INFO_LIST>();
    let entry = format::size::<MINIDUMP_MEMORY_INFO>();
    plan.record(header + regions.len() * entry, move |_| {
        let mut bytes = format::bytes([MINIDUMP_MEMORY_INFO_LIST {
            size_of_header: narrow(header, "a header")?,
            size_of_entry: narrow(entry, "an entry")?,
            number_of_entries: regions.len() as u64,
        }]);
        bytes.extend(format::bytes(regions.iter().map(record)));
        Ok(bytes)
    })
}

fn record(region: &Region) -> MINIDUMP_MEMORY_INFO {
    MINIDUMP_MEMORY_INFO {
        base_address: region.range.start(),
        allocation_base: region.allocation_base,
        allocation_protection: region.allocation_protect,
        __alignment1: 0,
        region_size: region.range.len(),
        state: region.state.value(),
        protection: region.protect,
        _type: region.kind.map_or(0, RegionKind::value),
        __alignment2: 0,
    }
}
