//! Policy files in C programs.
//!
//! Would catch: a policy that the C library does not follow, or follows in another way than the
//! command line; a mistake in a policy file that is not explained; a variable of the environment
//! that has no effect.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use dumpwright_fixtures::child::KilledOnDrop;
use dumpwright_fixtures::repository;
use minidump::{Minidump, MinidumpThreadList};

/// Runs the program for a simulated process, and returns what it prints.
fn run(policy: &str, variable: Option<&Path>, file: &Path) -> String {
    let scenario = repository().join("testdata/cases/linux-two-threads/scenario.toml");
    run_for(scenario.to_str().expect("a plain path"), policy, variable, file)
}

fn run_for(source: &str, policy: &str, variable: Option<&Path>, file: &Path) -> String {
    let program = support::program("policy.c", "gcc", &["-O1"]);
    let mut command = Command::new(program);
    command
        .arg(policy)
        .arg(source)
        .arg(file)
        .env_remove("DUMPWRIGHT_PROFILE")
        .env_remove("DUMPWRIGHT_POLICY");
    if let Some(policy) = variable {
        command.env("DUMPWRIGHT_POLICY", policy);
    }
    let output = command.output().expect("it was just built");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn threads(file: &Path) -> Vec<u32> {
    let dump = Minidump::read_path(file).expect("a minidump");
    let list: MinidumpThreadList<'_> = dump.get_stream().expect("threads");
    list.threads.iter().map(|thread| thread.raw.thread_id).collect()
}

#[test]
fn a_policy_file_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dump");
    let all = run("-", None, &file);
    assert!(all.starts_with("type 0, 2 threads"), "{all}");
    let [main, worker] = threads(&file)[..] else {
        panic!("{:?}", threads(&file))
    };
    let policy = folder.path().join("p.toml");
    let text = format!("type = \"full\"\nmax-size = \"64KiB\"\n[threads]\nexcept = [{worker}]\n");
    fs::write(&policy, text).expect("a file");
    let path = policy.to_str().expect("a plain path");
    let printed = run(path, None, &file);
    assert!(printed.starts_with("type 61826, 1 threads"), "{printed}");
    assert_eq!(threads(&file), [main]);
    assert!(printed.contains("1 memory "), "{printed}");
    assert!(
        printed.contains("dropped to stay within the size limit"),
        "{printed}"
    );
    // The variable does the same, and does nothing if the program has named a policy.
    fs::remove_file(&file).expect("the dump");
    assert_eq!(run("-", Some(&policy), &file), printed);
    assert_eq!(threads(&file), [main]);
    let empty = folder.path().join("empty.toml");
    fs::write(&empty, "").expect("a file");
    run(empty.to_str().expect("a plain path"), Some(&policy), &file);
    assert_eq!(threads(&file), [main, worker]);
}

#[test]
fn the_variable_applies_to_programs_that_know_nothing_of_policies() {
    let child = Command::new("cat")
        .arg("correct-horse-battery-staple")
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = KilledOnDrop(child.expect("cat exists"));
    let id = child.0.id().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dump");
    let policy = folder.path().join("p.toml");
    let secret = b"correct-horse-battery-staple";
    let has_secret = || {
        let bytes = fs::read(&file).expect("the dump");
        bytes.windows(secret.len()).any(|part| part == secret)
    };
    fs::write(&policy, "type = \"full\"").expect("a file");
    let printed = run_for(&id, "-", Some(&policy), &file);
    assert!(printed.starts_with("type 61826, 1 threads"), "{printed}");
    assert!(has_secret());
    fs::write(&policy, "type = \"full\"\n[redact]\ncommand-line = true").expect("a file");
    run_for(&id, "-", Some(&policy), &file);
    assert!(!has_secret());
}

#[test]
fn a_mistake_in_a_policy_file_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dump");
    let policy = folder.path().join("p.toml");
    fs::write(&policy, "[threads]\nonyl = [7]\n").expect("a file");
    let path = policy.to_str().expect("a plain path");
    for printed in [run(path, None, &file), run("-", Some(&policy), &file)] {
        assert!(printed.starts_with("refused: "), "{printed}");
        assert!(
            printed.contains("p.toml:2:1: unknown key \"onyl\"; did you mean \"only\"?"),
            "{printed}"
        );
    }
    let printed = run("/no/such/policy", None, &file);
    assert!(printed.contains("/no/such/policy: cannot be read"), "{printed}");
    assert!(!file.exists());
}
