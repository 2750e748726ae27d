//! Prints the captured memory and the regions of the address space.

use std::io::{self, Write};

use dumpwright::read::{CompressedRegion, Dump, MemoryRange, MemoryRegion};

use super::words::bytes;
use super::{section, section_of};
use crate::cli::show::{MOST_ENTRIES, compressed_memory, part};

pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    if let Some(memory) = compressed_memory(problems, dump) {
        let title = format!(
            "Compressed memory ({} regions, {}, {} compressed)",
            memory.regions,
            bytes(memory.bytes_read),
            bytes(memory.compressed_bytes)
        );
        match memory.regions > 0 {
            true => section_of(
                out,
                problems,
                dump.iter_compressed_regions(),
                |_| title,
                compressed,
            )?,
            false => section(out, &title)?,
        }
    }
    let (mut total, mut count) = (0_u64, 0);
    if let Some(list) = part(problems, dump.iter_memory_ranges().map(Some)) {
        count = list.len();
        for range in list.take(MOST_ENTRIES as usize).flatten() {
            total = total.saturating_add(range.size);
        }
    }
    let total = match count > MOST_ENTRIES {
        true => format!("the first {MOST_ENTRIES} have {}", bytes(total)),
        false => bytes(total),
    };
    let title = format!("Memory ({count} ranges, {total})");
    if count > 0 {
        section_of(out, problems, dump.iter_memory_ranges(), |_| title, range)?;
    } else {
        section(out, &title)?;
    }
    let title = |len| format!("Address space ({len} regions)");
    section_of(out, problems, dump.iter_memory_regions(), title, region)
}

fn range(out: &mut impl Write, range: MemoryRange) -> io::Result<()> {
    let MemoryRange {
        address,
        size,
        file_offset,
        ..
    } = range;
    let end = address.wrapping_add(size);
    writeln!(
        out,
        "  {address:#x} to {end:#x}  {}, at {file_offset:#x} of the file",
        bytes(size)
    )
}

fn compressed(out: &mut impl Write, region: CompressedRegion) -> io::Result<()> {
    let CompressedRegion {
        address,
        size,
        bucket,
        offset_in_bucket,
        ..
    } = region;
    let end = address.wrapping_add(size.into());
    writeln!(
        out,
        "  {address:#x} to {end:#x}  {}, at {offset_in_bucket:#x} of bucket {bucket}",
        bytes(size.into())
    )
}

fn region(out: &mut impl Write, region: MemoryRegion) -> io::Result<()> {
    let end = region.base.wrapping_add(region.size);
    let state = match region.state {
        0x1000 => "committed".to_owned(),
        0x2000 => "reserved".to_owned(),
        0x1_0000 => "free".to_owned(),
        other => format!("state {other:#x}"),
    };
    let kind = match region.kind {
        0 => String::new(),
        0x2_0000 => " private".to_owned(),
        0x4_0000 => " mapped".to_owned(),
        0x100_0000 => " image".to_owned(),
        other => format!(" type {other:#x}"),
    };
    writeln!(
        out,
        "  {:#x} to {end:#x}  {state}{kind} protection {:#x}",
        region.base, region.protect
    )
}
