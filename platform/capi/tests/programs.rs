//! C and C++ programs that use the library in the way of published programs, and programs that
//! misuse it.
//!
//! Would catch: an exception or a panic that ends the process or leaves the target stopped, a wrong
//! pointer that is followed, a wrong error code, a callback whose source must be changed for Linux,
//! a stream that is not found.

#[path = "support/misuse.rs"]
mod misuse;
#[path = "support/streams.rs"]
mod streams;
#[path = "support/mod.rs"]
mod support;
#[path = "support/twin.rs"]
#[allow(dead_code)]
mod twin;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dumpwright_fixtures::child::KilledOnDrop;
use dumpwright_fixtures::repository;
use minidump::{Minidump, MinidumpException, MinidumpMemoryList, MinidumpModuleList};
use misuse::{EXCEPTIONS_AND_STREAMS, READING, assert_printed};
use twin::Twin;

const SANITIZED: &[&str] = &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

fn output(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_remove("DUMPWRIGHT_PROFILE")
        .output()
        .expect("it was just built");
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("ASCII")
}

/// Starts another process to be dumped. It waits for input that never comes.
fn other() -> KilledOnDrop {
    let child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    KilledOnDrop(child.expect("cat exists"))
}

#[test]
fn exceptions_reach_the_caller_and_the_target_runs_on() {
    let twin = Twin::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("after.dmp");
    for (compiler, flags) in [
        ("g++", &["-O1"][..]),
        ("clang++", &["-O1"]),
        ("clang++", SANITIZED),
    ] {
        let program = support::program("throws.cpp", compiler, flags);
        let caught = output(
            &program,
            &[&twin.id.to_string(), file.to_str().expect("a plain path")],
        );
        // 18 of the 23 callback types, and a writer. ThreadEx, KernelMinidumpStatus,
        // ReadMemoryFailure and the two types for compressed memory are not sent.
        assert_eq!(caught, "19\n", "{compiler}");
        assert!(fs::read(&file).expect("a dump").starts_with(b"MDMP"));
    }
    twin.end();
}

/// The library's thread-local variables have been destroyed when the destructors of
/// `pthread_key_create` run.
#[test]
fn a_thread_can_ask_for_a_dump_while_it_ends() {
    let twin = Twin::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("end.dmp");
    for flags in [&["-O1"][..], SANITIZED] {
        let program = support::program("thread_end.c", "gcc", flags);
        let file = file.to_str().expect("a plain path");
        let told = output(&program, &[&twin.id.to_string(), file]);
        let round = |when: &str, report: &str| {
            format!(
                "{when}: FALSE 80070057 message\n{when}: TRUE 00000000 no message\n{when}: asked, {report}\n\
                 {when}: FALSE 80070057 message\n"
            )
        };
        let ending = round("ending", "no report");
        assert_eq!(told, round("running", "report") + &ending + &ending + "0 left\n");
        assert!(fs::read(file).expect("a dump").starts_with(b"MDMP"));
    }
    twin.end();
}

/// Returns the compiler flags for a program that was written for Windows: the folder of the
/// compatibility headers on the include path, and `more`.
fn with_windows_headers(more: &[&'static str]) -> Vec<&'static str> {
    let mut flags = vec![
        concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include/dumpwright"),
        "-Wno-unknown-pragmas",
    ];
    flags.extend(more);
    flags
}

#[test]
fn windows_programs_compile_unchanged() {
    let twin = Twin::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("unchanged.dmp");
    let name = file.to_str().expect("a plain path");
    let sanitize = "-fsanitize=address,undefined";
    for (compiler, standard) in [("gcc", "-std=gnu99"), ("clang", "-std=gnu11")] {
        let flags = with_windows_headers(&[standard, sanitize]);
        let program = support::program("windows_style/iowrite.c", compiler, &flags);
        let told = output(&program, &[&twin.id.to_string(), name]);
        let bytes = fs::metadata(&file).expect("the dump").len();
        let expected = format!("[+] {bytes} bytes, all in the file, started and finished\n[+] closed\n");
        assert_eq!(told, expected, "{compiler}");
        let dump = Minidump::read_path(&file).expect("a minidump");
        let memory = dump.get_memory().expect("all of it");
        let memory = memory
            .memory_at_address(twin.names.address("PRIV"))
            .expect("its memory");
        let start = twin.names.address("PRIV") + 0x123;
        assert_eq!(
            memory.get_memory_at_address::<u8>(start),
            Some((3 + 0x123 % 251) as u8)
        );
    }
    for (compiler, unicode) in [("g++", None), ("g++", Some("-DUNICODE")), ("clang++", None)] {
        let more: Vec<_> = ["-std=gnu++17", sanitize].into_iter().chain(unicode).collect();
        let program = support::program("windows_style/loads.cpp", compiler, &with_windows_headers(&more));
        // With backslashes, as a Windows programmer would write it.
        let told = output(&program, &[&twin.id.to_string(), &name.replace('/', "\\")]);
        let threads = twin.threads.len();
        let expected = format!(
            "{threads} threads with registers, {threads} with times, process {}\n",
            twin.id
        );
        assert_eq!(told, expected, "{compiler} {unicode:?}");
    }
    twin.end();
}

/// The compatibility headers can be included together with those of the system and of the C++
/// library, in any order.
#[test]
fn windows_headers_go_with_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let c = [
        "stdio",
        "stdlib",
        "string",
        "unistd",
        "pthread",
        "signal",
        "sys/socket",
        "sys/wait",
        "netinet/in",
        "iconv",
        "math",
        "time",
    ];
    let cpp = [
        "algorithm",
        "atomic",
        "chrono",
        "codecvt",
        "filesystem",
        "functional",
        "iostream",
        "locale",
        "map",
        "mutex",
        "regex",
        "string",
        "thread",
        "vector",
    ];
    for (compiler, standard, headers, file) in [
        (
            "gcc",
            "-std=gnu11",
            c.map(|name| format!("{name}.h")).to_vec(),
            "all.c",
        ),
        (
            "clang",
            "-std=gnu17",
            c.map(|name| format!("{name}.h")).to_vec(),
            "all.c",
        ),
        ("g++", "-std=gnu++17", cpp.map(str::to_owned).to_vec(), "all.cpp"),
        (
            "clang++",
            "-std=gnu++17",
            cpp.map(str::to_owned).to_vec(),
            "all.cpp",
        ),
    ] {
        let others: String = headers
            .iter()
            .map(|name| format!("#include <{name}>\n"))
            .collect();
        let ours =
            "#include <windows.h>\n#include <dbghelp.h>\n#include <minidumpapiset.h>\n#include <tchar.h>\n";
        for text in [format!("{ours}{others}"), format!("{others}{ours}")] {
            let source = folder.path().join(file);
            fs::write(&source, text + "int main(void) { return (int)GetLastError(); }\n")
                .expect("a file of ours");
            let output = Command::new(compiler)
                .args([standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
                .args(with_windows_headers(&[]))
                .arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"))
                .arg(&source)
                .output()
                .expect("cargo xtask readers installs it");
            assert!(
                output.status.success(),
                "{compiler}:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn text_is_converted() {
    for (compiler, flags) in [
        ("g++", SANITIZED),
        ("clang++", SANITIZED),
        (
            "gcc",
            &[
                "-x",
                "c",
                "-std=c11",
                "-fshort-wchar",
                "-fsanitize=address,undefined",
            ],
        ),
        (
            "clang",
            &[
                "-x",
                "c",
                "-std=c11",
                "-DDUMPWRIGHT_WCS",
                "-fsanitize=address,undefined",
            ],
        ),
    ] {
        let program = support::program("strings.cpp", compiler, flags);
        assert_eq!(output(&program, &[]), "right\n", "{compiler} {flags:?}");
    }
}

#[test]
fn misuse_is_told() {
    let twin = Twin::start();
    let other = other();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("misuse.dmp");
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    for (compiler, flags) in [("gcc", &["-O1"][..]), ("clang", SANITIZED)] {
        let program = support::program("misuse.c", compiler, flags);
        let told = output(
            &program,
            &[
                &twin.id.to_string(),
                scenario.to_str().expect("a plain path"),
                file.to_str().expect("a plain path"),
                &other.id().to_string(),
            ],
        );
        let handles = "\
a dump: TRUE
process id 0: TRUE
handle of another process: 80070057
no handle: 80070057
handle -1: 80070057
no such process: 80070057
itself: TRUE
no file: 80070006
file -1: 80070006
a closed file: 80070006
a huge file: 80070006
a file for reading: 80070005
a process for a file: 80070006
a file for a process: 80070057
handles with tags: TRUE
a full disk: 80070070
unknown type: 80070057
";
        let rest = "\
a callback without function: TRUE
the same process, from its callback: 80070005
another one, from the callback: TRUE
a callback that dumps: TRUE
a callback that unmaps: TRUE
an unknown profile: 80070057
a reserved stream, as DbgHelp: TRUE
a reserved stream: 80070057
two streams of one type: 80070057
a request of nothing: 80070057
no request: 80070057
no request to set: 80070057
process 0: 80070057
no scenario: 80070057
a missing scenario: 80070057
an unknown name: 80070057
an unknown hold: 80070057
no writer: 80070057
no process descriptor: 80070057
a closed process descriptor: 80070057
a process descriptor: TRUE
complete stop
a scenario: TRUE
an exception in a scenario: 80070057
an existing file: 80070050
no report
replacing it: TRUE
no descriptor: 80070057
a descriptor: TRUE
a file to append to: 80070057
an empty file to append to: TRUE
descriptor 0: TRUE
NULL is no file all the same: 80070006
NULL is no process: 80070057
";
        assert_printed(compiler, &told, &[handles, EXCEPTIONS_AND_STREAMS, rest, READING]);
    }
    twin.end();
}

#[test]
fn a_module_filter_of_the_field_runs_unchanged() {
    let twin = Twin::with_idle_library();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("filter.dmp");
    for compiler in ["gcc", "clang"] {
        let program = support::program("field_filter.c", compiler, SANITIZED);
        let told = output(
            &program,
            &[&twin.id.to_string(), file.to_str().expect("a plain path"), "twin"],
        );
        // The types before the selection; IncludeThread; IncludeModule; Thread; Memory,
        // RemoveMemory and WriteKernelMinidump. For Module the program prints other lines.
        let questions: Vec<&str> = told.lines().filter(|line| line.starts_with("question")).collect();
        let expected: Vec<String> = [(16, 0), (17, 0), (11, 0), (15, 0), (6, 0)]
            .into_iter()
            .chain([(3, 1); 5])
            .chain([(4, 1); 6])
            .chain([(1, 1); 5])
            .chain([(5, 0), (9, 0), (7, 0)])
            .map(|(kind, said)| format!("question {kind}: {said}"))
            .collect();
        assert_eq!(questions, expected);
        assert!(told.contains("module twin: 1f 1f\n"), "{told}");
        assert!(told.contains("module libc: 1f 1d\n"), "{told}");
        assert!(told.contains("module libidle: f c\n"), "{told}");
        let dump = Minidump::read_path(&file).expect("a minidump");
        let modules: MinidumpModuleList = dump.get_stream().expect("modules");
        let has = |name: &str| modules.iter().any(|module| module.name.ends_with(name));
        assert!(has("/twin") && has("/libc.so.6") && !has("/libidle.so"));
        let memory: MinidumpMemoryList<'_> = dump.get_stream().expect("memory");
        assert!(memory.memory_at_address(twin.names.address("GLOB")).is_some());
    }
    twin.end();
}

#[test]
fn a_memory_callback_of_the_field_runs_unchanged() {
    let twin = Twin::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("memory.dmp");
    let thread = twin.threads[2];
    let start = twin.names.address("PRIV") + 0x123;
    for compiler in ["g++", "clang++"] {
        let program = support::program("field_memory.cpp", compiler, SANITIZED);
        let told = output(
            &program,
            &[
                &twin.id.to_string(),
                file.to_str().expect("a plain path"),
                &thread.to_string(),
                &format!("{start:#x}"),
                "0x20",
            ],
        );
        let tail = "question 5: 1\nquestion 5: 1\nquestion 5: 0\nquestion 9: 0\nquestion 7: 0\nresult 1\n";
        assert!(told.ends_with(tail), "{told}");
        let dump = Minidump::read_path(&file).expect("a minidump");
        let memory: MinidumpMemoryList<'_> = dump.get_stream().expect("memory");
        let added = memory.memory_at_address(start).expect("the added range");
        assert_eq!((added.base_address, added.size), (start, 0x20));
        assert_eq!(added.bytes[0], (3 + 0x123 % 251) as u8);
        let exception: MinidumpException<'_> = dump.get_stream().expect("the exception");
        assert_eq!(exception.thread_id, thread);
        assert_eq!(exception.raw.exception_record.exception_code, 0xc000_0005);
        assert_eq!(exception.raw.exception_record.exception_information[1], 0x1234);
        let comment = dump.get_raw_stream(10).expect("the comment");
        assert_eq!(comment, b"reported by hand\0");
    }
    twin.end();
}

#[test]
fn streams_are_found_where_they_are() {
    let program = support::program("read_streams.c", "clang", SANITIZED);
    streams::are_found(1, |dump, types| {
        let mut arguments = vec![dump.to_str().expect("a plain path")];
        arguments.extend(types.iter().map(String::as_str));
        output(&program, &arguments)
    });
}

/// The number of dumps beside a wait: more in a long test.
fn dumps_beside_a_wait() -> String {
    std::env::var("DUMPWRIGHT_TEST_CAPTURES").unwrap_or_else(|_| "100".to_owned())
}

#[test]
fn a_wait_for_a_child_outlasts_its_dumps_and_a_debugger_can_dump_its_debuggee() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("waits.dmp");
    let file = file.to_str().expect("a plain path");
    for compiler in ["gcc", "clang"] {
        let program = support::program("waits.c", compiler, &["-O1"]);
        let told = output(&program, &[file, &dumps_beside_a_wait()]);
        let partly = told.lines().nth(2).expect("a message");
        assert!(
            partly.contains("is not traced by the same thread of this program"),
            "{told}"
        );
        let expected = format!(
            "0 early, 0 not by a helper\nwaited: 1, signal 15\n{partly}\npartly stopped: no dump\n\
             stopped: caller\nagain: caller\n"
        );
        let end = "on another thread: 80070005\nstopped by its next signal: 1\n";
        assert!(told.starts_with(&expected) && told.ends_with(end), "{told}");
    }
}

#[test]
fn a_python_program_can_wait_for_a_child_that_it_dumps() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = support::library().join("libdumpwright.so");
    let file = folder.path().join("waits.dmp");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/waits.py");
    let dumps = dumps_beside_a_wait();
    let arguments = [&script, &library, &file].map(|path| path.to_str().expect("a plain path"));
    let told = output(
        Path::new("python3"),
        &[&arguments[..], &[dumps.as_str()]].concat(),
    );
    assert_eq!(told, format!("{dumps} 0 [0]\n"));
}

/// A transcript contains the bytes that a callback supplies for reads. So only its owner can read
/// it, and it is not written through a symbolic link.
#[test]
fn a_transcript_is_private() {
    let program = support::program("transcript.c", "gcc", SANITIZED);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [dump, transcript, victim] = ["dump", "transcript", "victim"].map(|name| folder.path().join(name));
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    let run = || {
        let arguments = [&scenario, &dump, &transcript].map(|path| path.to_str().expect("ASCII"));
        output(&program, &arguments)
    };
    for _ in 0..2 {
        assert_eq!(run(), "done");
        let text = fs::read_to_string(&transcript).expect("it is there");
        assert!(
            text.contains("\"ask\":\"IncludeThread\"") && text.ends_with("}\n"),
            "{text}"
        );
        let mode = fs::metadata(&transcript)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    fs::write(&victim, "precious").expect("writable");
    fs::remove_file(&transcript).expect("it is there");
    std::os::unix::fs::symlink(&victim, &transcript).expect("writable");
    let said = run();
    assert!(said.contains("transcript"), "{said}");
    assert_eq!(fs::read(&victim).expect("readable"), b"precious");
}
