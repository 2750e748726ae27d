//! UnloadedModuleList: modules that the process had, in the order in which its system remembers them.

use minidump_common::format::MINIDUMP_UNLOADED_MODULE;

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

/// The header has no padding, like ThreadInfoList's.
const HEADER: usize = 12;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot
        .unloaded_modules
        .as_ref()
        .is_some_and(|modules| !modules.is_empty())
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let modules = snapshot.unloaded_modules.as_deref().unwrap_or_default();
    let names: Vec<_> = modules.iter().map(|module| plan.string(&module.name)).collect();
    let entry = format::size::<MINIDUMP_UNLOADED_MODULE>();
    plan.record(HEADER + modules.len() * entry, move |offsets| {
        let count = narrow(modules.len(), "the number of unloaded modules")?;
        let mut bytes = format::bytes([narrow(HEADER, "a header")?, narrow(entry, "an entry")?, count]);
        for (module, name) in modules.iter().zip(&names) {
            bytes.extend(format::bytes([MINIDUMP_UNLOADED_MODULE {
                base_of_image: module.base,
                size_of_image: u32::try_from(module.size).unwrap_or(u32::MAX),
                checksum: module.checksum,
                time_date_stamp: module.timestamp,
                module_name_rva: offsets.rva(*name)?,
            }]));
        }
        Ok(bytes)
    })
}
