//! Reads scenarios: text → [`SimProcess`]. Each kind of table has its own file, and all files have
//! the same structure.
//!
//! Names are read first, from `[[memory]]`, `[[module]]` and `[[symbol]]`. All later tables can use
//! them. Each file has a list of its keys; a test checks that `docs/scenario.md` contains all of
//! them.

mod counters;
mod faults;
mod functions;
mod handles;
mod linux;
mod memory;
mod modules;
mod places;
mod process;
mod registers;
mod system;
mod threads;
mod tokens;

use std::path::Path;

use dumpwright_text::{Fields, Parsed, Source, TextError};

use crate::SimProcess;
use faults::Known;
use places::Places;

const KEYS: &[&str] = &[
    "process",
    "system",
    "module",
    "memory",
    "symbol",
    "thread",
    "handle",
    "handle_operation",
    "function_table",
    "token",
    "system_memory",
    "vm_counters",
    "unloaded_module",
    "linux",
    "fault",
];

/// A process described as text. `docs/scenario.md` documents the language.
///
/// ```
/// let process = dumpwright_sim::Scenario::parse(
///     r#"
///     [system]
///     platform = "linux"
///
///     [[memory]]
///     name = "stack"
///     base = 0x7fff_0000_0000
///     size = 0x4000
///
///     [[thread]]
///     id = 1000
///     registers = { rip = 0x40_1000, rsp = "stack+0x3000" }
///     "#,
///     "example.toml",
/// )?;
/// assert_eq!(process.symbols().resolve("stack+0x10"), Ok(0x7fff_0000_0010));
/// # Ok::<(), dumpwright_sim::ScenarioError>(())
/// ```
#[derive(Debug)]
pub enum Scenario {}

impl Scenario {
    /// Parses a scenario. Errors show `file` as its name.
    ///
    /// # Errors
    /// If the text is not TOML, has unknown keys or values, or describes an impossible process. The
    /// error has all mistakes, except those that only follow from another one: if a block's address
    /// has a mistake, its name is not reported as unknown.
    pub fn parse(text: &str, file: &str) -> Result<SimProcess, ScenarioError> {
        Source::new(file, text).read("a scenario", KEYS, read)
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// If the file cannot be read, or for the reasons of [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<SimProcess, ScenarioError> {
        Source::load(path)?.read("a scenario", KEYS, read)
    }
}

/// The mistakes of a text that is not a valid scenario. Each has its place, an excerpt, and a
/// suggestion.
pub type ScenarioError = TextError;

fn read(document: &Fields<'_>) -> Parsed<SimProcess> {
    let machine = system::read(document);
    let mut process = SimProcess::new(1000);
    process::read(document, &mut process);
    let (modules, memory) = (modules::tables(document), memory::tables(document));
    let (places, modules, memory) = Places::read(document, &machine, modules, memory);
    let mut placed = memory::read(&memory, &places);
    let modules = modules::read(&modules, &places, &machine, &mut placed);
    let regions = memory::in_order(placed);
    let threads = threads::read(document, &places, &machine, &regions);
    process.faults = faults::read(document, &places, &Known::new(&threads, &modules, &regions));
    process.unloaded_modules = modules::read_unloaded(document, &places).items;
    process.handles = handles::read(document).items;
    process.handle_operations = handles::read_operations(document, &places).items;
    process.function_tables = functions::read(document, &places).items;
    process.tokens = tokens::read(document, process.id).items;
    process.system_memory = counters::read_system(document);
    process.vm_counters = counters::read_process(document);
    (process.linux, process.strings) = linux::read(document, &places, &machine);
    process.reads_any_protection = machine.reads_any_protection;
    process.system = machine.system;
    process.modules = modules.items;
    process.regions = regions.items;
    process.threads = threads.items;
    process.symbols = places.symbols;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/scenario.md");

    /// All keys of the language.
    fn keys() -> impl Iterator<Item = &'static str> {
        let kinds = faults::KINDS.iter().flat_map(|(_, keys)| keys.iter());
        [
            KEYS,
            process::KEYS,
            system::KEYS,
            memory::KEYS,
            memory::PART_KEYS,
            memory::CONTENT_KEYS,
            memory::PUT_KEYS,
        ]
        .into_iter()
        .chain([
            modules::KEYS,
            modules::SECTION_KEYS,
            modules::PDB_KEYS,
            modules::UNLOADED_KEYS,
        ])
        .chain([
            places::SYMBOL_KEYS,
            threads::KEYS,
            threads::TIMES_KEYS,
            threads::STACK_KEYS,
            threads::EXIT_KEYS,
            handles::KEYS,
        ])
        .chain([
            handles::EVENT_KEYS,
            handles::MUTANT_KEYS,
            handles::SECTION_KEYS,
            handles::OPERATION_KEYS,
        ])
        .chain([
            functions::KEYS,
            tokens::KEYS,
            tokens::SID_KEYS,
            tokens::PRIVILEGE_KEYS,
        ])
        .chain([counters::SYSTEM_KEYS, counters::PROCESS_KEYS])
        .chain([
            linux::KEYS,
            linux::DSO_DEBUG_KEYS,
            linux::LINK_KEYS,
            system::CPUID_KEYS,
            system::ARM_CPU_KEYS,
        ])
        .chain([
            process::TIMES_KEYS,
            process::POWER_KEYS,
            process::ZONE_KEYS,
            process::ZONE_TIME_KEYS,
        ])
        .flatten()
        .chain(kinds)
        .copied()
    }

    #[test]
    fn every_key_and_every_fault_is_documented() {
        let info = handles::INFO.iter().map(|(kind, _)| *kind);
        let words = keys()
            .chain(faults::KINDS.iter().map(|(kind, _)| *kind))
            .chain(info);
        let missing: Vec<_> = words
            .filter(|word| !DOCUMENT.contains(&format!("`{word}`")))
            .collect();
        assert!(missing.is_empty(), "docs/scenario.md has no {missing:?}");
    }

    #[test]
    fn the_examples_of_the_documentation_are_scenarios() {
        let examples: Vec<_> = DOCUMENT.split("```toml\n").skip(1).collect();
        assert!(examples.len() >= 3);
        for example in examples {
            let text = example.split("```").next().unwrap();
            Scenario::parse(text, "docs/scenario.md").unwrap_or_else(|error| panic!("{error}\n{text}"));
        }
    }
}
