//! `[[handle]]` and `[[handle_operation]]`: open handles, and what was done with them.

use std::collections::BTreeSet;

use dumpwright_target::{
    Handle, HandleOperation, HandleOperationKind, ObjectInformation, ObjectInformationKind,
};

use super::fields::{Fields, Outcome, Value};
use super::places::Places;

pub(super) const KEYS: &[&str] = &[
    "number",
    "type",
    "object",
    "attributes",
    "access",
    "handle_count",
    "pointer_count",
    "info",
];
pub(super) const EVENT_KEYS: &[&str] = &["wakes_one", "signalled"];
pub(super) const MUTANT_KEYS: &[&str] = &["count", "owned", "abandoned"];
pub(super) const SECTION_KEYS: &[&str] = &["base", "attributes", "size"];
pub(super) const OPERATION_KEYS: &[&str] = &["handle", "process", "thread", "operation", "index", "returns"];

/// What can be told of an object; the first three have their fields, each can be given as bytes.
pub(super) const INFO: &[(&str, ObjectInformationKind)] = &[
    ("event", ObjectInformationKind::Event1),
    ("mutant", ObjectInformationKind::Mutant1),
    ("section", ObjectInformationKind::Section1),
    ("thread", ObjectInformationKind::Thread1),
    ("mutant2", ObjectInformationKind::Mutant2),
    ("process", ObjectInformationKind::Process1),
    ("process2", ObjectInformationKind::Process2),
    ("semaphore", ObjectInformationKind::Semaphore1),
];

const OPERATIONS: &[(&str, HandleOperationKind)] = &[
    ("open", HandleOperationKind::Open),
    ("close", HandleOperationKind::Close),
    ("bad-reference", HandleOperationKind::BadReference),
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
            information: fields.get_or("info", read_info, Vec::new())?,
        });
    }
    handles.sort_by_key(|handle| handle.number);
    Ok(handles)
}

/// A list of tables with one key each: the kind.
fn read_info(value: &Value<'_>) -> Outcome<Vec<ObjectInformation>> {
    let words: Vec<_> = INFO.iter().map(|(word, _)| *word).collect();
    let mut blocks = Vec::new();
    for item in value.array()? {
        let fields = item.table("information about an object", &words)?;
        let mut entries = fields.entries();
        let (Some((word, block)), None) = (entries.next(), entries.next()) else {
            return Err(item.error(format!("expected one of {}", words.join(", "))));
        };
        let (_, kind) = INFO.iter().find(|(name, _)| *name == word).expect("a known key");
        blocks.push(match kind {
            kind if block.as_text().is_some() => ObjectInformation {
                kind: *kind,
                bytes: block.hex()?,
            },
            ObjectInformationKind::Event1 => {
                let fields = block.table("an event", EVENT_KEYS)?;
                ObjectInformation::event(
                    fields.get_or("wakes_one", Value::bool, false)?,
                    fields.get_or("signalled", Value::bool, false)?,
                )
            }
            ObjectInformationKind::Mutant1 => {
                let fields = block.table("a mutant", MUTANT_KEYS)?;
                ObjectInformation::mutant(
                    fields.get_or("count", Value::u32, 1)?,
                    fields.get_or("owned", Value::bool, false)?,
                    fields.get_or("abandoned", Value::bool, false)?,
                )
            }
            ObjectInformationKind::Section1 => {
                let fields = block.table("a section", SECTION_KEYS)?;
                ObjectInformation::section(
                    fields.get_or("base", Value::u64, 0)?,
                    fields.get_or("attributes", Value::u32, 0)?,
                    fields.get_or("size", Value::u64, 0)?,
                )
            }
            _ => return Err(block.error("expected bytes as pairs of hexadecimal digits")),
        });
    }
    Ok(blocks)
}

pub(super) fn read_operations(document: &Fields<'_>, places: &Places) -> Outcome<Vec<HandleOperation>> {
    let tables = document.tables("handle_operation", "something done with a handle", OPERATION_KEYS)?;
    let mut operations = Vec::with_capacity(tables.len());
    for (index, fields) in tables.iter().enumerate() {
        let returns = fields.get_or("returns", Value::array, Vec::new())?;
        if returns.len() > HandleOperation::MOST_RETURNS {
            return Err(fields.error(format!(
                "at most {} return addresses are kept",
                HandleOperation::MOST_RETURNS
            )));
        }
        operations.push(HandleOperation {
            handle: fields.need("handle")?.u64()?,
            process_id: fields.get_or("process", Value::u32, 0)?,
            thread_id: fields.get_or("thread", Value::u32, 0)?,
            kind: fields.need("operation")?.choice(OPERATIONS)?,
            index: fields.get_or("index", Value::u32, u32::try_from(index).unwrap_or(u32::MAX))?,
            return_addresses: returns
                .iter()
                .map(|value| places.address(value))
                .collect::<Outcome<_>>()?,
        });
    }
    Ok(operations)
}
