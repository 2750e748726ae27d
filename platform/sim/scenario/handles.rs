//! `[[handle]]`: open handles.

use std::collections::BTreeSet;

use dumpwright_target::Handle;

use super::fields::{Fields, Outcome, Value};

pub(super) const KEYS: &[&str] = &[
    "number",
    "type",
    "object",
    "attributes",
    "access",
    "handle_count",
    "pointer_count",
];

pub(super) fn read(document: &Fields<'_>) -> Outcome<Vec<Handle>> {
    let mut seen = BTreeSet::new();
    let mut handles = Vec::new();
    for fields in document.tables("handle", "a handle", KEYS)? {
        let number = fields.need("number")?;
        if !seen.insert(number.u64()?) {
            return Err(number.error("another handle has this number"));
        }
        handles.push(Handle {
            number: number.u64()?,
            type_name: fields.need("type")?.string()?,
            object_name: fields.get("object", Value::string)?,
            attributes: fields.get_or("attributes", Value::u32, 0)?,
            granted_access: fields.get_or("access", Value::u32, 0)?,
            handle_count: fields.get_or("handle_count", Value::u32, 1)?,
            pointer_count: fields.get_or("pointer_count", Value::u32, 0)?,
        });
    }
    handles.sort_by_key(|handle| handle.number);
    Ok(handles)
}
