use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::hint::near;
use crate::{Listed, Mistakes, Parsed, Reported, Value, hint};

/// A TOML table and its position.
#[derive(Debug, Clone)]
pub struct Fields<'t> {
    table: &'t DeTable<'t>,
    span: Range<usize>,
    mistakes: &'t Mistakes<'t>,
    what: &'static str,
    /// The values of misspelled keys, with the known key that each one was certainly meant to be.
    /// These values are read as well, so that one typing error causes only one mistake.
    meant: Vec<(String, &'t Spanned<DeValue<'t>>)>,
}

impl<'t> Fields<'t> {
    /// Creates the fields of a table and reports its keys that are not in `known`.
    pub(crate) fn new(
        table: &'t DeTable<'t>,
        span: Range<usize>,
        mistakes: &'t Mistakes<'t>,
        what: &'static str,
        known: &[&str],
    ) -> Self {
        let mut meant = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            if !mistakes.is_full()
                && let Some((near, true)) = near(name, known.iter().copied())
            {
                meant.push((near.to_owned(), value));
            }
            let hint = hint(name, known.iter().copied());
            mistakes.report(key.span(), format_args!("{what} has no key \"{name}\"{hint}"));
        }
        Self {
            table,
            span,
            mistakes,
            what,
            meant,
        }
    }

    /// Reports a mistake about the table as a whole.
    pub fn error(&self, message: impl fmt::Display) -> Reported {
        self.mistakes.report(self.span.clone(), message)
    }

    /// Reports a mistake at a key, or at the table if the key is missing.
    pub fn error_at(&self, key: &str, message: impl fmt::Display) -> Reported {
        let span = self.table.get_key_value(key).map(|(key, _)| key.span());
        self.mistakes
            .report(span.unwrap_or_else(|| self.span.clone()), message)
    }

    /// Returns the position of the table in bytes: of its header, or of all of an inline table.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns the line on which the table begins, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.mistakes.source().line(self.span.start)
    }

    /// Returns whether the table has exactly this key. Misspelled keys do not count.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Returns the keys from `keys` that the table has. Misspelled keys count.
    #[must_use]
    pub fn present<'k>(&self, keys: &[&'k str]) -> Vec<&'k str> {
        let there = keys.iter().filter(|key| self.value(key).is_some());
        there.copied().collect()
    }

    /// Returns the value of a key, if the table has it.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value<'t>> {
        let meant = || self.meant.iter().find(|(known, _)| known == key);
        let value = self.table.get(key).or_else(|| meant().map(|(_, value)| *value));
        value.map(|value| Value::new(value, self.mistakes))
    }

    /// Returns the value of a required key.
    ///
    /// # Errors
    /// The key is missing, which is reported.
    pub fn need(&self, key: &str) -> Parsed<Value<'t>> {
        self.value(key)
            .ok_or_else(|| self.error(format_args!("{} needs \"{key}\"", self.what)))
    }

    /// Reads the value of a required key.
    ///
    /// # Errors
    /// The key is missing or its value has a mistake, which is reported.
    pub fn required<T>(&self, key: &str, read: impl FnOnce(&Value<'t>) -> Parsed<T>) -> Parsed<T> {
        self.need(key).and_then(|value| read(&value))
    }

    /// Reads the value of an optional key.
    ///
    /// # Errors
    /// The value has a mistake, which is reported.
    pub fn optional<T>(&self, key: &str, read: impl FnOnce(&Value<'t>) -> Parsed<T>) -> Parsed<Option<T>> {
        self.value(key).as_ref().map(read).transpose()
    }

    /// Reads the value of an optional key. Returns `None` if the key is missing, or if its value
    /// has a mistake, which is reported.
    pub fn get<T>(&self, key: &str, read: impl FnOnce(&Value<'t>) -> Parsed<T>) -> Option<T> {
        self.optional(key, read).unwrap_or_default()
    }

    /// Reads the value of an optional key. Returns the default if the key is missing, or if its
    /// value has a mistake, which is reported.
    pub fn get_or<T>(&self, key: &str, read: impl FnOnce(&Value<'t>) -> Parsed<T>, default: T) -> T {
        self.get(key, read).unwrap_or(default)
    }

    /// Returns the tables of `[[key]]`, which may be none.
    ///
    /// `what` is the name of such a table in messages, and `known` are its keys.
    pub fn tables(&self, key: &str, what: &'static str, known: &[&str]) -> Listed<Fields<'t>> {
        self.value(key).map_or_else(Listed::default, |value| {
            value.each(|item| item.table(what, known))
        })
    }

    /// Reports a mistake if the table has more than one of these keys.
    ///
    /// # Errors
    /// It has more than one of them.
    pub fn exclusive(&self, keys: &[&str]) -> Parsed<()> {
        match self.present(keys).as_slice() {
            [one, other, ..] => Err(self.error(format_args!("\"{one}\" and \"{other}\" cannot be combined"))),
            _ => Ok(()),
        }
    }
}
