//! Processes that cannot be dumped: the code, the text, no file, and a process that runs
//! afterwards.

use std::fs;

use crate::victim::{Outcome, Victim, dump, dumps, word};

/// Fails unless the dump was refused with this code and text, and left no file.
fn assert_refused(outcome: &Outcome, code: &str, words: &[&str]) {
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert_eq!(outcome.result["status"], "failed", "{outcome:?}");
    assert_eq!(outcome.result["hresult"], code, "{outcome:?}");
    let error = outcome.result["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word:?} in {error:?}");
        assert!(outcome.stderr.contains(word), "{word:?} in {:?}", outcome.stderr);
    }
}

fn assert_empty(folder: &std::path::Path) {
    let left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn there_is_no_such_process() {
    let folder = tempfile::tempdir().unwrap();
    // Windows has no process id that is not a multiple of 4.
    let outcome = dump(&folder.path().join("none.dmp"), &["--pid", "4000003"]);
    assert_refused(
        &outcome,
        "0x80070057",
        &["open process 4000003", "there is no such process"],
    );
    assert_empty(folder.path());
}

#[test]
fn access_is_denied() {
    let victim = Victim::start("locked");
    let folder = tempfile::tempdir().unwrap();
    let pid = victim.pid().to_string();
    let outcome = dump(&folder.path().join("none.dmp"), &["--pid", &pid]);
    assert_refused(
        &outcome,
        "0x80070005",
        &[
            &format!("open process {pid}"),
            "denied",
            "elevated",
            "SeDebugPrivilege",
        ],
    );
    assert_empty(folder.path());
    victim.assert_runs(&[0]);
}

#[test]
fn the_process_ends_during_the_dump() {
    let victim = Victim::start("steady");
    let folder = tempfile::tempdir().unwrap();
    let told = dumps(&[
        "end",
        &victim.pid().to_string(),
        &word(&folder.path().join("none.dmp")),
    ]);
    assert_eq!(told["hresult"], "0x80070005", "{told}");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("has ended"), "{error}");
    assert_empty(folder.path());
}

#[test]
fn the_dumper_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let told = dumps(&["own", &word(&folder.path().join("none.dmp"))]);
    assert_eq!(told["hresult"], "0x80070032", "{told}");
    let error = told["error"].as_str().unwrap();
    for words in ["dumper itself", "another process", "--backend dbghelp"] {
        assert!(error.contains(words), "{error}");
    }
    assert_empty(folder.path());
}

#[test]
fn the_file_cannot_be_written() {
    let victim = Victim::start("steady");
    let pid = victim.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let outcome = dump(
        &folder.path().join("no folder").join("victim.dmp"),
        &["--pid", &pid],
    );
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let error = outcome.result["error"].as_str().unwrap();
    assert!(error.contains("victim.dmp"), "{error}");
    assert_empty(folder.path());
    // An existing file is not replaced without `--force`.
    let file = folder.path().join("victim.dmp");
    fs::write(&file, "mine").unwrap();
    let outcome = dump(&file, &["--pid", &pid]);
    assert_refused(&outcome, "0x80070050", &["victim.dmp"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    victim.assert_runs(&[0, 1, 2, 4]);
}
