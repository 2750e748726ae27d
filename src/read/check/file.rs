//! Header and directory.

use std::collections::HashSet;

use super::super::dump::{DIRECTORY_ENTRY_SIZE, Dump, HEADER_SIZE, StreamEntry};
use super::super::stream_type::{self, stream_name};
use super::{Findings, Rule};

/// Whether there is more to check: with half a directory, what the other half would say is anyone's guess.
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

/// Whether the directory lies inside the file.
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
            format!("the directory begins at {start:#x} and not at {HEADER_SIZE:#x}, behind the header");
        findings.add(Rule::DirectoryPlace, 12, text);
    }
    if !dump.holds(start, count * DIRECTORY_ENTRY_SIZE) {
        let text = format!(
            "{count} entries at {start:#x} reach past the file's end at {:#x}",
            dump.len()
        );
        findings.add(Rule::DirectoryOutsideFile, 12, text);
        return false;
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
                "entry {index} has type 0 but {} bytes at {:#x}",
                entry.size, entry.rva
            );
            findings.add(Rule::UnusedSlotFilled, at, text);
        }
        return;
    }
    let name = describe(entry);
    // 0x19 is what comes next after the last documented type, 0x18; skelsec's parser takes it.
    if (0x1A..=0xFFFF).contains(&entry.stream_type) {
        let text = format!("{name} has a type from the range that is reserved for Microsoft");
        findings.add(Rule::PrivateStreamType, at, text);
    }
    let header = dump.header();
    let directory_end =
        u64::from(header.stream_directory_rva) + u64::from(header.number_of_streams) * DIRECTORY_ENTRY_SIZE;
    let (start, size) = (u64::from(entry.rva), u64::from(entry.size));
    if start < directory_end {
        let text =
            format!("{name} begins at {start:#x}, in front of the directory's end at {directory_end:#x}");
        findings.add(Rule::StreamBeforeDirectory, at, text);
    }
    if !dump.holds(start, size) {
        let text = format!(
            "{name}, {size} bytes at {start:#x}, reaches past the file's end at {:#x}",
            dump.len()
        );
        findings.add(Rule::StreamOutsideFile, at, text);
    } else if start + size > 1 << 32 {
        let text = format!("{name}, {size} bytes at {start:#x}, ends above 4 GiB");
        findings.add(Rule::StreamPast32Bits, at, text);
    }
}

fn duplicates(dump: &Dump, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for entry in dump.directory() {
        if entry.stream_type != stream_type::UNUSED && !seen.insert(entry.stream_type) {
            let text = format!("{} is in the directory more than once", describe(entry));
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
    let memory = dump.memory64_list().unwrap_or_default(); // a list that can't be read has its own rule
    if let (Some(first), Some(last), Some(list)) = (
        memory.first(),
        memory.last(),
        dump.stream(stream_type::MEMORY64_LIST),
    ) {
        let end = last.file_offset.saturating_add(last.size);
        let text = "the data of Memory64ListStream".to_owned();
        pieces.push((first.file_offset, end, list.record_offset, text));
    }
    pieces.sort();
    pieces.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1 && a.3 == b.3); // duplicate entries have their own rule
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
        stream_type::MISC_INFO,
    ] {
        // An extended list may stand in its place.
        let other = match needed {
            stream_type::THREAD_LIST => dump.stream(stream_type::THREAD_EX_LIST),
            _ => None,
        };
        if dump.stream(needed).or(other).is_none() {
            let text = format!("there is no {}", stream_name(needed).unwrap_or_default());
            findings.add(Rule::RequiredStreamMissing, 8, text);
        }
    }
    let lists = [stream_type::MEMORY_LIST, stream_type::MEMORY64_LIST];
    // Without the list that the flags promise, that rule says enough.
    let promised = dump.header().flags & super::memory::WITH_FULL_MEMORY != 0;
    if !promised && lists.iter().all(|list| dump.stream(*list).is_none()) {
        findings.add(
            Rule::MemoryListMissing,
            8,
            "there is neither MemoryListStream nor Memory64ListStream",
        );
    }
}
