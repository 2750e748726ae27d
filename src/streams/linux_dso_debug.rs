//! LinuxDsoDebug: the dynamic linker's list of loaded objects, for turning a dump into a core file.

use dumpwright_target::DsoDebug;
use minidump_common::format::{DSO_DEBUG_64, LINK_MAP_64};

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    dso_debug(snapshot).is_some()
}

fn dso_debug(snapshot: &Snapshot) -> Option<&DsoDebug> {
    snapshot.linux.as_ref()?.dso_debug.as_ref()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let debug = dso_debug(snapshot).expect("wanted");
    let names: Vec<_> = debug.links.iter().map(|link| plan.string(&link.name)).collect();
    let map = plan.record(names.len() * format::size::<LINK_MAP_64>(), move |offsets| {
        let mut bytes = Vec::new();
        for (link, name) in debug.links.iter().zip(&names) {
            bytes.extend(format::bytes([LINK_MAP_64 {
                addr: link.addr,
                name: offsets.rva(*name)?,
                ld: link.ld,
            }]));
        }
        Ok(bytes)
    });
    plan.record(
        format::size::<DSO_DEBUG_64>() + debug.dynamic_section.len(),
        move |offsets| {
            let dso_count = narrow(debug.links.len(), "the number of loaded objects")?;
            let mut bytes = format::bytes([DSO_DEBUG_64 {
                version: debug.version,
                map: if dso_count == 0 { 0 } else { offsets.rva(map)? },
                dso_count,
                brk: debug.brk,
                ldbase: debug.ldbase,
                dynamic: debug.dynamic,
            }]);
            // Belongs to the stream, behind the record.
            bytes.extend_from_slice(&debug.dynamic_section);
            Ok(bytes)
        },
    )
}
