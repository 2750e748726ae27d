//! `[[token]]`: the access tokens of the process and of its impersonating threads.

use dumpwright_target::{Privilege, Sid, SidAndAttributes, Token};
use dumpwright_text::{Fields, Listed, Parsed, Value};

pub(super) const KEYS: &[&str] = &[
    "id",
    "handle",
    "session",
    "user",
    "groups",
    "primary_group",
    "privileges",
    "restricting",
    "statistics",
];
pub(super) const SID_KEYS: &[&str] = &["sid", "attributes"];
pub(super) const PRIVILEGE_KEYS: &[&str] = &["luid", "attributes"];

/// `SE_GROUP_MANDATORY`, `SE_GROUP_ENABLED_BY_DEFAULT` and `SE_GROUP_ENABLED`. Most groups of a
/// token have these attributes.
const GROUP: u32 = 7;

/// Reads the tokens. `process` is the process id, which is the id of the process's own token.
pub(super) fn read(document: &Fields<'_>, process: u32) -> Listed<Token> {
    let tables = document.tables("token", "a token", KEYS);
    tables.each(|fields| token(fields, process))
}

fn token(fields: &Fields<'_>, process: u32) -> Parsed<Token> {
    let list = |value: &Value<'_>| value.each(|group| with_attributes(group, GROUP)).complete();
    Ok(Token {
        id: fields.get_or("id", Value::u32, process),
        handle: fields.get_or("handle", Value::u64, 0),
        session: fields.get_or("session", Value::u32, 0),
        groups: fields.get_or("groups", list, Vec::new()),
        primary_group: fields.get("primary_group", sid),
        privileges: fields.get_or("privileges", |value| value.each(privilege).complete(), Vec::new()),
        restricting: fields.get_or("restricting", list, Vec::new()),
        statistics: fields.get("statistics", statistics),
        user: fields.required("user", |value| with_attributes(value, 0))?,
    })
}

fn statistics(value: &Value<'_>) -> Parsed<[u8; 56]> {
    let bytes = value.hex()?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| value.error(format_args!("expected 56 bytes, found {}", bytes.len())))
}

fn sid(value: &Value<'_>) -> Parsed<Sid> {
    value
        .text()?
        .parse()
        .map_err(|refusal: String| value.error(refusal))
}

/// Reads a security identifier: as text, or with its attributes in a table.
fn with_attributes(value: &Value<'_>, attributes: u32) -> Parsed<SidAndAttributes> {
    match value.as_table("an identifier with attributes", SID_KEYS) {
        Some(fields) => Ok(SidAndAttributes {
            attributes: fields.get_or("attributes", Value::u32, attributes),
            sid: fields.required("sid", sid)?,
        }),
        None => Ok(SidAndAttributes {
            sid: sid(value)?,
            attributes,
        }),
    }
}

fn privilege(value: &Value<'_>) -> Parsed<Privilege> {
    let fields = value.table("a privilege", PRIVILEGE_KEYS)?;
    Ok(Privilege {
        attributes: fields.get_or("attributes", Value::u32, 0),
        luid: fields.required("luid", Value::u64)?,
    })
}
