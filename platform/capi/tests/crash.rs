//! The crash handler of the C library.
//!
//! Would catch: an option that has no effect, a crash without a dump (of a thread whose stack has
//! overflowed, by an exception of C++ that nobody catches), a program that ends in another way than
//! by its signal, arguments of a signal handler that are translated wrongly.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use dumpwright_fixtures::dumper::dumpwright;
use dumpwright_fixtures::repository;
use minidump::{Minidump, MinidumpException};

/// `SIGABRT` and `SIGSEGV`.
const ABORT: u32 = 6;
const SEGMENTATION: u32 = 11;

fn run(program: &Path, folder: &Path, how: &str) -> Output {
    Command::new(program)
        .arg(folder)
        .arg(how)
        .env("DUMPWRIGHT", dumpwright().get_program())
        .output()
        .expect("it was just built")
}

/// Reads the only dump in the folder, and removes it. Returns the signal, its thread, and the
/// comment.
fn dumped(folder: &Path) -> (u32, u32, String) {
    let mut files: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().collect();
    let file = files.pop().expect("a dump").path();
    assert!(files.is_empty());
    let dump = Minidump::read(fs::read(&file).expect("the dump")).expect("a minidump");
    fs::remove_file(file).expect("it is ours");
    let exception: MinidumpException<'_> = dump.get_stream().expect("an exception");
    let comment = dump.get_raw_stream(10).unwrap_or_default();
    let text = String::from_utf8_lossy(comment).into_owned();
    (
        exception.raw.exception_record.exception_code,
        exception.thread_id,
        text,
    )
}

#[test]
fn the_example_is_dumped_when_it_crashes() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = repository().join("examples/c/crash_handler.c");
    for compiler in ["gcc", "clang"] {
        let program = support::compile(&source, "crash_handler", compiler, &["-O1"]);
        for (how, signal) in [
            ("null", SEGMENTATION),
            ("abort", ABORT),
            ("overflow", SEGMENTATION),
        ] {
            let output = run(&program, folder.path(), how);
            assert_eq!(
                output.status.signal(),
                Some(signal.cast_signed()),
                "{how}: {output:?}"
            );
            let (code, thread, comment) = dumped(folder.path());
            assert_eq!(code, signal, "{how}");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(printed, format!("thread {thread}\n"), "{how}");
            assert_eq!(comment, "{\"release\":\"1.0\",\"request\":\"GET /index.html\"}\0");
            let announced = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(announced.starts_with("dumpwright: crash dump: /"), "{announced}");
        }
        let output = run(&program, folder.path(), "none");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = run(&program, &folder.path().join("missing"), "none");
        assert_eq!(output.status.code(), Some(1));
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(reason.contains("missing"), "{reason}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn an_uncaught_exception_is_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = support::program("uncaught.cpp", "g++", &["-O1"]);
    let server = dumpwright().get_program().to_owned();
    let output = Command::new(program)
        .arg(folder.path())
        .arg(server)
        .output()
        .expect("it was just built");
    assert_eq!(output.status.signal(), Some(ABORT.cast_signed()), "{output:?}");
    assert!(folder.path().join("uncaught.dmp").exists());
    assert_eq!(dumped(folder.path()).0, ABORT);
}

#[test]
fn the_arguments_of_a_handler_become_an_exception() {
    let program = support::program("siginfo.c", "gcc", &["-O1"]);
    let output = Command::new(program).output().expect("it was just built");
    assert!(output.status.success(), "{output:?}");
}
