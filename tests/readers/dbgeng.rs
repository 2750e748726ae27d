//! Microsoft's debugger engine, 6.3 and 10.0, on dumps of simulated Windows processes and of live
//! Linux processes. Its output is compared with the scenario, and with what the victims report
//! about themselves.
//!
//! Would catch: a dump that WinDbg refuses or complains about; threads whose TEBs, registers and
//! stacks are not those of the process; modules, unloaded modules and handles that are missing or
//! misplaced; memory at another offset in the file than the lists state; a crash with other
//! registers than those of the crash. The last tests damage dumps and assert that the engine
//! notices.
//!
//! The engine runs under Wine (`cargo xtask windows`). Its output depends on the file alone.

use std::path::{Path, PathBuf};

use crate::support::dumper::{self, Dump, Exec};
use crate::support::readers::dbgeng::{self, ENGINES, Engine, Module, Report};
use crate::support::victim::{self, CrashTruth, Frames, ThreadsTruth, Victim};
use tempfile::TempDir;

/// A Windows program with five threads.
const SCENARIO: &str = "testdata/cases/windows-five-threads/scenario.toml";

/// The tested types with their numbers: the presets, and combinations that are in use.
const TYPES: &[(&str, u64)] = &[
    ("normal", 0),
    ("0x1925", 0x1925),
    ("0x1806", 0x1806),
    ("triage", 0x0012_05AC),
    ("full", 0x0006_1826),
    // These versions of the engine do not know the memory, but find the stacks.
    ("with-memory-compressed,0x1824", 0x0400_1824),
];

const WITH_FULL_MEMORY: u64 = 0x2;
const WITH_HANDLE_DATA: u64 = 0x4;
const WITH_UNLOADED_MODULES: u64 = 0x20;
const FILTER_MODULE_PATHS: u64 = 0x80;
const FILTER_TRIAGE: u64 = 0x10_0000;

/// A thread of the scenario.
struct ScenarioThread {
    tid: u32,
    teb: u64,
    /// rip, rsp, rbp, rcx.
    registers: [u64; 4],
    /// The function in which it is, and the one to which it returns.
    sites: [&'static str; 2],
}

const THREADS: [ScenarioThread; 5] = [
    ScenarioThread {
        tid: 100,
        teb: 0x7ffd_e000,
        registers: [0x7ff8_1000_d664, 0x11_f818, 0x11_f898, 0],
        sites: ["ntdll+0xd664", "target+0x1200"],
    },
    ScenarioThread {
        tid: 104,
        teb: 0x7ffd_c000,
        registers: [0x7ff8_1000_d664, 0x15_fd88, 0x15_fe08, 1],
        sites: ["ntdll+0xd664", "target+0x1200"],
    },
    ScenarioThread {
        tid: 108,
        teb: 0x7ffd_a000,
        registers: [0x7ff8_1000_ebe4, 0x19_faf8, 0x19_fb78, 2],
        sites: ["ntdll+0xebe4", "target+0x1200"],
    },
    ScenarioThread {
        tid: 112,
        teb: 0x7ffd_8000,
        registers: [0x1_4000_1480, 0x1d_5928, 0x1d_59a8, 3],
        sites: ["target+0x1480", "target+0x1200"],
    },
    ScenarioThread {
        tid: 116,
        teb: 0x7ffd_6000,
        registers: [0x7ff8_1000_d664, 0x21_fd88, 0x21_fe08, 4],
        sites: ["ntdll+0xd664", "target+0x1200"],
    },
];

/// The words at the top of each thread's stack, before and after the frame pointer: a return
/// address, and a pointer to private memory.
const RETURN_ADDRESS: u64 = 0x1_4000_1200;
const POINTER: u64 = 0x60_4010;

/// Another such pointer, in r8.
const R8: u64 = 0x60_0010;

/// The replacement for filtered words. It points neither into a module nor into a stack, and is not
/// 0.
const FILTERED: u64 = 0xAAAA_AAAA_AAAA_AAAA;

/// At HEAP+0x100.
const HEAP_TEXT: (u64, &str) = (0x50_0100, "a string on the heap");

const MODULES: [(u64, u64, &str); 4] = [
    (0x1_4000_0000, 0x8000, r"C:\tests\target.exe"),
    (0x6_b000_0000, 0x9000, r"C:\tests\extra.dll"),
    (0x7ff8_0f00_0000, 0x9000, r"C:\Windows\System32\kernel32.dll"),
    (0x7ff8_1000_0000, 0x1_e000, r"C:\Windows\System32\ntdll.dll"),
];

/// A dump of the simulated process.
struct Simulated {
    folder: TempDir,
}

impl Simulated {
    fn new(types: &str) -> Simulated {
        let folder = TempDir::new().unwrap();
        let mut command = dumper::dumpwright();
        command
            .current_dir(crate::support::repository())
            .args(["dump", "--scenario", SCENARIO, "--type", types, "--output"])
            .arg(folder.path().join("dump.dmp"));
        crate::support::run_well(&mut command);
        Simulated { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("dump.dmp")
    }
}

#[test]
fn simulated_windows_process_of_every_type() {
    for (types, number) in TYPES {
        let dump = Simulated::new(types);
        for engine in ENGINES {
            judge_simulated(
                &format!("{}, {types}", engine.name),
                engine,
                &dump.path(),
                *number,
            );
        }
    }
}

fn judge_simulated(what: &str, engine: Engine, dump: &Path, types: u64) {
    let text = format!("db {:#x} L{:#x}", HEAP_TEXT.0, HEAP_TEXT.1.len());
    let stacks = THREADS.map(|thread| format!("db {:#x} L18", thread.registers[1]));
    let mut commands: Vec<&str> = stacks.iter().map(String::as_str).collect();
    commands.push(&text);
    let report = dbgeng::report(engine, dump, &commands);
    judge_file(what, &report, dump);
    assert_eq!(report.exception, None, "{what}");
    judge_threads(what, &report, types);
    judge_lists(what, &report, types);
    if types & WITH_FULL_MEMORY != 0 {
        let found = dbgeng::bytes(&report.answers[THREADS.len()]);
        assert_eq!(found, known(HEAP_TEXT.1.as_bytes()), "{what}: heap");
    }
}

/// `report.answers` begins with the words at each thread's stack pointer.
fn judge_threads(what: &str, report: &Report, types: u64) {
    assert_eq!(report.threads.len(), THREADS.len(), "{what}: threads");
    let filtered = |word| match types & FILTER_TRIAGE {
        0 => word,
        _ if word == 0 => 0,
        _ => FILTERED,
    };
    for (index, (shown, thread)) in report.threads.iter().zip(&THREADS).enumerate() {
        let what = format!("{what}: thread {}", thread.tid);
        assert_eq!(
            (shown.pid, shown.tid, shown.teb),
            (1000, thread.tid, thread.teb),
            "{what}"
        );
        let registers = ["rip", "rsp", "rbp", "rcx"].map(|name| shown.registers[name]);
        let [rip, rsp, rbp, rcx] = thread.registers;
        assert_eq!(registers, [rip, rsp, rbp, filtered(rcx)], "{what}: registers");
        assert_eq!(shown.registers["r8"], filtered(R8), "{what}: r8");
        let sites: Vec<_> = shown
            .frames
            .iter()
            .take(2)
            .map(|frame| frame.site.as_str())
            .collect();
        assert_eq!(sites, thread.sites, "{what}: frames");
        assert_eq!(shown.frames[0].return_address, RETURN_ADDRESS, "{what}: frames");
        let words = [RETURN_ADDRESS, rbp, filtered(POINTER)].map(u64::to_le_bytes);
        assert_eq!(
            dbgeng::bytes(&report.answers[index]),
            known(words.as_flattened()),
            "{what}: stack"
        );
    }
}

fn judge_lists(what: &str, report: &Report, types: u64) {
    let mut modules = report.modules.clone();
    modules.sort();
    let expected = MODULES.map(|(base, size, path)| match types & FILTER_MODULE_PATHS {
        0 => module((base, size, path)),
        _ => module((base, size, path.rsplit('\\').next().unwrap_or(path))),
    });
    assert_eq!(modules, expected, "{what}: modules");
    let unloaded: &[Module] = match types & WITH_UNLOADED_MODULES {
        0 => &[],
        _ => &[module((0x7ff8_0e00_0000, 0xa000, "version.dll"))],
    };
    assert_eq!(report.unloaded, unloaded, "{what}: unloaded modules");
    for handle in [
        r#"Handle(0000000000000044,"Event","\Sessions\1\BaseNamedObjects\ready")"#,
        r#"Handle(0000000000000048,"File","")"#,
    ] {
        assert_eq!(
            report.analysis.contains(handle),
            types & WITH_HANDLE_DATA != 0,
            "{what}: {handle}"
        );
    }
}

fn module((base, size, path): (u64, u64, &str)) -> Module {
    Module {
        base,
        end: base + size,
        path: path.to_owned(),
    }
}

fn known(bytes: &[u8]) -> Vec<Option<u8>> {
    bytes.iter().copied().map(Some).collect()
}

/// The engine has no complaints, and lists the streams of the file's directory.
fn judge_file(what: &str, report: &Report, dump: &Path) {
    assert_eq!(report.complaints, [""; 0], "{what}");
    let file = std::fs::read(dump).unwrap();
    let directory = Directory::of(&file).entries.into_iter();
    let expected: Vec<_> = directory.map(|(kind, size, _)| (kind, u64::from(size))).collect();
    assert_eq!(report.streams, expected, "{what}: streams");
}

/// MINIDUMP_DIRECTORY, by Microsoft's documentation: type, size, RVA.
struct Directory {
    at: usize,
    entries: Vec<(u32, u32, usize)>,
}

impl Directory {
    fn of(file: &[u8]) -> Directory {
        let at = word(file, 12) as usize;
        let entries = (0..word(file, 8) as usize).map(|index| at + 12 * index);
        Directory {
            at,
            entries: entries
                .map(|at| (word(file, at), word(file, at + 4), word(file, at + 8) as usize))
                .collect(),
        }
    }

    /// The offset of the stream of a type.
    fn stream(&self, kind: u32) -> usize {
        let entry = self.entries.iter().find(|entry| entry.0 == kind);
        entry.expect("the dump has such a stream").2
    }
}

fn word(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap())
}

#[test]
fn live_linux_process() {
    let nothing: [&str; 0] = [];
    let program = victim::c("threads", Frames::Pointers);
    let mut victim = Victim::start(&program, &nothing);
    let truth: ThreadsTruth = victim.truth();
    for (types, patterns) in [
        ("normal", &["stack"][..]),
        (
            "with-full-memory,with-full-memory-info",
            &["stack", "data", "heap", "mapped", "behind-hole"][..],
        ),
        // The engine finds the stacks, as in a normal dump.
        ("with-memory-compressed,with-full-memory-info", &["stack"][..]),
    ] {
        let dump = Dump::of(&victim, types);
        for engine in ENGINES {
            judge_live(
                &format!("{} {types}", engine.name),
                engine,
                &dump,
                &program,
                &truth,
                patterns,
            );
        }
    }
    victim.ping();
}

fn judge_live(
    what: &str,
    engine: Engine,
    dump: &Dump,
    program: &Path,
    truth: &ThreadsTruth,
    patterns: &[&str],
) {
    let spinning = &truth.registers;
    let xmm: Vec<_> = (0..spinning.xmm.len()).map(|n| format!("xmm{n}:uq")).collect();
    let mut commands = vec![format!("~~[{:x}]r mxcsr,{}", spinning.tid, xmm.join(","))];
    let patterns: Vec<_> = patterns.iter().map(|name| truth.pattern(name)).collect();
    for pattern in &patterns {
        commands.push(format!("db {:#x} L?{:#x}", pattern.address, pattern.length));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let report = dbgeng::report(engine, &dump.path, &commands);
    judge_file(what, &report, &dump.path);
    assert_eq!(report.exception, None, "{what}");
    assert_eq!(report.threads.len(), truth.threads.len(), "{what}: threads");
    for thread in &truth.threads {
        let what = format!("{what}: {}", thread.name);
        let shown = report.threads.iter().find(|shown| shown.tid == thread.tid);
        let shown = shown.unwrap_or_else(|| panic!("{what} is missing"));
        assert_eq!((shown.pid, shown.teb), (truth.pid, thread.fs_base), "{what}");
        let [low, high] = thread.alternate_stack.unwrap_or(thread.stack);
        assert!(
            (low..high).contains(&shown.registers["rsp"]),
            "{what}: on its stack"
        );
    }
    let shown = report
        .threads
        .iter()
        .find(|shown| shown.tid == spinning.tid)
        .expect("listed");
    for (name, value) in &spinning.general {
        assert_eq!(shown.registers.get(name), Some(value), "{what}: {name}");
    }
    assert!(
        shown.frames[0].site.starts_with("threads+0x"),
        "{what}: {:?}",
        shown.frames
    );
    assert_eq!(
        dbgeng::registers(&report.answers[0])["mxcsr"],
        u64::from(spinning.mxcsr),
        "{what}"
    );
    for (number, [low, high]) in spinning.xmm.iter().enumerate() {
        let found = dbgeng::halves(&report.answers[0], &format!("xmm{number}"));
        assert_eq!(found, Some([*high, *low]), "{what}: xmm{number}");
    }
    for (pattern, answer) in patterns.iter().zip(&report.answers[1..]) {
        assert_eq!(
            dbgeng::bytes(answer),
            known(&pattern.bytes()),
            "{what}: {}",
            pattern.name
        );
    }
    let paths: Vec<_> = report.modules.iter().map(|module| module.path.as_str()).collect();
    assert!(
        paths.contains(&program.to_str().expect("a plain path")),
        "{what}: {paths:?}"
    );
    assert!(
        paths.iter().any(|path| path.ends_with("/libc.so.6")),
        "{what}: {paths:?}"
    );
}

#[test]
fn crashed_linux_process() {
    for (way, code) in [("null", "0000000b"), ("illegal", "00000004")] {
        let program = victim::c("crash", Frames::Pointers);
        let exec = Exec::run(600_000, false, &program, &[way]);
        let truth: CrashTruth = exec.truth();
        for engine in ENGINES {
            let what = format!("{} {way}", engine.name);
            let report = dbgeng::report(engine, &exec.path, &[".ecxr", ".exr -1"]);
            judge_file(&what, &report, &exec.path);
            let (tid, words) = report.exception.expect("it has an exception");
            assert_eq!(tid, truth.tid, "{what}");
            assert!(words.contains(&format!("code {code} ")), "{what}: {words}");
            let [context, record] = &report.answers[..] else {
                panic!("two answers")
            };
            let registers = dbgeng::registers(context);
            if let Some(instruction) = truth.instruction {
                assert_eq!(registers["rip"], instruction, "{what}");
            }
            assert!(context.contains("crash+0x"), "{what}: {context}");
            assert!(
                record.contains(&format!("ExceptionAddress: {:016x}", truth.address)),
                "{what}: {record}"
            );
        }
    }
}

/// A stream type, an offset in the stream, and a number that is wrong there.
type Damage = (u32, usize, u32);

#[test]
fn engine_complains_of_names_that_are_not_there() {
    // MINIDUMP_MODULE::ModuleNameRva, MINIDUMP_HANDLE_DESCRIPTOR::TypeNameRva.
    for damage in [(4, 4 + 20, 0x7fff_ffff), (12, 16 + 8, 0x7fff_ffff)] {
        for engine in ENGINES {
            let dump = damaged(damage);
            let report = dbgeng::report(engine, &dump.path(), &[]);
            assert!(!report.complaints.is_empty(), "{}: {damage:?}", engine.name);
        }
    }
}

#[test]
fn engine_refuses_lists_that_are_wrong() {
    // The number of threads; the offset of the first memory range in the file.
    for damage in [(3, 0, 7), (5, 4 + 12, 0x7fff_ffff)] {
        for engine in ENGINES {
            let dump = damaged(damage);
            let refused = dbgeng::session(engine, &dump.path(), &[]).expect_err("a damaged dump");
            assert!(
                refused.contains("ERROR: "),
                "{}: {damage:?}: {refused}",
                engine.name
            );
        }
    }
}

#[test]
fn engine_shows_another_stack_when_bytes_are_misplaced() {
    // The first memory range is the first thread's stack. The damage shifts it by a word in the
    // file.
    let intact = Simulated::new("with-handle-data");
    let at = Directory::of(&std::fs::read(intact.path()).unwrap()).stream(5) + 4 + 12;
    let there = word(&std::fs::read(intact.path()).unwrap(), at);
    let dump = damaged((5, 4 + 12, there + 8));
    for engine in ENGINES {
        let report = dbgeng::report(engine, &dump.path(), &[]);
        let frame = &report.threads[0].frames[0];
        assert_ne!(frame.return_address, RETURN_ADDRESS, "{}", engine.name);
    }
}

/// A dump with one number overwritten.
fn damaged((kind, at, number): Damage) -> Simulated {
    let dump = Simulated::new("with-handle-data");
    let mut file = std::fs::read(dump.path()).unwrap();
    let directory = Directory::of(&file);
    assert!(directory.at >= 32, "behind the header");
    let at = directory.stream(kind) + at;
    file[at..at + 4].copy_from_slice(&number.to_le_bytes());
    std::fs::write(dump.path(), file).unwrap();
    dump
}

/// A 64-bit dump of a 32-bit program: the engine finds the 32-bit registers and the 32-bit stack
/// through the 64-bit TEB.
#[test]
fn a_32_bit_program_on_64_bit_windows_has_both_halves() {
    let folder = TempDir::new().unwrap();
    let dump = folder.path().join("dump.dmp");
    let mut command = dumper::dumpwright();
    command
        .current_dir(crate::support::repository())
        .args([
            "dump",
            "--scenario",
            "testdata/cases/windows-wow64/scenario.toml",
            "--output",
        ])
        .arg(&dump);
    crate::support::run_well(&mut command);
    // The older engine needs an extension for this, which is not installed.
    let commands = ["r", ".effmach x86", "r", "db 19f400 L4"];
    let shown = dbgeng::report(dbgeng::NEW, &dump, &commands);
    let registers =
        |answer: &str, names: [&str; 3]| names.map(|name| dbgeng::registers(answer).get(name).copied());
    assert_eq!(
        registers(&shown.answers[0], ["rip", "rsp", "rbp"]),
        [Some(0x7707_1100), Some(0x9_3800), Some(0)]
    );
    assert_eq!(
        registers(&shown.answers[2], ["eip", "esp", "ebp"]),
        [Some(0x40_1234), Some(0x19_f400), Some(0x19_f500)]
    );
    let bytes: Option<Vec<u8>> = dbgeng::bytes(&shown.answers[3]).into_iter().collect();
    // Each word of the stack contains its own address.
    assert_eq!(bytes, Some(vec![0x00, 0xf4, 0x19, 0x00]));
}
