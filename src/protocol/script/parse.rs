//! From text to rules.

use std::ops::Range as Span;

use dumpwright_callback::{AskKind, Hresult};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ScriptError, Source, hint};
use super::rule::{
    Actions, Completed, Extent, Flags, Handle, Located, Memory, Query, Range, Region, Rule, Shift, ThreadName,
};
use super::words::{ACTIONS, CONDITIONS, STATUSES, flag_names, keys_of, region_words};
use crate::protocol::symbols::{number, split_offset};

type Outcome<T> = Result<T, ScriptError>;

/// The rules of a script.
pub(super) fn parse(source: &Source<'_>) -> Outcome<Vec<Rule>> {
    let document = DeTable::parse(source.text)
        .map_err(|error| source.error(&error.span().unwrap_or(0..0), error.message().to_owned()))?;
    let root = Table {
        table: document.get_ref(),
        span: document.span(),
        source,
    };
    root.only("a script", &["rule"])?;
    let Some(rules) = root.value("rule") else {
        return Ok(Vec::new());
    };
    rules.array("tables [[rule]]")?.iter().map(rule).collect()
}

fn rule(value: &Value<'_>) -> Outcome<Rule> {
    let table = value.table()?;
    let all: Vec<_> = CONDITIONS.iter().chain(&ACTIONS).copied().collect();
    table.only("a rule", &all)?;
    let asks = match table.value("ask") {
        Some(value) => asks(&value)?,
        None => {
            return Err(
                value.error("a rule needs \"ask\": the name of a question, a list of names, or \"*\"")
            );
        }
    };
    check_keys(&table, &asks)?;
    let actions = Actions {
        ret: table.get("return", Value::boolean)?,
        flags: table.get("flags", |value| flags(value, &asks))?,
        and: table.get("and", |value| flags(value, &asks))?,
        or: table.get("or", |value| flags(value, &asks))?,
        status: table.get("status", status)?,
        memory: table.get("memory", memories)?.unwrap_or_default(),
        check_cancel: table.get("check_cancel", Value::boolean)?,
        cancel: table.get("cancel", Value::boolean)?,
        cont: table.get("continue", Value::boolean)?,
        region: table.get("region", region)?.unwrap_or_default(),
        handle: table.get("handle", handle)?,
        completed: table.get("completed", completed)?,
        read: table.get("read", Value::boolean)?.unwrap_or(false),
        fill: table.get("fill", Value::byte)?,
        xor: table.get("xor", Value::byte)?,
        xor_at: table.get("xor_at", xor_at)?,
        store: table.get("store", Value::boolean)?,
        query: table.get("query", query)?,
    };
    Ok(Rule {
        index: table.get("index", index)?.unwrap_or((0, u64::MAX)),
        thread: table.get("thread", thread)?,
        module: table.get("module", |value| value.text().map(str::to_owned))?,
        at: table.get("at", range)?,
        minimum_size: table.get("minimum_size", Value::unsigned)?,
        asks,
        actions,
        line: value.source.position(value.span.start).0,
        used: 0,
    })
}

fn asks(value: &Value<'_>) -> Outcome<Vec<AskKind>> {
    let one = |value: &Value<'_>| {
        let name = value.text()?;
        let known = AskKind::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| {
            let names = AskKind::ALL.into_iter().map(AskKind::name);
            value.error(format!("no question is called \"{name}\"{}", hint(name, names)))
        })
    };
    match value.value {
        DeValue::String(text) if text == "*" => Ok(Vec::new()),
        DeValue::Array(_) => value.array("names of questions")?.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

/// A key that means nothing for the question is a mistake that would otherwise pass for an answer.
fn check_keys(table: &Table<'_>, asks: &[AskKind]) -> Outcome<()> {
    const ALWAYS: [&str; 3] = ["ask", "index", "return"];
    for (key, _) in table.table {
        let name = key.get_ref().as_ref();
        let fits = |kind: &AskKind| keys_of(*kind).contains(&name);
        if asks.is_empty() || ALWAYS.contains(&name) || asks.iter().any(fits) {
            continue;
        }
        let names: Vec<_> = asks.iter().map(|kind| kind.name()).collect();
        let known = asks
            .iter()
            .flat_map(|kind| keys_of(*kind))
            .chain(&ALWAYS)
            .copied();
        let message = format!(
            "\"{name}\" means nothing for {}{}",
            names.join(", "),
            hint(name, known)
        );
        return Err(table.source.error(&key.span(), message));
    }
    Ok(())
}

/// `3`, `"3"`, `"2-5"`, `"7+"` or `"*"`.
fn index(value: &Value<'_>) -> Outcome<(u64, u64)> {
    if let DeValue::Integer(_) = value.value {
        let number = value.unsigned()?;
        return Ok((number, number));
    }
    let text = value.text()?;
    let parsed = match text.split_once('-') {
        _ if text == "*" => Some((0, u64::MAX)),
        Some((first, last)) => number(first).zip(number(last)),
        None => match text.strip_suffix('+') {
            Some(first) => number(first).zip(Some(u64::MAX)),
            None => number(text).map(|number| (number, number)),
        },
    };
    match parsed {
        Some((first, last)) if first <= last => Ok((first, last)),
        _ => Err(value.expected("3, \"2-5\", \"7+\" or \"*\"")),
    }
}

/// `7` or `"T1"`.
fn thread(value: &Value<'_>) -> Outcome<ThreadName> {
    const EXPECTED: &str = "a thread: its id, or \"T1\" for the second one that was asked about";
    let DeValue::String(text) = value.value else {
        let id = value.unsigned()?;
        return u32::try_from(id)
            .map(ThreadName::Id)
            .map_err(|_| value.expected(EXPECTED));
    };
    let order = text.strip_prefix('T').and_then(|digits| digits.parse().ok());
    order
        .map(ThreadName::Number)
        .ok_or_else(|| value.expected(EXPECTED))
}

/// `"NAME"`, `"NAME+0x10"`, `"NAME+0x10/0x100"` or `"A..B"`, each with numbers for names as well.
fn range(value: &Value<'_>) -> Outcome<Range> {
    if let DeValue::Integer(_) = value.value {
        return Ok(Range {
            start: value.located(&format!("{:#x}", value.unsigned()?)),
            extent: Extent::Named,
        });
    }
    let text = value.text()?;
    if let Some((start, end)) = text.split_once("..") {
        return Ok(Range {
            start: place(value, start)?,
            extent: Extent::End(place(value, end)?),
        });
    }
    match split_size(text) {
        (start, Some(size)) => Ok(Range {
            start: place(value, start)?,
            extent: Extent::Size(size),
        }),
        (start, None) => Ok(Range {
            start: place(value, start)?,
            extent: Extent::Named,
        }),
    }
}

/// The part before the last slash, and the number behind it.
fn split_size(text: &str) -> (&str, Option<u64>) {
    match text.rsplit_once('/') {
        Some((start, size)) if number(size).is_some() => (start, number(size)),
        _ => (text, None),
    }
}

/// A name with or without an offset, or an address. Whether the name exists is seen when the target is known.
fn place(value: &Value<'_>, text: &str) -> Outcome<Located> {
    let text = text.trim();
    let (name, ..) = split_offset(text);
    let looks_like_a_number = text.starts_with("0x") && number(name).is_none();
    if name.is_empty() || looks_like_a_number {
        return Err(value.expected("a place: NAME, NAME+0x10 or 0x1000"));
    }
    Ok(value.located(text))
}

/// `"NAME/0x100"`, `{ base, size }`, or a list of them.
fn memories(value: &Value<'_>) -> Outcome<Vec<Memory>> {
    match value.value {
        DeValue::Array(_) => value.array("ranges")?.iter().map(memory).collect(),
        _ => Ok(vec![memory(value)?]),
    }
}

fn memory(value: &Value<'_>) -> Outcome<Memory> {
    let narrow = |value: &Value<'_>, size: u64| {
        u32::try_from(size)
            .map_err(|_| value.expected("a size of at most 32 bits, which is all that the answer has"))
    };
    if let DeValue::Table(_) = value.value {
        let table = value.table()?;
        table.only("a range", &["base", "size"])?;
        let base = table.get("base", address)?;
        let base = base.ok_or_else(|| value.error("a range needs \"base\""))?;
        let size = table.get("size", |value| {
            value.unsigned().and_then(|size| narrow(value, size))
        })?;
        return Ok(Memory { base, size });
    }
    let (base, size) = split_size(value.text()?);
    Ok(Memory {
        base: place(value, base)?,
        size: size.map(|size| narrow(value, size)).transpose()?,
    })
}

/// A number or a place.
fn address(value: &Value<'_>) -> Outcome<Located> {
    match value.value {
        DeValue::Integer(_) => Ok(value.located(&format!("{:#x}", value.unsigned()?))),
        _ => place(value, value.text()?),
    }
}

fn region(value: &Value<'_>) -> Outcome<Region> {
    let table = value.table()?;
    table.only(
        "a region",
        &[
            "base",
            "size",
            "allocation_base",
            "allocation_protect",
            "state",
            "protect",
            "type",
        ],
    )?;
    let shift = |value: &Value<'_>| {
        let DeValue::String(text) = value.value else {
            return address(value).map(Shift::To);
        };
        let change = |sign| text.trim().strip_prefix(sign).and_then(number);
        match (change('+'), change('-')) {
            (Some(up), _) => Ok(Shift::Up(up)),
            (_, Some(down)) => Ok(Shift::Down(down)),
            _ => place(value, text).map(Shift::To),
        }
    };
    let word = |key| table.get(key, |value| named(value, &region_words(key)));
    Ok(Region {
        base: table.get("base", shift)?,
        size: table.get("size", shift)?,
        allocation_base: table.get("allocation_base", shift)?,
        allocation_protect: word("allocation_protect")?,
        state: word("state")?,
        protect: word("protect")?,
        kind: word("type")?,
    })
}

fn flags(value: &Value<'_>, asks: &[AskKind]) -> Outcome<Flags> {
    let names = flag_names(asks);
    match value.value {
        DeValue::Array(_) => {
            let bits = value
                .array("names of flags")?
                .iter()
                .map(|flag| named(flag, &names))
                .collect::<Outcome<Vec<_>>>()?;
            Ok(Flags(bits.into_iter().fold(0, |all, bit| all | bit)))
        }
        _ => named(value, &names).map(Flags),
    }
}

fn status(value: &Value<'_>) -> Outcome<Hresult> {
    let names = STATUSES.map(|(name, status)| (name, status.0));
    named(value, &names).map(Hresult)
}

/// A number of 32 bits, or one of these names.
fn named(value: &Value<'_>, names: &[(&str, u32)]) -> Outcome<u32> {
    if let DeValue::String(text) = value.value {
        if let Some((_, word)) = names.iter().find(|(name, _)| *name == text.as_ref()) {
            return Ok(*word);
        }
        if let Some(word) = number(text).and_then(|number| u32::try_from(number).ok()) {
            return Ok(word);
        }
        if names.is_empty() {
            return Err(
                value.expected("a number; names are not clear where a rule has several kinds of questions")
            );
        }
        let hint = hint(text, names.iter().map(|(name, _)| *name));
        return Err(value.error(format!("expected a number or a name, found \"{text}\"{hint}")));
    }
    u32::try_from(value.unsigned()?).map_err(|_| value.expected("a number of at most 32 bits"))
}

fn handle(value: &Value<'_>) -> Outcome<Handle> {
    match value.value {
        DeValue::String(text) if text == "given" => Ok(Handle::Given),
        DeValue::Integer(_) => value.unsigned().map(Handle::Number),
        _ => Err(value.expected("a handle: a number, or \"given\" for the one that IoStart showed")),
    }
}

fn completed(value: &Value<'_>) -> Outcome<Completed> {
    const EXPECTED: &str = "\"all\", \"half\", \"over\" or a number of bytes";
    match value.value {
        DeValue::String(text) => match text.as_ref() {
            "all" => Ok(Completed::All),
            "half" => Ok(Completed::Half),
            "over" => Ok(Completed::Over),
            _ => Err(value.expected(EXPECTED)),
        },
        _ => u32::try_from(value.unsigned()?)
            .map(Completed::Bytes)
            .map_err(|_| value.expected(EXPECTED)),
    }
}

fn xor_at(value: &Value<'_>) -> Outcome<(Range, u8)> {
    let table = value.table()?;
    table.only("xor_at", &["range", "value"])?;
    match (table.get("range", range)?, table.get("value", Value::byte)?) {
        (Some(range), Some(byte)) => Ok((range, byte)),
        _ => Err(value.expected("{ range = \"NAME\", value = 0xff }")),
    }
}

fn query(value: &Value<'_>) -> Outcome<Query> {
    match value.text()? {
        "own" => Ok(Query::Own),
        "none" => Ok(Query::None),
        "end" => Ok(Query::End),
        _ => Err(value.expected("\"own\", \"none\" or \"end\"")),
    }
}

/// A value and its place.
struct Value<'t> {
    value: &'t DeValue<'t>,
    span: Span<usize>,
    source: &'t Source<'t>,
}

/// A table and its place.
struct Table<'t> {
    table: &'t DeTable<'t>,
    span: Span<usize>,
    source: &'t Source<'t>,
}

impl<'t> Table<'t> {
    /// Refuses keys that are not among these.
    fn only(&self, what: &str, known: &[&str]) -> Outcome<()> {
        let unknown = self
            .table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let name = key.get_ref();
        let message = format!(
            "{what} has no key \"{name}\"{}",
            hint(name, known.iter().copied())
        );
        debug_assert!(self.span.start <= key.span().start || self.span.is_empty());
        Err(self.source.error(&key.span(), message))
    }

    fn value(&self, key: &str) -> Option<Value<'t>> {
        self.table.get(key).map(|value| Value::new(value, self.source))
    }

    fn get<T>(&self, key: &str, read: impl FnOnce(&Value<'t>) -> Outcome<T>) -> Outcome<Option<T>> {
        self.value(key).as_ref().map(read).transpose()
    }
}

impl<'t> Value<'t> {
    fn new(value: &'t Spanned<DeValue<'t>>, source: &'t Source<'t>) -> Self {
        Self {
            value: value.get_ref(),
            span: value.span(),
            source,
        }
    }

    fn error(&self, message: impl Into<String>) -> ScriptError {
        self.source.error(&self.span, message)
    }

    fn expected(&self, what: &str) -> ScriptError {
        let found = self.source.text.get(self.span.clone()).unwrap_or_default();
        self.error(format!("expected {what}; found {found}"))
    }

    fn located(&self, text: &str) -> Located {
        let (line, column) = self.source.position(self.span.start);
        Located {
            text: text.to_owned(),
            line,
            column,
        }
    }

    fn table(&self) -> Outcome<Table<'t>> {
        match self.value {
            DeValue::Table(table) => Ok(Table {
                table,
                span: self.span.clone(),
                source: self.source,
            }),
            _ => Err(self.expected("a table")),
        }
    }

    fn array(&self, of: &str) -> Outcome<Vec<Value<'t>>> {
        match self.value {
            DeValue::Array(values) => Ok(values
                .iter()
                .map(|value| Value::new(value, self.source))
                .collect()),
            _ => Err(self.expected(&format!("a list of {of}"))),
        }
    }

    fn text(&self) -> Outcome<&'t str> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.expected("text in quotes")),
        }
    }

    fn boolean(&self) -> Outcome<bool> {
        match self.value {
            DeValue::Boolean(yes) => Ok(*yes),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A number of up to 64 bits, also beyond what TOML promises.
    fn unsigned(&self) -> Outcome<u64> {
        let parsed = match self.value {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            DeValue::String(text) => number(text),
            _ => None,
        };
        parsed.ok_or_else(|| self.expected("a number that is not negative"))
    }

    fn byte(&self) -> Outcome<u8> {
        u8::try_from(self.unsigned()?).map_err(|_| self.expected("a byte, 0 to 255"))
    }
}
