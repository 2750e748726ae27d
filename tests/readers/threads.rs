//! A requested dump: readers that others wrote read dumps of the victim `threads`, and their output
//! is compared with what the victim reports about itself.
//!
//! Would catch: a thread that is missing, has a wrong name or is there twice; stacks that are cut,
//! shifted or taken from the wrong place (deep recursion, an alternate signal stack and the one
//! that it interrupted, two stacks in one mapping); registers at the wrong offset; modules without
//! their ids, so that no function is named; memory at the wrong offset in the file; streams that a
//! reader drops because they break a rule of the format. The last tests damage a dump on purpose
//! and assert that the readers notice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dumper::{self, Dump};
use crate::support::readers::python::{Skelsec, Udmp};
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{Reading, breakpad, lldb, own, python, rust_minidump, symbols};
use crate::support::victim::{self, Frames, Pattern, ThreadTruth, ThreadsTruth, Victim};

const NORMAL: &str = "normal";
const FULL: &str = "with-full-memory,with-full-memory-info";
/// Its stacks are in a MemoryList, which all readers know. None of these readers knows the rest.
const COMPRESSED: &str = "with-memory-compressed,with-full-memory-info";

/// MINIDUMP_STREAM_TYPE values, from Microsoft's documentation of that enumeration.
const THREAD_LIST: u32 = 3;
const MODULE_LIST: u32 = 4;
const MEMORY_LIST: u32 = 5;
const EXCEPTION: u32 = 6;

#[test]
fn normal_dump_with_frame_pointers() {
    Case::new(Frames::Pointers, NORMAL).judge();
}

#[test]
fn normal_dump_without_frame_pointers() {
    Case::new(Frames::NoPointers, NORMAL).judge();
}

#[test]
fn full_dump_with_frame_pointers() {
    Case::new(Frames::Pointers, FULL).judge();
}

#[test]
fn full_dump_without_frame_pointers() {
    Case::new(Frames::NoPointers, FULL).judge();
}

#[test]
fn compressed_dump_with_frame_pointers() {
    Case::new(Frames::Pointers, COMPRESSED).judge();
}

#[test]
fn compressed_dump_without_frame_pointers() {
    Case::new(Frames::NoPointers, COMPRESSED).judge();
}

/// A dump of the victim, and its testimony.
struct Case {
    truth: ThreadsTruth,
    full: bool,
    dump: Dump,
}

impl Case {
    fn new(frames: Frames, types: &str) -> Case {
        let nothing: [&str; 0] = [];
        let mut victim = Victim::start(&victim::c("threads", frames), &nothing);
        let truth = victim.truth();
        let dump = Dump::of(&victim, types);
        victim.ping();
        Case {
            truth,
            full: types == FULL,
            dump,
        }
    }

    fn path(&self) -> &Path {
        &self.dump.path
    }

    /// The patterns that the dump must have: every dump has the stack, and only a full one has the
    /// rest.
    fn patterns(&self) -> Vec<&Pattern> {
        let names: &[&str] = if self.full {
            &["stack", "data", "heap", "mapped", "behind-hole"]
        } else {
            &["stack"]
        };
        names.iter().map(|name| self.truth.pattern(name)).collect()
    }

    fn places(&self) -> Vec<(u64, u64)> {
        self.patterns()
            .iter()
            .map(|pattern| (pattern.address, pattern.length))
            .collect()
    }

    fn judge(&self) {
        let skelsec = python::skelsec(self.path(), &self.places()).expect("skelsec's minidump reads it");
        let udmp = python::udmp(self.path(), &self.places()).expect("udmp-parser reads it");
        self.judge_skelsec(&skelsec);
        self.judge_udmp(&udmp);
        let symbols = symbols::of(&binaries(&skelsec));
        self.judge_stacks(&rust_minidump::read(self.path(), Symbols::Local), &skelsec);
        self.judge_stacks(
            &rust_minidump::read(self.path(), Symbols::Folder(&symbols)),
            &skelsec,
        );
        self.judge_stacks(&breakpad::read(self.path(), &symbols), &skelsec);
        self.judge_stacks(&lldb::read(self.path()), &skelsec);
        self.judge_stacks(&own::read(self.path()), &skelsec);
        self.judge_lldb_memory();
        self.judge_raw(&skelsec);
        self.judge_file();
        dumper::check(self.path()).expect("our own checker agrees with the others");
    }

    /// Checks that every thread is there once, with its name and its functions in order.
    fn judge_stacks(&self, reading: &Reading, skelsec: &Skelsec) {
        let reader = reading.reader;
        assert_eq!(reading.complaints, [""; 0], "{reader} complains");
        let shown: Vec<u32> = reading.threads.iter().map(|thread| thread.tid).collect();
        assert_eq!(sorted(&shown), sorted(&self.thread_ids()), "{reader}: threads");
        for thread in &self.truth.threads {
            let shown = reading.thread(thread.tid);
            if reading.shows_names {
                assert_eq!(
                    shown.name.as_ref(),
                    Some(&thread.name),
                    "{reader}: name of a thread"
                );
            }
            self.judge_functions(reading, thread, &shown.functions);
        }
        assert_eq!(reading.modules, skelsec.modules.len(), "{reader}: modules");
        if let Some(pid) = reading.pid {
            assert_eq!(pid, self.truth.pid, "{reader}: process id");
        }
        if let Some(crash) = &reading.crash {
            assert!(is_request(&crash.reason), "{reader} shows a crash: {crash:?}");
        }
    }

    /// Checks that the functions are the expected ones, each as often as it is on the stack, and no
    /// others of the victim.
    ///
    /// Only LLDB unwinds from a signal handler on an alternate stack into the function that it
    /// interrupted. Breakpad symbols cannot express the call frame information of the C library's
    /// return trampoline, which consists of DWARF expressions. rust-minidump 0.27 does not follow
    /// it from local debug information either. Both scan the alternate stack after the handler, may
    /// find the interrupted address in the signal frame there, and end. They must show the frames
    /// of the handler, and nothing wrong after them.
    fn judge_functions(&self, reading: &Reading, thread: &ThreadTruth, shown: &[String]) {
        let expected = self.truth.functions_of(thread);
        let mut known = self.known(shown);
        if thread.alternate_stack.is_some() && !reading.crosses_signal_frames {
            let handler = expected
                .iter()
                .position(|name| name == "on_signal")
                .expect("the handler")
                + 1;
            assert!(
                known.len() >= handler,
                "{}: the handler's frames, of these: {shown:?}",
                reading.reader
            );
            known.extend_from_slice(expected.get(known.len()..).unwrap_or_default());
        }
        assert_eq!(
            known, expected,
            "{}: functions of {}, of these frames: {shown:?}",
            reading.reader, thread.name
        );
    }

    /// Those functions in a reader's output that are in the victim's testimony.
    fn known(&self, functions: &[String]) -> Vec<String> {
        let known: BTreeSet<&String> = self
            .truth
            .threads
            .iter()
            .flat_map(|thread| &thread.functions)
            .collect();
        functions
            .iter()
            .filter(|function| known.contains(function))
            .cloned()
            .collect()
    }

    fn thread_ids(&self) -> Vec<u32> {
        self.truth.threads.iter().map(|thread| thread.tid).collect()
    }

    /// Checks the registers bit by bit, the process id, memory, and that the streams fit together.
    fn judge_skelsec(&self, found: &Skelsec) {
        assert_eq!(found.complaints, [""; 0], "skelsec complains");
        let ids: Vec<u32> = found.threads.iter().map(|thread| thread.tid).collect();
        assert_eq!(sorted(&ids), sorted(&self.thread_ids()), "skelsec: threads");
        assert_eq!(ids[0], self.truth.pid, "the first thread is the process's leader");
        assert_eq!(found.process_id, Some(self.truth.pid), "skelsec: process id");
        assert!(
            !found.streams.contains(&EXCEPTION),
            "a requested dump has no exception"
        );
        assert!(found.exception.is_none(), "a requested dump has no exception");
        assert!(
            found.modules[0].name.ends_with("/threads"),
            "the program comes first: {:?}",
            found.modules
        );
        self.judge_memory("skelsec", &found.memory);

        let truth = &self.truth.registers;
        let spinning = found
            .threads
            .iter()
            .find(|thread| thread.tid == truth.tid)
            .expect("the spinning thread");
        for (name, value) in &truth.general {
            assert_eq!(spinning.registers[name], *value, "skelsec: {name}");
        }
        assert_eq!(spinning.xmm, truth.xmm, "skelsec: xmm0 to xmm15");
        assert_eq!(
            spinning.mxcsr, [truth.mxcsr; 2],
            "skelsec: MXCSR in both of its places"
        );
        assert_eq!(spinning.fcw, truth.fcw, "skelsec: x87 control word");
        assert_eq!(
            spinning.st0,
            extended(f64::from_bits(truth.st0_double)),
            "skelsec: ST(0)"
        );
        // The function spins within its first 512 bytes.
        let start = self.truth.functions["spin_with_patterns"];
        assert!(
            (start..start + 512).contains(&spinning.registers["rip"]),
            "skelsec: rip {:#x}",
            spinning.registers["rip"]
        );
        for (thread, truth) in self
            .truth
            .threads
            .iter()
            .map(|truth| (skelsec_thread(found, truth.tid), truth))
        {
            let [low, high] = truth.alternate_stack.unwrap_or(truth.stack);
            let sp = thread.registers["rsp"];
            assert!(
                (low..high).contains(&sp),
                "skelsec: rsp of {} is on its stack",
                truth.name
            );
            // The x86-64 ABI's red zone: the 128 bytes below the stack pointer are in use.
            let [start, size] = thread.stack;
            assert!(
                start <= sp - 128 && sp < start + size,
                "the stack of {} has its red zone and top",
                truth.name
            );
            // The selectors of 64-bit programs on Linux (x86-64 kernel: __USER_CS, __USER_DS).
            assert_eq!(
                (thread.segments["cs"], thread.segments["ss"]),
                (0x33, 0x2b),
                "skelsec: cs, ss"
            );
            assert_eq!(
                thread.context_flags & 0x10_001f,
                0x10_001f,
                "the context has all that its flags can name"
            );
        }
        self.judge_ranges(found);
    }

    /// Checks that no range overlaps another and none is empty (Breakpad and dbgeng refuse such a
    /// list), and that memory which does not exist is not in the dump.
    fn judge_ranges(&self, found: &Skelsec) {
        let mut ranges = found.ranges.clone();
        ranges.sort_unstable();
        assert!(
            ranges.iter().all(|(_, length, _)| *length > 0),
            "an empty range: {ranges:x?}"
        );
        for pair in ranges.windows(2) {
            let [(start, length, _), (next, ..)] = pair else {
                unreachable!("windows of two")
            };
            assert!(start + length <= *next, "ranges overlap at {next:#x}");
        }
        let [hole, end] = self.truth.unreadable;
        assert!(
            !ranges
                .iter()
                .any(|(start, length, _)| *start < end && hole < start + length),
            "the page without access at {hole:#x} is in the dump"
        );
    }

    fn judge_udmp(&self, found: &Udmp) {
        let ids: Vec<u32> = found.threads.iter().map(|thread| thread.tid).collect();
        assert_eq!(sorted(&ids), sorted(&self.thread_ids()), "udmp-parser: threads");
        assert_eq!(
            found.foreground, None,
            "udmp-parser: a requested dump has no exception"
        );
        // udmp-parser reads memory from Memory64List only.
        if self.full {
            self.judge_memory("udmp-parser", &found.memory);
        }
        let truth = &self.truth.registers;
        let spinning = found
            .threads
            .iter()
            .find(|thread| thread.tid == truth.tid)
            .expect("the spinning thread");
        for (name, value) in &truth.general {
            assert_eq!(spinning.registers[name], *value, "udmp-parser: {name}");
        }
        assert_eq!(spinning.xmm, truth.xmm, "udmp-parser: xmm0 to xmm15");
        assert_eq!(spinning.mxcsr, [truth.mxcsr; 2], "udmp-parser: MXCSR");
        assert_eq!(spinning.fcw, truth.fcw, "udmp-parser: x87 control word");
    }

    fn judge_memory(&self, reader: &str, memory: &[Option<String>]) {
        for (pattern, read) in self.patterns().iter().zip(memory) {
            let read = read
                .as_deref()
                .unwrap_or_else(|| panic!("{reader}: no memory for the pattern {}", pattern.name));
            assert!(
                python::bytes(read) == pattern.bytes(),
                "{reader}: wrong bytes for the pattern {}",
                pattern.name
            );
        }
    }

    fn judge_lldb_memory(&self) {
        let report = lldb::report(self.path(), &self.places()).expect("LLDB reads it");
        self.judge_memory("LLDB", &report.memory);
        let truth = &self.truth.registers;
        let spinning = report
            .threads
            .iter()
            .find(|thread| thread.tid == truth.tid)
            .expect("the spinning thread");
        for (name, value) in &truth.general {
            assert_eq!(spinning.registers[name], *value, "LLDB: {name}");
        }
    }

    /// `file` recognises the dump by its header.
    fn judge_file(&self) {
        let described = crate::support::run_well(Command::new("file").arg("--brief").arg(self.path()));
        assert!(
            described.starts_with("Mini DuMP crash report"),
            "file: {described}"
        );
    }

    /// The raw views drop nothing: their counts are those of the victim and of the other readers.
    fn judge_raw(&self, skelsec: &Skelsec) {
        for (reader, regions, (text, complaints)) in [
            (
                "minidump-stackwalk --dump",
                "region_count",
                rust_minidump::raw(self.path()),
            ),
            ("minidump_dump", "info_count", breakpad::raw(self.path())),
        ] {
            assert_eq!(complaints, [""; 0], "{reader} complains");
            let count = |heading, name| {
                breakpad::value(&text, heading, name)
                    .and_then(|count| usize::try_from(count).ok())
                    .unwrap_or(0)
            };
            assert_eq!(
                count("MinidumpThreadList", "thread_count"),
                self.truth.threads.len(),
                "{reader}: threads"
            );
            assert_eq!(
                count("MinidumpModuleList", "module_count"),
                skelsec.modules.len(),
                "{reader}: modules"
            );
            if !self.full {
                assert_eq!(
                    count("MinidumpMemoryList", "region_count"),
                    skelsec.ranges.len(),
                    "{reader}: ranges"
                );
            }
            if self.full {
                assert_eq!(
                    count("MinidumpMemoryInfoList", regions),
                    skelsec.memory_info.len(),
                    "{reader}: regions"
                );
            }
        }
    }
}

fn skelsec_thread(found: &Skelsec, tid: u32) -> &python::SkelsecThread {
    found
        .threads
        .iter()
        .find(|thread| thread.tid == tid)
        .expect("a thread of the victim")
}

/// The binaries that the dump names and that exist as files (the vdso does not).
fn binaries(skelsec: &Skelsec) -> Vec<PathBuf> {
    skelsec
        .modules
        .iter()
        .map(|module| PathBuf::from(&module.name))
        .filter(|path| path.is_file())
        .collect()
}

/// Whether a reader's reason means a dump without a crash.
fn is_request(reason: &str) -> bool {
    ["", "No crash", "DUMP_REQUESTED"].contains(&reason)
}

fn sorted(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

/// A positive normal number in the x87's 80-bit format (Intel SDM volume 1, 4.2.2): the mantissa
/// with its leading 1, then sign and exponent.
fn extended(number: f64) -> [u64; 2] {
    let bits = number.to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    [1 << 63 | fraction << 11, exponent - 1023 + 16383]
}

/// Proof that the checks work: each damage is noticed by the reader that must notice it.
mod damaged {
    use super::*;

    /// The dump's bytes with one field changed.
    struct Damaged {
        case: Case,
        bytes: Vec<u8>,
    }

    impl Damaged {
        fn new() -> Damaged {
            let case = Case::new(Frames::Pointers, NORMAL);
            let bytes = case.dump.bytes();
            Damaged { case, bytes }
        }

        fn u32_at(&self, offset: usize) -> usize {
            let bytes = self.bytes[offset..offset + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        }

        /// The offset of a stream's data. The header has the number of streams at 8 and the
        /// directory's offset at 12. A directory entry is type, size, offset (Microsoft:
        /// MINIDUMP_HEADER, MINIDUMP_DIRECTORY).
        fn stream(&self, kind: u32) -> usize {
            let (count, directory) = (self.u32_at(8), self.u32_at(12));
            let entry = (0..count)
                .map(|index| directory + 12 * index)
                .find(|entry| self.u32_at(*entry) == kind as usize);
            self.u32_at(entry.expect("the dump has the stream") + 8)
        }

        fn write(&self, name: &str) -> PathBuf {
            let path = self.case.dump.beside(name);
            std::fs::write(&path, &self.bytes).unwrap();
            path
        }
    }

    #[test]
    fn a_thread_too_many_is_noticed() {
        let mut damaged = Damaged::new();
        let at = damaged.stream(THREAD_LIST);
        damaged.bytes[at] += 1;
        let path = damaged.write("threads.dmp");
        assert!(dumper::check(&path).is_err(), "our own checker");
        assert_ne!(breakpad::raw(&path).1, [""; 0], "Breakpad");
        assert!(python::udmp(&path, &[]).is_err(), "udmp-parser");
    }

    #[test]
    fn overlapping_ranges_are_noticed() {
        let mut damaged = Damaged::new();
        // A count, then descriptors of 16 bytes: address, size, offset. The second one becomes a
        // copy of the first.
        let first = damaged.stream(MEMORY_LIST) + 4;
        damaged.bytes.copy_within(first..first + 16, first + 16);
        let path = damaged.write("ranges.dmp");
        assert!(dumper::check(&path).is_err(), "our own checker");
        assert_ne!(breakpad::raw(&path).1, [""; 0], "Breakpad");
    }

    #[test]
    fn a_name_behind_the_end_is_noticed() {
        let mut damaged = Damaged::new();
        // A count, then records of 108 bytes with the name's offset at 20 (Microsoft:
        // MINIDUMP_MODULE).
        let name = damaged.stream(MODULE_LIST) + 4 + 20;
        damaged.bytes[name..name + 4].copy_from_slice(&0xffff_ff00_u32.to_le_bytes());
        let path = damaged.write("name.dmp");
        assert!(dumper::check(&path).is_err(), "our own checker");
        assert_ne!(breakpad::raw(&path).1, [""; 0], "Breakpad");
        let reading = std::panic::catch_unwind(|| rust_minidump::read(&path, Symbols::Local));
        assert!(
            reading.is_err() || reading.is_ok_and(|reading| reading.modules == 0),
            "rust-minidump"
        );
    }

    #[test]
    fn a_file_cut_short_is_noticed() {
        let mut damaged = Damaged::new();
        damaged.bytes.truncate(damaged.bytes.len() / 2);
        let path = damaged.write("cut.dmp");
        assert!(dumper::check(&path).is_err(), "our own checker");
        let places = damaged.case.places();
        let whole = |memory: &[Option<String>]| memory.iter().all(Option::is_some);
        assert!(
            !lldb::report(&path, &places).is_ok_and(|report| whole(&report.memory)),
            "LLDB"
        );
        assert!(
            !python::udmp(&path, &places).is_ok_and(|found| whole(&found.memory)),
            "udmp-parser"
        );
    }

    #[test]
    fn zeros_for_a_stack_are_noticed() {
        let mut damaged = Damaged::new();
        let found = python::skelsec(&damaged.case.dump.path, &[]).unwrap();
        let alpha = damaged
            .case
            .truth
            .threads
            .iter()
            .find(|thread| thread.name == "alpha")
            .expect("alpha")
            .clone();
        let sp = skelsec_thread(&found, alpha.tid).registers["rsp"];
        let &(start, length, offset) = found
            .ranges
            .iter()
            .find(|(start, length, _)| (*start..start + length).contains(&sp))
            .expect("its stack");
        let at = |address: u64| usize::try_from(offset + (address - start)).expect("an offset");
        damaged.bytes[at(sp)..at(start + length)].fill(0);
        let path = damaged.write("zeros.dmp");
        let expected = damaged.case.truth.functions_of(&alpha);
        for reading in [
            rust_minidump::read(&path, Symbols::Local),
            breakpad::read(&path, &symbols::of(&binaries(&found))),
            lldb::read(&path),
        ] {
            let shown = damaged.case.known(&reading.thread(alpha.tid).functions);
            assert_ne!(
                shown, expected,
                "{} shows a stack that is not in the file",
                reading.reader
            );
        }
    }
}
