//! Dumps of live Windows processes, under Wine, in independent readers: Microsoft's debugger engine
//! with the PDB of the program, LLDB with the program, rust-minidump with Breakpad symbols.
//!
//! Would catch: a dump of a Windows process that WinDbg refuses or complains about; missing
//! threads, or registers that are not those of the thread; stacks that a reader cannot unwind to
//! their end, or about which readers disagree; modules by which the program's PDB is not found;
//! memory that is not that of the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::readers::dbgeng::{self, ENGINES, Report};
use crate::support::readers::rust_minidump::{self, Symbols};
use crate::support::readers::{Reading, lldb};
use crate::support::victim::Victim;
use crate::support::windows;
use serde::Deserialize;
use tempfile::TempDir;

/// The tested types: the presets, and combinations that are in use.
const TYPES: [&str; 5] = ["normal", "0x1925", "0x1806", "triage", "full"];

/// The call chain of the thread `caller`, innermost first.
const CALLS: [&str; 4] = ["innermost", "middle", "outermost", "caller"];

/// The contents of the registers of the thread `registers`.
const REGISTERS: [(&str, u64); 15] = [
    ("rax", 0x1001),
    ("rbx", 0x1002),
    ("rcx", 0x1003),
    ("rdx", 0x1004),
    ("rsi", 0x1005),
    ("rdi", 0x1006),
    ("rbp", 0x1007),
    ("r8", 0x1008),
    ("r9", 0x1009),
    ("r10", 0x100a),
    ("r11", 0x100b),
    ("r12", 0x100c),
    ("r13", 0x100d),
    ("r14", 0x100e),
    ("r15", 0x100f),
];

/// The testimony of `stacks.c`.
#[derive(Debug, Deserialize)]
struct Truth {
    pid: u32,
    main: u32,
    caller: u32,
    registers: u32,
    /// The address of these bytes on the heap.
    text: u64,
    module: u64,
}

const TEXT: &[u8] = b"known bytes on the heap";

fn program() -> PathBuf {
    windows::compile_with_pdb(
        "stacks",
        &crate::support::repository().join("tests/windows_victims/stacks.c"),
    )
}

/// Dumps of several types, of one process by one engine. The process runs afterwards.
struct Dumps {
    truth: Truth,
    folder: TempDir,
}

impl Dumps {
    fn new(types: &[&str], options: &[&str]) -> Self {
        let mut victim = Victim::start_command(&mut windows::wine(&program()));
        let truth: Truth = victim.truth();
        let folder = TempDir::new().unwrap();
        for kind in types {
            let mut command = windows::wine(windows::executable());
            command
                .args(["dump", "--pid", &truth.pid.to_string(), "--type", kind])
                .args(options)
                .arg("--output")
                .arg(windows::path(&folder.path().join(kind)));
            let output = windows::run(&mut command);
            assert!(output.status.success(), "{command:?}: {output:?}");
            victim.ping();
        }
        Self { truth, folder }
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.path().join(kind)
    }
}

/// Dumps by dumpwright's own engine.
fn own(types: &[&str]) -> Dumps {
    Dumps::new(types, &["--backend", "dumpwright"])
}

/// The report of WinDbg's engine, with the PDB next to the program.
fn report(engine: dbgeng::Engine, dump: &Path, commands: &[&str]) -> Report {
    let folder = |path: &Path| windows::path(path).into_string().unwrap();
    let program = program();
    let here = folder(program.parent().unwrap());
    let system = folder(&windows::cache().join("wine/drive_c/windows/system32"));
    let symbols = format!(".sympath {here}");
    let binaries = format!(".exepath {system};{here}");
    dbgeng::report_behind(engine, dump, &[&symbols, &binaries, ".reload"], commands)
}

#[test]
fn windbg_shows_threads_registers_stacks_modules_and_memory() {
    let dumps = own(&TYPES);
    let Truth {
        main,
        caller,
        registers,
        text,
        module,
        pid,
    } = dumps.truth;
    for engine in ENGINES {
        for kind in TYPES {
            let what = format!("{}, {kind}", engine.name);
            let shown = report(
                engine,
                &dumps.path(kind),
                &[&format!("db {text:#x} L{:#x}", TEXT.len())],
            );
            assert_eq!(shown.complaints, [""; 0], "{what}");
            let threads: BTreeMap<u32, _> = shown.threads.iter().map(|thread| (thread.tid, thread)).collect();
            assert_eq!(
                threads.keys().copied().collect::<Vec<_>>(),
                sorted([main, caller, registers]),
                "{what}"
            );
            assert!(
                threads
                    .values()
                    .all(|thread| thread.pid == pid && thread.teb != 0),
                "{what}"
            );

            let sites: Vec<_> = threads[&caller]
                .frames
                .iter()
                .map(|frame| frame.site.as_str())
                .collect();
            let functions: Vec<_> = sites.iter().map(|site| site.split('+').next().unwrap()).collect();
            let known: Vec<_> = CALLS.iter().map(|name| format!("stacks!{name}")).collect();
            assert_eq!(functions[..4], known, "{what}: {sites:?}");
            assert!(sites.last().unwrap().starts_with("ntdll!"), "{what}: {sites:?}");
            assert_eq!(
                threads[&caller].frames.last().unwrap().return_address,
                0,
                "{what}"
            );

            // A filter for triage removes values that are not pointers from registers.
            if kind != "triage" {
                for (name, value) in REGISTERS {
                    assert_eq!(threads[&registers].registers[name], value, "{what}: {name}");
                }
            }
            let modules = shown
                .modules
                .iter()
                .map(|module| (module.base, base_name(&module.path)));
            let modules: BTreeMap<_, _> = modules.collect();
            assert_eq!(modules[&module], "stacks.exe", "{what}");
            assert!(
                modules
                    .values()
                    .any(|name| name.eq_ignore_ascii_case("ntdll.dll")),
                "{what}"
            );
            if kind == "full" {
                let bytes: Vec<_> = dbgeng::bytes(&shown.answers[0]).into_iter().flatten().collect();
                assert_eq!(bytes, TEXT, "{what}");
            }
        }
    }
}

#[test]
fn rust_minidump_and_lldb_agree_on_the_stack() {
    let dumps = own(&["normal", "full"]);
    let symbols = symbols();
    let program = program();
    let system = windows::cache().join("wine/drive_c/windows/system32");
    for kind in ["normal", "full"] {
        let dump = dumps.path(kind);
        let readings = [
            rust_minidump::read(&dump, Symbols::Folder(symbols.path())),
            lldb::read_with(&dump, &[program.parent().unwrap(), &system]),
        ];
        for Reading {
            reader, threads, pid, ..
        } in readings
        {
            assert_eq!(pid, Some(dumps.truth.pid), "{reader}");
            let thread = threads.iter().find(|thread| thread.tid == dumps.truth.caller);
            let functions = &thread.expect("the thread is there").functions;
            let shown: Vec<_> = functions.iter().map(|name| name.trim_end_matches("()")).collect();
            assert_eq!(shown[..4], CALLS, "{reader}, {kind}: {functions:?}");
        }
    }
}

/// The output of Mozilla's `dump_syms` for the program and its PDB.
fn symbols() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut command = std::process::Command::new(windows::cache().join("dump_syms/bin/dump_syms"));
    command.arg("--store").arg(folder.path()).arg(program());
    crate::support::run_well(&mut command);
    folder
}

fn base_name(path: &str) -> &str {
    path.rsplit('\\').next().unwrap_or(path)
}

fn sorted<const N: usize>(mut ids: [u32; N]) -> [u32; N] {
    ids.sort_unstable();
    ids
}
