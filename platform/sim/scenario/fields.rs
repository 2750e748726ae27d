//! Values of a TOML document that know where they stand, so that every complaint can say it.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ScenarioError, Source, hint};

pub(super) type Outcome<T> = Result<T, ScenarioError>;

/// A value and its place.
#[derive(Clone)]
pub(super) struct Value<'t> {
    value: &'t DeValue<'t>,
    span: Range<usize>,
    source: Arc<Source>,
}

/// A table, whose keys are all known ones.
#[derive(Clone)]
pub(super) struct Fields<'t> {
    table: &'t DeTable<'t>,
    span: Range<usize>,
    source: Arc<Source>,
    what: &'static str,
}

impl<'t> Fields<'t> {
    /// The document itself.
    pub fn root(table: &'t Spanned<DeTable<'t>>, source: Arc<Source>, known: &[&str]) -> Outcome<Self> {
        Self::new(table.get_ref(), table.span(), source, "a scenario", known)
    }

    fn new(
        table: &'t DeTable<'t>,
        span: Range<usize>,
        source: Arc<Source>,
        what: &'static str,
        known: &[&str],
    ) -> Outcome<Self> {
        let unknown = table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()));
        if let Some(key) = unknown.min_by_key(|key| key.span().start) {
            let name = key.get_ref();
            let message = format!(
                "{what} has no key \"{name}\"{}",
                hint(name, known.iter().copied())
            );
            return Err(source.error(&key.span(), message));
        }
        Ok(Self {
            table,
            span,
            source,
            what,
        })
    }

    pub fn error(&self, message: impl Into<String>) -> ScenarioError {
        self.source.error(&self.span, message)
    }

    /// The line on which the table begins.
    pub fn line(&self) -> usize {
        self.source.position(self.span.start).0
    }

    /// Whether the table begins in front of another one.
    pub fn is_before(&self, other: &Self) -> bool {
        self.span.start < other.span.start
    }

    /// The keys of the table, with their values.
    pub fn entries(&self) -> impl Iterator<Item = (&'t str, Value<'t>)> {
        self.table.iter().map(|(key, value)| {
            let value = Value {
                value: value.get_ref(),
                span: value.span(),
                source: self.source.clone(),
            };
            (key.get_ref().as_ref(), value)
        })
    }

    pub fn value(&self, key: &str) -> Option<Value<'t>> {
        let value = self.table.get(key)?;
        Some(Value {
            value: value.get_ref(),
            span: value.span(),
            source: self.source.clone(),
        })
    }

    pub fn need(&self, key: &str) -> Outcome<Value<'t>> {
        self.value(key)
            .ok_or_else(|| self.error(format!("{} needs \"{key}\"", self.what)))
    }

    /// The value of `key`, read, if it is there.
    pub fn get<T>(&self, key: &str, read: impl FnOnce(&Value<'t>) -> Outcome<T>) -> Outcome<Option<T>> {
        self.value(key).as_ref().map(read).transpose()
    }

    /// The same, or this.
    pub fn get_or<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Value<'t>) -> Outcome<T>,
        default: T,
    ) -> Outcome<T> {
        Ok(self.get(key, read)?.unwrap_or(default))
    }

    /// The tables of `[[key]]`, none if there is none.
    pub fn tables(&self, key: &str, what: &'static str, known: &[&str]) -> Outcome<Vec<Fields<'t>>> {
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        value
            .array()?
            .iter()
            .map(|item| item.table(what, known))
            .collect()
    }

    /// Refuses two of these keys at once.
    pub fn exclusive(&self, keys: &[&str]) -> Outcome<()> {
        let there: Vec<_> = keys.iter().filter(|key| self.table.contains_key(**key)).collect();
        match there.as_slice() {
            [one, other, ..] => Err(self.error(format!("\"{one}\" and \"{other}\" exclude each other"))),
            _ => Ok(()),
        }
    }
}

impl<'t> Value<'t> {
    pub fn error(&self, message: impl Into<String>) -> ScenarioError {
        self.source.error(&self.span, message)
    }

    fn expected(&self, what: &str) -> ScenarioError {
        let found = match self.value {
            DeValue::String(text) => format!("the string {text:?}"),
            DeValue::Integer(number) => format!("the integer {number}"),
            DeValue::Float(number) => format!("the float {}", number.as_str()),
            DeValue::Boolean(yes) => format!("the boolean {yes}"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    pub fn as_text(&self) -> Option<&'t str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The table, if it is one, with these keys.
    pub fn as_table(&self, what: &'static str, known: &[&str]) -> Outcome<Option<Fields<'t>>> {
        match self.value {
            DeValue::Table(_) => self.table(what, known).map(Some),
            _ => Ok(None),
        }
    }

    pub fn as_array(&self) -> Option<Vec<Value<'t>>> {
        let DeValue::Array(items) = self.value else {
            return None;
        };
        let value = |item: &'t Spanned<DeValue<'t>>| Value {
            value: item.get_ref(),
            span: item.span(),
            source: self.source.clone(),
        };
        Some(items.iter().map(value).collect())
    }

    /// An integer, or `None` if it is something else.
    pub fn as_u64(&self) -> Outcome<Option<u64>> {
        let DeValue::Integer(number) = self.value else {
            return Ok(None);
        };
        let read = u64::from_str_radix(number.as_str(), number.radix());
        read.map(Some)
            .map_err(|_| self.expected("a number from 0 to 0xffff_ffff_ffff_ffff"))
    }

    /// Whether it is true or false, or `None` if it is something else.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(yes) => Some(*yes),
            _ => None,
        }
    }

    pub fn text(&self) -> Outcome<&'t str> {
        self.as_text().ok_or_else(|| self.expected("a string"))
    }

    pub fn string(&self) -> Outcome<String> {
        self.text().map(str::to_owned)
    }

    pub fn bool(&self) -> Outcome<bool> {
        match self.value {
            DeValue::Boolean(yes) => Ok(*yes),
            _ => Err(self.expected("true or false")),
        }
    }

    pub fn u64(&self) -> Outcome<u64> {
        self.as_u64()?.ok_or_else(|| self.expected("an integer"))
    }

    pub fn u32(&self) -> Outcome<u32> {
        u32::try_from(self.u64()?).map_err(|_| self.expected("a number from 0 to 0xffff_ffff"))
    }

    pub fn u16(&self) -> Outcome<u16> {
        u16::try_from(self.u64()?).map_err(|_| self.expected("a number from 0 to 0xffff"))
    }

    pub fn u8(&self) -> Outcome<u8> {
        u8::try_from(self.u64()?).map_err(|_| self.expected("a number from 0 to 255"))
    }

    /// A signed number from `least` to `most`.
    pub fn signed(&self, least: i32, most: i32) -> Outcome<i32> {
        let DeValue::Integer(number) = self.value else {
            return Err(self.expected("an integer"));
        };
        i32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.expected(&format!("a number from {least} to {most}")))
    }

    pub fn array(&self) -> Outcome<Vec<Value<'t>>> {
        self.as_array().ok_or_else(|| self.expected("an array"))
    }

    pub fn table(&self, what: &'static str, known: &[&str]) -> Outcome<Fields<'t>> {
        match self.value {
            DeValue::Table(table) => Fields::new(table, self.span.clone(), self.source.clone(), what, known),
            _ => Err(self.expected(&format!("a table ({what})"))),
        }
    }

    /// Bytes in hexadecimal digits; white space between bytes is allowed.
    pub fn hex(&self) -> Outcome<Vec<u8>> {
        let digits: String = self.text()?.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit()) && digits.len().is_multiple_of(2);
        let bytes = is_hex
            .then(|| digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<_>>>())
            .flatten();
        bytes.ok_or_else(|| self.expected("bytes as pairs of hexadecimal digits"))
    }

    /// One of these words; what it stands for.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Outcome<T> {
        let word = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| self.no_choice(word, choices))
    }

    fn no_choice<T>(&self, word: &str, choices: &[(&str, T)]) -> ScenarioError {
        let names = choices.iter().map(|(name, _)| *name);
        let listed: Vec<_> = names.clone().map(|name| format!("\"{name}\"")).collect();
        let near = super::error::nearest(word, names).map(|name| format!("; did you mean \"{name}\"?"));
        self.error(format!(
            "expected {}, found \"{word}\"{}",
            listed.join(" or "),
            near.unwrap_or_default()
        ))
    }
}
