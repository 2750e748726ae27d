//! `[[token]]`: as whom the process and its threads act.

use dumpwright_target::{Privilege, Sid, SidAndAttributes, Token};

use super::fields::{Fields, Outcome, Value};

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

/// SE_GROUP_MANDATORY, SE_GROUP_ENABLED_BY_DEFAULT and SE_GROUP_ENABLED: what most groups of a token have.
const GROUP: u32 = 7;

/// `process` is the id of the process, which its own token has.
pub(super) fn read(document: &Fields<'_>, process: u32) -> Outcome<Vec<Token>> {
    let mut tokens = Vec::new();
    for fields in document.tables("token", "a token", KEYS)? {
        tokens.push(Token {
            id: fields.get_or("id", Value::u32, process)?,
            handle: fields.get_or("handle", Value::u64, 0)?,
            session: fields.get_or("session", Value::u32, 0)?,
            user: with_attributes(&fields.need("user")?, 0)?,
            groups: fields.get_or("groups", groups, Vec::new())?,
            primary_group: fields.get("primary_group", sid)?,
            privileges: fields.get_or(
                "privileges",
                |value| value.array()?.iter().map(privilege).collect(),
                Vec::new(),
            )?,
            restricting: fields.get_or("restricting", groups, Vec::new())?,
            statistics: fields.get("statistics", |value| {
                let bytes = value.hex()?;
                bytes.try_into().map_err(|bytes: Vec<u8>| {
                    value.error(format!("expected 56 bytes, found {}", bytes.len()))
                })
            })?,
        });
    }
    Ok(tokens)
}

fn sid(value: &Value<'_>) -> Outcome<Sid> {
    value
        .text()?
        .parse()
        .map_err(|refusal: String| value.error(refusal))
}

fn groups(value: &Value<'_>) -> Outcome<Vec<SidAndAttributes>> {
    let groups = value.array()?;
    groups.iter().map(|group| with_attributes(group, GROUP)).collect()
}

/// An identifier as text, or with its attributes in a table.
fn with_attributes(value: &Value<'_>, attributes: u32) -> Outcome<SidAndAttributes> {
    match value.as_table("an identifier with attributes", SID_KEYS)? {
        Some(fields) => Ok(SidAndAttributes {
            sid: sid(&fields.need("sid")?)?,
            attributes: fields.get_or("attributes", Value::u32, attributes)?,
        }),
        None => Ok(SidAndAttributes {
            sid: sid(value)?,
            attributes,
        }),
    }
}

fn privilege(value: &Value<'_>) -> Outcome<Privilege> {
    let fields = value.table("a privilege", PRIVILEGE_KEYS)?;
    Ok(Privilege {
        luid: fields.need("luid")?.u64()?,
        attributes: fields.get_or("attributes", Value::u32, 0)?,
    })
}
