use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use crate::error::shorten;
use crate::{Fields, Listed, Mistakes, Parsed, Reported, nearest, number, protection, size};

/// The number of characters of a value that a message shows.
const LONGEST: usize = 60;

/// A TOML value and its position.
#[derive(Debug, Clone)]
pub struct Value<'t> {
    value: &'t DeValue<'t>,
    span: Range<usize>,
    mistakes: &'t Mistakes<'t>,
}

impl<'t> Value<'t> {
    pub(crate) fn new(value: &'t Spanned<DeValue<'t>>, mistakes: &'t Mistakes<'t>) -> Self {
        Self {
            value: value.get_ref(),
            span: value.span(),
            mistakes,
        }
    }

    /// Returns the position of the value in bytes.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Reports a mistake in the value.
    pub fn error(&self, message: impl fmt::Display) -> Reported {
        self.mistakes.report(self.span.clone(), message)
    }

    /// Reports that the value is not what was expected. The message contains both.
    pub fn expected(&self, what: impl fmt::Display) -> Reported {
        self.error(format_args!("expected {what}, found {}", Found(self.value)))
    }

    /// Returns the string, or `None` if the value is not a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&'t str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the boolean, or `None` if the value is not a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(yes) => Some(*yes),
            _ => None,
        }
    }

    /// Returns an integer from 0 to 2^64 - 1, or `None` if the value is not an integer.
    ///
    /// # Errors
    /// The integer is negative or too large, which is reported.
    pub fn as_u64(&self) -> Parsed<Option<u64>> {
        let DeValue::Integer(number) = self.value else {
            return Ok(None);
        };
        let read = u64::from_str_radix(number.as_str(), number.radix());
        read.map(Some)
            .map_err(|_| self.expected("a number from 0 to 0xffff_ffff_ffff_ffff"))
    }

    /// Returns whether the value is an array.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// Returns whether the value is an integer.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    /// Returns the table, or `None` if the value is not a table.
    ///
    /// `what` is the name of such a table in messages, and `known` are its keys. Other keys are
    /// reported.
    #[must_use]
    pub fn as_table(&self, what: &'static str, known: &[&str]) -> Option<Fields<'t>> {
        match self.value {
            DeValue::Table(table) => {
                let (span, mistakes) = (self.span.clone(), self.mistakes);
                Some(Fields::new(table, span, mistakes, what, known))
            }
            _ => None,
        }
    }

    /// Returns the value of a key, if this value is a table that has the key. Other keys are not
    /// examined.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Value<'t>> {
        match self.value {
            DeValue::Table(table) => table.get(key).map(|value| Value::new(value, self.mistakes)),
            _ => None,
        }
    }

    /// Reads a string.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn text(&self) -> Parsed<&'t str> {
        self.as_text().ok_or_else(|| self.expected("a string"))
    }

    /// Reads a string and copies it.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn string(&self) -> Parsed<String> {
        self.text().map(str::to_owned)
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn bool(&self) -> Parsed<bool> {
        self.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// Reads an integer from 0 to 2^64 - 1.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn u64(&self) -> Parsed<u64> {
        self.as_u64()?.ok_or_else(|| self.expected("an integer"))
    }

    /// Reads an unsigned integer of 32 bits.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn u32(&self) -> Parsed<u32> {
        u32::try_from(self.u64()?).map_err(|_| self.expected("a number from 0 to 0xffff_ffff"))
    }

    /// Reads an unsigned integer of 16 bits.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn u16(&self) -> Parsed<u16> {
        u16::try_from(self.u64()?).map_err(|_| self.expected("a number from 0 to 0xffff"))
    }

    /// Reads an unsigned integer of 8 bits.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn u8(&self) -> Parsed<u8> {
        u8::try_from(self.u64()?).map_err(|_| self.expected("a number from 0 to 255"))
    }

    /// Reads an integer from `least` to `most`.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn signed(&self, least: i32, most: i32) -> Parsed<i32> {
        let DeValue::Integer(number) = self.value else {
            return Err(self.expected("an integer"));
        };
        i32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.expected(format_args!("a number from {least} to {most}")))
    }

    /// Reads an integer from 0 to 2^64 - 1, or a string that contains a [`number()`].
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn number(&self) -> Parsed<u64> {
        let of_text = || self.as_text().and_then(number);
        self.as_u64()?
            .or_else(of_text)
            .ok_or_else(|| self.expected("a number, as in 4096 or \"0x1000\""))
    }

    /// Reads an integer from 0 to 2^64 - 1, or a string that contains a [`size()`].
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn size(&self) -> Parsed<u64> {
        let of_text = || self.as_text().and_then(size);
        self.as_u64()?
            .or_else(of_text)
            .ok_or_else(|| self.expected("a size, as in 4096, 0x1000 or \"64 KiB\""))
    }

    /// Reads a [`protection`]: a string with its names, or an integer of 32 bits.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn protection(&self) -> Parsed<u32> {
        match self.as_text() {
            Some(text) => protection::parse(text).map_err(|refusal| self.error(refusal)),
            None if self.is_integer() => self.u32(),
            None => Err(self.expected("a protection, as in \"rw-\" or \"PAGE_READWRITE | PAGE_GUARD\"")),
        }
    }

    /// Calls `read` for each item of an array. A value that is not an array is reported and has no
    /// items.
    pub fn each<T>(&self, mut read: impl FnMut(&Value<'t>) -> Parsed<T>) -> Listed<T> {
        match self.value {
            DeValue::Array(items) => items
                .iter()
                .map(|item| read(&Value::new(item, self.mistakes)))
                .collect(),
            _ => [Err(self.expected("an array"))].into_iter().collect(),
        }
    }

    /// Reads an array of `N` values. `what` describes the array in messages.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn tuple<const N: usize>(&self, what: &str) -> Parsed<[Value<'t>; N]> {
        let DeValue::Array(items) = self.value else {
            return Err(self.expected(what));
        };
        if items.len() != N {
            return Err(self.error(format_args!(
                "expected {what}, found an array of length {}",
                items.len()
            )));
        }
        Ok(std::array::from_fn(|at| Value::new(&items[at], self.mistakes)))
    }

    /// Reads a table. `what` is its name in messages, and `known` are its keys.
    ///
    /// Other keys are reported, but the rest of the table can still be read.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn table(&self, what: &'static str, known: &[&str]) -> Parsed<Fields<'t>> {
        self.as_table(what, known)
            .ok_or_else(|| self.expected(format_args!("a table ({what})")))
    }

    /// Reads bytes in pairs of hexadecimal digits. White space is ignored.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn hex(&self) -> Parsed<Vec<u8>> {
        let mut digits = self.text()?.chars().filter(|c| !c.is_whitespace());
        let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = Vec::new();
        while let Some(high) = digits.next() {
            let byte = digit(high).zip(digits.next().and_then(digit));
            let Some((high, low)) = byte else {
                return Err(self.expected("bytes as pairs of hexadecimal digits"));
            };
            bytes.push(high << 4 | low);
        }
        Ok(bytes)
    }

    /// Reads one of several words and returns its meaning.
    ///
    /// # Errors
    /// The value is something else. The mistake has been reported.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Parsed<T> {
        let names = choices.iter().map(|(name, _)| *name);
        let listed = || {
            let quoted: Vec<_> = names.clone().map(|name| format!("\"{name}\"")).collect();
            quoted.join(" or ")
        };
        let Some(word) = self.as_text() else {
            return Err(self.expected(listed()));
        };
        if let Some((_, meaning)) = choices.iter().find(|(name, _)| *name == word) {
            return Ok(*meaning);
        }
        let near = nearest(word, names.clone()).map(|name| format!("; did you mean \"{name}\"?"));
        let (listed, near) = (listed(), near.unwrap_or_default());
        let found = shorten(word, LONGEST);
        Err(self.error(format_args!("expected {listed}, found \"{found}\"{near}")))
    }
}

/// Displays the type and content of a value, for messages.
struct Found<'t>(&'t DeValue<'t>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeValue::String(text) => write!(f, "the string \"{}\"", shorten(text, LONGEST)),
            DeValue::Integer(number) => write!(f, "the integer {}", shorten(&number.to_string(), LONGEST)),
            DeValue::Float(number) => write!(f, "the float {}", shorten(number.as_str(), LONGEST)),
            DeValue::Boolean(yes) => write!(f, "the boolean {yes}"),
            DeValue::Datetime(_) => f.write_str("a date"),
            DeValue::Array(_) => f.write_str("an array"),
            DeValue::Table(_) => f.write_str("a table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, TextError};

    /// Reads the value of `a` in a text that consists of this key.
    fn read<T>(value: &str, read: impl FnOnce(&Value<'_>) -> Parsed<T>) -> Result<T, TextError> {
        Source::new("t", format!("a = {value}")).read("a text", &["a"], |fields| fields.required("a", read))
    }

    fn refusal<T: fmt::Debug>(value: &str, reader: impl FnOnce(&Value<'_>) -> Parsed<T>) -> String {
        let error = read(value, reader).unwrap_err();
        assert_eq!(error.count(), 1, "{error}");
        assert_eq!(error.mistakes()[0].column(), 5, "{error}");
        error.mistakes()[0].message().to_owned()
    }

    #[test]
    fn numbers_have_limits() {
        assert_eq!(read("0xffff_ffff_ffff_ffff", |value| value.u64()), Ok(u64::MAX));
        assert_eq!(read("0xffff_ffff", |value| value.u32()), Ok(u32::MAX));
        assert_eq!(read("0xffff", |value| value.u16()), Ok(u16::MAX));
        assert_eq!(read("255", |value| value.u8()), Ok(255));
        assert_eq!(read("-3", |value| value.signed(-3, 3)), Ok(-3));
        assert_eq!(read("'0x10'", |value| value.number()), Ok(16));
        assert_eq!(read("16", |value| value.number()), Ok(16));
        assert_eq!(read("'4 KiB'", |value| value.size()), Ok(4096));
        assert_eq!(
            refusal("256", |value| value.u8()),
            "expected a number from 0 to 255, found the integer 256"
        );
        assert_eq!(
            refusal("0x1_0000", |value| value.u16()),
            "expected a number from 0 to 0xffff, found the integer 0x10000"
        );
        assert_eq!(
            refusal("-1", |value| value.u64()),
            "expected a number from 0 to 0xffff_ffff_ffff_ffff, found the integer -1"
        );
        assert_eq!(
            refusal("'1'", |value| value.u64()),
            "expected an integer, found the string \"1\""
        );
        assert_eq!(
            refusal("4", |value| value.signed(-3, 3)),
            "expected a number from -3 to 3, found the integer 4"
        );
        assert_eq!(
            refusal("'4 KB'", |value| value.size()),
            "expected a size, as in 4096, 0x1000 or \"64 KiB\", found the string \"4 KB\""
        );
    }

    #[test]
    fn values_of_other_types_are_read() {
        assert_eq!(
            read("'de ad BEEF'", |value| value.hex()),
            Ok(vec![0xde, 0xad, 0xbe, 0xef])
        );
        for text in ["'abc'", "'0g'", "'é0'", "'+1'"] {
            assert!(
                refusal(text, |value| value.hex())
                    .starts_with("expected bytes as pairs of hexadecimal digits")
            );
        }
        assert_eq!(read("'rw-'", |value| value.protection()), Ok(4));
        assert_eq!(read("0x104", |value| value.protection()), Ok(0x104));
        assert_eq!(
            refusal("true", |value| value.protection())
                .matches("found the boolean true")
                .count(),
            1
        );
        let choice = |value: &Value<'_>| value.choice(&[("left", 1), ("right", 2)]);
        assert_eq!(read("'right'", choice), Ok(2));
        assert_eq!(
            refusal("'rihgt'", choice),
            "expected \"left\" or \"right\", found \"rihgt\"; did you mean \"right\"?"
        );
        assert_eq!(
            refusal("1", choice),
            "expected \"left\" or \"right\", found the integer 1"
        );
        let pair = |value: &Value<'_>| {
            let [one, other] = value.tuple("[x, y]")?;
            Ok((one.u64()?, other.u64()?))
        };
        assert_eq!(read("[1, 2]", pair), Ok((1, 2)));
        assert_eq!(
            refusal("[1]", pair),
            "expected [x, y], found an array of length 1"
        );
        assert_eq!(
            refusal("1979-05-27", |value| value.bool()),
            "expected true or false, found a date"
        );
        assert_eq!(
            refusal(&format!("'{}'", "x".repeat(100_000)), |value| value.bool())
                .chars()
                .count(),
            "expected true or false, found the string ".len() + LONGEST + 3
        );
    }

    #[test]
    fn every_item_and_every_key_is_read_despite_earlier_mistakes() {
        let text = "numbers = [1, 'two', 3, []]\nnmae = 'x'\n[[table]]\nsize = 'x'\n[[table]]\nsice = 2\n";
        let error = Source::new("t", text)
            .read("a text", &["numbers", "name", "table"], |fields| {
                let numbers = fields.get("numbers", |value| value.each(Value::u64).complete());
                assert_eq!(numbers, None);
                let name = fields.required("name", Value::text);
                let tables = fields.tables("table", "a table", &["size"]);
                let sizes = tables.each(|table| table.required("size", Value::u64));
                assert_eq!((sizes.items, sizes.all.is_err()), (vec![2], true));
                name.map(str::len)
            })
            .unwrap_err();
        let all: Vec<_> = error.mistakes().iter().map(ToString::to_string).collect();
        // `name` and `size` are misspelled, so they are not reported as missing.
        assert_eq!(
            all,
            [
                "t:1:15: expected an integer, found the string \"two\"",
                "t:1:25: expected an integer, found an array",
                "t:2:1: a text has no key \"nmae\"; did you mean \"name\"?",
                "t:4:8: expected an integer, found the string \"x\"",
                "t:6:1: a table has no key \"sice\"; did you mean \"size\"?",
            ]
        );
    }
}
