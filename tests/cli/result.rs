//! The result that a successful dump prints, and where it prints it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use dumpwright::read::Dump;

use crate::attempt::{Folder, Outcome, assert_says, dump_of, json, plain, refusal, threads};
use crate::support::dumper::dumpwright;
use crate::support::proc::{self, until};
use crate::support::victim::{self, Victim};

/// The keys that the command line documents, and the type of each value.
#[test]
fn the_result_as_json_has_all_documented_keys() {
    let victim = threads();
    let folder = Folder::new();
    let file = folder.file("dump");
    let outcome = Outcome::of(dump_of(&victim, &file).args(["--json", "--type", "mini"])).expect(0);
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
    let object = outcome.json();
    assert_eq!(object["file"], file.to_str().unwrap());
    assert_eq!(object["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(object["status"], "complete");
    assert_eq!(object["type"], "0x1005");
    assert_eq!(object["hold"], "stop");
    assert_eq!(object["tracer"], "helper");
    assert_eq!(object["missing"], serde_json::json!([]));
    let dump = Dump::open(&file).unwrap();
    assert_eq!(object["threads"], proc::task_ids(victim.pid()).len());
    assert_eq!(object["threads"], dump.threads().unwrap().len());
    assert_eq!(object["modules"], dump.modules().unwrap().len());
    let ranges = dump.memory_ranges().unwrap();
    assert_eq!(object["memory_ranges"], ranges.len());
    assert_eq!(
        object["memory_bytes"],
        ranges.iter().map(|range| range.size).sum::<u64>()
    );
    let [pause, elapsed] = ["pause_us", "elapsed_us"].map(|key| object[key].as_u64().expect("microseconds"));
    assert!(0 < pause && pause <= elapsed, "{object}");
    for key in ["left_out", "notes"] {
        for diagnostic in object[key].as_array().expect("a list") {
            assert!(
                diagnostic["subject"].is_string() && diagnostic["reason"].is_string(),
                "{diagnostic}"
            );
        }
    }
}

#[test]
fn in_words_it_is_one_line_and_what_is_worth_knowing() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    let outcome = Outcome::of(&mut dump_of(&victim, &file)).expect(0);
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
    let text = String::from_utf8(outcome.stdout).unwrap();
    let bytes = fs::metadata(&file).unwrap().len();
    assert_says(
        text.lines().next().unwrap(),
        &[
            file.to_str().unwrap(),
            "complete dump (normal)",
            &format!("{:.2} KiB;", bytes as f64 / 1024.0),
            "1 thread,",
        ],
    );
    assert!(!text.contains("missing:"), "{text}");
}

/// A thread in uninterruptible sleep cannot be stopped, and only a part of its registers is known.
#[test]
fn a_partial_dump_is_written_and_says_everywhere_what_it_lacks() {
    let nothing: [&str; 0] = [];
    let victim = Victim::start(&victim::live("vforked"), &nothing);
    let pid = victim.pid();
    until("it waits for its child", || proc::states(pid) == ['D']);
    let folder = Folder::new();
    let file = folder.file("dump");
    let subject = format!("thread {pid}");

    let outcome = Outcome::of(dump_of(&victim, &file).arg("--json")).expect(3);
    let object = outcome.json();
    assert_eq!(object["status"], "partial");
    let missing = object["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{object}");
    assert_eq!(missing[0]["subject"], subject);
    let reason = missing[0]["reason"].as_str().unwrap();
    let dump = Dump::open(&file).unwrap();
    let soft_errors = dump.soft_errors().unwrap().expect("there are some");
    let lacks = serde_json::json!({"severity": "missing", "subject": subject, "reason": reason});
    assert!(soft_errors.as_array().unwrap().contains(&lacks), "{soft_errors}");
    assert_eq!(dump.threads().unwrap().len(), 1, "it is listed all the same");

    let outcome = Outcome::of(dump_of(&victim, &file).arg("--force")).expect(3);
    let text = String::from_utf8(outcome.stdout).unwrap();
    assert_says(&text, &["partial dump", &format!("missing: {subject}: {reason}")]);
    folder.assert_holds(&["dump"]);
    let (told, status) = victim.finish();
    assert_eq!(told, ["went on"]);
    assert!(status.success());
}

#[test]
fn standard_output_carries_the_dump_and_nothing_else() {
    let mut victim = threads();
    for (more, words) in [
        (&[][..], false),
        (&["--json"], true),
        (&["--type", "with-full-memory", "--json"], true),
    ] {
        let outcome = Outcome::of(dump_of(&victim, Path::new("-")).args(more)).expect(0);
        let length = outcome.stdout.len() as u64;
        let folder = Folder::new();
        let file = folder.file("received");
        fs::write(&file, outcome.stdout).unwrap();
        let dump = Dump::open(&file).unwrap();
        assert_eq!(dump.misc_info().unwrap().unwrap().process_id, Some(victim.pid()));
        crate::support::dumper::check(&file).unwrap();
        if words {
            let object = json(outcome.stderr.as_bytes());
            assert_eq!((&object["file"], &object["bytes"]), (&"-".into(), &length.into()));
            assert_eq!(object["status"], "complete");
        } else {
            assert_says(&outcome.stderr, &["complete dump"]);
        }
        victim.ping();
    }
}

#[test]
fn a_file_given_as_standard_output_serves_as_well() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("redirected");
    let mut command = dump_of(&victim, Path::new("-"));
    command
        .stdout(File::create(&file).unwrap())
        .stderr(Stdio::piped())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    crate::support::dumper::check(&file).unwrap();
}

#[test]
fn a_failure_with_the_dump_on_standard_output_is_told_on_standard_error() {
    let arguments = ["--pid", "4194304", "-o", "-"];
    let mut words = dumpwright();
    let words = Outcome::of(words.arg("dump").args(arguments)).expect(1);
    assert!(words.stdout.is_empty());
    assert_says(
        &words.stderr,
        &["dumpwright: ", "there is no process with this id"],
    );
    let mut object = dumpwright();
    let object = Outcome::of(object.args(["dump", "--json"]).args(arguments)).expect(1);
    assert!(object.stdout.is_empty());
    let object = json(object.stderr.as_bytes());
    assert_eq!(
        (&object["file"], &object["status"]),
        (&"-".into(), &"failed".into())
    );
}

/// A closed pipe is an ordinary failure; the program is not killed by SIGPIPE.
#[test]
fn a_closed_pipe() {
    let mut victim = threads();
    for dump_type in ["normal", "with-full-memory"] {
        let mut command = dump_of(&victim, Path::new("-"));
        command.args(["--type", dump_type]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_says(&stderr, &["dumpwright: cannot", "Broken pipe"]);
        proc::assert_released(victim.pid());
        victim.ping();
    }
}

#[test]
fn a_terminal_gets_no_dump() {
    let mut victim = plain();
    let dump = format!(
        "'{}' dump --pid {} -o -",
        dumpwright().get_program().to_str().unwrap(),
        victim.pid()
    );
    // script(1) provides a terminal and passes the exit status on.
    let outcome = Outcome::of(Command::new("script").args(["-qec", &dump, "/dev/null"])).expect(1);
    assert_says(
        &String::from_utf8(outcome.stdout).unwrap(),
        &["is a terminal", "redirect"],
    );
    victim.ping();
}

#[test]
fn a_failed_dump_says_the_same_in_words_and_as_json() {
    // `refusal` compares the text with the JSON. This is a failure of the output; target.rs has
    // those of targets.
    assert_says(
        &refusal(&["--pid", "1", "-o", "/no/such/folder/dump"]),
        &["/no/such/folder/dump"],
    );
}
