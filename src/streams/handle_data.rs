//! HandleData: open handles; on Linux file descriptors.

use minidump_common::format::{MINIDUMP_HANDLE_DATA_STREAM, MINIDUMP_HANDLE_DESCRIPTOR};

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;
use crate::plan::narrow;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let handles = snapshot.handles.as_deref().unwrap_or_default();
    let names: Vec<_> = handles
        .iter()
        .map(|handle| {
            (
                plan.string(&handle.type_name),
                handle.object_name.as_deref().map(|name| plan.string(name)),
            )
        })
        .collect();
    let header = format::size::<MINIDUMP_HANDLE_DATA_STREAM>();
    let descriptor = format::size::<MINIDUMP_HANDLE_DESCRIPTOR>();
    plan.record(header + handles.len() * descriptor, move |offsets| {
        let mut bytes = format::bytes([MINIDUMP_HANDLE_DATA_STREAM {
            size_of_header: narrow(header, "a header")?,
            size_of_descriptor: narrow(descriptor, "a descriptor")?,
            number_of_descriptors: narrow(handles.len(), "the number of handles")?,
            reserved: 0,
        }]);
        for (handle, (type_name, object_name)) in handles.iter().zip(&names) {
            bytes.extend(format::bytes([MINIDUMP_HANDLE_DESCRIPTOR {
                handle: handle.number,
                type_name_rva: offsets.rva(*type_name)?,
                object_name_rva: object_name
                    .map(|name| offsets.rva(name))
                    .transpose()?
                    .unwrap_or(0),
                attributes: handle.attributes,
                granted_access: handle.granted_access,
                handle_count: handle.handle_count,
                pointer_count: handle.pointer_count,
            }]));
        }
        Ok(bytes)
    })
}
