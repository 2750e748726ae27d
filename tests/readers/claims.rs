//! What the rules of `dumpwright check` say about readers.
//!
//! Would catch: a rule that says that a reader fails where it does not, also after an update of the
//! reader.
//!
//! The claims are taken from the text of each rule. A rule that names a reader is broken in an
//! otherwise good dump, and the reader has to refuse that dump, complain about it, or show less of
//! it than of the good one. Microsoft's engine needs Wine; `dbgeng.rs` is about it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dumpwright::read::Rule;
use minidump::{
    Minidump, MinidumpBreakpadInfo, MinidumpException, MinidumpHandleDataStream, MinidumpMemory64List,
    MinidumpMemoryInfoList, MinidumpMemoryList, MinidumpMiscInfo, MinidumpModuleList, MinidumpSystemInfo,
    MinidumpThreadInfoList, MinidumpThreadList, MinidumpThreadNames, MinidumpUnloadedModuleList, Module as _,
};

use crate::broken::CASES;
use crate::sample::{STACK_1, STACK_2, Sample};
use crate::support::readers::{breakpad, cache, lldb, python};

/// What a reader shows of a dump: `None` if it refuses the dump or crashes, otherwise how much of
/// each part it shows. More is better; complaints count as -1 each.
type Shown = Option<BTreeMap<String, i64>>;

type Reader = fn(&Path) -> Shown;

/// The readers by the names that the rules' texts use.
const READERS: &[(&str, Reader)] = &[
    ("Breakpad", breakpad_shows),
    ("rust-minidump", rust_minidump_shows),
    ("LLDB", lldb_shows),
    ("skelsec", skelsec_shows),
    ("udmp-parser", udmp_shows),
];

fn breakpad_shows(dump: &Path) -> Shown {
    let tool = |name: &str| {
        let output = Command::new(cache().join("breakpad").join(name))
            .args((name == "minidump_stackwalk").then_some("-m"))
            .arg(dump)
            .output()
            .expect("Breakpad starts");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (walked, lines) = tool("minidump_stackwalk");
    let (raw, complaints) = breakpad::raw(dump);
    let count = |start: &str| lines.lines().filter(|line| line.starts_with(start)).count() as i64;
    let frames = lines
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    walked.then(|| {
        BTreeMap::from([
            ("frames".to_owned(), frames.count() as i64),
            ("modules".to_owned(), count("Module|")),
            ("system".to_owned(), count("OS|") + count("CPU|")),
            ("crash".to_owned(), i64::from(!lines.contains("Crash|No crash"))),
            ("raw lines".to_owned(), raw.lines().count() as i64),
            ("complaints".to_owned(), -(complaints.len() as i64)),
        ])
    })
}

fn rust_minidump_shows(dump: &Path) -> Shown {
    let bytes = std::fs::read(dump).expect("a file");
    // A panic counts as a refusal.
    std::panic::catch_unwind(|| rust_minidump_streams(&bytes))
        .ok()
        .flatten()
}

fn rust_minidump_streams(bytes: &[u8]) -> Shown {
    let dump = Minidump::read(bytes).ok()?;
    let mut shown = BTreeMap::new();
    let mut put = |name: &str, count: usize| shown.insert(name.to_owned(), count as i64);
    let system = dump.get_stream::<MinidumpSystemInfo>().ok();
    let misc = dump.get_stream::<MinidumpMiscInfo>().ok();
    put("system", usize::from(system.is_some()));
    put("process", usize::from(misc.is_some()));
    let memory = dump.get_memory();
    let ranges = dump
        .get_stream::<MinidumpMemoryList>()
        .map_or(0, |list| list.iter().count());
    put("ranges", ranges);
    let wide = dump.get_stream::<MinidumpMemory64List>();
    put("wide ranges", wide.map_or(0, |list| list.iter().count()));
    if let Ok(list) = dump.get_stream::<MinidumpThreadList>() {
        put("threads", list.threads.len());
        let contexts = list.threads.iter().filter(|thread| {
            let system = system.as_ref();
            system.is_some_and(|system| thread.context(system, misc.as_ref()).is_some())
        });
        put("contexts", contexts.count());
        let stacks = list.threads.iter().filter(|thread| {
            let memory = memory.as_ref();
            memory.is_some_and(|memory| thread.stack_memory(memory).is_some())
        });
        put("stacks", stacks.count());
    }
    if let Ok(list) = dump.get_stream::<MinidumpModuleList>() {
        put("modules", list.iter().count());
        put(
            "module ids",
            list.iter()
                .filter(|module| module.debug_identifier().is_some())
                .count(),
        );
    }
    if let Ok(exception) = dump.get_stream::<MinidumpException>() {
        put("exception", 1);
        let context = system
            .as_ref()
            .and_then(|system| exception.context(system, misc.as_ref()));
        put("exception context", usize::from(context.is_some()));
        if let Some(system) = &system {
            let _ = exception.get_crash_reason(system.os, system.cpu);
        }
        let _ = exception.print(&mut std::io::sink(), system.as_ref(), misc.as_ref());
    }
    let infos = dump.get_stream::<MinidumpThreadInfoList>();
    put("thread infos", infos.map_or(0, |list| list.thread_infos.len()));
    put(
        "thread names",
        usize::from(dump.get_stream::<MinidumpThreadNames>().is_ok()),
    );
    let regions = dump.get_stream::<MinidumpMemoryInfoList>();
    put("regions", regions.map_or(0, |list| list.iter().count()));
    let handles = dump.get_stream::<MinidumpHandleDataStream>();
    put("handles", handles.map_or(0, |list| list.iter().count()));
    let unloaded = dump.get_stream::<MinidumpUnloadedModuleList>();
    put("unloaded", unloaded.map_or(0, |list| list.iter().count()));
    put(
        "breakpad",
        usize::from(dump.get_stream::<MinidumpBreakpadInfo>().is_ok()),
    );
    let soft_errors = dump.get_stream::<minidump::MinidumpSoftErrors>();
    put("soft errors", usize::from(soft_errors.is_ok()));
    Some(shown)
}

fn lldb_shows(dump: &Path) -> Shown {
    let stacks = [(STACK_1, 16), (STACK_2, 16)];
    let report = lldb::report(dump, &stacks).ok()?;
    let frames: usize = report.threads.iter().map(|thread| thread.frames.len()).sum();
    let registers: usize = report.threads.iter().map(|thread| thread.registers.len()).sum();
    let modules: std::collections::BTreeSet<_> = report.modules.iter().map(|module| module.base).collect();
    let mapped = report.regions.iter().filter(|(_, _, is_mapped)| *is_mapped);
    let named = report.threads.iter().flat_map(|thread| &thread.frames);
    Some(BTreeMap::from([
        ("threads".to_owned(), report.threads.len() as i64),
        ("frames".to_owned(), frames as i64),
        (
            "frames in modules".to_owned(),
            named.filter(|frame| frame.module.is_some()).count() as i64,
        ),
        ("registers".to_owned(), registers as i64),
        ("modules".to_owned(), modules.len() as i64),
        ("regions".to_owned(), mapped.count() as i64),
        ("stacks".to_owned(), report.memory.iter().flatten().count() as i64),
        (
            "right process id".to_owned(),
            i64::from(report.pid == crate::sample::PROCESS),
        ),
    ]))
}

fn skelsec_shows(dump: &Path) -> Shown {
    let all = python::skelsec(dump, &[]).ok()?;
    let streams = python::skelsec_streams(dump).ok()?;
    let mut shown = BTreeMap::from([
        ("threads".to_owned(), all.threads.len() as i64),
        ("modules".to_owned(), all.modules.len() as i64),
        ("regions".to_owned(), all.memory_info.len() as i64),
        ("handles".to_owned(), all.handles.len() as i64),
        ("ranges".to_owned(), all.ranges.len() as i64),
        ("streams".to_owned(), all.streams.len() as i64),
        ("complaints".to_owned(), -(all.complaints.len() as i64)),
    ]);
    for (name, value) in streams.as_object().into_iter().flatten() {
        shown.insert(
            format!("{name} in streams"),
            value.as_array().map_or(0, Vec::len) as i64,
        );
    }
    Some(shown)
}

fn udmp_shows(dump: &Path) -> Shown {
    let all = python::udmp(dump, &[]).ok()?;
    let present = all.blocks.iter().map(|(_, _, in_dump)| *in_dump as i64).sum();
    Some(BTreeMap::from([
        ("threads".to_owned(), all.threads.len() as i64),
        ("modules".to_owned(), all.modules.len() as i64),
        ("memory".to_owned(), present),
        ("foreground".to_owned(), i64::from(all.foreground.is_some())),
    ]))
}

/// Returns what a reader shows less of after the damage.
fn lost(before: &Shown, after: &Shown) -> Vec<String> {
    match (before, after) {
        (None, _) => Vec::new(),
        (Some(_), None) => vec!["the file".to_owned()],
        (Some(before), Some(after)) => {
            let less = before
                .iter()
                .filter(|(part, count)| after.get(*part).is_none_or(|now| now < count));
            less.map(|(part, count)| format!("{part}: {count}, now {:?}", after.get(part)))
                .collect()
        }
    }
}

/// Returns whether a text makes a claim about readers in general. `(all of them, some of them)`.
fn in_general(text: &str) -> (bool, bool) {
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let at = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
    let all = at("all", "readers") || at("every", "reader") || at("no", "reader");
    let some = words.contains(&"readers");
    (all, some && !all)
}

#[test]
fn every_reader_that_a_rule_names_minds_the_violation() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reads: BTreeMap<(Vec<u8>, usize), Shown> = BTreeMap::new();
    let mut read = |sample: &Sample, reader: usize| {
        let key = (sample.bytes.clone(), reader);
        let shown = || {
            let path = folder.path().join("sample.dmp");
            std::fs::write(&path, &sample.bytes).expect("a file");
            READERS[reader].1(&path)
        };
        reads.entry(key).or_insert_with(shown).clone()
    };
    let mut unfounded = Vec::new();
    for rule in Rule::ALL {
        let text = rule.who_minds();
        let (all, some) = in_general(text);
        let mut minds = Vec::new();
        let mut asked = Vec::new();
        for (reader, (name, _)) in READERS.iter().enumerate() {
            if !all && !some && !text.contains(name) {
                continue;
            }
            asked.push(*name);
            // One damage of several has to be enough.
            for (_, good, damage) in CASES.iter().filter(|case| case.0 == *rule) {
                let mut sample = good();
                let before = read(&sample, reader);
                damage(&mut sample);
                let less = lost(&before, &read(&sample, reader));
                if !less.is_empty() {
                    minds.push((*name, less));
                    break;
                }
            }
        }
        let names: Vec<_> = minds.iter().map(|(name, _)| *name).collect();
        let named = READERS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| text.contains(name));
        let wrong: Vec<_> = named.filter(|name| !names.contains(name)).collect();
        if !wrong.is_empty() || (all && names != asked) || (some && names.is_empty()) {
            unfounded.push(format!(
                "{}: \"{text}\", but only {minds:?} of {asked:?} mind",
                rule.id()
            ));
        }
    }
    assert!(unfounded.is_empty(), "{unfounded:#?}");
}
