//! Prints the process: MiscInfo and, on Linux, the command line.

use std::io::{self, Write};

use dumpwright::read::{Dump, stream_type};
use dumpwright::target::printable;

use super::section;
use super::words::{name, utc};
use crate::cli::show::part;

/// The number of bytes of the command line that are printed.
const LONGEST_LINE: u64 = 64 << 10;

pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let Some(misc) = part(problems, dump.misc_info()) else {
        return Ok(());
    };
    section(out, "Process")?;
    if let Some(id) = misc.process_id {
        writeln!(out, "  id         {id}")?;
    }
    if let Some(started) = misc.process_create_time {
        writeln!(out, "  started    {}", utc(started))?;
    }
    if let (Some(user), Some(kernel)) = (misc.process_user_time, misc.process_kernel_time) {
        writeln!(out, "  times      {user} s user, {kernel} s kernel")?;
    }
    for (label, value) in [
        ("integrity", misc.process_integrity_level),
        ("options", misc.process_execute_flags),
        ("protected", misc.protected_process),
        ("cookie", misc.process_cookie),
    ] {
        if let Some(value) = value {
            writeln!(out, "  {label:<9}  {value:#x}")?;
        }
    }
    if let Some(zone) = misc.time_zone {
        writeln!(
            out,
            "  time zone  UTC{:+} min {}",
            -i64::from(zone.bias),
            name(&zone.standard_name)
        )?;
    }
    for (label, text) in [("build", misc.build_string), ("writer", misc.debug_build_string)] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            writeln!(out, "  {label:<9}  {}", name(&text))?;
        }
    }
    let line = dump.text_start(stream_type::LINUX_CMD_LINE, LONGEST_LINE);
    if let Some((line, length)) = part(problems, line) {
        let line = line.trim_end_matches('\0').replace('\0', " ");
        let more = match length > LONGEST_LINE {
            true => format!("… ({length} bytes)"),
            false => String::new(),
        };
        writeln!(out, "  command    {}{more}", printable(&line))?;
    }
    Ok(())
}
