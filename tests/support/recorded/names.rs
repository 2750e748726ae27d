//! The names that transcripts use for addresses.

/// A named range of the target.
struct Name {
    name: String,
    base: u64,
    size: u64,
}

/// All named ranges of the target.
#[derive(Default)]
pub struct Names(Vec<Name>);

impl Names {
    pub fn add(&mut self, name: &str, base: u64, size: u64) {
        self.0.push(Name {
            name: name.to_owned(),
            base,
            size,
        });
    }

    /// Returns the address of `NAME`, `NAME+0xOFF` or a number.
    pub fn address(&self, text: &str) -> u64 {
        let (name, offset) = text.split_once('+').unwrap_or((text, "0"));
        match self.find(name) {
            Some(found) => found.base + number(offset),
            None => number(text),
        }
    }

    /// Returns the end of the range `text`. The range is one byte long, unless `text` is a plain
    /// name.
    pub fn end(&self, text: &str) -> u64 {
        match self.find(text) {
            Some(found) => found.base + found.size,
            None => self.address(text) + 1,
        }
    }

    /// Formats an address as in transcripts, relative to the smallest named range that contains it.
    ///
    /// `allocated` tells whether an allocation without a name contains it. All of these are named
    /// `A0`, because their numbers depend on the order of their first use and are not compared.
    pub fn show(&self, address: u64, allocated: bool) -> String {
        if address == 0 {
            return "0".to_owned();
        }
        let holding = self
            .0
            .iter()
            .filter(|name| (name.base..name.base + name.size).contains(&address));
        match holding.min_by_key(|name| name.size) {
            Some(name) if name.base == address => name.name.clone(),
            Some(name) => format!("{}+{:#x}", name.name, address - name.base),
            None if allocated => "A0+0x0".to_owned(),
            None => format!("{address:#x}"),
        }
    }

    /// The name, start address and size of each range.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.0
            .iter()
            .map(|name| (name.name.as_str(), name.base, name.size))
    }

    fn find(&self, name: &str) -> Option<&Name> {
        self.0.iter().find(|known| known.name == name)
    }
}

/// Parses a number like C's `strtoull` with base 0.
pub fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{text:?} is neither a number nor a name of the target"))
}
