use std::collections::BTreeMap;
use std::fmt;

use dumpwright_target::AddressRange;
use dumpwright_text::number;

/// Names of places in a process: its modules and its blocks of memory.
///
/// ```
/// use dumpwright_sim::ScenarioSymbols;
/// use dumpwright_target::AddressRange;
///
/// let mut symbols = ScenarioSymbols::default();
/// symbols.define("heap", AddressRange::at(0x1000, 0x2000).unwrap());
/// assert_eq!(symbols.resolve("heap+0x10"), Ok(0x1010));
/// assert_eq!(symbols.describe(0x1010).as_deref(), Some("heap+0x10"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScenarioSymbols {
    places: BTreeMap<String, AddressRange>,
}

impl ScenarioSymbols {
    /// Names a place. Returns the place that had this name before, if any.
    pub fn define(&mut self, name: impl Into<String>, range: AddressRange) -> Option<AddressRange> {
        self.places.insert(name.into(), range)
    }

    /// Returns all names with their places, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, AddressRange)> + Clone {
        self.places.iter().map(|(name, range)| (name.as_str(), *range))
    }

    /// Returns the place with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<AddressRange> {
        self.places.get(name).copied()
    }

    /// Parses an address: `0x1000`, `4096`, `heap`, `heap+0x10`, `heap-8`.
    ///
    /// # Errors
    /// If the text is not an address. The error gives the reason.
    pub fn resolve(&self, text: &str) -> Result<u64, AddressError> {
        let text = text.trim();
        if let Some(address) = self.get(text).map(AddressRange::start).or_else(|| number(text)) {
            return Ok(address);
        }
        // The last sign is the one that counts, because file names such as libstdc++.so.6 contain
        // signs.
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

    /// Returns the name of an address, such as `heap+0x10` or `heap`. If several places contain it,
    /// the smallest one is used.
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

/// Parses a sign and a number.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = text.split_at_checked(1)?;
    let distance = number(digits.trim_start())?;
    Some(if sign == "-" {
        Offset::Before(distance)
    } else {
        Offset::Behind(distance)
    })
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It is neither a number nor a known name.
    Unknown(String),
    /// The address lies outside the address space.
    Beyond(String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(
                    f,
                    "nothing is called \"{name}\"; an address is a number, a name, or NAME+0x10"
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

    fn symbols() -> ScenarioSymbols {
        let mut symbols = ScenarioSymbols::default();
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
