//! Rules about the header and the directory.

use std::collections::HashSet;

use super::super::dump::{DIRECTORY_ENTRY_SIZE, DIRECTORY_LIMIT, Dump, HEADER_SIZE, StreamEntry};
use super::super::stream_type::{self, stream_name};
use super::{Findings, Rule};

/// Checks the header and the directory. Returns whether to check the other rules, too. They are not
/// checked if a part of the directory is missing.
pub(super) fn check(dump: &Dump, findings: &mut Findings) -> bool {
    if !header(dump, findings) {
        return false;
    }
    for (index, entry) in dump.directory().iter().enumerate() {
        stream(dump, findings, index, entry);
    }
    duplicates(dump, findings);
    overlaps(dump, findings);
    required(dump, findings);
    true
}

fn describe(entry: &StreamEntry) -> String {
    match entry.name() {
        Some(name) => name.to_owned(),
        None => format!("stream {:#x}", entry.stream_type),
    }
}

/// Checks the header. Returns whether the directory lies inside the file.
fn header(dump: &Dump, findings: &mut Findings) -> bool {
    let header = dump.header();
    if header.version & 0xFFFF != 0xA793 {
        let text = format!("the low word of version {:#x} is not 0xA793", header.version);
        findings.add(Rule::HeaderVersion, 4, text);
    }
    let count = u64::from(header.number_of_streams);
    let start = u64::from(header.stream_directory_rva);
    if start != HEADER_SIZE {
        let text =
            format!("the directory starts at {start:#x} instead of after the header, at {HEADER_SIZE:#x}");
        findings.add(Rule::DirectoryPlace, 12, text);
    }
    if !dump.holds(start, count * DIRECTORY_ENTRY_SIZE) {
        let text = format!(
            "the directory has {count} entries at {start:#x}, but the file ends at {:#x}",
            dump.len()
        );
        findings.add(Rule::DirectoryOutsideFile, 12, text);
        return false;
    }
    if count > DIRECTORY_LIMIT {
        let text = format!("only the first {DIRECTORY_LIMIT} of {count} directory entries were checked");
        findings.add(Rule::ListTooLong, 8, text);
    }
    if count > 128 {
        findings.add(
            Rule::DirectoryLong,
            8,
            format!("the directory has {count} entries"),
        );
    }
    true
}

fn stream(dump: &Dump, findings: &mut Findings, index: usize, entry: &StreamEntry) {
    let at = entry.record_offset;
    if entry.stream_type == stream_type::UNUSED {
        if entry.size != 0 || entry.rva != 0 {
            let text = format!(
                "directory entry {index} has type 0, but {} bytes at {:#x}",
                entry.size, entry.rva
            );
            findings.add(Rule::UnusedSlotFilled, at, text);
        }
        return;
    }
    let name = describe(entry);
    if entry.stream_type <= 0xFFFF && entry.name().is_none() {
        let text = format!("{name} has an undefined type in the range that is reserved for Microsoft");
        findings.add(Rule::PrivateStreamType, at, text);
    }
    let header = dump.header();
    let directory_end =
        u64::from(header.stream_directory_rva) + u64::from(header.number_of_streams) * DIRECTORY_ENTRY_SIZE;
    let (start, size) = (u64::from(entry.rva), u64::from(entry.size));
    if start < directory_end {
        let text =
            format!("{name} starts at {start:#x}, before the end of the directory at {directory_end:#x}");
        findings.add(Rule::StreamBeforeDirectory, at, text);
    }
    if !dump.holds(start, size) {
        let text = format!(
            "{name} has {size} bytes at {start:#x}, but the file ends at {:#x}",
            dump.len()
        );
        findings.add(Rule::StreamOutsideFile, at, text);
    } else if start + size > 1 << 32 {
        let text = format!("{name} has {size} bytes at {start:#x} and ends above 4 GiB");
        findings.add(Rule::StreamPast32Bits, at, text);
    }
}

fn duplicates(dump: &Dump, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for entry in dump.directory() {
        if entry.stream_type != stream_type::UNUSED && !seen.insert(entry.stream_type) {
            let text = format!("the directory has more than one {}", describe(entry));
            findings.add(Rule::StreamDuplicate, entry.record_offset, text);
        }
    }
}

fn overlaps(dump: &Dump, findings: &mut Findings) {
    let mut pieces: Vec<(u64, u64, u64, String)> = dump
        .directory()
        .iter()
        .filter(|entry| entry.stream_type != stream_type::UNUSED && entry.size != 0)
        .map(|entry| {
            let start = u64::from(entry.rva);
            (
                start,
                start + u64::from(entry.size),
                entry.record_offset,
                describe(entry),
            )
        })
        .collect();
    // There are other rules for a list that cannot be read or is too long.
    let first = dump.memory64_list().ok().and_then(|mut list| list.next()?.ok());
    if let (Some(first), Ok(Some(end)), Some(list)) =
        (first, dump.memory_end(), dump.stream(stream_type::MEMORY64_LIST))
    {
        let text = "the data of Memory64ListStream".to_owned();
        pieces.push((first.file_offset, end, list.record_offset, text));
    }
    pieces.sort();
    // There is another rule for duplicate entries.
    pieces.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1 && a.3 == b.3);
    let mut reach: Option<(u64, String)> = None;
    for (start, end, record, name) in pieces {
        if let Some((covered, other)) = &reach
            && start < *covered
        {
            let text = format!("{name} at {start:#x} overlaps {other}, which ends at {covered:#x}");
            findings.add(Rule::StreamOverlap, record, text);
        }
        if reach.as_ref().is_none_or(|(covered, _)| end > *covered) {
            reach = Some((end, name));
        }
    }
}

fn required(dump: &Dump, findings: &mut Findings) {
    for needed in [
        stream_type::THREAD_LIST,
        stream_type::MODULE_LIST,
        stream_type::SYSTEM_INFO,
    ] {
        // A ThreadExList may replace the ThreadList.
        let other = match needed {
            stream_type::THREAD_LIST => dump.stream(stream_type::THREAD_EX_LIST),
            _ => None,
        };
        if dump.stream(needed).or(other).is_none() {
            let text = format!("there is no {}", stream_name(needed).unwrap_or_default());
            findings.add(Rule::RequiredStreamMissing, 8, text);
        }
    }
    if dump.stream(stream_type::MISC_INFO).is_none() {
        findings.add(Rule::MiscInfoMissing, 8, "there is no MiscInfoStream");
    }
    // A dump with compressed memory may have no list.
    let lists = [
        stream_type::MEMORY_LIST,
        stream_type::MEMORY64_LIST,
        stream_type::COMPRESSED_MEMORY,
        stream_type::COMPRESSED_MEMORY_SQL,
    ];
    // If the flags require a Memory64List, the rule about that flag reports the missing list.
    let is_full = dump.header().flags & super::memory::WITH_FULL_MEMORY != 0;
    if !is_full && lists.iter().all(|list| dump.stream(*list).is_none()) {
        findings.add(
            Rule::MemoryListMissing,
            8,
            "there is neither a MemoryListStream nor a Memory64ListStream",
        );
    }
}
