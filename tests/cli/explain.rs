//! `explain` and `diff`.

use std::fs;

use crate::attempt::{Folder, Outcome, assert_says, dump_of, plain, threads};
use crate::support::dumper::dumpwright;
use crate::support::repository;

fn case(name: &str) -> String {
    let file = repository().join("testdata/cases").join(name).join("dump.dmp");
    file.to_str().unwrap().to_owned()
}

/// The dump itself is the judge.
#[test]
fn an_explanation_is_near_the_dump_and_writes_nothing() {
    let mut victim = threads();
    let folder = Folder::new();
    for list in ["normal", "mini", "heap", "full"] {
        let file = folder.file("dump");
        let pid = victim.pid().to_string();
        let mut command = dumpwright();
        command
            .args(["explain", &pid, "--type", list, "--json"])
            .current_dir(folder.path());
        let explained = Outcome::of(&mut command).expect(0).json();
        folder.assert_holds(&[]);
        let dumped = Outcome::of(dump_of(&victim, &file).args(["--json", "--type", list]))
            .expect(0)
            .json();
        for key in ["threads", "modules", "type"] {
            assert_eq!(explained[key], dumped[key], "{list} {key}");
        }
        let [explained_bytes, dumped_bytes] =
            [&explained, &dumped].map(|object| object["bytes"].as_f64().unwrap());
        // A running process changes a little between the two.
        let share = explained_bytes / dumped_bytes;
        assert!(
            (0.8..1.25).contains(&share),
            "{list}: {explained_bytes} and {dumped_bytes}"
        );
        let shares = explained["memory"].as_array().unwrap();
        let sum: u64 = shares.iter().map(|share| share["bytes"].as_u64().unwrap()).sum();
        let tables = explained["table_bytes"].as_u64().unwrap();
        assert_eq!(sum + tables, explained["bytes"].as_u64().unwrap());
        assert!(
            shares.iter().any(|share| share["cause"] == "stacks"),
            "{explained}"
        );
        assert!(explained["expected_stop_us"].as_u64().unwrap() > 0);
        fs::remove_file(&file).unwrap();
    }
    victim.ping();
}

#[test]
fn an_explanation_follows_a_policy() {
    let scenario = repository().join("testdata/cases/linux-two-threads/scenario.toml");
    let folder = Folder::new();
    let policy = folder.file("p.toml");
    fs::write(
        &policy,
        "type = \"full\"\n[memory]\nremove = [\"0x555555570000/4KiB\"]\n",
    )
    .unwrap();
    let explain = |arguments: &[&str]| {
        let mut command = dumpwright();
        command
            .arg("explain")
            .arg("--scenario")
            .arg(&scenario)
            .args(arguments);
        Outcome::of(&mut command).expect(0)
    };
    let all = explain(&["--type", "full", "--json"]).json();
    let fewer = explain(&["--policy", policy.to_str().unwrap(), "--json"]).json();
    let bytes = |object: &serde_json::Value| object["memory_bytes"].as_u64().unwrap();
    assert_eq!(bytes(&all) - bytes(&fewer), 4096);
    let text = String::from_utf8(explain(&["--type", "full"]).stdout).unwrap();
    assert_says(
        &text,
        &[
            "a dump (full) would have",
            "stacks",
            "private memory",
            "lists, texts and other tables",
        ],
    );
    assert!(
        !text.contains("expected stop"),
        "a simulated process does not stand: {text}"
    );
    let mut nobody = dumpwright();
    let outcome = Outcome::of(nobody.args(["explain", "no-such-program-anywhere"])).expect(1);
    assert_says(&outcome.stderr, &["no process has the name"]);
    Outcome::of(dumpwright().arg("explain")).expect(2);
}

#[test]
fn equal_dumps_are_equal_in_any_form() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(dump_of(&victim, &file).args(["--type", "full"])).expect(0);
    let diff = |a: &str, b: &str, status: i32| {
        let outcome = Outcome::of(dumpwright().args(["diff", a, b])).expect(status);
        String::from_utf8(outcome.stdout).unwrap()
    };
    let plain = file.to_str().unwrap();
    assert_says(&diff(plain, plain, 0), &["have the same contents"]);
    // The same memory in another stream: only the type differs.
    let compressed = folder.file("compressed");
    let compressed = compressed.to_str().unwrap();
    Outcome::of(dumpwright().args(["convert", plain, compressed, "--to", "compressed"])).expect(0);
    let text = diff(plain, compressed, 1);
    assert_says(&text, &["header: 1 difference\n", "  flags: "]);
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn differences_are_those_of_the_dumps() {
    let diff = |arguments: &[&str], status: i32| {
        let outcome = Outcome::of(dumpwright().arg("diff").args(arguments)).expect(status);
        String::from_utf8(outcome.stdout).unwrap()
    };
    let (all, fewer) = (case("plain"), case("thread-left-out"));
    let text = diff(&[&all, &fewer], 1);
    assert_says(
        &text,
        &["\nthreads: 1 difference\n  only in A  thread ", "\nmemory: "],
    );
    let added = diff(&[&all, &case("memory-added")], 1);
    assert!(!added.contains("threads"), "{added}");
    assert_says(
        &added,
        &["\nmemory: 2 differences\n  only in B  0x1000000000-0x1000000100 (256 bytes)\n"],
    );
    // A screen at most, unless all is wanted.
    let (linux, windows) = (case("linux-two-threads"), case("windows-every-stream"));
    let short = diff(&[&linux, &windows], 1);
    assert!(short.lines().count() <= 42, "{short}");
    assert_says(&short, &["--all prints all differences"]);
    let long = diff(&[&linux, &windows, "--all"], 1);
    assert!(long.lines().count() > short.lines().count() && !long.contains("more"));
    // Trouble is not a difference.
    for wrong in ["/no/such/file", "/dev/null", "Cargo.toml"] {
        let outcome = Outcome::of(dumpwright().args(["diff", &all, wrong])).expect(2);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.contains(wrong),
            "{outcome:?}"
        );
    }
}

#[test]
fn differences_are_json_as_well() {
    let (all, fewer) = (case("plain"), case("thread-left-out"));
    let outcome = Outcome::of(dumpwright().args(["diff", &all, &fewer, "--json"])).expect(1);
    let object: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!((&object["version"], &object["same"]), (&1.into(), &false.into()));
    let parts = object["parts"].as_array().unwrap();
    let threads = parts.iter().find(|part| part["name"] == "threads").unwrap();
    let found = &threads["differences"][0];
    assert_eq!(found["kind"], "only_in_a");
    assert!(found["key"].as_str().unwrap().starts_with("thread "), "{found}");
    let outcome = Outcome::of(dumpwright().args(["diff", &all, &all, "--json"])).expect(0);
    let object: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(
        (&object["same"], &object["parts"]),
        (&true.into(), &serde_json::json!([]))
    );
}
