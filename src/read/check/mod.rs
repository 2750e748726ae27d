//! The structural check: which rules of the format, and of the programs that read it, a dump breaks.
//!
//! Where the rules come from: the documentation of the structures, and measurements in which each rule was broken in
//! an otherwise good dump and the dump shown to LLDB 19.1.7, dbgeng 6.3.9600 and 10.0.15063, Breakpad's
//! `minidump_dump` and `minidump_stackwalk`, rust-minidump 0.27, and the PyPI packages `minidump` (skelsec) and
//! `udmp-parser`.

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

use serde::Serialize;

use super::context::CONTEXT_XSTATE;
use super::dump::Dump;
use super::error::ReadError;
use super::fields::Location;
pub use rules::Rule;

/// How bad it is to break a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file says what it should, and a reader has a limit or misses something.
    Warning,
    /// A reader refuses the dump or part of it, or takes it for something else.
    Error,
}

/// A rule that the dump breaks, and where.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// The rule. Its id is stable, so that scripts can name it.
    pub rule: Rule,
    /// The rule's severity, except where the options of the check change it.
    pub severity: Severity,
    /// File offset of the field or record that breaks it.
    pub offset: u64,
    /// What is wrong there.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
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

/// What the check should let pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Memory that was lost while the dump was written is expected: [`Rule::MemoryLost`] is a warning.
    pub expect_losses: bool,
}

/// Checks a dump against every rule. The result is in the order of the rules' topics, file first.
///
/// Parts that can't be read are violations too, except where the system fails to read the file: that is an error.
///
/// # Errors
///
/// The file could not be read.
pub fn check(dump: &Dump) -> Result<Vec<Violation>, ReadError> {
    check_with(dump, CheckOptions::default())
}

/// The same with options.
///
/// # Errors
///
/// The file could not be read.
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
        exception::check,
        lists::check,
        linux::check,
    ] {
        topic(dump, &mut findings)?;
    }
    losses::check(dump, options, &mut findings)?;
    Ok(findings.into_violations())
}

/// Violations as they are found. A list with a million bad entries is told by its first hundred and their number.
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

    fn add_as(&mut self, severity: Severity, rule: Rule, offset: u64, text: impl Into<String>) {
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

    fn into_violations(mut self) -> Vec<Violation> {
        for violation in self.violations.iter_mut().rev() {
            // The last one that was kept tells how many were not.
            if let Some(count) = self.counts.remove(&violation.rule)
                && count > Self::MOST_PER_RULE
            {
                violation.text += &format!("; and {} more like this", count - Self::MOST_PER_RULE);
            }
        }
        self.violations
    }

    /// A `MINIDUMP_STRING` at an offset. Only its length and terminator are read.
    fn check_string(&mut self, dump: &Dump, what: &str, offset: u64) -> Result<(), ReadError> {
        /// Breakpad's limit on the units of a string.
        const BREAKPAD_UNITS: u64 = 1024;
        if !dump.holds(offset, 4) {
            self.add(
                Rule::StringOutsideFile,
                offset,
                format!("{what} would begin behind the file's end"),
            );
            return Ok(());
        }
        let mut length = [0; 4];
        dump.fill("a string", offset, &mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        if length % 2 != 0 {
            self.add(
                Rule::StringOddLength,
                offset,
                format!("{what} has a length of {length} bytes"),
            );
        } else if !dump.holds(offset + 4, length) {
            let text = format!("{what} has {length} bytes and reaches past the file's end");
            self.add(Rule::StringOutsideFile, offset, text);
        } else if length / 2 > BREAKPAD_UNITS {
            self.add(
                Rule::StringLong,
                offset,
                format!("{what} has {} UTF-16 units", length / 2),
            );
        } else {
            let terminated = if dump.holds(offset + 4 + length, 2) {
                let mut terminator = [0; 2];
                dump.fill("a string", offset + 4 + length, &mut terminator)?;
                terminator == [0; 2]
            } else {
                false
            };
            if !terminated {
                self.add(Rule::StringUnterminated, offset, format!("no NUL follows {what}"));
            }
        }
        Ok(())
    }

    /// A CONTEXT that is present: inside the file, of the processor's size, with the processor's bit.
    fn check_context(&mut self, dump: &Dump, what: &str, at: Location) -> Result<(), ReadError> {
        let offset = u64::from(at.rva);
        if !dump.holds(offset, at.size.into()) {
            let text = format!("{what}, {} bytes, reaches past the file's end", at.size);
            self.add(Rule::ContextOutsideFile, offset, text);
            return Ok(());
        }
        let cpu = dump.cpu();
        let Some(layout) = cpu.context_layout() else {
            return Ok(());
        };
        let Some(flags) = dump.context(cpu, at)?.and_then(|context| context.flags()) else {
            self.add(
                Rule::ContextSize,
                offset,
                format!("{what} has {} bytes only", at.size),
            );
            return Ok(());
        };
        if flags & layout.cpu_bit == 0 {
            let text = format!("{what} has ContextFlags {flags:#x} without {:#x}", layout.cpu_bit);
            self.add(Rule::ContextFlags, offset + layout.flags as u64, text);
        }
        // Extended state comes behind the fixed part, so those contexts are longer.
        let is_extended = flags & CONTEXT_XSTATE != 0;
        if at.size < layout.size || (at.size > layout.size && !is_extended) {
            let text = format!("{what} has {} bytes instead of {}", at.size, layout.size);
            self.add(Rule::ContextSize, offset, text);
        }
        // Microsoft's readers go by MiscInfo's word for it (Crashpad's writer notes that another size makes the dump invalid).
        let told = dump
            .misc_info()
            .ok()
            .flatten()
            .and_then(|misc| misc.extended_state);
        if let Some(told) = told.filter(|told| is_extended && told.context_size != at.size) {
            let text = format!(
                "{what} has {} bytes, and extended ones have {} according to MiscInfo",
                at.size, told.context_size
            );
            self.add(Rule::ContextSize, offset, text);
        }
        Ok(())
    }

    /// Runs the part of a check that reads; damage it meets is a violation of `rule`, a failing disk is an error.
    fn read<T>(&mut self, rule: Rule, read: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Malformed { what, offset, reason }) => {
                self.add(rule, offset, format!("{what}: {reason}"));
                Ok(None)
            }
            // Streams outside the file are reported once, with the directory.
            Err(ReadError::Outside { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
