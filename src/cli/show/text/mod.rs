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
pub(super) mod registers;
pub(super) mod stacks;
pub(super) mod summary;
mod system;
mod threads;
mod tokens;
pub(super) mod words;

use std::io::{self, Write};

use std::collections::HashSet;
use std::path::PathBuf;

use dumpwright::DumpType;
use dumpwright::read::{Dump, List, Module, Platform, ReadError};
use dumpwright::target::printable;

use super::{MOST_ENTRIES, MOST_MODULES, View, part};
use crate::cli::print::{HEADING, merged};
use crate::cli::stack::StackWalker;

/// A dump that is shown in parts.
pub(super) struct ShownDump<'d> {
    pub(super) dump: &'d Dump,
    pub(super) file: &'d str,
    pub(super) folders: &'d [PathBuf],
    pub(super) modules: Vec<Module>,
    pub(super) more_modules: u64,
    /// The first module of the file, which is the program.
    program: Option<String>,
    pub(super) problems: Vec<String>,
}

impl<'d> ShownDump<'d> {
    pub(super) fn new(dump: &'d Dump, file: &'d str, folders: &'d [PathBuf]) -> Self {
        let mut problems = Vec::new();
        let first = dump.iter_modules().ok().and_then(|mut list| list.next());
        let (modules, more_modules) = modules(dump, &mut problems);
        Self {
            dump,
            file,
            folders,
            modules,
            more_modules,
            program: first.and_then(Result::ok).and_then(|module| module.name),
            problems,
        }
    }

    pub(super) fn has_thread(&self, id: u32) -> bool {
        let threads = self.dump.iter_threads().into_iter().flatten();
        threads
            .take(MOST_ENTRIES as usize)
            .flatten()
            .any(|thread| thread.id == id)
    }

    pub(super) fn platform(&mut self) -> Platform {
        let system = part(&mut self.problems, self.dump.system_info());
        system.map_or(Platform::Other(0), |system| system.platform)
    }

    /// Prints a summary of at most 50 lines.
    pub(super) fn summary(&mut self, out: &mut impl Write, is_brief: bool) -> io::Result<()> {
        summary::print(out, self, is_brief)
    }

    /// Prints these threads in detail.
    pub(super) fn threads(&mut self, out: &mut impl Write, ids: &[u32]) -> io::Result<()> {
        let ids: HashSet<u32> = ids.iter().copied().collect();
        let mut walker = StackWalker::new(self.dump, &self.modules, self.folders);
        let threads = self.dump.iter_threads().into_iter().flatten();
        let threads = threads.take(MOST_ENTRIES as usize).flatten();
        for (number, thread) in threads.filter(|thread| ids.contains(&thread.id)).enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            let trace = walker.trace(thread.context.as_ref(), stacks::MOST_FRAMES);
            threads::thread(out, &self.modules, thread)?;
            stacks::in_detail(out, &walker, &trace)?;
        }
        stacks::unread_binaries(out, &walker)
    }

    /// Prints one part.
    pub(super) fn view(&mut self, out: &mut impl Write, view: View) -> io::Result<()> {
        let out = &mut FirstLine { out, is_after: false };
        let platform = self.platform();
        let problems = &mut self.problems;
        match view {
            View::Threads => {
                let mut walker = StackWalker::new(self.dump, &self.modules, self.folders);
                stacks::all(out, self.dump, &mut walker, problems)?;
            }
            View::Modules => {
                modules::print(out, &self.modules, self.more_modules)?;
                modules::print_unloaded(out, self.dump, problems)?;
            }
            View::Memory => memory::print(out, self.dump, problems)?,
            View::Handles => {
                if self.dump.iter_handles().is_ok_and(|list| list.is_empty()) {
                    writeln!(
                        out,
                        "No handles: the type of this dump does not have them (--type mini has)"
                    )?;
                }
                handles::print(out, self.dump, problems)?;
            }
            View::Exception => {
                if self.dump.exception().is_ok_and(|exception| exception.is_none()) {
                    writeln!(out, "No exception: the process was dumped while it was running")?;
                }
                exception::print(out, self.dump, platform, &self.modules, problems)?;
                if let Ok(Some(exception)) = self.dump.exception() {
                    let mut walker = StackWalker::new(self.dump, &self.modules, self.folders);
                    let trace = walker.trace(exception.context.as_ref(), stacks::MOST_FRAMES);
                    stacks::in_detail(out, &walker, &trace)?;
                    stacks::unread_binaries(out, &walker)?;
                }
            }
            View::Streams => header::print(out, self.dump, self.file)?,
            View::Losses => losses(out, self.dump, problems)?,
            View::Dialogue => unreachable!("a dump does not have it"),
        }
        print_problems(out, &self.problems)
    }
}

/// Returns the dump type as `--type` takes it.
pub(super) fn dump_type(dump: &Dump) -> String {
    let flags = dump.header().flags;
    match u32::try_from(flags) {
        Ok(bits) => DumpType::from_bits_retain(bits).to_string(),
        Err(_) => format!("{flags:#x}"),
    }
}

/// Leaves out the empty line in front of the first heading.
struct FirstLine<W> {
    out: W,
    is_after: bool,
}

impl<W: Write> Write for FirstLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_first = !self.is_after;
        self.is_after |= !bytes.is_empty();
        match bytes {
            [b'\n'] if is_first => Ok(1),
            [b'\n', rest @ ..] if is_first => self.out.write(rest).map(|count| count + 1),
            _ => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Prints what is missing or was left out, and says so if nothing is.
fn losses(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let soft = part(problems, dump.soft_errors());
    let mut is_empty = true;
    for (severity, title) in [
        ("missing", "Missing"),
        ("left out", "Left out, which does not make the dump partial"),
    ] {
        let entries = summary::entries(soft.as_ref(), severity);
        let pairs = entries
            .iter()
            .map(|(subject, reason)| (subject.as_str(), reason.as_str()));
        let lines = merged(pairs);
        if !lines.is_empty() {
            is_empty = false;
            section(out, &format!("{title} ({})", entries.len()))?;
        }
        for line in lines {
            writeln!(out, "  {}", printable(&line))?;
        }
    }
    let losses = dump.iter_losses();
    is_empty &= losses.as_ref().is_ok_and(List::is_empty);
    diagnostics::lost_memory(out, losses, problems)?;
    if is_empty && problems.is_empty() {
        writeln!(out, "Nothing is missing")?;
    }
    Ok(())
}

/// Prints the sections for which the dump contains data.
pub(super) fn all(out: &mut impl Write, dump: &Dump, file: &str) -> io::Result<()> {
    let problems = &mut Vec::new();
    header::print(out, dump, file)?;
    let platform = system::print(out, dump, problems)?;
    process::print(out, dump, problems)?;
    let (modules, more_modules) = modules(dump, problems);
    exception::print(out, dump, platform, &modules, problems)?;
    threads::print(out, dump, &modules, problems)?;
    modules::print(out, &modules, more_modules)?;
    modules::print_unloaded(out, dump, problems)?;
    memory::print(out, dump, problems)?;
    handles::print(out, dump, problems)?;
    functions::print(out, dump, &modules, problems)?;
    tokens::print(out, dump, problems)?;
    counters::print(out, dump, problems)?;
    diagnostics::print(out, dump, problems)?;
    print_problems(out, problems)
}

/// Prints which parts could not be read.
fn print_problems(out: &mut impl Write, problems: &[String]) -> io::Result<()> {
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
    writeln!(out, "\n{HEADING}{title}{HEADING:#}")
}
