//! Text → [`SimProcess`]: one file a kind of table, all with the same outline.
//!
//! Names come first: everything behind `[[memory]]`, `[[module]]` and `[[symbol]]` may use them. Each file has
//! the list of its keys; a test holds the lists against `docs/scenario.md`.

mod counters;
mod error;
mod faults;
mod fields;
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

use toml::de::DeTable;

pub use error::ScenarioError;

use crate::SimProcess;
use error::Source;
use fields::{Fields, Outcome};
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

/// A process written down as text. `docs/scenario.md` has the language.
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
    /// Reads a scenario; `file` is what complaints call it.
    ///
    /// # Errors
    /// The text is no TOML, has unknown keys or values, or describes a process that cannot be.
    pub fn parse(text: &str, file: &str) -> Result<SimProcess, ScenarioError> {
        let source = Source::new(text, file);
        let table = DeTable::parse(text).map_err(|error| {
            let message: Vec<_> = error.message().lines().collect();
            source.error(&error.span().unwrap_or(0..0), message.join(", "))
        })?;
        read(&Fields::root(&table, source, KEYS)?)
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// The file cannot be read, or see [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<SimProcess, ScenarioError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ScenarioError {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            message: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text, &path.display().to_string())
    }
}

fn read(document: &Fields<'_>) -> Outcome<SimProcess> {
    let mut process = SimProcess::new(1000);
    process.system = system::read(document)?;
    process.reads_any_protection = system::reads_any_protection(document)?;
    process::read(document, &mut process)?;
    let places = Places::read(document, &process.system)?;
    let mut placed = Vec::new();
    process.modules = modules::read(document, &places, process.system.platform, &mut placed)?;
    memory::read(document, &places, &mut placed)?;
    process.regions = memory::in_order(placed)?;
    process.unloaded_modules = modules::read_unloaded(document, &places)?;
    process.handles = handles::read(document)?;
    process.handle_operations = handles::read_operations(document, &places)?;
    process.function_tables = functions::read(document, &places)?;
    process.tokens = tokens::read(document, process.id)?;
    process.system_memory = counters::read_system(document)?;
    process.vm_counters = counters::read_process(document)?;
    (process.linux, process.strings) = linux::read(document, &places, process.system.platform)?;
    process.threads = threads::read(document, &places, &process.system, &process.regions)?;
    process.faults = faults::read(document, &places, &process)?;
    process.symbols = places.symbols;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/scenario.md");

    /// Every key list of the language.
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
