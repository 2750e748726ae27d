//! Both engines on one Windows process: dumpwright's own, and Microsoft's DbgHelp 6.3.9600, under
//! Wine. The tests compare their dumps stream by stream, field by field, byte by byte.
//!
//! Would catch: a stream that only one engine writes; a field with another value; memory that only
//! one engine includes, or with other bytes; a difference in the list below that no longer exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::victim::Victim;
use crate::support::{dumper, windows};
use dumpwright::read::Dump;
use serde_json::Value;
use tempfile::TempDir;

/// The presets, thread data together with data segments, and nearly everything at once.
const TYPES: [&str; 7] = ["normal", "mini", "heap", "triage", "full", "0x101", "0x1fd9"];

/// The differences, and their reasons. `[]` stands for each of several.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        ".system.cpu_information of features from 64 on",
        "of the second half of ProcessorFeatures DbgHelp leaves what its memory happens to hold; here unknown features are 0",
    ),
    (
        ".tokens[].handle",
        "DbgHelp writes the number that its own handle of the token had; nobody can use it",
    ),
    (
        ".handles",
        "DbgHelp 6.3.9600 counts handles by a call that Wine 8 answers with 0, and writes no HandleData then",
    ),
    (".streams[0xc].type", "as above: HandleData"),
    (
        ".unloaded_modules",
        "DbgHelp 6.3.9600 takes an entry of the list for longer than Wine's is, and finds the first one only",
    ),
    (
        "guard pages of DbgHelp only",
        "DbgHelp finds out what is readable by reading, and Wine reads guard pages of stacks, which Windows does not",
    ),
    (
        "bytes of other memory",
        "Wine keeps the registers of suspended threads in the process, in memory of its own beside each stack",
    ),
    ("bytes of the page that is shared with the kernel", "its clock"),
];

/// Fields about the layout of the file, which differs between the writers.
const LAYOUT: [&str; 8] = [
    "record_offset",
    "file_offset",
    "offset",
    "rva",
    "name_rva",
    "csd_version_rva",
    "stream_directory_rva",
    "object_info_rva",
];

/// Fields that differ between writers or between dumps: the file's name and size, times that pass
/// (the main thread answers the test), versions, unused entries of the directory. Streams are
/// compared by their contents, and memory separately.
const OWN: [&str; 13] = [
    ".bytes",
    ".file",
    ".header.number_of_streams",
    ".header.time",
    ".header.version",
    ".process.debug_build_string",
    ".streams.count",
    ".streams[].name",
    ".streams[].size",
    ".threads[].info.kernel_time",
    ".threads[].info.user_time",
    ".process.process_kernel_time",
    ".process.process_user_time",
];

/// The fields of a dump in the output of `show`, by their paths.
fn fields(dump: &Path) -> BTreeMap<String, String> {
    let mut command = dumper::dumpwright();
    let shown = crate::support::run_well(command.args(["show", "--json"]).arg(dump));
    let value: Value = serde_json::from_str(&shown).unwrap();
    let mut fields = BTreeMap::new();
    flatten(&value, String::new(), &mut fields);
    fields
}

fn flatten(value: &Value, path: String, into: &mut BTreeMap<String, String>) {
    /// Keys that identify the members of a list, whatever their order.
    const KEYS: [&str; 7] = ["id", "base", "handle", "type", "luid", "sid", "number"];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if !LAYOUT.contains(&&name[..]) && (name != "memory" || !path.is_empty()) {
                    flatten(member, format!("{path}.{name}"), into);
                }
            }
        }
        Value::Array(members) => {
            into.insert(format!("{path}.count"), members.len().to_string());
            for (index, member) in members.iter().enumerate() {
                let key = KEYS.iter().find_map(|key| member.get(key));
                let key = key.map_or_else(|| index.to_string(), |key| key.to_string().replace('"', ""));
                flatten(member, format!("{path}[{key}]"), into);
            }
        }
        Value::Null => {}
        _ => {
            into.insert(path, value.to_string());
        }
    }
}

/// A path with `[]` for each of several. Streams keep their names, and the halves of
/// `ProcessorFeatures` are distinguished.
fn pattern(path: &str) -> String {
    let index = |of: &str| path.strip_prefix(of)?.strip_suffix(']')?.parse::<u32>().ok();
    match index(".system.cpu_information[") {
        Some(8..) => return ".system.cpu_information of features from 64 on".to_owned(),
        Some(_) => return path.to_owned(),
        None if path.starts_with(".streams[") && path.ends_with(".type") => return path.to_owned(),
        None => {}
    }
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        format!("{text}[]{}", part.split_once(']').unwrap_or_default().1)
    })
}

/// Whether a field is this one, or a part of it.
fn is_part(field: &str, of: &str) -> bool {
    field
        .strip_prefix(of)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The memory of a dump: disjoint ranges, neighbours joined.
fn ranges(dump: &Dump) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut listed: Vec<_> = dump.memory_ranges().unwrap();
    listed.sort_by_key(|range| range.address);
    for range in listed {
        let end = range.address + range.size;
        match ranges.last_mut() {
            Some((_, last)) if *last >= range.address => *last = end.max(*last),
            _ => ranges.push((range.address, end)),
        }
    }
    ranges
}

/// The guard pages in the dump's memory map.
fn guard_pages(dump: &Dump) -> Vec<(u64, u64)> {
    const PAGE_GUARD: u32 = 0x100;
    let regions = dump.memory_regions().unwrap().into_iter();
    regions
        .filter(|region| region.protect & PAGE_GUARD != 0)
        .map(|region| (region.base, region.base + region.size))
        .collect()
}

/// The part of the first ranges that is not in the second.
fn without(ranges: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    for &(start, end) in ranges {
        let mut at = start;
        for &(other_start, other_end) in others.iter().filter(|other| other.0 < end && other.1 > start) {
            if other_start > at {
                left.push((at, other_start));
            }
            at = at.max(other_end);
        }
        if at < end {
            left.push((at, end));
        }
    }
    left
}

/// The part that is in both.
fn common(ranges: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    without(ranges, &without(ranges, others))
}

/// Where the bytes of both dumps differ, in words: stacks in use, modules, the page that the kernel
/// shares with all processes, or elsewhere.
fn other_bytes(ours: &Dump, theirs: &Dump) -> BTreeMap<String, String> {
    /// `KUSER_SHARED_DATA`, at the same address in each process.
    const SHARED: u64 = 0x7ffe_0000;
    const PAGE: u64 = 0x1000;
    let threads = ours.threads().unwrap();
    let modules = ours.modules().unwrap();
    let mut found = BTreeMap::new();
    for (start, end) in common(&ranges(ours), &ranges(theirs)) {
        let bytes = |dump: &Dump| dump.memory(start, end - start).unwrap().expect("it is listed");
        let (ours, theirs) = (bytes(ours), bytes(theirs));
        let different = ours
            .iter()
            .zip(&theirs)
            .enumerate()
            .filter(|(_, (ours, theirs))| ours != theirs);
        for at in different.map(|(at, _)| start + at as u64) {
            let is_in = |base: u64, size: u64| (base..base + size).contains(&at);
            let place = if threads
                .iter()
                .any(|thread| is_in(thread.stack.start, thread.stack.size.into()))
            {
                "bytes of stacks"
            } else if modules
                .iter()
                .any(|module| is_in(module.base, module.size.into()))
            {
                "bytes of modules"
            } else if is_in(SHARED, PAGE) {
                "bytes of the page that is shared with the kernel"
            } else {
                "bytes of other memory"
            };
            let places: &mut String = found.entry(place.to_owned()).or_default();
            if places.len() < 200 {
                *places += &format!(" {at:#x}");
            }
        }
    }
    found
}

/// A dump of the process by one engine.
fn dump(pid: u32, kind: &str, options: &[&str], into: &Path) {
    let mut command = windows::wine(windows::executable());
    command
        .args(["dump", "--pid", &pid.to_string(), "--type", kind])
        .args(options)
        .arg("--output")
        .arg(windows::path(into));
    let output = windows::run(&mut command);
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// The differences between the engines for one dump type: patterns of fields, each with one
/// example.
fn differences(pid: u32, kind: &str) -> BTreeMap<String, String> {
    let folder = TempDir::new().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    dump(
        pid,
        kind,
        &["--backend", "dumpwright", "--profile", "dbghelp63"],
        &ours,
    );
    let library = windows::microsofts_dbghelp();
    let library = windows::path(&library).into_string().unwrap();
    dump(
        pid,
        kind,
        &["--backend", "dbghelp", "--dbghelp", &library],
        &theirs,
    );

    let mut found = BTreeMap::new();
    let (own, other) = (fields(&ours), fields(&theirs));
    let paths: BTreeSet<_> = own.keys().chain(other.keys()).collect();
    for path in paths {
        let value = |fields: &BTreeMap<String, String>| {
            fields.get(path).map_or("(absent)", String::as_str).to_owned()
        };
        let (ours, theirs) = (value(&own), value(&other));
        if ours != theirs && !OWN.contains(&&pattern(path)[..]) {
            let example = format!("{path}: dumpwright {ours}, DbgHelp {theirs}");
            found.entry(pattern(path)).or_insert(example);
        }
    }
    let [ours, theirs] = [&ours, &theirs].map(|path| Dump::open(path).unwrap());
    let (own, other) = (ranges(&ours), ranges(&theirs));
    let guarded = guard_pages(&theirs);
    let lacking = without(&other, &own);
    for (name, only) in [
        ("memory of dumpwright only", without(&own, &other)),
        ("memory of DbgHelp only", without(&lacking, &guarded)),
        ("guard pages of DbgHelp only", common(&lacking, &guarded)),
    ] {
        if !only.is_empty() {
            let places: Vec<_> = only
                .iter()
                .map(|(start, end)| format!("{start:#x}..{end:#x}"))
                .collect();
            found.insert(name.to_owned(), places.join(" "));
        }
    }
    found.extend(other_bytes(&ours, &theirs));
    found
}

#[test]
fn both_engines_tell_the_same_of_a_process() {
    let program = windows::compile(
        "idle.exe",
        &crate::support::repository().join("tests/windows_victims/idle.c"),
        &[],
        &[],
    );
    let mut victim = Victim::start_command(&mut windows::wine(&program));
    let pid = victim.testimony["pid"].as_u64().unwrap() as u32;
    let mut explained = BTreeSet::new();
    let mut surprises = Vec::new();
    for kind in TYPES {
        for (field, example) in differences(pid, kind) {
            match DIFFERENCES.iter().find(|(known, _)| is_part(&field, known)) {
                Some((known, reason)) => {
                    explained.insert(*known);
                    println!("{kind}: {example}: {reason}");
                }
                None => surprises.push(format!("{kind}: {example}")),
            }
        }
        victim.ping();
    }
    let unused = DIFFERENCES.iter().filter(|(field, _)| !explained.contains(field));
    surprises.extend(
        unused.map(|(field, _)| format!("{field} does not differ any more: take it out of the list")),
    );
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
