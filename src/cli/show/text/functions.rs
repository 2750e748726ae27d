//! Prints the function tables of code that was generated at run time.

use std::io::{self, Write};

use dumpwright::read::{Dump, Module};

use super::section;
use super::words::place;
use crate::cli::show::part;

pub(super) fn print(
    out: &mut impl Write,
    dump: &Dump,
    modules: &[Module],
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let tables = part(problems, dump.function_tables());
    if tables.is_empty() {
        return Ok(());
    }
    section(
        out,
        &format!("Functions made at run time ({} tables)", tables.len()),
    )?;
    for table in tables {
        writeln!(
            out,
            "  {:#x} to {:#x}, base {}",
            table.minimum_address,
            table.maximum_address,
            place(modules, table.base_address)
        )?;
        for entry in table.entries {
            writeln!(
                out,
                "    {:#x} to {:#x}, unwind information at {:#x}",
                entry.begin_address, entry.end_address, entry.unwind_info_address
            )?;
        }
    }
    Ok(())
}
