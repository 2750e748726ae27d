//! The values in a policy file that are texts with a grammar of their own.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use dumpwright_text::{hint, number, size};
use serde::de::{Deserializer, Error, Visitor};

use super::super::threads::ThreadSelector;
use crate::DumpType;
use crate::policy::Preset;

/// A number of bytes, as people write it: `65536`, `64KiB`, `64K`, `4GiB` or `4G`.
///
/// ```
/// use dumpwright::policy::Size;
///
/// assert_eq!("64MiB".parse(), Ok(Size(64 << 20)));
/// assert_eq!("4G".parse::<Size>().unwrap().to_string(), "4 GiB");
/// assert!("64 MB".parse::<Size>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        // KiB, MiB, GiB and TiB without "iB".
        let short = ["K", "M", "G", "T"]
            .into_iter()
            .any(|unit| trimmed.ends_with(unit));
        let bytes = match short {
            true => size(&format!("{trimmed}iB")),
            false => size(trimmed),
        };
        bytes.map(Self).ok_or_else(|| {
            format!("\"{text}\" is not a size; write a number of bytes, or a number with a unit, as in 64MiB or 4G")
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let fits = |shift: u32| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match units.into_iter().find(|(shift, _)| fits(*shift)) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// Parses a duration, such as `500ms`, `2s` or `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let parsed = units.into_iter().find_map(|(unit, milliseconds)| {
        let count = number(text.trim().strip_suffix(unit)?)?;
        count.checked_mul(milliseconds).filter(|product| *product > 0)
    });
    parsed.map(Duration::from_millis).ok_or_else(|| {
        format!("\"{text}\" is not a duration; write a number above 0 with a unit, as in 500ms, 2s or 1m")
    })
}

/// Parses a range of addresses: `START-END` or `START/SIZE`.
fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed = match text.split_once('/') {
        Some((start, length)) => number(start)
            .zip(length.parse::<Size>().ok())
            .and_then(|(start, length)| Some(start..start.checked_add(length.0)?)),
        None => text
            .split_once('-')
            .and_then(|(start, end)| Some(number(start)?..number(end)?)),
    };
    parsed.filter(|range| !range.is_empty()).ok_or_else(|| {
        format!(
            "\"{text}\" is not a range of addresses; write START-END or START/SIZE, as in 0x7f0000000000-0x7f0000004000 or \
             0x7f0000000000/16KiB"
        )
    })
}

/// A word or a number in a policy file.
enum Scalar<'t> {
    Text(&'t str),
    Number(u64),
}

/// Reads a word or a number. `what` completes "expected".
fn scalar<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    what: &'static str,
    read: fn(Scalar<'_>) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Reading<T> {
        what: &'static str,
        read: fn(Scalar<'_>) -> Result<T, String>,
    }
    impl<T> Visitor<'_> for Reading<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.what)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.read)(Scalar::Text(text)).map_err(E::custom)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            let number = u64::try_from(number)
                .map_err(|_| E::custom(format!("{number} is negative; expected {}", self.what)))?;
            (self.read)(Scalar::Number(number)).map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            (self.read)(Scalar::Number(number)).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Reading { what, read })
}

/// Makes a type that is read from a word or a number: its name, what completes "expected", its JSON
/// schema, and how it is read.
macro_rules! scalar {
    ($(#[$meta:meta])* $name:ident($inner:ty), $what:literal, $schema:tt, $read:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(in crate::policy) struct $name(pub $inner);

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar(deserializer, $what, $read).map(Self)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let schema = serde_json::json!($schema);
                schemars::Schema::try_from(schema).expect("an object")
            }
        }
    };
}

scalar!(
    /// A number of bytes.
    Bytes(Size),
    "a size, such as \"64MiB\" or 65536",
    { "type": ["string", "integer"], "minimum": 0 },
    |value| match value {
        Scalar::Text(text) => text.parse(),
        Scalar::Number(number) => Ok(Size(number)),
    }
);

scalar!(
    /// A time.
    Time(Duration),
    "a duration, such as \"500ms\", \"2s\" or \"1m\"",
    { "type": "string", "pattern": "^[0-9]+ *(ms|s|m)$" },
    |value| match value {
        Scalar::Text(text) => duration(text),
        Scalar::Number(number) => Err(format!("{number} has no unit; write \"{number}ms\" or \"{number}s\"")),
    }
);

scalar!(
    /// A range of addresses.
    Addresses(Range<u64>),
    "a range of addresses, such as \"0x7f0000000000/16KiB\"",
    { "type": "string" },
    |value| match value {
        Scalar::Text(text) => range(text),
        Scalar::Number(number) => range(&format!("{number:#x}")),
    }
);

scalar!(
    /// Dump types.
    Types(DumpType),
    "dump types, such as \"mini,with-thread-info\"",
    { "type": ["string", "integer"], "minimum": 0 },
    |value| match value {
        Scalar::Text(text) => DumpType::parse(text),
        Scalar::Number(number) => u32::try_from(number)
            .map(DumpType::from_bits_retain)
            .map_err(|_| format!("{number:#x} has more than the 32 bits of a dump type")),
    }
);

scalar!(
    /// A thread.
    ThreadName(ThreadSelector),
    "a thread: a pattern for its name, such as \"worker-*\", or its id",
    { "type": ["string", "integer"], "minimum": 0 },
    |value| Ok(match value {
        Scalar::Text(text) => ThreadSelector::Name(text.to_owned()),
        Scalar::Number(number) => ThreadSelector::Id(
            u32::try_from(number).map_err(|_| format!("{number} is not the id of a thread"))?
        ),
    })
);

scalar!(
    /// The name of a preset.
    PresetName(&'static str),
    "the name of a preset, such as \"first-look\"",
    { "type": "string", "enum": (Preset::NAMES) },
    |value| match value {
        Scalar::Text(text) => known(text, "preset", Preset::NAMES.iter().copied()),
        Scalar::Number(number) => Err(format!("{number} is not the name of a preset; use \"type\" for flags")),
    }
);

/// The kinds of losses in `acceptable-losses`; the names of streams are the others.
pub(super) const LOSSES: [&str; 4] = ["memory", "threads", "modules", "streams"];

scalar!(
    /// What may be lost.
    LossName(&'static str),
    "what may be missing: \"memory\", \"threads\", \"modules\", \"streams\", or the name of a stream",
    { "type": "string", "enum": (LOSSES.into_iter().chain(crate::streams::names()).collect::<Vec<_>>()) },
    |value| match value {
        Scalar::Text(text) => known(text, "kind of loss", LOSSES.into_iter().chain(crate::streams::names())),
        Scalar::Number(number) => Err(format!("{number} is not a kind of loss")),
    }
);

/// Returns the known name that a text is, or a message with the nearest one.
fn known<'n>(
    text: &str,
    what: &str,
    names: impl IntoIterator<Item = &'n str> + Clone,
) -> Result<&'n str, String> {
    let found = names.clone().into_iter().find(|name| *name == text);
    found.ok_or_else(|| format!("\"{text}\" is not a {what}{}", hint(text, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_people() {
        for (text, expected) in [
            ("65536", Some(65536)),
            ("0x1000", Some(4096)),
            ("64KiB", Some(64 << 10)),
            ("64 K", Some(64 << 10)),
            ("4G", Some(4 << 30)),
            ("64MB", None),
            ("K", None),
            ("17179869184G", None),
            ("-1", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(Size), "{text}");
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 bytes"),
            (3 << 10, "3 KiB"),
            (1 << 40, "1 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("2s", Some(2000)),
            ("1m", Some(60_000)),
            ("0s", None),
            ("5", None),
            ("1h", None),
        ] {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn ranges_have_an_end_or_a_size() {
        for (text, expected) in [
            ("0x1000-0x3000", Some(0x1000..0x3000)),
            ("0x1000/8KiB", Some(0x1000..0x3000)),
            ("0x1000/0", None),
            ("0x3000-0x1000", None),
            ("0xffffffffffffffff/2", None),
            ("0x1000", None),
        ] {
            assert_eq!(range(text).ok(), expected, "{text}");
        }
    }
}
