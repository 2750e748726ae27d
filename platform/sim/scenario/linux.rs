//! `[linux]`: what only a Linux process has.

use dumpwright_target::{DsoDebug, LinkMap, LinuxFacts, LinuxText, LinuxTextKind, Platform};

use super::fields::{Fields, Outcome, Value};
use super::places::Places;

pub(super) const KEYS: &[&str] = &[
    "cpuinfo",
    "status",
    "lsb_release",
    "cmdline",
    "environ",
    "auxv",
    "maps",
    "limits",
    "dso_debug",
    "strings",
];
pub(super) const DSO_DEBUG_KEYS: &[&str] =
    &["version", "brk", "ldbase", "dynamic", "dynamic_section", "links"];
pub(super) const LINK_KEYS: &[&str] = &["addr", "name", "ld"];

/// The facts, and where the argument and environment strings begin.
pub(super) fn read(
    document: &Fields<'_>,
    places: &Places,
    platform: Platform,
) -> Outcome<(Option<LinuxFacts>, Option<u64>)> {
    let Some(value) = document.value("linux") else {
        return Ok((None, None));
    };
    let fields = value.table("what only a Linux process has", KEYS)?;
    if platform != Platform::Linux {
        return Err(fields.error("[linux] is for systems whose platform is \"linux\""));
    }
    let mut texts = Vec::new();
    for (key, kind) in [
        ("cpuinfo", LinuxTextKind::CpuInfo),
        ("status", LinuxTextKind::ProcStatus),
        ("lsb_release", LinuxTextKind::LsbRelease),
        ("cmdline", LinuxTextKind::CmdLine),
        ("environ", LinuxTextKind::Environ),
        ("auxv", LinuxTextKind::Auxv),
        ("maps", LinuxTextKind::Maps),
        ("limits", LinuxTextKind::Limits),
    ] {
        let bytes = fields.get(key, |value| match kind {
            LinuxTextKind::CmdLine | LinuxTextKind::Environ => strings(value),
            LinuxTextKind::Auxv => auxv(value, places),
            _ => Ok(value.text()?.as_bytes().to_vec()),
        })?;
        texts.extend(bytes.map(|bytes| LinuxText { kind, bytes }));
    }
    let dso_debug = fields.get("dso_debug", |value| dso_debug(value, places))?;
    let strings = fields.get("strings", |value| places.address(value))?;
    Ok((Some(LinuxFacts { texts, dso_debug }), strings))
}

/// Strings with a NUL behind each, as the kernel gives them.
fn strings(value: &Value<'_>) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in value.array()? {
        bytes.extend(word.text()?.bytes().chain([0]));
    }
    Ok(bytes)
}

/// Pairs of words, as the kernel gives them.
fn auxv(value: &Value<'_>, places: &Places) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    for pair in value.array()? {
        let words = pair.array()?;
        let [kind, word] = words.as_slice() else {
            return Err(pair.error("expected [type, value]"));
        };
        bytes.extend(places.pointer(kind, kind.u64()?)?);
        bytes.extend(places.word(word)?);
    }
    Ok(bytes)
}

fn dso_debug(value: &Value<'_>, places: &Places) -> Outcome<DsoDebug> {
    let fields = value.table("the dynamic linker's list", DSO_DEBUG_KEYS)?;
    let address = |fields: &Fields<'_>, key| fields.get_or(key, |value| places.address(value), 0);
    let mut links = Vec::new();
    for link in fields.tables("links", "an entry of the dynamic linker's list", LINK_KEYS)? {
        links.push(LinkMap {
            addr: address(&link, "addr")?,
            name: link.get_or("name", Value::string, String::new())?,
            ld: address(&link, "ld")?,
        });
    }
    Ok(DsoDebug {
        version: fields.get_or("version", Value::u32, 1)?,
        brk: address(&fields, "brk")?,
        ldbase: address(&fields, "ldbase")?,
        dynamic: address(&fields, "dynamic")?,
        dynamic_section: fields.get_or("dynamic_section", Value::hex, Vec::new())?,
        links,
    })
}
