//! HandleData: open handles; on Linux, file descriptors.
//!
//! Descriptors have the second version if there is information about any object. Otherwise they
//! have the first version, which all readers support.

use dumpwright_target::{Handle, ObjectInformation};
use minidump_common::format::{MINIDUMP_HANDLE_DATA_STREAM, MINIDUMP_HANDLE_DESCRIPTOR};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::Error;
use crate::format;
use crate::plan::{Offsets, narrow};

/// The bytes that the second version adds to a descriptor: the offset of the information about the
/// object, and 0.
const SECOND_VERSION: usize = 8;

/// The blocks that a descriptor refers to.
struct RecordOffsets {
    type_name: BlockId,
    object_name: Option<BlockId>,
    information: Option<BlockId>,
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let handles = snapshot.facts().handles().unwrap_or_default();
    let places: Vec<_> = handles
        .iter()
        .map(|handle| RecordOffsets {
            type_name: plan.string(&handle.type_name),
            object_name: handle.object_name.as_deref().map(|name| plan.string(name)),
            information: chain(&handle.information, plan),
        })
        .collect();
    let second = snapshot.terms().profile.always_has_object_information()
        || places.iter().any(|places| places.information.is_some());
    let header = format::size::<MINIDUMP_HANDLE_DATA_STREAM>();
    let descriptor = format::size::<MINIDUMP_HANDLE_DESCRIPTOR>() + if second { SECOND_VERSION } else { 0 };
    plan.record(header + handles.len() * descriptor, move |offsets| {
        let mut bytes = format::bytes([MINIDUMP_HANDLE_DATA_STREAM {
            size_of_header: narrow(header, "a header")?,
            size_of_descriptor: narrow(descriptor, "a descriptor")?,
            number_of_descriptors: narrow(handles.len(), "the number of handles")?,
            reserved: 0,
        }]);
        for (handle, places) in handles.iter().zip(&places) {
            bytes.extend(format::bytes([record(handle, places, offsets)?]));
            if second {
                let information = optional(places.information, offsets)?;
                bytes.extend([information, 0].map(u32::to_le_bytes).concat());
            }
        }
        Ok(bytes)
    })
}

fn record(
    handle: &Handle,
    places: &RecordOffsets,
    offsets: &Offsets,
) -> Result<MINIDUMP_HANDLE_DESCRIPTOR, Error> {
    Ok(MINIDUMP_HANDLE_DESCRIPTOR {
        handle: handle.number,
        type_name_rva: offsets.rva(places.type_name)?,
        object_name_rva: optional(places.object_name, offsets)?,
        attributes: handle.attributes,
        granted_access: handle.granted_access,
        handle_count: handle.handle_count,
        pointer_count: handle.pointer_count,
    })
}

/// Returns the offset of a block; 0 for none.
fn optional(block: Option<BlockId>, offsets: &Offsets) -> Result<u32, Error> {
    Ok(block.map(|block| offsets.rva(block)).transpose()?.unwrap_or(0))
}

/// Adds blocks of information, each with the offset of the next. Returns the first block.
fn chain<'a>(information: &'a [ObjectInformation], plan: &mut Plan<'a>) -> Option<BlockId> {
    /// The size of `MINIDUMP_HANDLE_OBJECT_INFORMATION`.
    const HEAD: usize = 12;
    information.iter().rev().fold(None, |next, block| {
        let id = plan.record(HEAD + block.bytes.len(), move |offsets| {
            let head = [
                optional(next, offsets)?,
                block.kind.value(),
                narrow(block.bytes.len(), "information about an object")?,
            ];
            Ok([&head.map(u32::to_le_bytes).concat()[..], &block.bytes].concat())
        });
        Some(id)
    })
}
