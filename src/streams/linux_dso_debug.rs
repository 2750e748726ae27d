//! LinuxDsoDebug: the dynamic linker's list of loaded objects. It is used to convert a dump to a
//! core file.

use dumpwright_target::{DsoDebug, LinkMap};
use minidump_common::format::{DSO_DEBUG_32, DSO_DEBUG_64, LINK_MAP_32, LINK_MAP_64};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::Error;
use crate::format;
use crate::plan::narrow;

/// The name of an address in the error for an address that does not fit into 32 bits.
const ADDRESS: &str = "an address of the dynamic linker";

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    dso_debug(snapshot).is_some()
}

fn dso_debug(snapshot: &Snapshot) -> Option<&DsoDebug> {
    snapshot.facts().linux()?.dso_debug.as_ref()
}

/// Whether the records are those for processes with 32-bit pointers.
fn is_narrow(snapshot: &Snapshot) -> bool {
    snapshot.facts().pointer_size() == 4
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let debug = dso_debug(snapshot).expect("wanted");
    let is_narrow = is_narrow(snapshot);
    let (head_size, link_size) = match is_narrow {
        true => (format::size::<DSO_DEBUG_32>(), format::size::<LINK_MAP_32>()),
        false => (format::size::<DSO_DEBUG_64>(), format::size::<LINK_MAP_64>()),
    };
    let names: Vec<_> = debug.links.iter().map(|link| plan.string(&link.name)).collect();
    let map = plan.record(names.len() * link_size, move |offsets| {
        let mut bytes = Vec::new();
        for (link, name) in debug.links.iter().zip(&names) {
            bytes.extend(link_record(link, offsets.rva(*name)?, is_narrow)?);
        }
        Ok(bytes)
    });
    plan.record(head_size + debug.dynamic_section.len(), move |offsets| {
        let map = if debug.links.is_empty() {
            0
        } else {
            offsets.rva(map)?
        };
        let mut bytes = head(debug, map, is_narrow)?;
        // The dynamic section is part of the stream and follows the record.
        bytes.extend_from_slice(&debug.dynamic_section);
        Ok(bytes)
    })
}

fn head(debug: &DsoDebug, map: u32, is_narrow: bool) -> Result<Vec<u8>, Error> {
    let dso_count = narrow(debug.links.len(), "the number of loaded objects")?;
    Ok(match is_narrow {
        true => format::bytes([DSO_DEBUG_32 {
            version: debug.version,
            map,
            dso_count,
            brk: narrow(debug.brk, ADDRESS)?,
            ldbase: narrow(debug.ldbase, ADDRESS)?,
            dynamic: narrow(debug.dynamic, ADDRESS)?,
        }]),
        false => format::bytes([DSO_DEBUG_64 {
            version: debug.version,
            map,
            dso_count,
            brk: debug.brk,
            ldbase: debug.ldbase,
            dynamic: debug.dynamic,
        }]),
    })
}

fn link_record(link: &LinkMap, name: u32, is_narrow: bool) -> Result<Vec<u8>, Error> {
    Ok(match is_narrow {
        true => format::bytes([LINK_MAP_32 {
            addr: narrow(link.addr, ADDRESS)?,
            name,
            ld: narrow(link.ld, ADDRESS)?,
        }]),
        false => format::bytes([LINK_MAP_64 {
            addr: link.addr,
            name,
            ld: link.ld,
        }]),
    })
}
