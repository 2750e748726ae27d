//! UnloadedModuleList: modules that have been unloaded, in the order in which the system lists
//! them.

use minidump_common::format::MINIDUMP_UNLOADED_MODULE;

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::{capped, narrow};

/// The size of the header, which has no padding, like that of ThreadInfoList.
const HEADER: usize = 12;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    !snapshot.facts().unloaded_modules().is_empty()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let modules = snapshot.facts().unloaded_modules();
    let names: Vec<_> = modules.iter().map(|module| plan.string(&module.name)).collect();
    let entry = format::size::<MINIDUMP_UNLOADED_MODULE>();
    plan.record(HEADER + modules.len() * entry, move |offsets| {
        let count = narrow(modules.len(), "the number of unloaded modules")?;
        let mut bytes = format::bytes([narrow(HEADER, "a header")?, narrow(entry, "an entry")?, count]);
        for (module, name) in modules.iter().zip(&names) {
            bytes.extend(format::bytes([MINIDUMP_UNLOADED_MODULE {
                base_of_image: module.base,
                size_of_image: capped(module.size, u32::MAX),
                checksum: module.checksum,
                time_date_stamp: module.timestamp,
                module_name_rva: offsets.rva(*name)?,
            }]));
        }
        Ok(bytes)
    })
}
