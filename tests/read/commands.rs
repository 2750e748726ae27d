//! `dumpwright show` and `dumpwright check`, run as programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dumpwright::read::stream_type;
use serde_json::Value;

use crate::sample::{self, RIP_1, Sample, THREAD_2};

/// A dump in a folder that is deleted with this value.
struct Kept {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn keep(sample: &Sample) -> Kept {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("sample.dmp");
    std::fs::write(&path, &sample.bytes).expect("the folder takes a file");
    Kept {
        _folder: folder,
        path,
    }
}

fn dumpwright(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dumpwright"))
        .args(arguments)
        .arg(file)
        .output()
        .expect("dumpwright starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("dumpwright prints UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("dumpwright prints one JSON object")
}

/// A dump as the DbgHelp of January 2026 writes it for compressed memory: without a list of memory,
/// and with the type that states it.
#[test]
fn compressed_memory_is_named_and_not_taken_for_none() {
    let mut dump = sample::normal();
    dump.remove(stream_type::MEMORY_LIST);
    dump.set_u32(24, 0x0400_0000);
    dump.enter(stream_type::COMPRESSED_MEMORY, 0, 0);
    dump.enter(0x7000, 0, 0);
    dump.enter(0x800c, 0, 0);
    let kept = keep(&dump);
    let output = dumpwright(&["show", "--all"], &kept.path);
    let shown = text(&output.stdout);
    for expected in [
        "with-memory-compressed",
        "0x19  CompressedMemoryStream\n",
        "0x7000  CompressedMemoryStreamSQL\n",
        "0x800c  ceStreamDiagnosisList\n",
        "DataSize is 0x0 instead of 0xc0",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    let shown = json(&dumpwright(&["show", "--json"], &kept.path));
    assert_eq!(shown["problems"].as_array().map(Vec::len), Some(1), "{shown:#}");
    let checked = dumpwright(&["check"], &kept.path);
    for refused in ["private-stream-type", "memory-list-missing"] {
        assert!(
            !text(&checked.stdout).contains(refused),
            "{}",
            text(&checked.stdout)
        );
    }
}

#[test]
fn show_prints_what_is_in_the_dump() {
    let output = dumpwright(&["show", "--all"], &keep(&sample::normal()).path);
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let rip = format!("{RIP_1:#x} victim+0x1234");
    for expected in [
        "written  2000-02-29 00:00:00 UTC",
        "ExceptionStream",
        "Linux 6.1.0 #1 SMP x86_64",
        "id         4710",
        "command    victim --run",
        "SIGSEGV (SEGV_MAPERR)",
        "thread 4712 wörker",
        &rip,
        "0403020106050807090A0B0C0D0E0F100",
        "C:\\lib\\warm.dll",
        "/dev/null",
        "gone.dll",
        "Memory (3 ranges, 832 bytes)",
        "a diagnostic",
        "StopProcess",
    ] {
        assert!(shown.contains(expected), "{expected:?} is missing from\n{shown}");
    }
    assert!(!shown.contains("Could not be read"), "{shown}");
}

#[test]
fn show_lists_lost_memory_and_on_request_all_ranges() {
    let kept = keep(&sample::with_losses());
    let output = dumpwright(&["show", "--all"], &kept.path);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("0x7f1100002108 to 0x7f1100002118  16 bytes, target exited"),
        "{shown}"
    );
    assert!(
        shown.contains("0x7f1100002100 to 0x7f1100002140  64 bytes"),
        "{shown}"
    );
}

#[test]
fn show_as_json() {
    let object = json(&dumpwright(&["show", "--json"], &keep(&sample::normal()).path));
    assert_eq!(object["system"]["platform"], "linux");
    assert_eq!(object["process"]["process_id"], 4710);
    assert_eq!(object["threads"][1]["id"], THREAD_2);
    assert_eq!(object["threads"][1]["name"], "wörker");
    assert_eq!(object["threads"][0]["context"]["rip"], format!("{RIP_1:#x}"));
    assert_eq!(
        object["modules"][0]["debug_id"],
        "0403020106050807090A0B0C0D0E0F100"
    );
    assert_eq!(object["exception"]["description"], "SIGSEGV (SEGV_MAPERR)");
    assert_eq!(object["memory"]["bytes"], 832);
    assert_eq!(object["handles"][0]["object_name"], "/dev/null");
    assert_eq!(object["texts"]["LinuxProcStatus"], "Name:\tvictim\nPid:\t4710\n");
    assert_eq!(object["losses"], Value::Array(Vec::new()));
    assert_eq!(object["problems"], Value::Array(Vec::new()));
}

#[test]
fn show_names_what_it_cannot_read() {
    let mut sample = sample::normal();
    sample.bytes.truncate(sample.mark("exception"));
    let kept = keep(&sample);
    let output = dumpwright(&["show", "--all"], &kept.path);
    let shown = text(&output.stdout);
    assert!(shown.contains("thread 4712"), "what arrived is shown\n{shown}");
    assert!(
        shown.contains("ExceptionStream should be 168 bytes at offset"),
        "what is missing is named\n{shown}"
    );
    let problems = &json(&dumpwright(&["show", "--json"], &kept.path))["problems"];
    assert!(
        problems.as_array().is_some_and(|list| list.len() > 3),
        "{problems}"
    );
}

#[test]
fn names_in_a_dump_do_not_command_the_terminal() {
    let mut sample = sample::normal();
    let name = sample.put_string("evil name", "\x1b]0;gotcha\x07");
    sample.set_u64(sample.mark("thread names") + 8, name.into());
    let output = dumpwright(&["show"], &keep(&sample).path);
    assert!(!output.stdout.contains(&0x1b) && !output.stdout.contains(&0x07));
    assert!(text(&output.stdout).contains("\\u{1b}]0;gotcha\\u{7}"));
}

/// All characters that change what a terminal shows, in every text of a dump and in its file name.
#[test]
fn no_text_of_a_dump_reaches_the_terminal_as_it_is() {
    let hostile: Vec<char> = (1..0x20)
        .chain(0x7f..0xa0)
        .chain([0x61c, 0x200e, 0x200f, 0x2028, 0x2029])
        .chain(0x202a..=0x202e)
        .chain(0x2066..=0x2069)
        .map(|code| char::from_u32(code).expect("a character"))
        .collect();
    for letters in hostile.chunks(12) {
        let evil: String = letters.iter().flat_map(|letter| ['a', *letter, 'b']).collect();
        let mut sample = sample::normal();
        let name = sample.put_string("evil", &evil);
        sample.set_u64(sample.mark("thread names") + 8, name.into());
        sample.set_u32(sample.mark("module list") + 4 + 20, name);
        sample.set_u32(sample.mark("handles") + 16 + 8, name);
        sample.set_u32(sample.mark("handles") + 16 + 12, name);
        sample.set_u32(sample.mark("unloaded modules") + 12 + 20, name);
        sample.set_u32(sample.mark("system info") + 24, name);
        sample.put_stream(0x4767_0006, "command", evil.as_bytes());
        sample.put_stream(10, "evil comment", evil.as_bytes());
        let errors = serde_json::json!([{ "subject": evil, "reason": evil }]).to_string();
        sample.put_stream(0x4d7a_0004, "errors", errors.as_bytes());
        sample.set_u32(sample.mark("exception") + 32, 16);
        let kept = keep(&sample);
        let path = kept.path.with_file_name(evil.replace('/', "_"));
        std::fs::rename(&kept.path, &path).expect("a file can have this name");
        let missing = path.with_extension("missing");
        for arguments in [&["show", "--all"][..], &["check"]] {
            for file in [&path, &missing] {
                let output = dumpwright(arguments, file);
                for printed in [&output.stdout, &output.stderr] {
                    let found = text(printed)
                        .chars()
                        .find(|one| *one != '\n' && hostile.contains(one));
                    assert_eq!(found, None, "{arguments:?}");
                }
            }
        }
    }
}

#[test]
fn check_passes_a_good_dump() {
    let kept = keep(&sample::normal());
    let output = dumpwright(&["check"], &kept.path);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("{}: ok\n", kept.path.display()));
}

#[test]
fn check_prints_warnings_and_passes() {
    let mut sample = sample::normal();
    sample.set_u32(sample.mark("thread list") + 4 + 44, 0);
    let output = dumpwright(&["check"], &keep(&sample).path);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    assert!(
        shown.starts_with("warning: thread-context-missing: at 0x"),
        "{shown}"
    );
    assert!(shown.ends_with(": ok, 1 warning\n"), "{shown}");
}

#[test]
fn check_fails_a_bad_dump_and_says_where() {
    let mut sample = sample::normal();
    let at = sample.mark("exception") + 32;
    sample.set_u32(at, 16);
    let kept = keep(&sample);
    let output = dumpwright(&["check"], &kept.path);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with(&format!("error: exception-parameters: at {at:#x}: ")));
    let output = dumpwright(&["check", "--json"], &kept.path);
    assert_eq!(output.status.code(), Some(1));
    let object = json(&output);
    assert_eq!(
        (&object["ok"], &object["errors"]),
        (&Value::Bool(false), &Value::from(1))
    );
    assert_eq!(object["violations"][0]["rule"], "exception-parameters");
    assert_eq!(object["violations"][0]["severity"], "error");
    assert_eq!(object["violations"][0]["offset"], at);
}

#[test]
fn check_fails_on_losses_unless_they_are_expected() {
    let kept = keep(&sample::with_losses());
    assert_eq!(dumpwright(&["check"], &kept.path).status.code(), Some(1));
    assert_eq!(
        dumpwright(&["check", "--expect-losses"], &kept.path)
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn what_cannot_be_opened_is_told_with_the_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let text_file = folder.path().join("notes.txt");
    std::fs::write(&text_file, "a text that is longer than the header of a minidump")
        .expect("the folder takes a file");
    for command in ["show", "check"] {
        let missing = dumpwright(&[command], Path::new("/nonexistent/a.dmp"));
        assert_eq!(missing.status.code(), Some(1));
        assert!(
            text(&missing.stderr).contains("cannot open /nonexistent/a.dmp: "),
            "{}",
            text(&missing.stderr)
        );
        let other = dumpwright(&[command], &text_file);
        assert_eq!(other.status.code(), Some(1));
        assert!(
            text(&other.stderr).contains("notes.txt: not a minidump: "),
            "{}",
            text(&other.stderr)
        );
        let usage = Command::new(env!("CARGO_BIN_EXE_dumpwright"))
            .arg(command)
            .output()
            .expect("dumpwright starts");
        assert_eq!(usage.status.code(), Some(2), "a file has to be named");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    // More than a pipe holds (64 KiB), so that writing fails once the other end is closed.
    let mut sample = sample::normal();
    sample.put_stream(0x4767_0003, "cpu info", &vec![b'c'; 1 << 20]);
    let regions = sample::Block::new().u32(16).u32(48).u64(5000).zeros(48 * 5000);
    sample.put_stream(16, "regions", &regions.0);
    let kept = keep(&sample);
    for arguments in [&["show", "--all"][..], &["show", "--json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dumpwright"))
            .args(arguments)
            .arg(&kept.path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dumpwright starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("dumpwright ends");
        assert!(output.status.success(), "{:?}", output.status);
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}
