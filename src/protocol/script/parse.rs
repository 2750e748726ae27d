//! The parser of scripts.

use dumpwright_callback::{AskKind, Hresult};
use dumpwright_text::{Fields, Parsed, Source, TextError, Value, hint, number, size};

use super::rule::{
    Actions, Completed, Flags, HandleAnswer, Located, MemoryRule, Query, Range, RangeExtent, RegionRule,
    Rule, Shift, ThreadPattern,
};
use super::words::{ACTIONS, CONDITIONS, KINDS, REGION, STATES, STATUSES, flag_names, keys_of};
use crate::protocol::symbols::split_offset;

/// Parses the rules of a script.
pub(super) fn parse(source: &Source) -> Result<Vec<Rule>, TextError> {
    source.read("a script", &["rule"], |document| {
        let all: Vec<_> = CONDITIONS.iter().chain(&ACTIONS).copied().collect();
        document.tables("rule", "a rule", &all).each(rule).complete()
    })
}

fn rule(fields: &Fields<'_>) -> Parsed<Rule> {
    let asks = match fields.value("ask") {
        Some(value) => asks(&value),
        None => {
            Err(fields.error("a rule needs \"ask\": the name of a callback type, a list of names, or \"*\""))
        }
    };
    if let Ok(asks) = &asks {
        check_keys(fields, asks);
    }
    let flags = |value: &Value<'_>| match &asks {
        Ok(asks) => flags(value, asks),
        Err(mistake) => Err(*mistake),
    };
    let actions = Actions {
        ret: fields.get("return", Value::bool),
        flags: fields.get("flags", flags),
        and: fields.get("and", flags),
        or: fields.get("or", flags),
        status: fields
            .get("status", |value| {
                named(value, &STATUSES.map(|(name, status)| (name, status.0)))
            })
            .map(Hresult),
        memory: fields.get_or("memory", memories, Vec::new()),
        check_cancel: fields.get("check_cancel", Value::bool),
        cancel: fields.get("cancel", Value::bool),
        cont: fields.get("continue", Value::bool),
        region: fields.get("region", region).unwrap_or_default(),
        handle: fields.get("handle", handle),
        completed: fields.get("completed", completed),
        read: fields
            .get("read", |value| Ok(value.bool()?.then(|| value.span())))
            .flatten(),
        fill: fields.get("fill", byte),
        xor: fields.get("xor", byte),
        xor_at: fields.get("xor_at", xor_at),
        store: fields.get("store", Value::bool),
        query: fields.get("query", |value| value.choice(&QUERIES)),
        max_parallelism: fields.get("max_parallelism", word),
        max_transfer_size: fields.get("max_transfer_size", word),
    };
    Ok(Rule {
        index: fields.get_or("index", index, (0, u64::MAX)),
        thread: fields.get("thread", thread),
        module: fields.get("module", Value::string),
        at: fields.get("at", range),
        minimum_size: fields.get("minimum_size", Value::size),
        actions,
        span: fields.span(),
        used: 0,
        asks: asks?,
    })
}

fn asks(value: &Value<'_>) -> Parsed<Vec<AskKind>> {
    let one = |value: &Value<'_>| {
        let name = value.text()?;
        let known = AskKind::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| {
            let names = AskKind::ALL.into_iter().map(AskKind::name);
            value.error(format_args!(
                "unknown callback type \"{name}\"{}",
                hint(name, names)
            ))
        })
    };
    match value.as_text() {
        Some("*") => Ok(Vec::new()),
        _ if value.is_array() => value.each(one).complete(),
        _ => Ok(vec![one(value)?]),
    }
}

/// Reports keys that have no meaning for the callback types of the rule. Without an error, the user
/// might believe that such a key changes the answer.
fn check_keys(fields: &Fields<'_>, asks: &[AskKind]) {
    const ALWAYS: [&str; 3] = ["ask", "index", "return"];
    for name in CONDITIONS.iter().chain(&ACTIONS).filter(|key| fields.has(key)) {
        let fits = |kind: &AskKind| keys_of(*kind).contains(name);
        if asks.is_empty() || ALWAYS.contains(name) || asks.iter().any(fits) {
            continue;
        }
        let names: Vec<_> = asks.iter().map(|kind| kind.name()).collect();
        let known = asks.iter().flat_map(|kind| keys_of(*kind)).chain(&ALWAYS);
        let message = format!(
            "\"{name}\" does not apply to {}{}",
            names.join(", "),
            hint(name, known.copied())
        );
        fields.error_at(name, message);
    }
}

/// Parses `3`, `"3"`, `"2-5"`, `"7+"` or `"*"`.
fn index(value: &Value<'_>) -> Parsed<(u64, u64)> {
    if let Some(number) = value.as_u64()? {
        return Ok((number, number));
    }
    let parse = |text: &str| match text.split_once('-') {
        _ if text == "*" => Some((0, u64::MAX)),
        Some((first, last)) => number(first).zip(number(last)),
        None => match text.strip_suffix('+') {
            Some(first) => number(first).zip(Some(u64::MAX)),
            None => number(text).map(|number| (number, number)),
        },
    };
    let parsed = value.as_text().and_then(parse);
    parsed
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| value.expected("3, \"2-5\", \"7+\" or \"*\""))
}

/// Parses `7` or `"T1"`.
fn thread(value: &Value<'_>) -> Parsed<ThreadPattern> {
    let id = value.as_u64()?.and_then(|id| u32::try_from(id).ok());
    let order = || value.as_text()?.strip_prefix('T')?.parse().ok();
    id.map(ThreadPattern::Id)
        .or_else(|| order().map(ThreadPattern::Number))
        .ok_or_else(|| value.expected("a thread: its id, or \"T1\" for the second thread that was presented"))
}

/// Parses `"NAME"`, `"NAME+0x10"`, `"NAME+0x10/0x100"` or `"A..B"`. Numbers can be used instead of
/// names.
fn range(value: &Value<'_>) -> Parsed<Range> {
    let text = match value.as_u64()? {
        Some(_) => {
            let (start, extent) = (address(value)?, RangeExtent::Named);
            return Ok(Range { start, extent });
        }
        None => value.text()?,
    };
    if let Some((start, end)) = text.split_once("..") {
        let (start, end) = (place(value, start), place(value, end));
        return Ok(Range {
            start: start?,
            extent: RangeExtent::End(end?),
        });
    }
    let (start, size) = split_size(text);
    Ok(Range {
        start: place(value, start)?,
        extent: size.map_or(RangeExtent::Named, RangeExtent::Size),
    })
}

/// Splits `START/SIZE` into the start and the size. Without a valid size, the whole text is the
/// start.
fn split_size(text: &str) -> (&str, Option<u64>) {
    match text.rsplit_once('/') {
        Some((start, bytes)) if size(bytes).is_some() => (start, size(bytes)),
        _ => (text, None),
    }
}

/// Parses a name with or without an offset, or an address. Whether the name exists is checked
/// later, when the target is known.
fn place(value: &Value<'_>, text: &str) -> Parsed<Located> {
    let text = text.trim();
    let (name, ..) = split_offset(text);
    let looks_like_a_number = text.starts_with("0x") && number(name).is_none();
    if name.is_empty() || looks_like_a_number {
        return Err(value.expected("a place: NAME, NAME+0x10 or 0x1000"));
    }
    Ok(located(value, text.to_owned()))
}

fn located(value: &Value<'_>, text: String) -> Located {
    Located {
        text,
        span: value.span(),
    }
}

/// Parses `"NAME/0x100"`, `{ base, size }`, or a list of these.
fn memories(value: &Value<'_>) -> Parsed<Vec<MemoryRule>> {
    if value.is_array() {
        return value.each(memory).complete();
    }
    Ok(vec![memory(value)?])
}

fn memory(value: &Value<'_>) -> Parsed<MemoryRule> {
    let narrow =
        |value: &Value<'_>, size: u64| u32::try_from(size).map_err(|_| value.expected("a size below 4 GiB"));
    if let Some(fields) = value.as_table("a range", &["base", "size"]) {
        let size = fields.optional("size", |value| narrow(value, value.size()?));
        return Ok(MemoryRule {
            base: fields.required("base", address)?,
            size: size?,
        });
    }
    let (base, size) = split_size(value.text()?);
    Ok(MemoryRule {
        base: place(value, base)?,
        size: size.map(|size| narrow(value, size)).transpose()?,
    })
}

/// Parses a number or a place.
fn address(value: &Value<'_>) -> Parsed<Located> {
    match value.as_u64()? {
        Some(number) => Ok(located(value, format!("{number:#x}"))),
        None => place(value, value.text()?),
    }
}

fn region(value: &Value<'_>) -> Parsed<RegionRule> {
    let fields = value.table("a region", &REGION)?;
    let shift = |value: &Value<'_>| match value.as_text().map(str::trim) {
        Some(text) if text.starts_with(['+', '-']) => {
            let by = size(&text[1..]);
            let by = by.ok_or_else(|| value.expected("a change, as in \"+0x1000\" or \"-64 KiB\""))?;
            Ok(if text.starts_with('+') {
                Shift::Up(by)
            } else {
                Shift::Down(by)
            })
        }
        _ => address(value).map(Shift::To),
    };
    Ok(RegionRule {
        base: fields.get("base", shift),
        size: fields.get("size", shift),
        allocation_base: fields.get("allocation_base", shift),
        allocation_protect: fields.get("allocation_protect", protection),
        state: fields.get("state", |value| {
            named(value, &STATES.map(|(name, state)| (name, state.value())))
        }),
        protect: fields.get("protect", protection),
        kind: fields.get("type", |value| {
            named(value, &KINDS.map(|(name, kind)| (name, kind.value())))
        }),
    })
}

fn flags(value: &Value<'_>, asks: &[AskKind]) -> Parsed<Flags> {
    let names = flag_names(asks);
    if value.is_array() {
        let bits = value.each(|flag| named(flag, &names)).complete()?;
        return Ok(Flags(bits.into_iter().fold(0, |all, bit| all | bit)));
    }
    named(value, &names).map(Flags)
}

/// Parses a 32-bit number or one of these names.
fn named(value: &Value<'_>, names: &[(&str, u32)]) -> Parsed<u32> {
    let Some(text) = value.as_text() else {
        return value.u32();
    };
    if let Some((_, word)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*word);
    }
    if number(text).is_some() {
        return word(value);
    }
    if names.is_empty() {
        return Err(value.expected(
            "a number, because flags have names only if all callback types of the rule have the same flags",
        ));
    }
    let hint = hint(text, names.iter().map(|(name, _)| *name));
    Err(value.error(format_args!(
        "expected a number or a name, found \"{text}\"{hint}"
    )))
}

/// Parses a 32-bit number.
fn word(value: &Value<'_>) -> Parsed<u32> {
    u32::try_from(value.number()?).map_err(|_| value.expected("a number from 0 to 0xffff_ffff"))
}

fn byte(value: &Value<'_>) -> Parsed<u8> {
    u8::try_from(value.number()?).map_err(|_| value.expected("a byte, 0 to 255"))
}

/// Parses a protection, given by name or by number.
fn protection(value: &Value<'_>) -> Parsed<u32> {
    match value.as_text().and_then(number) {
        Some(_) => word(value),
        None => value.protection(),
    }
}

fn handle(value: &Value<'_>) -> Parsed<HandleAnswer> {
    match (value.as_u64()?, value.as_text()) {
        (Some(number), _) => Ok(HandleAnswer::Number(number)),
        (_, Some("given")) => Ok(HandleAnswer::Given),
        _ => Err(value.expected("a handle: a number, or \"given\" for the handle of IoStart")),
    }
}

fn completed(value: &Value<'_>) -> Parsed<Completed> {
    let bytes = value.as_u64()?.map(u32::try_from);
    match (bytes, value.as_text()) {
        (Some(Ok(bytes)), _) => Ok(Completed::Bytes(bytes)),
        (_, Some("all")) => Ok(Completed::All),
        (_, Some("half")) => Ok(Completed::Half),
        (_, Some("over")) => Ok(Completed::Over),
        _ => Err(value.expected("\"all\", \"half\", \"over\" or a number of bytes below 4 GiB")),
    }
}

fn xor_at(value: &Value<'_>) -> Parsed<(Range, u8)> {
    let fields = value.table("xor_at", &["range", "value"])?;
    let (range, byte) = (fields.required("range", range), fields.required("value", byte));
    Ok((range?, byte?))
}

const QUERIES: [(&str, Query); 3] = [("own", Query::Own), ("none", Query::None), ("end", Query::End)];
