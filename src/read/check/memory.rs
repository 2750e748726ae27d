//! Rules about the memory lists and the memory info list.

use std::collections::HashSet;

use super::super::dump::{DIRECTORY_ENTRY_SIZE, Dump};
use super::super::error::ReadError;
use super::super::list::{LIST_LIMIT, List};
use super::super::memory::{MEMORY64_HEADER, MemoryRange, RANGE_SIZE};
use super::super::regions::REGION_SIZE;
use super::super::stream_type;
use super::{Findings, Rule};

/// `MiniDumpWithFullMemory`.
pub(super) const WITH_FULL_MEMORY: u64 = 2;
/// The maximum number of ranges in Breakpad's `minidump_dump`, which refuses longer lists.
/// Breakpad's `minidump_stackwalk` accepted 5045 ranges.
const BREAKPAD_RANGES: u64 = 4096;
/// The maximum size of a range that Breakpad reads, in bytes.
const BREAKPAD_RANGE_SIZE: u64 = 64 << 20;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    lists(dump, findings);
    let mut ranges = Vec::new();
    list32(dump, findings, &mut ranges)?;
    let narrow = ranges.len();
    list64(dump, findings, &mut ranges)?;
    ranges_at_regions(dump, findings, &ranges[narrow..]);
    overlaps(findings, ranges);
    regions(dump, findings)
}

/// Checks that each range of the Memory64List starts at the base of a region. udmp-parser 0.7.0
/// uses the base addresses of regions as keys for memory, and refuses the file at the first range
/// whose address is not such a base. Microsoft's writer writes one range for each region.
fn ranges_at_regions(dump: &Dump, findings: &mut Findings, ranges: &[MemoryRange]) {
    // There are other rules for a list that is missing, cannot be read, or is too long.
    if dump.stream(stream_type::MEMORY_INFO_LIST).is_none() {
        return;
    }
    let Ok(regions) = dump
        .iter_memory_regions()
        .and_then(|list| list.bounded(LIST_LIMIT))
    else {
        return;
    };
    let bases: HashSet<u64> = regions.flatten().map(|region| region.base).collect();
    for range in ranges.iter().filter(|range| !bases.contains(&range.address)) {
        let text = format!(
            "the range starts at {:#x}, but no region of the MemoryInfoList does",
            range.address
        );
        findings.add(Rule::Memory64RangeAtRegion, range.record_offset, text);
    }
}

fn lists(dump: &Dump, findings: &mut Findings) {
    let is_full = dump.header().flags & WITH_FULL_MEMORY != 0;
    let narrow = dump.stream(stream_type::MEMORY_LIST);
    let wide = dump.stream(stream_type::MEMORY64_LIST);
    match wide {
        None if is_full => findings.add(
            Rule::FullMemoryFlag,
            24,
            "flag 0x2 is set, but there is no Memory64ListStream",
        ),
        Some(entry) if !is_full => {
            findings.add(
                Rule::FullMemoryFlagMissing,
                entry.record_offset,
                "there is a Memory64ListStream, but flag 0x2 is not set",
            );
        }
        _ => {}
    }
    if let (Some(_), Some(wide)) = (narrow, wide) {
        findings.add(
            Rule::MemoryListsBoth,
            wide.record_offset,
            "there are both a MemoryListStream and a Memory64ListStream",
        );
    }
    if let Some(wide) = wide
        && dump.stream(stream_type::MEMORY_INFO_LIST).is_none()
    {
        let text = "there is a Memory64ListStream, but no MemoryInfoListStream";
        findings.add(Rule::Memory64WithoutInfo, wide.record_offset, text);
    }
}

fn list32(dump: &Dump, findings: &mut Findings, ranges: &mut Vec<MemoryRange>) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::MEMORY_LIST) else {
        return Ok(());
    };
    let list = dump.memory_list();
    let count = list.as_ref().map_or(0, List::len);
    let Some(list) = findings.list(Rule::MemoryListSize, list)? else {
        return Ok(());
    };
    let exact = 4 + count * RANGE_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!("{count} ranges take {exact} bytes, the stream has {}", entry.size);
        findings.add_size(Rule::MemoryListSize, entry, exact, text);
    }
    if count > BREAKPAD_RANGES {
        let text = format!("the list has {count} ranges");
        findings.add(Rule::MemoryRangeCount, entry.rva.into(), text);
    }
    for range in list {
        let range = range?;
        check_range(dump, findings, &range, Rule::MemoryRangeEmpty);
        if range.size > BREAKPAD_RANGE_SIZE {
            let text = format!("the range at {:#x} has {} bytes", range.address, range.size);
            findings.add(Rule::MemoryRangeLarge, range.record_offset, text);
        }
        ranges.push(range);
    }
    Ok(())
}

fn list64(dump: &Dump, findings: &mut Findings, ranges: &mut Vec<MemoryRange>) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::MEMORY64_LIST) else {
        return Ok(());
    };
    let list = dump.memory64_list();
    let count = list.as_ref().map_or(0, List::len);
    let Some(list) = findings.list(Rule::Memory64ListSize, list)? else {
        return Ok(());
    };
    let exact = MEMORY64_HEADER + count * RANGE_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!("{count} ranges take {exact} bytes, the stream has {}", entry.size);
        findings.add(Rule::Memory64ListSize, entry.record_offset, text);
    }
    for range in list {
        let range = range?;
        check_range(dump, findings, &range, Rule::Memory64RangeEmpty);
        ranges.push(range);
    }
    Ok(())
}

fn check_range(dump: &Dump, findings: &mut Findings, range: &MemoryRange, empty: Rule) {
    let MemoryRange {
        record_offset,
        address,
        size,
        file_offset,
    } = *range;
    if size == 0 {
        findings.add(
            empty,
            record_offset,
            format!("the range at {address:#x} is empty"),
        );
        return;
    }
    if address.checked_add(size - 1).is_none() {
        let text = format!(
            "the range at {address:#x} has {size} bytes and extends past the end of the address space"
        );
        findings.add(Rule::MemoryRangeWraps, record_offset, text);
    }
    let header = dump.header();
    let directory_end =
        u64::from(header.stream_directory_rva) + u64::from(header.number_of_streams) * DIRECTORY_ENTRY_SIZE;
    if !dump.holds(file_offset, size) {
        let text = format!(
            "the range at {address:#x} has {size} bytes at offset {file_offset:#x}, \
             but the file ends at {:#x}",
            dump.len()
        );
        findings.add(Rule::MemoryRangeOutsideFile, record_offset, text);
    } else if file_offset < directory_end {
        let text = format!(
            "the bytes of the range at {address:#x} are at offset {file_offset:#x}, \
             before the end of the directory at {directory_end:#x}"
        );
        findings.add(Rule::MemoryRangeBeforeDirectory, record_offset, text);
    }
}

fn overlaps(findings: &mut Findings, mut ranges: Vec<MemoryRange>) {
    ranges.retain(|range| range.size != 0 && range.address.checked_add(range.size - 1).is_some());
    ranges.sort_by_key(|range| (range.address, range.record_offset));
    let mut last: Option<(u64, u64)> = None;
    for range in &ranges {
        let end = range.address + (range.size - 1);
        if let Some((other, covered)) = last
            && range.address <= covered
        {
            let text = format!(
                "the range at {:#x} overlaps the one from {other:#x} to {covered:#x}",
                range.address
            );
            findings.add(Rule::MemoryRangeOverlap, range.record_offset, text);
        }
        if last.is_none_or(|(_, covered)| end > covered) {
            last = Some((range.address, end));
        }
    }
}

fn regions(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    super::lists::exact_size(
        dump,
        findings,
        stream_type::MEMORY_INFO_LIST,
        true,
        &[REGION_SIZE],
        16,
    )?;
    // `exact_size` has already reported a list that cannot be read.
    let Ok(regions) = dump.iter_memory_regions() else {
        return Ok(());
    };
    let mut next: Option<u64> = Some(0);
    for region in findings
        .list(Rule::MemoryInfoSize, Ok(regions))?
        .into_iter()
        .flatten()
    {
        let region = region?;
        let end = region.base.checked_add(region.size.wrapping_sub(1));
        if region.size == 0 || end.is_none() {
            let text = format!(
                "the region at {:#x} has an invalid size of {} bytes",
                region.base, region.size
            );
            findings.add(Rule::MemoryInfoRegion, region.record_offset, text);
            continue;
        }
        if next.is_none_or(|next| region.base < next) {
            let text = format!(
                "the region at {:#x} starts before the end of the previous one",
                region.base
            );
            findings.add(Rule::MemoryInfoOrder, region.record_offset, text);
        }
        next = end.and_then(|end| end.checked_add(1));
    }
    Ok(())
}
