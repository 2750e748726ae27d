//! Names and addresses.

use dumpwright_target::{AddressRange, Cpu, System};

use super::error::{ScenarioError, hint};
use super::fields::{Fields, Outcome, Value};
use super::{memory, modules};
use crate::{AddressError, Symbols};

pub(super) const SYMBOL_KEYS: &[&str] = &["name", "at", "size"];

/// The names of a scenario, and how addresses are read with them.
pub(super) struct Places {
    pub symbols: Symbols,
    pub page_size: u64,
    /// The processor of whose address space they are.
    pub cpu: Cpu,
}

impl Places {
    /// Names modules, memory and whatever `[[symbol]]` names, in this order; each base may use names that came
    /// before.
    pub fn read(document: &Fields<'_>, system: &System) -> Outcome<Self> {
        let mut places = Self {
            symbols: Symbols::default(),
            page_size: system.page_size,
            cpu: system.cpu,
        };
        for module in modules::tables(document)? {
            let range = places.range(&module, "base")?;
            match module.value("name") {
                Some(name) => places.define(&name, range)?,
                // The same file can be loaded twice; then the first one has the name.
                None => {
                    let path = module.need("path")?.text()?;
                    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
                    if !name.is_empty() && places.symbols.get(name).is_none() {
                        places.symbols.define(name, range);
                    }
                }
            }
        }
        for memory in memory::tables(document)? {
            let range = places.pages(&memory, "base")?;
            if let Some(name) = memory.value("name") {
                places.define(&name, range)?;
            }
        }
        for symbol in document.tables("symbol", "a symbol", SYMBOL_KEYS)? {
            let range = places.range(&symbol, "at")?;
            places.define(&symbol.need("name")?, range)?;
        }
        Ok(places)
    }

    fn define(&mut self, name: &Value<'_>, range: AddressRange) -> Outcome<()> {
        let text = name.text()?;
        if text.is_empty() {
            return Err(name.error("a name has to have letters"));
        }
        match self.symbols.define(text, range) {
            None => Ok(()),
            Some(other) => Err(name.error(format!("\"{text}\" is the name of {other} already"))),
        }
    }

    /// The address that a value means.
    pub fn address(&self, value: &Value<'_>) -> Outcome<u64> {
        if let Some(number) = value.as_u64()? {
            return Ok(number);
        }
        self.symbols
            .resolve(value.text()?)
            .map_err(|error| self.no_address(value, &error))
    }

    /// The bytes of a word that holds this address, as many as a pointer has.
    pub fn word(&self, value: &Value<'_>) -> Outcome<Vec<u8>> {
        self.pointer(value, self.address(value)?)
    }

    /// The bytes of a pointer with this value.
    pub fn pointer(&self, value: &Value<'_>, number: u64) -> Outcome<Vec<u8>> {
        let size = self.cpu.pointer_size() as usize;
        if number > self.cpu.highest_address() {
            return Err(value.error(format!("{number:#x} does not fit into a word of {size} bytes")));
        }
        Ok(number.to_le_bytes()[..size].to_vec())
    }

    fn no_address(&self, value: &Value<'_>, error: &AddressError) -> ScenarioError {
        let hint = match error {
            AddressError::Unknown(name) => hint(name, self.symbols.iter().map(|(name, _)| name)),
            AddressError::Beyond(_) => String::new(),
        };
        value.error(format!("{error}{hint}"))
    }

    /// The range at `start` (the key of an address) of `size` bytes.
    pub fn range(&self, fields: &Fields<'_>, start: &str) -> Outcome<AddressRange> {
        let at = self.address(&fields.need(start)?)?;
        let size = fields.need("size")?;
        let inside = |range: &AddressRange| range.end() - 1 <= self.cpu.highest_address();
        AddressRange::at(at, size.u64()?).filter(inside).ok_or_else(|| {
            size.error(format!(
                "no range of {} begins at {at:#x} and has this size",
                match self.cpu.pointer_size() {
                    4 => "a 32-bit address space",
                    _ => "an address space",
                }
            ))
        })
    }

    /// The same, of whole pages.
    pub fn pages(&self, fields: &Fields<'_>, start: &str) -> Outcome<AddressRange> {
        let range = self.range(fields, start)?;
        for (key, number) in [(start, range.start()), ("size", range.len())] {
            self.check_pages(&fields.need(key)?, number)?;
        }
        Ok(range)
    }

    /// Refuses a number that is not one of whole pages.
    pub fn check_pages(&self, value: &Value<'_>, number: u64) -> Outcome<()> {
        if number.is_multiple_of(self.page_size) {
            return Ok(());
        }
        Err(value.error(format!(
            "expected a multiple of the page size, {:#x}, found {number:#x}",
            self.page_size
        )))
    }

    /// The place that a fault is about: `at` and `size`, or all of what `at` names.
    pub fn place(&self, fields: &Fields<'_>) -> Outcome<AddressRange> {
        let at = fields.need("at")?;
        match (
            fields.value("size"),
            at.as_text().and_then(|name| self.symbols.get(name.trim())),
        ) {
            (None, Some(range)) => Ok(range),
            _ => self.range(fields, "at"),
        }
    }
}
