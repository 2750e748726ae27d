//! Prints the exception.

use std::io::{self, Write};

use dumpwright::read::{Dump, Module, Platform};

use super::registers;
use super::section;
use super::words::place;
use crate::cli::show::part;

pub(super) fn print(
    out: &mut impl Write,
    dump: &Dump,
    platform: Platform,
    modules: &[Module],
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let Some(exception) = part(problems, dump.exception()) else {
        return Ok(());
    };
    section(out, "Exception")?;
    writeln!(out, "  what       {}", exception.describe(platform))?;
    writeln!(out, "  thread     {}", exception.thread_id)?;
    writeln!(out, "  address    {}", place(modules, exception.address))?;
    let parameters: Vec<String> = exception
        .parameters
        .iter()
        .map(|value| format!("{value:#x}"))
        .collect();
    if !parameters.is_empty() {
        writeln!(out, "  parameters {}", parameters.join(" "))?;
    }
    match &exception.context {
        Some(context) => registers::print(out, modules, context),
        None => writeln!(out, "  (no registers)"),
    }
}
