//! `[[memory]]`: regions, their protections and their contents.

use dumpwright_target::{AddressRange, Exclusion, Region, RegionKind, RegionState, protect};
use dumpwright_text::{Fields, Listed, Parsed, Value};

use super::places::{Places, Ranged};
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

/// A region, and the table that defines it.
pub(super) struct Placed<'t> {
    pub region: Region,
    pub contents: Contents,
    pub from: Fields<'t>,
}

pub(super) fn tables<'t>(document: &Fields<'t>) -> Listed<Fields<'t>> {
    document.tables("memory", "a block of memory", KEYS)
}

pub(super) fn read<'t>(blocks: &Listed<Ranged<'t>>, places: &Places) -> Listed<Placed<'t>> {
    let blocks = blocks.each(|(fields, range)| Ok(block(fields, *range, places)));
    let mut placed = Listed {
        items: Vec::new(),
        all: blocks.all,
    };
    for block in blocks.items {
        placed.items.extend(block.items);
        placed.all = placed.all.and(block.all);
    }
    placed
}

/// Reads the regions of one block.
fn block<'t>(fields: &Fields<'t>, range: Parsed<AddressRange>, places: &Places) -> Listed<Placed<'t>> {
    let state = fields.optional("state", |value| value.choice(STATES));
    let protection = fields.get_or("protect", Value::protection, protect::READWRITE);
    let allocation = fields.get("allocation", |value| {
        let base = places.address(value)?;
        match range {
            Ok(range) if base > range.start() => {
                Err(value.error("an allocation cannot begin after its memory"))
            }
            _ => Ok(base),
        }
    });
    let allocation_protect = fields.get_or("allocation_protect", Value::protection, protection);
    let kind = fields.get_or("kind", |value| value.choice(KINDS), RegionKind::Private);
    let exclusion = fields.get("exclusion", |value| value.choice(EXCLUSIONS));
    let contents = read_contents(fields, range, places);
    let parts = fields.tables("parts", "a part of a block", PART_KEYS);
    let parts = parts.each(|fields| part(fields, range, places));
    let whole = range.and_then(|range| {
        let state = state?.unwrap_or(RegionState::Commit);
        Ok(Region {
            range,
            allocation_base: allocation.unwrap_or(range.start()),
            allocation_protect,
            protect: protection_in(state, protection),
            state,
            kind: Some(kind),
            exclusion,
        })
    });
    match whole {
        Ok(whole) => split(whole, contents, parts, fields),
        Err(mistake) => Listed {
            items: Vec::new(),
            all: Err(mistake),
        },
    }
}

/// Returns the protection of memory in this state. Memory that is only reserved has none, which
/// `VirtualQuery` reports as 0.
fn protection_in(state: RegionState, protection: u32) -> u32 {
    if state == RegionState::Commit {
        protection
    } else {
        0
    }
}

/// A part of a block, with the properties that differ from those of the block.
struct Part<'t> {
    range: AddressRange,
    state: Option<RegionState>,
    protect: Option<u32>,
    exclusion: Option<Exclusion>,
    from: Fields<'t>,
}

fn part<'t>(fields: &Fields<'t>, block: Parsed<AddressRange>, places: &Places) -> Parsed<Part<'t>> {
    let pages = |value: &Value<'_>| {
        let number = value.size()?;
        places.check_pages(value, number).map(|()| number)
    };
    let (offset, size) = (fields.required("offset", pages), fields.required("size", pages));
    let state = fields.optional("state", |value| value.choice(STATES));
    let protect = fields.get("protect", Value::protection);
    let exclusion = fields.get("exclusion", |value| value.choice(EXCLUSIONS));
    Ok(Part {
        range: inside(fields, offset?, size?, block, "the block")?,
        state: state?,
        protect,
        exclusion,
        from: fields.clone(),
    })
}

/// Splits a block into regions according to its `parts`.
fn split<'t>(
    whole: Region,
    contents: Contents,
    parts: Listed<Part<'t>>,
    fields: &Fields<'t>,
) -> Listed<Placed<'t>> {
    let mut placed = Listed {
        items: Vec::new(),
        all: parts.all,
    };
    let mut place = |region: Region, contents: &Contents| {
        placed.items.push(Placed {
            region,
            contents: contents.clone(),
            from: fields.clone(),
        });
    };
    let mut parts = parts.items;
    if parts.is_empty() {
        place(whole, &contents);
        return placed;
    }
    parts.sort_by_key(|part| part.range);
    let contents = contents.laid_out_for(whole.range);
    let mut all = Ok(());
    let mut at = whole.range.start();
    for part in parts {
        if part.range.start() < at {
            all = Err(part.from.error("this part overlaps another one of the block"));
            at = at.max(part.range.end());
            continue;
        }
        if let Some(range) = AddressRange::new(at, part.range.start()) {
            let before = Region {
                range,
                ..whole.clone()
            };
            place(before, &contents);
        }
        at = part.range.end();
        let state = part.state.unwrap_or(whole.state);
        let protection = part.protect.unwrap_or(whole.allocation_protect);
        let region = Region {
            range: part.range,
            state,
            protect: protection_in(state, protection),
            exclusion: part.exclusion.or(whole.exclusion),
            ..whole.clone()
        };
        place(region, &contents);
    }
    if let Some(range) = AddressRange::new(at, whole.range.end()) {
        place(Region { range, ..whole }, &contents);
    }
    placed.all = placed.all.and(all);
    placed
}

/// Returns the part of `whole` with this offset and size.
pub(super) fn inside(
    fields: &Fields<'_>,
    offset: u64,
    size: u64,
    whole: Parsed<AddressRange>,
    what: &str,
) -> Parsed<AddressRange> {
    let whole = whole?;
    let start = whole.start().checked_add(offset);
    let range = start
        .and_then(|start| AddressRange::at(start, size))
        .filter(|range| whole.covers(*range));
    range.ok_or_else(|| {
        let len = whole.len();
        fields.error(format_args!(
            "{size:#x} bytes at offset {offset:#x} are not a part of {what}, which has {len:#x} bytes"
        ))
    })
}

/// Reads `content` and `put` of memory at `range`.
pub(super) fn read_contents(fields: &Fields<'_>, range: Parsed<AddressRange>, places: &Places) -> Contents {
    let mut contents = fields.get_or(
        "content",
        |value| read_content(value, range, places),
        Contents::Untouched,
    );
    let puts = fields.tables("put", "bytes that are put", PUT_KEYS);
    let puts = puts.each(|put| {
        let offset = put.required("offset", Value::size);
        let bytes = read_bytes(put, places)?.ok_or_else(|| put.error("expected one of text, hex, words"))?;
        let place = inside(put, offset?, bytes.len() as u64, range, "the memory")?;
        Ok((place.start(), bytes))
    });
    if let Ok(range) = range {
        for (at, bytes) in puts.items {
            contents = contents.put(range, at, bytes);
        }
    }
    contents
}

fn read_content(value: &Value<'_>, range: Parsed<AddressRange>, places: &Places) -> Parsed<Contents> {
    let Some(fields) = value.as_table("contents", CONTENT_KEYS) else {
        return value
            .choice(&[("counting", true), ("untouched", false)])
            .map(|counting| {
                if counting {
                    Contents::Counting
                } else {
                    Contents::Untouched
                }
            });
    };
    fields.exclusive(CONTENT_KEYS)?;
    if let Some(fill) = fields.optional("fill", Value::u8)? {
        return Ok(Contents::Fill(fill));
    }
    if let Some(seed) = fields.optional("pattern", Value::u64)? {
        return Ok(Contents::Pattern(seed));
    }
    let bytes = read_bytes(&fields, places)?;
    let bytes = bytes.ok_or_else(|| value.error("expected one of fill, pattern, text, hex, words"))?;
    if let Ok(range) = range
        && bytes.len() as u64 > range.len()
    {
        let (have, room) = (bytes.len(), range.len());
        return Err(value.error(format_args!("{have:#x} bytes do not fit into {room:#x} bytes")));
    }
    Ok(Contents::Bytes(bytes))
}

/// Reads bytes that are given as `text`, `hex` or `words`.
fn read_bytes(fields: &Fields<'_>, places: &Places) -> Parsed<Option<Vec<u8>>> {
    fields.exclusive(&["text", "hex", "words"])?;
    if let Some(text) = fields.optional("text", Value::text)? {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    if let Some(bytes) = fields.optional("hex", Value::hex)? {
        return Ok(Some(bytes));
    }
    fields.optional("words", |value| {
        let words = value.each(|word| places.word(word)).complete()?;
        Ok(words.concat())
    })
}

/// Returns the regions in ascending order. Refuses regions that overlap.
pub(super) fn in_order(mut placed: Listed<Placed<'_>>) -> Listed<(Region, Contents)> {
    placed.items.sort_by_key(|placed| placed.region.range);
    // The earlier region that reaches furthest.
    let mut reaching: Option<&Placed<'_>> = None;
    let mut all = placed.all;
    for here in &placed.items {
        let Some(other) = reaching.filter(|other| other.region.range.end() > here.region.range.start())
        else {
            reaching = Some(here);
            continue;
        };
        let (earlier, later) = if other.from.span().start < here.from.span().start {
            (other, here)
        } else {
            (here, other)
        };
        all = Err(later.from.error(format_args!(
            "{} overlaps {}, which line {} has; regions cannot overlap",
            later.region.range,
            earlier.region.range,
            earlier.from.line()
        )));
        if here.region.range.end() > other.region.range.end() {
            reaching = Some(here);
        }
    }
    let regions = placed.items.into_iter();
    Listed {
        items: regions.map(|placed| (placed.region, placed.contents)).collect(),
        all,
    }
}
