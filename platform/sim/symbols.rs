use std::collections::BTreeMap;
use std::fmt;

use dumpwright_target::AddressRange;

/// Names of places in a process: its modules and blocks of memory.
///
/// ```
/// use dumpwright_sim::Symbols;
/// use dumpwright_target::AddressRange;
///
/// let mut symbols = Symbols::default();
/// symbols.define("heap", AddressRange::at(0x1000, 0x2000).unwrap());
/// assert_eq!(symbols.resolve("heap+0x10"), Ok(0x1010));
/// assert_eq!(symbols.describe(0x1010).as_deref(), Some("heap+0x10"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    places: BTreeMap<String, AddressRange>,
}

impl Symbols {
    /// Names a place. Returns what had the name before, if anything did.
    pub fn define(&mut self, name: impl Into<String>, range: AddressRange) -> Option<AddressRange> {
        self.places.insert(name.into(), range)
    }

    /// All names with their places, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, AddressRange)> + Clone {
        self.places.iter().map(|(name, range)| (name.as_str(), *range))
    }

    /// The place of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<AddressRange> {
        self.places.get(name).copied()
    }

    /// The address that a text means: `0x1000`, `4096`, `heap`, `heap+0x10`, `heap-8`.
    ///
    /// # Errors
    /// It means none; the error says why.
    pub fn resolve(&self, text: &str) -> Result<u64, AddressError> {
        let text = text.trim();
        if let Some(address) = self.get(text).map(AddressRange::start).or_else(|| number(text)) {
            return Ok(address);
        }
        // The last sign counts: file names such as libstdc++.so.6 have some of their own.
        let split = text
            .rfind(['+', '-'])
            .map(|at| (text[..at].trim_end(), &text[at..]));
        let Some((name, offset)) = split.and_then(|(name, rest)| Some((name, offset(rest)?))) else {
            return Err(AddressError::Unknown(text.to_owned()));
        };
        let start = self.get(name).map(AddressRange::start).or_else(|| number(name));
        let start = start.ok_or_else(|| AddressError::Unknown(name.to_owned()))?;
        let address = match offset {
            Offset::Behind(distance) => start.checked_add(distance),
            Offset::Before(distance) => start.checked_sub(distance),
        };
        address.ok_or_else(|| AddressError::Beyond(text.to_owned()))
    }

    /// An address in words, `heap+0x10` or `heap`: by the smallest place that holds it.
    #[must_use]
    pub fn describe(&self, address: u64) -> Option<String> {
        let holding = self.iter().filter(|(_, range)| range.contains(address));
        let (name, range) = holding.min_by_key(|(_, range)| range.len())?;
        Some(match address - range.start() {
            0 => name.to_owned(),
            offset => format!("{name}+{offset:#x}"),
        })
    }
}

enum Offset {
    Behind(u64),
    Before(u64),
}

/// A sign and a number.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = text.split_at_checked(1)?;
    let distance = number(digits.trim_start())?;
    Some(if sign == "-" {
        Offset::Before(distance)
    } else {
        Offset::Behind(distance)
    })
}

fn number(text: &str) -> Option<u64> {
    let plain = text.replace('_', "");
    let (digits, radix) = plain
        .strip_prefix("0x")
        .map_or((plain.as_str(), 10), |digits| (digits, 16));
    // from_str_radix would take a sign.
    digits
        .starts_with(|c: char| c.is_digit(radix))
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

/// Why a text means no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It is neither a number nor a known name.
    Unknown(String),
    /// It lies outside the address space.
    Beyond(String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(
                    f,
                    "nothing is called \"{name}\", and an address is a number, a name or NAME+0x10"
                )
            }
            Self::Beyond(text) => write!(f, "{text} lies outside the address space"),
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        let mut symbols = Symbols::default();
        for (name, start, len) in [
            ("heap", 0x1000, 0x1000),
            ("libstdc++.so.6", 0x10_0000, 0x1000),
            ("a-1", 0x20_0000, 0x1000),
            ("block", 0x10_0100, 0x10),
        ] {
            symbols.define(name, AddressRange::at(start, len).unwrap());
        }
        symbols
    }

    #[test]
    fn addresses_are_numbers_names_or_sums() {
        let symbols = symbols();
        for (text, address) in [
            ("0x1_0000", 0x1_0000),
            ("77", 77),
            ("0xffffffffffffffff", u64::MAX),
            ("heap", 0x1000),
            (" heap + 0x20 ", 0x1020),
            ("heap-0x10", 0xff0),
            ("libstdc++.so.6", 0x10_0000),
            ("libstdc++.so.6+8", 0x10_0008),
            ("a-1", 0x20_0000),
            ("a-1-1", 0x1f_ffff),
            ("0x100+0x10", 0x110),
        ] {
            assert_eq!(symbols.resolve(text), Ok(address), "{text}");
        }
        for text in [
            "", "+", "-1", "heap+", "heep", "heap+0x", "heap+-1", "heap++1", "0x", "é+1", "heap+é",
        ] {
            assert!(
                matches!(symbols.resolve(text), Err(AddressError::Unknown(_))),
                "{text}"
            );
        }
        for text in ["heap-0x1001", "heap+0xffffffffffffffff"] {
            assert!(
                matches!(symbols.resolve(text), Err(AddressError::Beyond(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn the_smallest_place_names_an_address() {
        let symbols = symbols();
        assert_eq!(symbols.describe(0x10_0104).as_deref(), Some("block+0x4"));
        assert_eq!(
            symbols.describe(0x10_0110).as_deref(),
            Some("libstdc++.so.6+0x110")
        );
        assert_eq!(symbols.describe(0x10_0000).as_deref(), Some("libstdc++.so.6"));
        assert_eq!(symbols.describe(0x2000), None);
    }
}
