//! ModuleList: programs and libraries. The main program is first; the others are in the target's
//! order.

use minidump_common::format::{MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_MODULE, VS_FIXEDFILEINFO};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::{Offsets, capped, narrow};

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let block = |bytes: &'a [u8], plan: &mut Plan<'a>| (!bytes.is_empty()).then(|| plan.bytes(bytes));
    let places: Vec<_> = snapshot
        .modules()
        .iter()
        .map(|kept| {
            let module = &kept.module;
            (
                plan.string(&module.path),
                block(&module.cv_record, plan),
                block(&module.misc_record, plan),
            )
        })
        .collect();
    plan.record(
        4 + places.len() * format::size::<MINIDUMP_MODULE>(),
        move |offsets| {
            let mut bytes = format::bytes([narrow(places.len(), "the number of modules")?]);
            for (kept, (name, cv_record, misc_record)) in snapshot.modules().iter().zip(&places) {
                let module = &kept.module;
                // The field is documented as reserved. DbgHelp 6.3.9600 and the DbgHelp of 2026
                // have this in it.
                let characteristics = module.dll_characteristics.into();
                bytes.extend(format::bytes([MINIDUMP_MODULE {
                    base_of_image: module.base,
                    size_of_image: capped(module.size, u32::MAX),
                    checksum: module.checksum,
                    time_date_stamp: module.timestamp,
                    module_name_rva: offsets.rva(*name)?,
                    version_info: version(module.version),
                    cv_record: location(*cv_record, offsets)?,
                    misc_record: location(*misc_record, offsets)?,
                    reserved0: [characteristics, 0],
                    reserved1: [0; 2],
                }]));
            }
            Ok(bytes)
        },
    )
}

fn location(block: Option<BlockId>, offsets: &Offsets) -> Result<MINIDUMP_LOCATION_DESCRIPTOR, crate::Error> {
    Ok(block
        .map(|block| offsets.location(block))
        .transpose()?
        .unwrap_or_default())
}

fn version(words: Option<[u32; 13]>) -> VS_FIXEDFILEINFO {
    let Some(words) = words else {
        return VS_FIXEDFILEINFO::default();
    };
    VS_FIXEDFILEINFO {
        signature: words[0],
        struct_version: words[1],
        file_version_hi: words[2],
        file_version_lo: words[3],
        product_version_hi: words[4],
        product_version_lo: words[5],
        file_flags_mask: words[6],
        file_flags: words[7],
        file_os: words[8],
        file_type: words[9],
        file_subtype: words[10],
        file_date_hi: words[11],
        file_date_lo: words[12],
    }
}
