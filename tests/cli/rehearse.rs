//! Test cases of callbacks: `rehearse`, `new-case`, `record` and `transcript`.
//!
//! Would catch: a difference from the expected results that is not reported, or reported where
//! there is none; a mistake in a case that passes; a C callback whose answers have no effect; a
//! recorded scenario that others may read, or that does not have the facts of the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::attempt::{Folder, Outcome, assert_says, dump, threads};
use crate::support::dumper::dumpwright;
use crate::support::{repository, run_well};

fn rehearse(case: &Path, more: &[&str]) -> Outcome {
    Outcome::of(dumpwright().arg("rehearse").arg(case).args(more))
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8(outcome.stdout.clone()).expect("UTF-8")
}

fn new_case(folder: &Folder) -> PathBuf {
    let case = folder.file("case");
    Outcome::of(dumpwright().arg("new-case").arg(&case)).expect(0);
    case
}

fn replace(file: &Path, from: &str, to: &str) {
    let old = fs::read_to_string(file).unwrap();
    assert!(old.contains(from), "{old}");
    fs::write(file, old.replace(from, to)).unwrap();
}

/// The golden cases are cases for users as well.
#[test]
fn the_golden_cases_give_their_results() {
    let mut cases = 0;
    for entry in fs::read_dir(repository().join("testdata/cases")).unwrap() {
        let case = entry.unwrap().path();
        let outcome = Outcome::of(dumpwright().current_dir(repository()).arg("rehearse").arg(&case));
        assert_eq!(outcome.status.code(), Some(0), "{}: {outcome:?}", case.display());
        cases += 1;
    }
    assert!(cases > 100, "{cases} cases");
}

#[test]
fn a_new_case_runs_and_later_runs_are_compared() {
    let folder = Folder::new();
    let case = new_case(&folder);
    let first = text(&rehearse(&case, &[]).expect(0));
    for line in [
        "IncludeThread thread=1000 | flags=0x17 -> TRUE",
        "IncludeThread thread=1001 | flags=0x17 -> FALSE",
        "= complete",
    ] {
        assert!(first.lines().any(|found| found == line), "{line}:\n{first}");
    }
    assert!(first.contains("1 thread, 1 module, "), "{first}");
    rehearse(&case, &["--bless"]).expect(0);
    assert_eq!(text(&rehearse(&case, &[]).expect(0)), first);

    replace(&case.join("script.toml"), "thread = 1001", "thread = 1000");
    let other = text(&rehearse(&case, &[]).expect(1));
    for file in ["transcript.jsonl", "listing.txt", "dump.dmp"] {
        assert!(
            other.contains(&format!("differs: {}", case.join(file).display())),
            "{other}"
        );
    }
    let blessed = text(&rehearse(&case, &["--bless"]).expect(0));
    assert!(blessed.contains("changed: "), "{blessed}");
    let last = text(&rehearse(&case, &[]).expect(0));
    assert!(!last.contains("differs"), "{last}");
    Outcome::of(dumpwright().arg("new-case").arg(&case)).expect(1);
}

/// An expectation that is not met or not understood is no silent success.
#[test]
fn wrong_expectations_fail() {
    let folder = Folder::new();
    let case = new_case(&folder);
    let facts = case.join("case.toml");
    replace(&facts, "ending = \"complete\"", "ending = \"partial\"");
    let outcome = rehearse(&case, &[]).expect(1);
    assert!(
        text(&outcome).contains("differs: the dump is complete, not partial"),
        "{outcome:?}"
    );
    replace(&facts, "ending = ", "endnig = ");
    let outcome = rehearse(&case, &[]).expect(1);
    assert_says(
        &outcome.stderr,
        &["case.toml", "endnig", "did you mean \"ending\""],
    );
    replace(
        &facts,
        "endnig = \"partial\"",
        "arguments = [\"--coment\", \"x\"]",
    );
    let outcome = rehearse(&case, &[]).expect(1);
    assert_says(&outcome.stderr, &["case.toml: arguments", "--coment"]);
    let outcome = rehearse(&folder.file("absent"), &[]).expect(1);
    assert_says(&outcome.stderr, &["there is no folder", "new-case"]);
}

/// Rules without effect and answers that cannot be meant are reported.
#[test]
fn the_linter_is_always_on() {
    let folder = Folder::new();
    let case = new_case(&folder);
    let rule = "[[rule]]\nask = \"IncludeThread\"\nthread = 77\nreturn = false\n\
                [[rule]]\nask = \"VmStart\"\nstatus = \"S_OK\"\n";
    fs::write(case.join("script.toml"), rule).unwrap();
    let outcome = rehearse(&case, &[]).expect(0);
    let found = text(&outcome);
    assert!(
        found.contains("lint: ") && found.contains("this rule matched no call"),
        "{found}"
    );
    assert!(found.contains("S_FALSE"), "{found}");
}

#[test]
fn a_c_callback_answers() {
    let folder = Folder::new();
    let case = new_case(&folder);
    fs::remove_file(case.join("script.toml")).unwrap();
    let library = folder.file("callback.so");
    let include = repository().join("platform/capi/include");
    let compile = |source: &Path, into: &Path| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
            .arg(&include);
        run_well(gcc.arg("-o").arg(into).arg(source));
    };
    compile(&repository().join("tests/programs/callback.c"), &library);
    let with = library.display().to_string();
    let outcome = rehearse(&case, &["--callback", &with]).expect(0);
    let found = text(&outcome);
    assert!(
        found.contains("IncludeThread thread=1001 | flags=0x17 -> FALSE"),
        "{found}"
    );
    assert!(
        found.contains("-> TRUE base=worker's stack+0x100 size=16"),
        "{found}"
    );
    assert!(found.contains("1 thread, 1 module, "), "{found}");
    // As a setting of the case, its path is relative to the folder of the case.
    replace(
        &case.join("case.toml"),
        "# callback = \"callback.so\"",
        "callback = \"../callback.so\"",
    );
    assert_eq!(text(&rehearse(&case, &[]).expect(0)), found);

    let (source, other) = (folder.file("other.c"), folder.file("other.so"));
    fs::write(&source, "int other(void); int other(void) { return 1; }").unwrap();
    compile(&source, &other);
    for (file, reason) in [
        (other, "has no function MiniDumpCallbackRoutine"),
        (source, "cannot load the callback library"),
        (folder.file("absent.so"), "cannot open the callback library"),
    ] {
        let file = file.display().to_string();
        let outcome = rehearse(&case, &["--callback", &file]).expect(1);
        assert_says(&outcome.stderr, &[&file, reason]);
    }
}

#[test]
fn a_live_process_becomes_a_case() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let victim = threads();
    let case = folder.file("recorded");
    let pid = victim.pid().to_string();
    let record = |more: &[&str]| {
        let mut command = dumpwright();
        Outcome::of(command.args(["record", &pid, "-o"]).arg(&case).args(more))
    };
    record(&["--stacks"]).expect(0);
    let scenario = case.join("scenario.toml");
    let mode = fs::metadata(&scenario).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_says(&record(&[]).expect(1).stderr, &["scenario.toml", "--force"]);

    // The calls are those of a dump of the process itself.
    let (live, simulated) = (folder.file("live.jsonl"), folder.file("simulated.jsonl"));
    let file = folder.file("x.dmp");
    let mut command = dump();
    command
        .args(["--pid", &pid, "--transcript"])
        .arg(&live)
        .arg("-o")
        .arg(&file);
    Outcome::of(&mut command).expect(0);
    let mut command = dump();
    command
        .arg("--scenario")
        .arg(&scenario)
        .arg("--transcript")
        .arg(&simulated);
    Outcome::of(command.arg("--force").arg("-o").arg(&file)).expect(0);
    let calls = |file: &Path| {
        let shown = text(&Outcome::of(dumpwright().args(["transcript", "show"]).arg(file)).expect(0));
        let calls = shown.lines().filter(|line| line.starts_with("Include"));
        calls.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(calls(&live).len() > 5);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    for task in tasks {
        let name = task.unwrap().file_name().into_string().unwrap();
        let call = format!("IncludeThread thread={name} | flags=0x17");
        assert!(calls(&simulated).contains(&call), "{call}");
    }
    assert_eq!(calls(&live).len(), calls(&simulated).len());
}

#[test]
fn transcripts_are_compared() {
    let case = |name: &str| {
        repository()
            .join("testdata/cases")
            .join(name)
            .join("transcript.jsonl")
    };
    let diff = |a: &str, b: &str, more: &[&str]| {
        let mut command = dumpwright();
        Outcome::of(
            command
                .args(["transcript", "diff"])
                .args(more)
                .args([case(a), case(b)]),
        )
    };
    let same = diff("plain", "plain", &[]).expect(0);
    assert!(text(&same).starts_with("the dialogues are equal ("), "{same:?}");
    let other = text(&diff("plain", "thread-left-out", &[]).expect(1));
    assert!(
        other.starts_with("line 1\n") && other.contains("-> TRUE"),
        "{other}"
    );
    let other = text(&diff("plain", "thread-left-out", &["--calls"]).expect(1));
    assert!(other.contains("Thread"), "{other}");
    let absent = Outcome::of(dumpwright().args(["transcript", "show", "absent.jsonl"])).expect(1);
    assert_says(&absent.stderr, &["absent.jsonl"]);
}
