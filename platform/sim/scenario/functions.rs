//! `[[function_table]]`: functions made at run time.

use dumpwright_target::{FunctionEntry, FunctionTable};

use super::fields::{Fields, Outcome, Value};
use super::places::Places;

pub(super) const KEYS: &[&str] = &["minimum", "maximum", "base", "native", "entries"];

pub(super) fn read(document: &Fields<'_>, places: &Places) -> Outcome<Vec<FunctionTable>> {
    let mut tables = Vec::new();
    for fields in document.tables("function_table", "a function table", KEYS)? {
        let base_address = places.address(&fields.need("base")?)?;
        let address = |key, default| fields.get_or(key, |value| places.address(value), default);
        let entries: Vec<FunctionEntry> = fields
            .need("entries")?
            .array()?
            .iter()
            .map(entry)
            .collect::<Outcome<_>>()?;
        let place = |offset: Option<u32>| base_address.saturating_add(offset.unwrap_or(0).into());
        tables.push(FunctionTable {
            minimum_address: address("minimum", place(entries.iter().map(|entry| entry.begin).min()))?,
            maximum_address: address("maximum", place(entries.iter().map(|entry| entry.end).max()))?,
            base_address,
            native: fields.get_or("native", native, [0; 88])?,
            entries,
        });
    }
    Ok(tables)
}

fn native(value: &Value<'_>) -> Outcome<[u8; 88]> {
    let bytes = value.hex()?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| value.error(format!("expected 88 bytes, found {}", bytes.len())))
}

fn entry(value: &Value<'_>) -> Outcome<FunctionEntry> {
    let numbers = value.array()?;
    let [begin, end, unwind_info] = numbers.as_slice() else {
        return Err(value.error("expected [begin, end, unwind_info]"));
    };
    Ok(FunctionEntry {
        begin: begin.u32()?,
        end: end.u32()?,
        unwind_info: unwind_info.u32()?,
    })
}
