//! `[[handle]]` and `[[handle_operation]]`: open handles, and operations on handles.

use std::collections::BTreeSet;

use dumpwright_target::{
    Handle, HandleOperation, HandleOperationKind, ObjectInformation, ObjectInformationKind,
};
use dumpwright_text::{Fields, Listed, Parsed, Value};

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

/// The kinds of information about an object. The first three have fields; each can be given as
/// bytes.
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

pub(super) fn read(document: &Fields<'_>) -> Listed<Handle> {
    let mut seen = BTreeSet::new();
    let tables = document.tables("handle", "a handle", KEYS);
    let mut handles = tables.each(|fields| handle(fields, &mut seen));
    handles.items.sort_by_key(|handle| handle.number);
    handles
}

fn handle(fields: &Fields<'_>, seen: &mut BTreeSet<u64>) -> Parsed<Handle> {
    let number = fields.required("number", |value| {
        let number = value.u64()?;
        if !seen.insert(number) {
            return Err(value.error("another handle has this number"));
        }
        Ok(number)
    });
    Ok(Handle {
        object_name: fields.get("object", Value::string),
        attributes: fields.get_or("attributes", Value::u32, 0),
        granted_access: fields.get_or("access", Value::u32, 0),
        handle_count: fields.get_or("handle_count", Value::u32, 1),
        pointer_count: fields.get_or("pointer_count", Value::u32, 0),
        information: fields.get_or("info", |value| value.each(information).complete(), Vec::new()),
        type_name: fields.required("type", Value::string)?,
        number: number?,
    })
}

/// Reads information about an object: a table whose only key is the kind.
fn information(item: &Value<'_>) -> Parsed<ObjectInformation> {
    let words: Vec<_> = INFO.iter().map(|(word, _)| *word).collect();
    let fields = item.table("information about an object", &words)?;
    let [word] = fields.present(&words)[..] else {
        return Err(item.error(format_args!("expected one of {}", words.join(", "))));
    };
    let kinds = INFO.iter().filter(|(name, _)| *name == word);
    let kind = kinds.map(|(_, kind)| *kind).next().expect("a known key");
    fields.required(word, |block| match kind {
        _ if block.as_text().is_some() => Ok(ObjectInformation {
            kind,
            bytes: block.hex()?,
        }),
        ObjectInformationKind::Event1 => {
            let fields = block.table("an event", EVENT_KEYS)?;
            Ok(ObjectInformation::event(
                fields.get_or("wakes_one", Value::bool, false),
                fields.get_or("signalled", Value::bool, false),
            ))
        }
        ObjectInformationKind::Mutant1 => {
            let fields = block.table("a mutant", MUTANT_KEYS)?;
            Ok(ObjectInformation::mutant(
                fields.get_or("count", Value::u32, 1),
                fields.get_or("owned", Value::bool, false),
                fields.get_or("abandoned", Value::bool, false),
            ))
        }
        ObjectInformationKind::Section1 => {
            let fields = block.table("a section", SECTION_KEYS)?;
            Ok(ObjectInformation::section(
                fields.get_or("base", Value::u64, 0),
                fields.get_or("attributes", Value::u32, 0),
                fields.get_or("size", Value::size, 0),
            ))
        }
        _ => Err(block.error("expected bytes as pairs of hexadecimal digits")),
    })
}

pub(super) fn read_operations(document: &Fields<'_>, places: &Places) -> Listed<HandleOperation> {
    let mut indices = 0..;
    let tables = document.tables("handle_operation", "an operation on a handle", OPERATION_KEYS);
    tables.each(|fields| operation(fields, indices.next().unwrap_or(u32::MAX), places))
}

fn operation(fields: &Fields<'_>, index: u32, places: &Places) -> Parsed<HandleOperation> {
    let returns = |value: &Value<'_>| {
        let returns = value.each(|value| places.address(value)).complete()?;
        if returns.len() > HandleOperation::MOST_RETURNS {
            return Err(value.error(format_args!(
                "a handle operation has at most {} return addresses, found {}",
                HandleOperation::MOST_RETURNS,
                returns.len()
            )));
        }
        Ok(returns)
    };
    let handle = fields.required("handle", Value::u64);
    let kind = fields.required("operation", |value| value.choice(OPERATIONS));
    Ok(HandleOperation {
        process_id: fields.get_or("process", Value::u32, 0),
        thread_id: fields.get_or("thread", Value::u32, 0),
        index: fields.get_or("index", Value::u32, index),
        return_addresses: fields.get_or("returns", returns, Vec::new()),
        handle: handle?,
        kind: kind?,
    })
}
