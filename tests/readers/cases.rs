//! Readers by others, on the golden dumps of the cases that must be whole.
//!
//! Would catch: an answer of a callback after which the file breaks a rule of the format: a thread
//! without the bytes of its stack, a list that a reader drops, counts that do not agree, memory at
//! another offset than the ranges state; registers of a processor family at offsets where readers
//! expect others.

#[path = "../engine/cases/case.rs"]
#[expect(dead_code, reason = "golden files are read here, not made")]
mod case;

use std::path::Path;

use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{breakpad, dbgeng, lldb, python, rust_minidump};
use case::Case;
use dumpwright::read::{CheckOptions, Cpu, Dump, Level, Platform, check_with};

/// What the readers must find.
struct Expected {
    threads: Vec<u32>,
    modules: usize,
}

fn whole() -> Vec<Case> {
    let mut cases = case::all();
    cases.retain(|case| case.facts.whole);
    assert!(!cases.is_empty());
    cases
}

fn expected(dump: &Path) -> Expected {
    let dump = Dump::open(dump).expect("a minidump");
    Expected {
        threads: sorted(dump.threads().expect("threads").iter().map(|thread| thread.id)),
        modules: dump.modules().expect("modules").len(),
    }
}

fn processor(dump: &Path) -> Cpu {
    let dump = Dump::open(dump).expect("a minidump");
    dump.system_info().expect("readable").expect("present").cpu
}

fn platform(dump: &Path) -> Platform {
    let dump = Dump::open(dump).expect("a minidump");
    dump.system_info().expect("readable").expect("present").platform
}

fn sorted(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}

#[test]
fn our_own_checker_finds_no_error() {
    for case in whole() {
        let dump = Dump::open(case.path("dump.dmp")).expect("a minidump");
        let found = check_with(&dump, CheckOptions::default()).expect("a dump that can be checked");
        let errors: Vec<_> = found
            .iter()
            .filter(|found| found.severity == Level::Error)
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", case.name);
    }
}

#[test]
fn rust_minidump_accepts_them() {
    for case in whole() {
        let (file, folder) = (case.path("dump.dmp"), tempfile::tempdir().expect("a folder"));
        let reading = rust_minidump::read(&file, Symbols::Folder(folder.path()));
        judge(&case, &reading, &expected(&file));
    }
}

#[test]
fn breakpad_accepts_them() {
    for case in whole() {
        let (file, folder) = (case.path("dump.dmp"), tempfile::tempdir().expect("a folder"));
        let reading = breakpad::read(&file, folder.path());
        judge(&case, &reading, &expected(&file));
    }
}

#[test]
fn lldb_accepts_them() {
    for case in whole() {
        let file = case.path("dump.dmp");
        judge(&case, &lldb::read(&file), &expected(&file));
    }
}

#[test]
fn microsofts_debugger_engine_accepts_them() {
    for case in whole() {
        let file = case.path("dump.dmp");
        for engine in dbgeng::ENGINES {
            match (processor(&file), platform(&file)) {
                // The older engine does not know this processor number and stops there.
                (Cpu::Arm64, _) if engine == dbgeng::OLD => continue,
                // The engine shows registers, but no stack: it expects 32-bit code to have the
                // selectors of Windows.
                (Cpu::X86, Platform::Linux) => continue,
                _ => judge(&case, &dbgeng::read(engine, &file), &expected(&file)),
            }
        }
    }
}

/// The names of a register in LLDB, Breakpad and rust-minidump, and its value in the scenario.
type Register = (&'static str, &'static str, &'static str, u64);

/// A case, the names of its processor's context in `minidump_dump` and in rust-minidump, and
/// registers of its only thread.
type Family = (&'static str, &'static str, &'static str, &'static [Register]);

const FAMILIES: &[Family] = &[
    (
        "x86",
        "MDRawContextX86",
        "CONTEXT_X86",
        &[
            ("eip", "eip", "eip", 0x0804_9234),
            ("esp", "esp", "esp", 0xffe0_0800),
            ("ebp", "ebp", "ebp", 0xffe0_0900),
            ("eax", "eax", "eax", 0xa1a2_a3a4),
            ("ebx", "ebx", "ebx", 0xb1b2_b3b4),
            ("ecx", "ecx", "ecx", 0xc1c2_c3c4),
            ("edx", "edx", "edx", 0xd1d2_d3d4),
            ("esi", "esi", "esi", 0x51_5253),
            ("edi", "edi", "edi", 0xd1_d2d3),
            ("eflags", "eflags", "eflags", 0x202),
            ("gs", "gs", "gs", 0x63),
        ],
    ),
    (
        "x86-windows",
        "MDRawContextX86",
        "CONTEXT_X86",
        &[
            ("eip", "eip", "eip", 0x40_1234),
            ("esp", "esp", "esp", 0x10_0800),
            ("ebp", "ebp", "ebp", 0x10_0900),
            ("fs", "fs", "fs", 0x3b),
        ],
    ),
    (
        "arm",
        "MDRawContextARM",
        "CONTEXT_ARM",
        &[
            ("pc", "pc", "iregs[15]", 0x1_1234),
            ("sp", "sp", "iregs[13]", 0xffe0_0800),
            ("lr", "lr", "iregs[14]", 0xf7c0_0020),
            ("r0", "r0", "iregs[ 0]", 0x1000_0000),
            ("r12", "r12", "iregs[12]", 0x1000_000c),
            ("fp", "r11", "iregs[11]", 0xffe0_0900),
            ("cpsr", "cpsr", "cpsr", 0x6000_0010),
        ],
    ),
    (
        "arm64",
        "MDRawContextARM64",
        "CONTEXT_ARM64",
        &[
            ("pc", "iregs[32]", "pc", 0x40_1234),
            ("sp", "iregs[31]", "sp", 0xffff_ff00_0800),
            ("fp", "iregs[29]", "x29 (fp)", 0xffff_ff00_0900),
            ("lr", "iregs[30]", "x30 (lr)", 0x40_1678),
            ("x0", "iregs[ 0]", "x0", 0x1000_0000_0000_0000),
            ("x18", "iregs[18]", "x18", 0x1000_0000_0000_0012),
            ("x28", "iregs[28]", "x28", 0x1000_0000_0000_001c),
        ],
    ),
    (
        "arm64-windows",
        "MDRawContextARM64",
        "CONTEXT_ARM64",
        &[
            ("pc", "iregs[32]", "pc", 0x1_4000_1234),
            ("sp", "iregs[31]", "sp", 0x10_0800),
            ("x18", "iregs[18]", "x18", 0x30_0000),
        ],
    ),
    (
        "avx",
        "MDRawContextAMD64",
        "CONTEXT_AMD64",
        &[
            ("rip", "rip", "rip", 0x40_1234),
            ("rax", "rax", "rax", 0xa1a2_a3a4_a5a6_a7a8),
        ],
    ),
];

#[test]
fn the_registers_of_each_family_are_right() {
    for (case, in_breakpad, in_rust, registers) in FAMILIES {
        let dump = crate::support::repository()
            .join("testdata/cases")
            .join(case)
            .join("dump.dmp");
        let lldb = lldb::report(&dump, &[]).unwrap_or_else(|error| panic!("{case}: {error}"));
        let (breakpad, _) = breakpad::raw(&dump);
        let (rust, _) = rust_minidump::raw(&dump);
        for (lldb_name, breakpad_name, rust_name, value) in *registers {
            let found = [
                lldb.threads[0].registers.get(*lldb_name).copied(),
                breakpad::value(&breakpad, in_breakpad, breakpad_name),
                breakpad::value(&rust, in_rust, rust_name),
            ];
            assert_eq!(found, [Some(*value); 3], "{case}: {lldb_name}");
        }
    }
}

#[test]
fn skelsec_minidump_accepts_them() {
    for case in whole() {
        let file = case.path("dump.dmp");
        // skelsec's minidump 0.0.24 does not know this processor number and stops there.
        if processor(&file) == Cpu::Arm64 {
            continue;
        }
        let expected = expected(&file);
        let found = python::skelsec(&file, &[]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(found.complaints, [""; 0], "{}", case.name);
        let threads = sorted(found.threads.iter().map(|thread| thread.tid));
        assert_eq!(threads, expected.threads, "{}", case.name);
        assert_eq!(found.modules.len(), expected.modules, "{}", case.name);
    }
}

fn judge(case: &Case, reading: &crate::support::readers::Reading, expected: &Expected) {
    let (name, reader) = (&case.name, reading.reader);
    assert_eq!(reading.complaints, [""; 0], "{name}: {reader}");
    let threads = sorted(reading.threads.iter().map(|thread| thread.tid));
    assert_eq!(threads, expected.threads, "{name}: {reader}");
    assert_eq!(reading.modules, expected.modules, "{name}: {reader}");
}
