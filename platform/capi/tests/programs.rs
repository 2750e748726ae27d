//! C and C++ programs that use the library as programs in the field do, and as they should not.
//!
//! Would catch: an exception or a panic that ends the process or leaves the target stopped, a wrong pointer that is followed, a wrong
//! error code, a callback whose source has to be another on Linux, a stream that is not found where it is.

#[path = "../../../tests/conformance/names.rs"]
#[allow(dead_code)]
mod names;
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
use std::process::{Child, Command, Stdio};

use minidump::{Minidump, MinidumpException, MinidumpMemoryList, MinidumpModuleList};
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

/// Another process to be dumped, ended with the test.
struct Other(Child);

impl Other {
    fn start() -> Self {
        // It waits for input that never comes.
        Self(
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("cat exists"),
        )
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
        // All 21 questions but ThreadEx, KernelMinidumpStatus and ReadMemoryFailure, which do not come; and a writer.
        assert_eq!(caught, "19\n", "{compiler}");
        assert!(fs::read(&file).expect("a dump").starts_with(b"MDMP"));
    }
    twin.end();
}

#[test]
fn misuse_is_told() {
    let twin = Twin::start();
    let other = Other::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("misuse.dmp");
    let scenario = support::repository().join("testdata/cases/plain/scenario.toml");
    for (compiler, flags) in [("gcc", &["-O1"][..]), ("clang", SANITIZED)] {
        let program = support::program("misuse.c", compiler, flags);
        let told = output(
            &program,
            &[
                &twin.id.to_string(),
                scenario.to_str().expect("a plain path"),
                file.to_str().expect("a plain path"),
                &other.0.id().to_string(),
            ],
        );
        let expected = "\
a dump: TRUE
process id 0: TRUE
handle of another process: 80070057
no handle: 80070057
handle -1: 80070057
no such process: 80070057
itself: 80070032
no file: 80070006
file -1: 80070006
a closed file: 80070006
a huge file: 80070006
a file for reading: 80070005
a full disk: 80070070
unknown type: 80070057
an exception: TRUE
an exception without pointers: TRUE
an exception nowhere: 800703e6
an exception without context: 800703e6
an exception of the client's: 800703e6
streams: TRUE
streams without array: TRUE
no streams: TRUE
streams nowhere: 800706f8
a stream without buffer: 800706f8
a stream that is too long: 800700df
too many streams: 800700df
a callback without function: TRUE
the same process, from its callback: 80070005
another one, from the callback: TRUE
a callback that dumps: TRUE
a callback that unmaps: TRUE
an unknown profile: 80070057
a reserved stream: 80070057
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
a stream of nothing: 00000057
a stream of no dump: 0000000d
a stream nowhere: 000003e6
untouched
";
        let difference = told
            .lines()
            .zip(expected.lines())
            .find(|(told, expected)| told != expected);
        assert_eq!(difference, None, "{compiler}");
        assert_eq!(told.lines().count(), expected.lines().count(), "{told}");
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
        // Handshake; threads; modules; their facts; threads' facts; memory; the kernel.
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

/// What a callback puts into reads stands in a transcript: nobody else may read it, and it does not go where a planted link leads.
#[test]
fn a_transcript_is_private() {
    let program = support::program("transcript.c", "gcc", SANITIZED);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [dump, transcript, victim] = ["dump", "transcript", "victim"].map(|name| folder.path().join(name));
    let scenario = support::repository().join("testdata/cases/plain/scenario.toml");
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
