//! The text output of `show`. Each group of sections has its own module.

mod counters;
mod diagnostics;
mod exception;
mod functions;
mod handles;
mod header;
mod memory;
mod modules;
mod process;
mod registers;
mod system;
mod threads;
mod tokens;
mod words;

use std::io::{self, Write};

use dumpwright::read::{Dump, List, Module, ReadError};
use dumpwright::target::printable;

use super::{MOST_ENTRIES, MOST_MODULES, part};

/// Prints the sections for which the dump contains data.
pub(super) fn print(out: &mut impl Write, dump: &Dump, file: &str, all_memory: bool) -> io::Result<()> {
    let problems = &mut Vec::new();
    header::print(out, dump, file)?;
    let platform = system::print(out, dump, problems)?;
    process::print(out, dump, problems)?;
    let (modules, more_modules) = modules(dump, problems);
    exception::print(out, dump, platform, &modules, problems)?;
    threads::print(out, dump, &modules, problems)?;
    modules::print(out, &modules, more_modules)?;
    modules::print_unloaded(out, dump, problems)?;
    memory::print(out, dump, all_memory, problems)?;
    handles::print(out, dump, problems)?;
    functions::print(out, dump, &modules, problems)?;
    tokens::print(out, dump, problems)?;
    counters::print(out, dump, problems)?;
    diagnostics::print(out, dump, problems)?;
    if !problems.is_empty() {
        section(out, &format!("Could not be read ({})", problems.len()))?;
        for problem in problems {
            writeln!(out, "  {}", printable(problem))?;
        }
    }
    Ok(())
}

/// Returns the first modules, sorted by base address, and the number of the others.
fn modules(dump: &Dump, problems: &mut Vec<String>) -> (Vec<Module>, u64) {
    let Some(list) = part(problems, dump.iter_modules().map(Some)) else {
        return (Vec::new(), 0);
    };
    let more = list.len().saturating_sub(MOST_MODULES);
    let read = list.take(MOST_MODULES as usize).collect::<Result<Vec<_>, _>>();
    let mut modules = part(problems, read);
    modules.sort_by_key(|module| module.base);
    (modules, more)
}

/// Prints a section with the first entries of a list and the number of the others. Prints nothing
/// if the list is empty. `title` gets the number of all entries.
fn section_of<W: Write, T>(
    out: &mut W,
    problems: &mut Vec<String>,
    list: Result<List<'_, T>, ReadError>,
    title: impl FnOnce(u64) -> String,
    mut print: impl FnMut(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    let Some(list) = part(problems, list.map(Some)).filter(|list| !list.is_empty()) else {
        return Ok(());
    };
    let len = list.len();
    section(out, &title(len))?;
    for entry in list.take(MOST_ENTRIES as usize) {
        match entry {
            Ok(entry) => print(out, entry)?,
            Err(error) => problems.push(error.to_string()),
        }
    }
    more(out, len.saturating_sub(MOST_ENTRIES))
}

/// Prints the number of entries that are not shown, if there are any.
fn more(out: &mut impl Write, count: u64) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "  and {count} more, which are not shown")
}

fn section(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(out, "\n{title}")
}
