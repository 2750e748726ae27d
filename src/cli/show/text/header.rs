//! Prints the header and the directory.

use std::io::{self, Write};

use dumpwright::DumpType;
use dumpwright::read::{Dump, stream_type};
use dumpwright::target::printable;

use super::words::{bytes, utc};
use super::{more, section};

pub(super) fn print(out: &mut impl Write, dump: &Dump, file: &str) -> io::Result<()> {
    let header = dump.header();
    writeln!(out, "{}: minidump, {}", printable(file), bytes(dump.len()))?;
    writeln!(out, "  written  {}", utc(header.time))?;
    let names = match u32::try_from(header.flags) {
        Ok(bits) => DumpType::from_bits_retain(bits).to_string(),
        Err(_) => header.flag_names().join(", "),
    };
    writeln!(out, "  type     {:#x} ({names})", header.flags)?;
    writeln!(out, "  version  {:#010x}", header.version)?;

    let used = dump
        .directory()
        .iter()
        .filter(|entry| entry.stream_type != stream_type::UNUSED)
        .count();
    section(
        out,
        &format!("Streams ({used} of {} slots used)", header.number_of_streams),
    )?;
    writeln!(out, "  {:>10} {:>10}  {:>10}  name", "offset", "size", "type")?;
    for entry in dump.directory() {
        let name = entry.name().unwrap_or("(unknown)");
        writeln!(
            out,
            "  {:>#10x} {:>10}  {:>#10x}  {name}",
            entry.rva, entry.size, entry.stream_type
        )?;
    }
    let left = u64::from(header.number_of_streams).saturating_sub(dump.directory().len() as u64);
    more(out, left)
}
