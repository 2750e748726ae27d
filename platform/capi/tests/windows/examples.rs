//! The examples for C programmers, built and run for Windows.

use std::fs;
use std::path::PathBuf;

use minidump::{Minidump, MinidumpException, MinidumpModule, MinidumpModuleList, MinidumpThreadList};

use crate::scratch::{SECRET, beside, bytes_at, name, open, private_byte, program, run};

fn example(name: &str) -> PathBuf {
    program(&format!("../../examples/c/{name}.c"), &[])
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn modules_are_filtered() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["@pid", "example.dmp", "capi-target.exe"];
    let told = beside(&example("filter_modules"), &arguments, folder.path(), &[]);
    let dump = open(&folder.path().join("example.dmp"));
    let modules: MinidumpModuleList = dump.get_stream().expect("modules");
    let has = |name: &str| {
        modules
            .iter()
            .any(|module: &MinidumpModule| module.name.ends_with(name))
    };
    // The stacks refer to the first two modules, but not to the library.
    assert!(has("capi-target.exe") && has("ntdll.dll") && !has("capi-idle.dll"));
    assert!(bytes_at(&dump, told.number("GLOB"), 1).is_some());
}

/// The program that compiles unchanged on Linux is a program for Windows.
#[test]
fn an_unchanged_program_is_one_for_windows() {
    let folder = tempfile::tempdir().expect("a folder");
    let include = concat!(
        "-I",
        env!("CARGO_MANIFEST_DIR"),
        "/tests/programs/windows_style/include"
    );
    let flags = [include, "-Wno-unknown-pragmas"];
    let program = program("tests/programs/windows_style/iowrite.c", &flags);
    let told = beside(&program, &["@pid", "unchanged.dmp"], folder.path(), &[]);
    let file = folder.path().join("unchanged.dmp");
    let bytes = fs::metadata(&file).expect("the dump").len();
    assert_eq!(
        told.stdout,
        format!("[+] {bytes} bytes, all in the file, started and finished\n[+] closed\n")
    );
    let start = told.number("PRIV") + 0x1100;
    let expected: Vec<u8> = (0x1100..0x1400).map(private_byte).collect();
    assert_eq!(bytes_at(&open(&file), start, 0x300), Some(expected));
}

#[test]
fn memory_is_added() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["@pid", "example.dmp", "@PRIV+0x1100", "0x300"];
    let told = beside(&example("add_memory"), &arguments, folder.path(), &[]);
    let dump = open(&folder.path().join("example.dmp"));
    let start = told.number("PRIV") + 0x1100;
    let expected: Vec<u8> = (0x1100..0x1400).map(private_byte).collect();
    assert_eq!(bytes_at(&dump, start, 0x300), Some(expected));
    assert!(bytes_at(&dump, start + 0x300, 1).is_none());
}

#[test]
fn secrets_are_redacted() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = beside(
        &example("redact"),
        &["@pid", "example.dmp", SECRET],
        folder.path(),
        &[],
    );
    let file = folder.path().join("example.dmp");
    let bytes = fs::read(&file).expect("the dump");
    assert!(!contains(&bytes, SECRET.as_bytes()));
    assert!(
        !contains(&bytes, &SECRET.as_bytes()[5..]),
        "the part behind a border of pages"
    );
    assert_eq!(told.stdout, "2 times\n");
    let around =
        bytes_at(&open(&file), told.number("PRIV") + 0x5000 - 1, SECRET.len() + 2).expect("private memory");
    assert_eq!(around[0], private_byte(0x4fff));
    assert_eq!(&around[1..=SECRET.len()], [b'*'; 16]);
}

/// Returns the thread, the code, the address and the parameters of the exception in a dump.
fn crash(dump: &Minidump<'_, Vec<u8>>) -> (u32, u32, u64, Vec<u64>) {
    let exception: MinidumpException<'_> = dump.get_stream().expect("the exception");
    let threads: MinidumpThreadList<'_> = dump.get_stream().expect("threads");
    assert!(
        threads.get_thread(exception.thread_id).is_some(),
        "the crashed thread is in the dump"
    );
    let record = &exception.raw.exception_record;
    let count = record.number_parameters as usize;
    (
        exception.thread_id,
        record.exception_code,
        record.exception_address,
        record.exception_information[..count].to_vec(),
    )
}

#[test]
fn crashes_are_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("crash.dmp");
    let (watch, crashes) = (example("watch"), example("crashes"));
    let crashes = name(&crashes).replace('/', "\\");
    // STATUS_ACCESS_VIOLATION of a write to 0x1234, STATUS_STACK_OVERFLOW, an exception of the
    // program's own.
    for (how, code, parameters) in [
        ("access", 0xC000_0005, Some([1, 0x1234])),
        ("stack", 0xC000_00FD, None),
        ("raise", 0xE000_0001, Some([17, 4711])),
    ] {
        let output = run(&watch, &["crash.dmp", &crashes, how], folder.path());
        let thread = output
            .stdout
            .strip_prefix("thread ")
            .expect("it prints the thread id")
            .trim();
        // The exit code is that of the exception. Linux shows its lowest byte.
        assert_eq!(
            output.status.code(),
            Some((code & 0xFF) as i32),
            "{}",
            output.stderr
        );
        let dump = open(&file);
        let found = crash(&dump);
        assert_eq!((found.0.to_string(), found.1), (thread.to_owned(), code), "{how}");
        if let Some(parameters) = parameters {
            assert_eq!(found.3, parameters, "{how}");
        }
        let modules: MinidumpModuleList = dump.get_stream().expect("modules");
        let module = modules.module_at_address(found.2).expect("code is in a module");
        let place = if how == "raise" {
            "kernelbase.dll"
        } else {
            "capi-crashes.exe"
        };
        assert!(module.name.ends_with(place), "{how}: {}", module.name);
        // The registers are those at the time of the exception: the instruction pointer is the
        // address of the exception.
        let exception: MinidumpException<'_> = dump.get_stream().expect("the exception");
        let system = dump.get_stream().expect("the system");
        let context = exception.context(&system, None).expect("registers");
        assert_eq!(context.get_instruction_pointer(), found.2, "{how}");
        fs::remove_file(&file).expect("it is there");
    }
    let output = run(&watch, &["crash.dmp", &crashes, "none"], folder.path());
    assert_eq!(
        (output.status.code(), file.exists()),
        (Some(0), false),
        "{}",
        output.stderr
    );
}

/// The dump on standard output is unchanged: no carriage returns are added.
#[test]
fn a_dump_is_streamed() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = beside(&example("stream"), &["@pid", "0x8000"], folder.path(), &[]);
    assert!(told.stdout.starts_with("MDMP"));
    assert!(
        told.stderr.contains("dropped to stay within the size budget"),
        "{}",
        told.stderr
    );
}
