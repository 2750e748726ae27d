//! The testimony of the victims of these tests, and its comparison with the output of readers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::support::readers::python::{self, Skelsec};
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{Reading, breakpad, lldb, rust_minidump, symbols};
use crate::support::victim::Pattern;

/// The testimony of all victims in `tests/awkward_victims` except `loads`.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub threads: Vec<Known>,
    /// Patterns on stacks, which every dump has.
    pub stacks: Vec<Pattern>,
    /// Patterns elsewhere, which only a full dump has.
    #[serde(default)]
    pub bulk: Vec<Pattern>,
}

/// A thread and the known functions on its stack, innermost first.
#[derive(Clone, Debug, Deserialize)]
pub struct Known {
    pub tid: u32,
    pub functions: Vec<String>,
}

/// How much of a stack with signal handlers must be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// All functions.
    Whole,
    /// For readers that do not cross signal frames (see `Reading::crosses_signal_frames`): this
    /// many functions of the innermost handler, and no wrong ones after them.
    FromHandler(usize),
}

/// The dump in all readers that unwind.
pub fn readings(dump: &Path) -> [Reading; 4] {
    let skelsec = python::skelsec(dump, &[]).expect("skelsec's minidump reads it");
    let symbols = symbols::of(&binaries(&skelsec));
    [
        rust_minidump::read(dump, Symbols::Local),
        rust_minidump::read(dump, Symbols::Folder(&symbols)),
        breakpad::read(dump, &symbols),
        lldb::read(dump),
    ]
}

/// The binaries that the dump names and that exist as files.
pub fn binaries(skelsec: &Skelsec) -> Vec<PathBuf> {
    let names = skelsec.modules.iter().map(|module| PathBuf::from(&module.name));
    names.filter(|path| path.is_file()).collect()
}

/// Checks that there are all threads, each with its functions in order, and no complaints.
pub fn assert_threads(reading: &Reading, threads: &[Known], walk: Walk) {
    let reader = reading.reader;
    assert_eq!(reading.complaints, [""; 0], "{reader} complains");
    let ids = |ids: &mut dyn Iterator<Item = u32>| ids.collect::<BTreeSet<u32>>();
    assert_eq!(
        ids(&mut reading.threads.iter().map(|thread| thread.tid)),
        ids(&mut threads.iter().map(|thread| thread.tid)),
        "{reader}: threads"
    );
    assert_eq!(reading.threads.len(), threads.len(), "{reader}: a thread twice");
    let known: BTreeSet<&String> = threads.iter().flat_map(|thread| &thread.functions).collect();
    for thread in threads {
        let all = &reading.thread(thread.tid).functions;
        let mut shown: Vec<String> = all.iter().filter(|name| known.contains(name)).cloned().collect();
        if let (Walk::FromHandler(handler), false) = (walk, reading.crosses_signal_frames)
            && handler < thread.functions.len()
        {
            assert!(
                shown.len() >= handler,
                "{reader}: the handler's frames, of {all:?}"
            );
            let rest = thread.functions.get(shown.len()..).unwrap_or_default();
            shown.extend_from_slice(rest);
        }
        assert_eq!(
            shown, thread.functions,
            "{reader}: thread {}, of {all:?}",
            thread.tid
        );
    }
}

/// The ranges of patterns, as arguments for readers.
pub fn places(patterns: &[Pattern]) -> Vec<(u64, u64)> {
    patterns
        .iter()
        .map(|pattern| (pattern.address, pattern.length))
        .collect()
}

/// Checks that skelsec's minidump and LLDB have these bytes.
pub fn assert_memory(dump: &Path, patterns: &[Pattern]) {
    let places = places(patterns);
    let skelsec = python::skelsec(dump, &places).expect("skelsec's minidump reads it");
    assert_eq!(skelsec.complaints, [""; 0], "skelsec complains");
    let lldb = lldb::report(dump, &places).expect("LLDB reads it");
    for (reader, memory) in [("skelsec", skelsec.memory), ("LLDB", lldb.memory)] {
        for (pattern, read) in patterns.iter().zip(memory) {
            let what = format!("{reader}: {} at {:#x}", pattern.name, pattern.address);
            let read = read.unwrap_or_else(|| panic!("{what} is not there"));
            assert!(
                python::bytes(&read) == pattern.bytes(),
                "{what} is not the victim's"
            );
        }
    }
}

/// Checks that neither of them has a single byte of these.
pub fn assert_no_memory(dump: &Path, patterns: &[Pattern]) {
    let ends = patterns
        .iter()
        .flat_map(|pattern| [(pattern.address, 8), (pattern.address + pattern.length - 8, 8)]);
    let places: Vec<(u64, u64)> = ends.collect();
    let skelsec = python::skelsec(dump, &places).expect("skelsec's minidump reads it");
    let lldb = lldb::report(dump, &places).expect("LLDB reads it");
    for (reader, memory) in [("skelsec", skelsec.memory), ("LLDB", lldb.memory)] {
        assert!(
            memory.iter().all(Option::is_none),
            "{reader}: {memory:?} of {places:x?}"
        );
    }
}
