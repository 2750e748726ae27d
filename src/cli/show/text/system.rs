//! Prints the operating system and the processor.

use std::io::{self, Write};

use dumpwright::read::{Dump, Platform};

use super::section;
use super::words::name;
use crate::cli::show::part;

/// Prints the section and returns the operating system, which later sections need.
pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<Platform> {
    let Some(system) = part(problems, dump.system_info()) else {
        return Ok(Platform::Other(0));
    };
    section(out, "System")?;
    let vendor = system
        .cpu_vendor()
        .map(|vendor| format!(" {vendor}"))
        .unwrap_or_default();
    let arm = system
        .arm_cpu()
        .map(|arm| format!(", main id {:#x}, capabilities {:#x}", arm.main_id, arm.hwcaps))
        .unwrap_or_default();
    writeln!(
        out,
        "  processor  {:?}{vendor}, family {} revision {:#x}, {} online{arm}",
        system.cpu, system.processor_level, system.processor_revision, system.number_of_processors
    )?;
    let version = format!(
        "{}.{}.{}",
        system.major_version, system.minor_version, system.build_number
    );
    writeln!(out, "  platform   {:?} {version}", system.platform)?;
    if let Some(text) = system.csd_version.filter(|text| !text.is_empty()) {
        writeln!(out, "             {}", name(&text))?;
    }
    Ok(system.platform)
}
