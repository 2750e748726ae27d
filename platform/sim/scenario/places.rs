//! Names and addresses.

use std::collections::BTreeMap;

use dumpwright_target::{AddressRange, Cpu};
use dumpwright_text::{Fields, Listed, Parsed, Reported, Value, hint};

use super::system::Machine;
use crate::{AddressError, ScenarioSymbols};

pub(super) const SYMBOL_KEYS: &[&str] = &["name", "at", "size"];

/// The names of a scenario. Addresses are read with them.
pub(super) struct Places {
    pub symbols: ScenarioSymbols,
    /// Names whose range has a mistake. Uses of these names are not reported as further mistakes.
    unknown: BTreeMap<String, Reported>,
    page_size: u64,
    /// The processor family, which limits the addresses.
    cpu: Parsed<Cpu>,
}

/// A table of the scenario, and its range.
pub(super) type Ranged<'t> = (Fields<'t>, Parsed<AddressRange>);

impl Places {
    /// Reads the names of modules, memory and `[[symbol]]`, in this order. Each base can use
    /// earlier names.
    pub fn read<'t>(
        document: &Fields<'_>,
        machine: &Machine,
        modules: Listed<Fields<'t>>,
        memory: Listed<Fields<'t>>,
    ) -> (Self, Listed<Ranged<'t>>, Listed<Ranged<'t>>) {
        let mut places = Self {
            symbols: ScenarioSymbols::default(),
            unknown: BTreeMap::new(),
            page_size: machine.system.page_size,
            cpu: machine.cpu,
        };
        let modules = ranged(modules, |module| {
            let range = places.range(module, "base");
            match module.value("name") {
                Some(name) => places.define(&name, range),
                None => places.define_file(module, range),
            }
            range
        });
        let memory = ranged(memory, |block| {
            let range = places.pages(block, "base");
            if let Some(name) = block.value("name") {
                places.define(&name, range);
            }
            range
        });
        for symbol in document.tables("symbol", "a symbol", SYMBOL_KEYS).items {
            let range = places.range(&symbol, "at");
            if let Ok(name) = symbol.need("name") {
                places.define(&name, range);
            }
        }
        (places, modules, memory)
    }

    fn define(&mut self, name: &Value<'_>, range: Parsed<AddressRange>) {
        let Ok(text) = name.text() else { return };
        if text.is_empty() {
            name.error("expected a name, found an empty string");
        } else if let Some(other) = self.symbols.get(text) {
            name.error(format_args!("\"{text}\" is already the name of {other}"));
        } else {
            self.insert(text, range);
        }
    }

    /// Names a module without a name after its file. If the same file is loaded twice, the first
    /// module has the name.
    fn define_file(&mut self, module: &Fields<'_>, range: Parsed<AddressRange>) {
        let path = module.value("path").and_then(|path| path.as_text());
        let name = path.and_then(|path| path.rsplit(['/', '\\']).next());
        if let Some(name) = name.filter(|name| !name.is_empty() && self.symbols.get(name).is_none()) {
            self.insert(name, range);
        }
    }

    fn insert(&mut self, name: &str, range: Parsed<AddressRange>) {
        match range {
            Ok(range) => {
                self.unknown.remove(name);
                self.symbols.define(name, range);
            }
            Err(mistake) => {
                self.unknown.insert(name.to_owned(), mistake);
            }
        }
    }

    /// Reads an address.
    pub fn address(&self, value: &Value<'_>) -> Parsed<u64> {
        if let Some(number) = value.as_u64()? {
            return Ok(number);
        }
        let Some(text) = value.as_text() else {
            return Err(value.expected("an address: a number, a name, or NAME+0x10"));
        };
        self.symbols
            .resolve(text)
            .map_err(|error| self.no_address(value, text, &error))
    }

    fn no_address(&self, value: &Value<'_>, text: &str, error: &AddressError) -> Reported {
        match error {
            AddressError::Beyond(_) => value.error(error),
            AddressError::Unknown(name) => {
                let unknown = self.unknown.get(name).or_else(|| self.unknown.get(text.trim()));
                unknown.copied().unwrap_or_else(|| {
                    let names = self.symbols.iter().map(|(name, _)| name);
                    value.error(format_args!("{error}{}", hint(name, names)))
                })
            }
        }
    }

    /// Returns the range with this name, if the value is a name.
    pub fn named(&self, value: &Value<'_>) -> Option<AddressRange> {
        value.as_text().and_then(|name| self.symbols.get(name.trim()))
    }

    /// Reads an address. Returns the bytes of a word that contains it; a word has the size of a
    /// pointer.
    pub fn word(&self, value: &Value<'_>) -> Parsed<Vec<u8>> {
        self.pointer(value, self.address(value)?)
    }

    /// Returns the bytes of a pointer with this value.
    pub fn pointer(&self, value: &Value<'_>, number: u64) -> Parsed<Vec<u8>> {
        let cpu = self.cpu?;
        let size = cpu.pointer_size() as usize;
        if number > cpu.highest_address() {
            return Err(value.error(format_args!(
                "{number:#x} does not fit into a word of {size} bytes"
            )));
        }
        Ok(number.to_le_bytes()[..size].to_vec())
    }

    /// Reads a range: the key `start` has its address, and `size` its size.
    pub fn range(&self, fields: &Fields<'_>, start: &str) -> Parsed<AddressRange> {
        let at = fields.required(start, |value| self.address(value));
        let size = fields.required("size", |value| Ok((value.size()?, value.clone())));
        let (at, (size, value)) = (at?, size?);
        // The highest address is unknown if the processor is.
        let highest = self.cpu.map_or(u64::MAX, Cpu::highest_address);
        let inside = |range: &AddressRange| range.end() - 1 <= highest;
        AddressRange::at(at, size).filter(inside).ok_or_else(|| {
            let space = match self.cpu.map(Cpu::pointer_size) {
                Ok(4) => "a 32-bit address space",
                _ => "an address space",
            };
            value.error(format_args!(
                "no range of {space} begins at {at:#x} and has this size"
            ))
        })
    }

    /// Reads a range of whole pages.
    pub fn pages(&self, fields: &Fields<'_>, start: &str) -> Parsed<AddressRange> {
        let range = self.range(fields, start)?;
        let base = fields.required(start, |value| self.check_pages(value, range.start()));
        let size = fields.required("size", |value| self.check_pages(value, range.len()));
        base.and(size).map(|()| range)
    }

    /// Refuses a number that is not a multiple of the page size.
    pub fn check_pages(&self, value: &Value<'_>, number: u64) -> Parsed<()> {
        if number.is_multiple_of(self.page_size) {
            return Ok(());
        }
        Err(value.error(format_args!(
            "expected a multiple of the page size, {:#x}, found {number:#x}",
            self.page_size
        )))
    }

    /// Reads the range of a fault: `at` and `size`, or the whole range if `at` is a name.
    pub fn place(&self, fields: &Fields<'_>) -> Parsed<AddressRange> {
        let named = fields.need("at").map(|at| self.named(&at))?;
        match (fields.value("size"), named) {
            (None, Some(range)) => Ok(range),
            (None, None) => {
                // If the name has no range, `size` is not reported as missing.
                fields.required("at", |at| self.address(at))?;
                self.range(fields, "at")
            }
            _ => self.range(fields, "at"),
        }
    }
}

fn ranged<'t>(
    tables: Listed<Fields<'t>>,
    mut range: impl FnMut(&Fields<'t>) -> Parsed<AddressRange>,
) -> Listed<Ranged<'t>> {
    let with_range = |fields: Fields<'t>| {
        let range = range(&fields);
        (fields, range)
    };
    Listed {
        items: tables.items.into_iter().map(with_range).collect(),
        all: tables.all,
    }
}
