//! Memory lists and the memory info list.

use std::collections::HashSet;

use super::super::dump::{DIRECTORY_ENTRY_SIZE, Dump};
use super::super::error::ReadError;
use super::super::memory::{MEMORY64_HEADER, MemoryRange, RANGE_SIZE};
use super::super::regions::REGION_SIZE;
use super::super::stream_type;
use super::{Findings, Rule};

/// `MiniDumpWithFullMemory`.
pub(super) const WITH_FULL_MEMORY: u64 = 2;
/// Breakpad's `minidump_dump` refuses longer lists; its `minidump_stackwalk` took 5045 ranges.
const BREAKPAD_RANGES: usize = 4096;
/// Breakpad refuses to read larger ranges.
const BREAKPAD_RANGE_SIZE: u64 = 64 << 20;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    lists(dump, findings);
    let mut ranges = list32(dump, findings)?;
    let wide = list64(dump, findings)?;
    ranges_at_regions(dump, findings, &wide);
    ranges.extend(wide);
    overlaps(findings, ranges);
    regions(dump, findings)
}

/// udmp-parser 0.7.0 keys the memory of a process by the base of its regions, and gives up on the first range of a
/// Memory64List whose address is not among them. Microsoft's writer has one range for each region.
fn ranges_at_regions(dump: &Dump, findings: &mut Findings, ranges: &[MemoryRange]) {
    // Without the list, or with one that can't be read, other rules are broken.
    if dump.stream(stream_type::MEMORY_INFO_LIST).is_none() {
        return;
    }
    let Ok(regions) = dump.memory_regions() else {
        return;
    };
    let bases: HashSet<u64> = regions.iter().map(|region| region.base).collect();
    for range in ranges.iter().filter(|range| !bases.contains(&range.address)) {
        let text = format!(
            "no region of the MemoryInfoList begins at {:#x} as this range does",
            range.address
        );
        findings.add(Rule::Memory64RangeAtRegion, range.record_offset, text);
    }
}

fn lists(dump: &Dump, findings: &mut Findings) {
    let promised = dump.header().flags & WITH_FULL_MEMORY != 0;
    let narrow = dump.stream(stream_type::MEMORY_LIST);
    let wide = dump.stream(stream_type::MEMORY64_LIST);
    match wide {
        None if promised => findings.add(
            Rule::FullMemoryFlag,
            24,
            "flag 0x2 is set without a Memory64ListStream",
        ),
        Some(entry) if !promised => {
            findings.add(
                Rule::FullMemoryFlagMissing,
                entry.record_offset,
                "Memory64ListStream without flag 0x2",
            );
        }
        _ => {}
    }
    if let (Some(_), Some(wide)) = (narrow, wide) {
        findings.add(
            Rule::MemoryListsBoth,
            wide.record_offset,
            "both memory lists are there",
        );
    }
    if let Some(wide) = wide
        && dump.stream(stream_type::MEMORY_INFO_LIST).is_none()
    {
        let text = "Memory64ListStream without a MemoryInfoListStream";
        findings.add(Rule::Memory64WithoutInfo, wide.record_offset, text);
    }
}

fn list32(dump: &Dump, findings: &mut Findings) -> Result<Vec<MemoryRange>, ReadError> {
    let Some(entry) = dump.stream(stream_type::MEMORY_LIST) else {
        return Ok(Vec::new());
    };
    let read = findings.read(Rule::MemoryListSize, dump.memory_list())?;
    let Some(ranges) = read else { return Ok(Vec::new()) };
    let exact = 4 + ranges.len() as u64 * RANGE_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{} ranges take {exact} bytes, the stream has {}",
            ranges.len(),
            entry.size
        );
        findings.add(Rule::MemoryListSize, entry.record_offset, text);
    }
    if ranges.len() > BREAKPAD_RANGES {
        let text = format!("the list has {} ranges", ranges.len());
        findings.add(Rule::MemoryRangeCount, entry.rva.into(), text);
    }
    for range in &ranges {
        check_range(dump, findings, range, Rule::MemoryRangeEmpty);
        if range.size > BREAKPAD_RANGE_SIZE {
            let text = format!("the range at {:#x} has {} bytes", range.address, range.size);
            findings.add(Rule::MemoryRangeLarge, range.record_offset, text);
        }
    }
    Ok(ranges)
}

fn list64(dump: &Dump, findings: &mut Findings) -> Result<Vec<MemoryRange>, ReadError> {
    let Some(entry) = dump.stream(stream_type::MEMORY64_LIST) else {
        return Ok(Vec::new());
    };
    let read = findings.read(Rule::Memory64ListSize, dump.memory64_list())?;
    let Some(ranges) = read else { return Ok(Vec::new()) };
    let exact = MEMORY64_HEADER + ranges.len() as u64 * RANGE_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{} ranges take {exact} bytes, the stream has {}",
            ranges.len(),
            entry.size
        );
        findings.add(Rule::Memory64ListSize, entry.record_offset, text);
    }
    for range in &ranges {
        check_range(dump, findings, range, Rule::Memory64RangeEmpty);
    }
    Ok(ranges)
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
        let text = format!("the range at {address:#x} with {size} bytes wraps");
        findings.add(Rule::MemoryRangeWraps, record_offset, text);
    }
    let header = dump.header();
    let directory_end =
        u64::from(header.stream_directory_rva) + u64::from(header.number_of_streams) * DIRECTORY_ENTRY_SIZE;
    if !dump.holds(file_offset, size) {
        let text = format!(
            "the bytes of the range at {address:#x}, {size} at {file_offset:#x}, reach past the file's end at {:#x}",
            dump.len()
        );
        findings.add(Rule::MemoryRangeOutsideFile, record_offset, text);
    } else if file_offset < directory_end {
        let text = format!("the bytes of the range at {address:#x} lie at {file_offset:#x}");
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
                "the range at {:#x} overlaps {other:#x} to {covered:#x}",
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
    let Ok(regions) = dump.memory_regions() else {
        return Ok(());
    }; // reported by the line above
    let mut next: Option<u64> = Some(0);
    for region in &regions {
        let end = region.base.checked_add(region.size.wrapping_sub(1));
        if region.size == 0 || end.is_none() {
            let text = format!("the region at {:#x} has {} bytes", region.base, region.size);
            findings.add(Rule::MemoryInfoRegion, region.record_offset, text);
            continue;
        }
        if next.is_none_or(|next| region.base < next) {
            let text = format!(
                "the region at {:#x} begins before the one in front of it ends",
                region.base
            );
            findings.add(Rule::MemoryInfoOrder, region.record_offset, text);
        }
        next = end.and_then(|end| end.checked_add(1));
    }
    Ok(())
}
