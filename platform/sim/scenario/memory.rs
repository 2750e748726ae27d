//! `[[memory]]`: regions, their protections and their contents.

use dumpwright_target::{AddressRange, Exclusion, Region, RegionKind, RegionState, protect};

use super::error::ScenarioError;
use super::fields::{Fields, Outcome, Value};
use super::places::Places;
use crate::Contents;

pub(super) const KEYS: &[&str] = &[
    "name",
    "base",
    "size",
    "protect",
    "state",
    "kind",
    "exclusion",
    "allocation",
    "allocation_protect",
    "content",
    "put",
    "parts",
];
pub(super) const PART_KEYS: &[&str] = &["offset", "size", "protect", "state", "exclusion"];
pub(super) const CONTENT_KEYS: &[&str] = &["fill", "pattern", "text", "hex", "words"];
pub(super) const PUT_KEYS: &[&str] = &["offset", "text", "hex", "words"];

const STATES: &[(&str, RegionState)] = &[("commit", RegionState::Commit), ("reserve", RegionState::Reserve)];
const KINDS: &[(&str, RegionKind)] = &[
    ("private", RegionKind::Private),
    ("mapped", RegionKind::Mapped),
    ("image", RegionKind::Image),
];
const EXCLUSIONS: &[(&str, Exclusion)] = &[
    ("device", Exclusion::Device),
    ("kernel", Exclusion::Kernel),
    ("dont-dump", Exclusion::DontDump),
];

const PROTECTIONS: &[(&str, u32)] = &[
    ("---", protect::NOACCESS),
    ("r--", protect::READONLY),
    ("rw-", protect::READWRITE),
    ("r-x", protect::EXECUTE_READ),
    ("--x", protect::EXECUTE),
    ("rwx", protect::EXECUTE_READWRITE),
    ("PAGE_NOACCESS", protect::NOACCESS),
    ("PAGE_READONLY", protect::READONLY),
    ("PAGE_READWRITE", protect::READWRITE),
    ("PAGE_WRITECOPY", protect::WRITECOPY),
    ("PAGE_EXECUTE", protect::EXECUTE),
    ("PAGE_EXECUTE_READ", protect::EXECUTE_READ),
    ("PAGE_EXECUTE_READWRITE", protect::EXECUTE_READWRITE),
    ("PAGE_EXECUTE_WRITECOPY", protect::EXECUTE_WRITECOPY),
];
const MODIFIERS: &[(&str, u32)] = &[
    ("PAGE_GUARD", protect::GUARD),
    ("PAGE_NOCACHE", protect::NOCACHE),
    ("PAGE_WRITECOMBINE", protect::WRITECOMBINE),
];

/// A region, and the table that it comes from.
pub(super) struct Placed<'t> {
    pub region: Region,
    pub contents: Contents,
    pub from: Fields<'t>,
}

pub(super) fn tables<'t>(document: &Fields<'t>) -> Outcome<Vec<Fields<'t>>> {
    document.tables("memory", "a block of memory", KEYS)
}

pub(super) fn read<'t>(document: &Fields<'t>, places: &Places, placed: &mut Vec<Placed<'t>>) -> Outcome<()> {
    for fields in tables(document)? {
        let range = places.pages(&fields, "base")?;
        let protection = fields.get_or("protect", read_protection, protect::READWRITE)?;
        let state = fields.get_or("state", |value| value.choice(STATES), RegionState::Commit)?;
        let whole = Region {
            range,
            allocation_base: fields.get_or("allocation", |value| places.address(value), range.start())?,
            allocation_protect: fields.get_or("allocation_protect", read_protection, protection)?,
            protect: protection_in(state, protection),
            state,
            kind: Some(fields.get_or("kind", |value| value.choice(KINDS), RegionKind::Private)?),
            exclusion: fields.get("exclusion", |value| value.choice(EXCLUSIONS))?,
        };
        if whole.allocation_base > range.start() {
            return Err(fields
                .need("allocation")?
                .error("an allocation cannot begin behind its memory"));
        }
        let contents = read_contents(&fields, range, places)?;
        let regions = split(whole, contents, &fields, places)?;
        placed.extend(regions.into_iter().map(|(region, contents)| Placed {
            region,
            contents,
            from: fields.clone(),
        }));
    }
    Ok(())
}

/// Memory that is reserved only has no protection, which `VirtualQuery` tells as 0.
fn protection_in(state: RegionState, protection: u32) -> u32 {
    if state == RegionState::Commit {
        protection
    } else {
        0
    }
}

/// The block as regions: itself, or what its `parts` make of it.
fn split(
    whole: Region,
    contents: Contents,
    fields: &Fields<'_>,
    places: &Places,
) -> Outcome<Vec<(Region, Contents)>> {
    let mut parts = Vec::new();
    for part in fields.tables("parts", "a part of a block", PART_KEYS)? {
        let offset = part.need("offset")?;
        let range = inside(
            &part,
            offset.u64()?,
            part.need("size")?.u64()?,
            whole.range,
            "the block",
        )?;
        places.check_pages(&offset, offset.u64()?)?;
        places.check_pages(&part.need("size")?, range.len())?;
        let state = part.get_or("state", |value| value.choice(STATES), whole.state)?;
        let protection = part.get_or("protect", read_protection, whole.allocation_protect)?;
        let region = Region {
            range,
            state,
            protect: protection_in(state, protection),
            exclusion: part
                .get("exclusion", |value| value.choice(EXCLUSIONS))?
                .or(whole.exclusion),
            ..whole.clone()
        };
        parts.push((region, part));
    }
    if parts.is_empty() {
        return Ok(vec![(whole, contents)]);
    }
    parts.sort_by_key(|(region, _)| region.range);
    let contents = contents.laid_out_for(whole.range);
    let mut regions = Vec::new();
    let mut at = whole.range.start();
    for (region, part) in parts {
        if region.range.start() < at {
            return Err(part.error("this part overlaps another one of the block"));
        }
        if let Some(range) = AddressRange::new(at, region.range.start()) {
            regions.push((
                Region {
                    range,
                    ..whole.clone()
                },
                contents.clone(),
            ));
        }
        at = region.range.end();
        regions.push((region, contents.clone()));
    }
    if let Some(range) = AddressRange::new(at, whole.range.end()) {
        regions.push((Region { range, ..whole }, contents));
    }
    Ok(regions)
}

/// The part of `whole` at this offset.
pub(super) fn inside(
    fields: &Fields<'_>,
    offset: u64,
    size: u64,
    whole: AddressRange,
    what: &str,
) -> Outcome<AddressRange> {
    let start = whole.start().checked_add(offset);
    let range = start
        .and_then(|start| AddressRange::at(start, size))
        .filter(|range| whole.covers(*range));
    range.ok_or_else(|| {
        let len = whole.len();
        fields.error(format!(
            "{size:#x} bytes at offset {offset:#x} are not a part of {what}, which has {len:#x}"
        ))
    })
}

/// `content` and `put`.
pub(super) fn read_contents(fields: &Fields<'_>, range: AddressRange, places: &Places) -> Outcome<Contents> {
    let mut contents = fields.get_or(
        "content",
        |value| read_content(value, range, places),
        Contents::Untouched,
    )?;
    for put in fields.tables("put", "bytes that are put", PUT_KEYS)? {
        let offset = put.need("offset")?.u64()?;
        let bytes = read_bytes(&put, places)?.ok_or_else(|| put.error("expected one of text, hex, words"))?;
        let place = inside(&put, offset, bytes.len() as u64, range, "the memory")?;
        contents = contents.put(range, place.start(), bytes);
    }
    Ok(contents)
}

fn read_content(value: &Value<'_>, range: AddressRange, places: &Places) -> Outcome<Contents> {
    let Some(fields) = value.as_table("contents", CONTENT_KEYS)? else {
        return match value.choice(&[("counting", true), ("untouched", false)])? {
            true => Ok(Contents::Counting),
            false => Ok(Contents::Untouched),
        };
    };
    fields.exclusive(CONTENT_KEYS)?;
    if let Some(fill) = fields.get("fill", Value::u8)? {
        return Ok(Contents::Fill(fill));
    }
    if let Some(seed) = fields.get("pattern", Value::u64)? {
        return Ok(Contents::Pattern(seed));
    }
    let bytes = read_bytes(&fields, places)?;
    let bytes = bytes.ok_or_else(|| value.error("expected one of fill, pattern, text, hex, words"))?;
    if bytes.len() as u64 > range.len() {
        let (have, room) = (bytes.len(), range.len());
        return Err(value.error(format!("{have:#x} bytes do not fit into {room:#x}")));
    }
    Ok(Contents::Bytes(bytes))
}

/// Bytes written out.
fn read_bytes(fields: &Fields<'_>, places: &Places) -> Outcome<Option<Vec<u8>>> {
    fields.exclusive(&["text", "hex", "words"])?;
    if let Some(text) = fields.get("text", Value::text)? {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    if let Some(bytes) = fields.get("hex", Value::hex)? {
        return Ok(Some(bytes));
    }
    fields.get("words", |value| {
        let mut bytes = Vec::new();
        for word in value.array()? {
            bytes.extend(places.word(&word)?);
        }
        Ok(bytes)
    })
}

/// `"rw-"`, `"PAGE_READWRITE | PAGE_GUARD"`, or a number.
pub(super) fn read_protection(value: &Value<'_>) -> Outcome<u32> {
    if value.as_u64()?.is_some() {
        return value.u32();
    }
    let mut protection = 0;
    let mut modifiers = 0;
    for word in value.text()?.split(['|', ' ']).filter(|word| !word.is_empty()) {
        let find = |names: &[(&str, u32)]| {
            names
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, bits)| *bits)
        };
        match (find(PROTECTIONS), find(MODIFIERS)) {
            (Some(bits), _) if protection == 0 => protection = bits,
            (Some(_), _) => return Err(value.error("expected one protection, found two")),
            (_, Some(bits)) => modifiers |= bits,
            _ => return Err(unknown_protection(value, word)),
        }
    }
    if protection == 0 {
        return Err(value.error("expected a protection, as in \"rw-\" or \"PAGE_READWRITE | PAGE_GUARD\""));
    }
    Ok(protection | modifiers)
}

fn unknown_protection(value: &Value<'_>, word: &str) -> ScenarioError {
    let names = PROTECTIONS.iter().chain(MODIFIERS).map(|(name, _)| *name);
    value.error(format!(
        "\"{word}\" is no protection{}",
        super::error::hint(word, names)
    ))
}

/// The regions in their order; two at one address are refused.
pub(super) fn in_order(mut placed: Vec<Placed<'_>>) -> Outcome<Vec<(Region, Contents)>> {
    placed.sort_by_key(|placed| placed.region.range);
    for pair in placed.windows(2) {
        let [one, other] = pair else { continue };
        if one.region.range.end() <= other.region.range.start() {
            continue;
        }
        let (earlier, later) = if one.from.is_before(&other.from) {
            (one, other)
        } else {
            (other, one)
        };
        return Err(later.from.error(format!(
            "{} overlaps {}, which line {} has; no process can have that",
            later.region.range,
            earlier.region.range,
            earlier.from.line()
        )));
    }
    Ok(placed
        .into_iter()
        .map(|placed| (placed.region, placed.contents))
        .collect())
}
