//! Prints the memory counters of the process and of the machine.

use std::io::{self, Write};

use dumpwright::read::Dump;

use super::section;
use crate::cli::show::part;

/// Prints the counters that are not 0. A writer also stores 0 for a counter that it could not
/// obtain.
pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let all = [
        ("Memory of the process", part(problems, dump.vm_counters())),
        ("Memory of the machine", part(problems, dump.system_memory())),
    ];
    for (title, counters) in all {
        let Some(counters) = counters else { continue };
        section(out, &format!("{title} (revision {})", counters.revision))?;
        for (name, value) in counters.numbers.iter().filter(|(_, value)| **value != 0) {
            writeln!(out, "  {name:<44} {value}")?;
        }
    }
    Ok(())
}
