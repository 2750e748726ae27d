//! The functions that the DLL exports, and the DLLs that it needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine;
use crate::scratch::{self, package, program, run};

/// DLLs that are part of every Windows.
const OF_WINDOWS: [&str; 7] = [
    "advapi32.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "ntdll.dll",
    "powrprof.dll",
    "userenv.dll",
    "ws2_32.dll",
];

fn private_headers(file: &Path) -> String {
    let output = Command::new("x86_64-w64-mingw32-objdump")
        .arg("-p")
        .arg(file)
        .output()
        .expect("it comes with mingw-w64");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the names of the functions that the header declares. Declarations begin in the first
/// column. Functions that the header defines are static.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(package().join("include/dumpwright.h")).expect("the header");
    let lines = header.lines().filter(|line| {
        !line.starts_with([' ', '#', '/']) && !line.starts_with("static") && !line.starts_with("typedef")
    });
    let names = lines.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    names
        .filter(|name| name.starts_with("MiniDump") || name.starts_with("dumpwright_"))
        .filter(|name| !["dumpwright_request_pidfd", "dumpwright_request_fd"].contains(name))
        .filter(|name| !name.starts_with("dumpwright_crash_") && *name != "dumpwright_exception_from_siginfo")
        .map(str::to_owned)
        .collect()
}

#[test]
fn exports_are_what_the_header_declares() {
    let headers = private_headers(machine::library());
    let table = headers
        .split_once("[Ordinal/Name Pointer] Table")
        .expect("exports")
        .1;
    let exported: BTreeSet<String> = table
        .lines()
        .skip(1)
        .map_while(|line| Some(line.split_once(']')?.1.trim().to_owned()))
        .collect();
    assert_eq!(exported, declared());
    assert!(exported.len() > 20);
}

#[test]
fn the_dll_needs_only_dlls_of_windows() {
    let headers = private_headers(machine::library());
    let needed: BTreeSet<String> = headers
        .lines()
        .filter_map(|line| line.trim().strip_prefix("DLL Name: "))
        .map(str::to_lowercase)
        .collect();
    let known: BTreeSet<String> = OF_WINDOWS.map(str::to_owned).into();
    assert!(needed.is_subset(&known), "{needed:?}");
    assert!(needed.contains("kernel32.dll"));
}

/// A program that is linked with the static library runs in a folder without the DLL.
#[test]
fn the_static_library_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = machine::library().with_file_name("libdumpwright.a");
    let standalone = folder.path().join("standalone.exe");
    let output = Command::new("x86_64-w64-mingw32-gcc")
        .args(["-std=gnu11", "-static"])
        .arg(package().join("tests/programs/transcript.c"))
        .arg("-I")
        .arg(package().join("include"))
        .arg(&library)
        .args(LINKED)
        .arg("-o")
        .arg(&standalone)
        .output()
        .expect("cargo xtask windows installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!private_headers(&standalone).contains("dumpwright.dll"));
    let documentation =
        fs::read_to_string(package().join("../../docs/windows.md")).expect("the documentation");
    assert!(
        documentation.contains(&LINKED.join(" ")),
        "docs/windows.md lists these libraries"
    );

    let scenario = scratch::name(&package().join("../../testdata/cases/plain/scenario.toml"));
    for program in [standalone, program("tests/programs/transcript.c", &[])] {
        let said = run(&program, &[&scenario, "a.dmp", "a.jsonl"], folder.path());
        assert_eq!((&*said.stdout, &*said.stderr), ("done", ""));
        let transcript = fs::read_to_string(folder.path().join("a.jsonl")).expect("the transcript");
        assert!(transcript.contains("\"ask\":\"IncludeThread\""), "{transcript}");
    }
}

/// The libraries that the static library needs besides the C library.
const LINKED: [&str; 5] = ["-lws2_32", "-luserenv", "-lntdll", "-ladvapi32", "-lkernel32"];
