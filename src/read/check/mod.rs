//! A check of the rules of the format and of the programs that read dumps.
//!
//! The rules have two sources. One is the documentation of the structures. The other one is a
//! series of measurements: each rule was broken in an otherwise valid dump, and the dump was opened
//! with LLDB 19.1.7, dbgeng 6.3.9600 and 10.0.15063, Breakpad's `minidump_dump` and
//! `minidump_stackwalk`, rust-minidump 0.27, and the PyPI packages `minidump` (skelsec) and
//! `udmp-parser`. Compressed memory was tried in the engine of WinDbg of January 2026.

mod compressed_memory;
mod exception;
mod file;
mod linux;
mod lists;
mod losses;
mod memory;
mod modules;
mod process;
mod rules;
mod threads;

use std::collections::HashMap;
use std::fmt::Arguments;
use std::iter::Take;

use serde::Serialize;

use super::context::CONTEXT_XSTATE;
use super::dump::{Dump, StreamEntry};
use super::error::ReadError;
use super::fields::{FieldReader, Location};
use super::list::{LIST_LIMIT, List};
pub use rules::Rule;

/// The severity of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file is correct, but a reader has a limit that the file exceeds, or the file lacks data
    /// that a reader uses.
    Warning,
    /// The file contradicts the format, or a reader refuses the dump or a part of it, or misreads
    /// it.
    Error,
}

/// A rule that the dump breaks, and the place in the file.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// The rule. Its [id](Rule::id) is stable, so scripts can use it.
    pub rule: Rule,
    /// The severity of the rule, unless the options of the check or the dump's operating system
    /// change it.
    pub severity: Level,
    /// The file offset of the field or record that breaks the rule.
    pub offset: u64,
    /// A description of what is wrong.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let Self {
            rule, offset, text, ..
        } = self;
        write!(
            f,
            "{severity}: {}: at {offset:#x}: {text} ({})",
            rule.id(),
            rule.who_minds()
        )
    }
}

/// Options of the check.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Whether memory may have been lost while the dump was being written. If so,
    /// [`Rule::MemoryLost`] is a warning instead of an error.
    pub expect_losses: bool,
}

/// Checks a dump against all rules, with the default options. The violations are sorted by the
/// topic of the rule, starting with the file as a whole.
///
/// A part of the dump that is malformed is a violation, not an error.
///
/// # Errors
///
/// The system could not read the file.
pub fn check(dump: &Dump) -> Result<Vec<Violation>, ReadError> {
    check_with(dump, CheckOptions::default())
}

/// Checks a dump like [`check()`], with options.
///
/// # Errors
///
/// The system could not read the file.
pub fn check_with(dump: &Dump, options: CheckOptions) -> Result<Vec<Violation>, ReadError> {
    let mut findings = Findings::default();
    if !file::check(dump, &mut findings) {
        return Ok(findings.into_violations());
    }
    for topic in [
        process::check,
        threads::check,
        modules::check,
        memory::check,
        compressed_memory::check,
        exception::check,
        lists::check,
        linux::check,
    ] {
        topic(dump, &mut findings)?;
    }
    losses::check(dump, options, &mut findings)?;
    Ok(findings.into_violations())
}

/// The violations found so far. Only the first 100 violations of each rule are kept; the text of
/// the last one says how many more there are. A list may have a million bad entries.
#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    counts: HashMap<Rule, u64>,
}

impl Findings {
    const MOST_PER_RULE: u64 = 100;

    fn add(&mut self, rule: Rule, offset: u64, text: impl Into<String>) {
        self.add_as(rule.severity(), rule, offset, text);
    }

    fn add_as(&mut self, severity: Level, rule: Rule, offset: u64, text: impl Into<String>) {
        let count = self.counts.entry(rule).or_default();
        *count += 1;
        if *count <= Self::MOST_PER_RULE {
            self.violations.push(Violation {
                rule,
                severity,
                offset,
                text: text.into(),
            });
        }
    }

    /// Adds a violation by a list that should have `exact` bytes. Padding after its count is
    /// another rule than a wrong size.
    fn add_size(&mut self, rule: Rule, entry: StreamEntry, exact: u64, text: String) {
        let is_padded = u64::from(entry.size) == exact + 4;
        let rule = if is_padded { Rule::ListPadded } else { rule };
        self.add(rule, entry.record_offset, text);
    }

    fn into_violations(mut self) -> Vec<Violation> {
        for violation in self.violations.iter_mut().rev() {
            // The last violation that was kept says how many were not.
            if let Some(count) = self.counts.remove(&violation.rule)
                && count > Self::MOST_PER_RULE
            {
                violation.text += &format!("; and {} more like this", count - Self::MOST_PER_RULE);
            }
        }
        self.violations
    }

    /// Checks the `MINIDUMP_STRING` at a file offset. Only its length and its terminator are read.
    fn check_string(&mut self, dump: &Dump, what: Arguments<'_>, offset: u64) -> Result<(), ReadError> {
        /// Breakpad's limit for the length of a string, in UTF-16 code units.
        const BREAKPAD_UNITS: u64 = 1024;
        if !dump.holds(offset, 4) {
            self.add(
                Rule::StringOutsideFile,
                offset,
                format!("{what} starts past the end of the file"),
            );
            return Ok(());
        }
        // One read for most strings with their terminator.
        let mut first = [0; 512];
        let have = (first.len() as u64).min(dump.len() - offset) as usize;
        dump.fill("a string", offset, &mut first[..have])?;
        let length = u64::from(FieldReader(&first).u32(0));
        if length % 2 != 0 {
            self.add(
                Rule::StringOddLength,
                offset,
                format!("{what} has a length of {length} bytes"),
            );
        } else if !dump.holds(offset + 4, length) {
            let text = format!("{what} has {length} bytes and extends past the end of the file");
            self.add(Rule::StringOutsideFile, offset, text);
        } else if length / 2 > BREAKPAD_UNITS {
            self.add(
                Rule::StringLong,
                offset,
                format!("{what} has {} UTF-16 code units", length / 2),
            );
        } else {
            let end = 4 + length;
            let mut terminator = [0; 2];
            let terminated = match first[..have].get(end as usize..end as usize + 2) {
                Some(bytes) => bytes == terminator,
                None if dump.holds(offset + end, 2) => {
                    dump.fill("a string", offset + end, &mut terminator)?;
                    terminator == [0; 2]
                }
                None => false,
            };
            if !terminated {
                self.add(Rule::StringUnterminated, offset, format!("no NUL follows {what}"));
            }
        }
        Ok(())
    }

    /// Checks a CONTEXT that is present. It must lie inside the file, have the size of the
    /// processor's contexts, and have the processor's bit in its flags.
    fn check_context(&mut self, dump: &Dump, what: Arguments<'_>, at: Location) -> Result<(), ReadError> {
        let offset = u64::from(at.rva);
        if !dump.holds(offset, at.size.into()) {
            let text = format!(
                "{what} has {} bytes and extends past the end of the file",
                at.size
            );
            self.add(Rule::ContextOutsideFile, offset, text);
            return Ok(());
        }
        let cpu = dump.cpu();
        let Some(layout) = cpu.context_layout() else {
            return Ok(());
        };
        let Some(flags) = dump.plain_context(cpu, at)?.and_then(|context| context.flags()) else {
            self.add(
                Rule::ContextSize,
                offset,
                format!("{what} has only {} bytes", at.size),
            );
            return Ok(());
        };
        if flags & layout.cpu_bit == 0 {
            let text = format!("{what} has ContextFlags {flags:#x} without {:#x}", layout.cpu_bit);
            self.add(Rule::ContextFlags, offset + layout.flags as u64, text);
        }
        // Contexts with extended state are longer, because it follows the fixed part.
        let is_extended = flags & CONTEXT_XSTATE != 0;
        if at.size < layout.size || (at.size > layout.size && !is_extended) {
            let text = format!("{what} has {} bytes instead of {}", at.size, layout.size);
            self.add(Rule::ContextSize, offset, text);
        }
        // Microsoft's readers use the size in MiscInfo. According to Crashpad's writer, a different
        // size makes the dump invalid.
        if !is_extended {
            return Ok(());
        }
        if let Some(told) = dump.extended_state().filter(|told| told.context_size != at.size) {
            let text = format!(
                "{what} has {} bytes, but extended contexts have {} according to MiscInfo",
                at.size, told.context_size
            );
            self.add(Rule::ContextSize, offset, text);
        }
        Ok(())
    }

    /// Returns the first entries of a list, at most [`LIST_LIMIT`], like [`Findings::read`]. A list
    /// that has more is a violation, because the others are not checked.
    fn list<'d, T>(
        &mut self,
        rule: Rule,
        list: Result<List<'d, T>, ReadError>,
    ) -> Result<Option<Take<List<'d, T>>>, ReadError> {
        self.list_to(rule, list, LIST_LIMIT)
    }

    /// Does the same for another limit.
    fn list_to<'d, T>(
        &mut self,
        rule: Rule,
        list: Result<List<'d, T>, ReadError>,
        most: u64,
    ) -> Result<Option<Take<List<'d, T>>>, ReadError> {
        let list = self.read(rule, list)?;
        if let Some(list) = &list
            && list.len() > most
        {
            let text = format!(
                "only the first {most} of {} entries of {} were checked",
                list.len(),
                list.what()
            );
            self.add(Rule::ListTooLong, list.offset(), text);
        }
        Ok(list.map(|list| list.take(most as usize)))
    }

    /// Returns the value that was read. If it was malformed, adds a violation of `rule` and returns
    /// `None`. If the system could not read the file, returns that error.
    fn read<T>(&mut self, rule: Rule, read: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Malformed { what, offset, reason }) => {
                self.add(rule, offset, format!("{what}: {reason}"));
                Ok(None)
            }
            Err(error @ ReadError::TooLong { offset, .. }) => {
                self.add(Rule::ListTooLong, offset, error.to_string());
                Ok(None)
            }
            // Streams outside the file are violations of the rules about the directory.
            Err(ReadError::Outside { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
