//! `[linux]`: facts that only a Linux process has.

use dumpwright_target::{DsoDebug, LinkMap, LinuxFacts, LinuxText, LinuxTextKind, Platform};
use dumpwright_text::{Fields, Parsed, Value};

use super::places::Places;
use super::system::Machine;

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

const TEXTS: &[(&str, LinuxTextKind)] = &[
    ("cpuinfo", LinuxTextKind::CpuInfo),
    ("status", LinuxTextKind::ProcStatus),
    ("lsb_release", LinuxTextKind::LsbRelease),
    ("cmdline", LinuxTextKind::CmdLine),
    ("environ", LinuxTextKind::Environ),
    ("auxv", LinuxTextKind::Auxv),
    ("maps", LinuxTextKind::Maps),
    ("limits", LinuxTextKind::Limits),
];

/// Reads the facts, and the address at which the argument and environment strings begin.
pub(super) fn read(
    document: &Fields<'_>,
    places: &Places,
    machine: &Machine,
) -> (Option<LinuxFacts>, Option<u64>) {
    let fields = document.get("linux", |value| value.table("the facts of a Linux process", KEYS));
    let Some(fields) = fields else {
        return (None, None);
    };
    if machine.platform.is_ok_and(|platform| platform != Platform::Linux) {
        fields.error("[linux] is for systems whose platform is \"linux\"");
    }
    let mut texts = Vec::new();
    for (key, kind) in TEXTS {
        let bytes = fields.get(key, |value| match kind {
            LinuxTextKind::CmdLine | LinuxTextKind::Environ => strings(value),
            LinuxTextKind::Auxv => auxv(value, places),
            _ => Ok(value.text()?.as_bytes().to_vec()),
        });
        texts.extend(bytes.map(|bytes| LinuxText { kind: *kind, bytes }));
    }
    let dso_debug = fields.get("dso_debug", |value| dso_debug(value, places));
    let strings = fields.get("strings", |value| places.address(value));
    (Some(LinuxFacts { texts, dso_debug }), strings)
}

/// Reads strings, and appends a NUL to each, as the kernel does.
fn strings(value: &Value<'_>) -> Parsed<Vec<u8>> {
    let words = value.each(Value::text).complete()?;
    Ok(words.iter().flat_map(|word| word.bytes().chain([0])).collect())
}

/// Reads pairs of words, in the kernel's format.
fn auxv(value: &Value<'_>, places: &Places) -> Parsed<Vec<u8>> {
    let pair = |pair: &Value<'_>| {
        let [kind, word] = pair.tuple("[type, value]")?;
        let kind = kind.u64().and_then(|number| places.pointer(&kind, number));
        let word = places.word(&word);
        Ok([kind?, word?].concat())
    };
    value.each(pair).complete().map(|pairs| pairs.concat())
}

fn dso_debug(value: &Value<'_>, places: &Places) -> Parsed<DsoDebug> {
    let fields = value.table("the dynamic linker's list", DSO_DEBUG_KEYS)?;
    let address = |fields: &Fields<'_>, key| fields.get_or(key, |value| places.address(value), 0);
    let links = fields.tables("links", "an entry of the dynamic linker's list", LINK_KEYS);
    let links = links.each(|link| {
        Ok(LinkMap {
            addr: address(link, "addr"),
            name: link.get_or("name", Value::string, String::new()),
            ld: address(link, "ld"),
        })
    });
    Ok(DsoDebug {
        version: fields.get_or("version", Value::u32, 1),
        brk: address(&fields, "brk"),
        ldbase: address(&fields, "ldbase"),
        dynamic: address(&fields, "dynamic"),
        dynamic_section: fields.get_or("dynamic_section", Value::hex, Vec::new()),
        links: links.items,
    })
}
