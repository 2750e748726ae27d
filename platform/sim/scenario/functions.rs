//! `[[function_table]]`: functions made at run time.

use dumpwright_target::{FunctionEntry, FunctionTable};
use dumpwright_text::{Fields, Listed, Parsed, Value};

use super::places::Places;

pub(super) const KEYS: &[&str] = &["minimum", "maximum", "base", "native", "entries"];

pub(super) fn read(document: &Fields<'_>, places: &Places) -> Listed<FunctionTable> {
    let tables = document.tables("function_table", "a function table", KEYS);
    tables.each(|fields| table(fields, places))
}

fn table(fields: &Fields<'_>, places: &Places) -> Parsed<FunctionTable> {
    let base = fields.required("base", |value| places.address(value));
    let entries = fields.required("entries", |value| value.each(entry).complete());
    let address = |key| fields.get(key, |value| places.address(value));
    let (minimum, maximum) = (address("minimum"), address("maximum"));
    let native = fields.get_or("native", native, [0; 88]);
    let (base_address, entries) = (base?, entries?);
    let place = |offset: Option<u32>| base_address.saturating_add(offset.unwrap_or(0).into());
    let begin = place(entries.iter().map(|entry| entry.begin).min());
    let end = place(entries.iter().map(|entry| entry.end).max());
    Ok(FunctionTable {
        minimum_address: minimum.unwrap_or(begin),
        maximum_address: maximum.unwrap_or(end),
        base_address,
        native,
        entries,
    })
}

fn native(value: &Value<'_>) -> Parsed<[u8; 88]> {
    let bytes = value.hex()?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| value.error(format_args!("expected 88 bytes, found {}", bytes.len())))
}

fn entry(value: &Value<'_>) -> Parsed<FunctionEntry> {
    let numbers = value.tuple("[begin, end, unwind_info]")?;
    let [begin, end, unwind_info] = numbers.map(|number| number.u32());
    Ok(FunctionEntry {
        begin: begin?,
        end: end?,
        unwind_info: unwind_info?,
    })
}
