//! The request: dump types, and invalid arguments.

use crate::attempt::{Folder, Outcome, assert_says, dump, dump_of, plain, refusal};

#[test]
fn unknown_type_names_have_a_hint() {
    let mut victim = plain();
    let folder = Folder::new();
    for list in [
        "with-full-memmory",
        "normal,",
        "",
        "0x",
        "0xg",
        "0x100000000",
        "full;normal",
        "nonsense",
    ] {
        let outcome = Outcome::of(dump_of(&victim, &folder.file("dump")).args(["--type", list])).expect(2);
        assert!(outcome.stdout.is_empty());
        // The help is wrapped at the width of a terminal.
        let text = outcome.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let wrong = list.split(',').next_back().unwrap();
        assert_says(&text, &["--type", &format!("\"{wrong}\" is not a dump type")]);
        // A misspelt name has a hint. Otherwise there is a list, which is short.
        if !text.contains("did you mean \"") {
            assert_says(
                &text,
                &["normal, mini, heap, triage, full", "docs/flags.md", "0xHEX"],
            );
        }
        assert!(text.len() < 400, "{text}");
    }
    folder.assert_holds(&[]);
    victim.ping();
}

#[test]
fn impossible_types_are_refused_before_anything_is_touched() {
    let mut victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    let pid = victim.pid().to_string();
    for (list, hex, why) in [
        ("0x8000000", "0x8000000", "the bits 0x8000000 are unknown"),
        (
            "normal,0xffffffff",
            "0xffffffff",
            "the bits 0xf8000000 are unknown",
        ),
    ] {
        let reason = refusal(&["--type", list, "--pid", &pid, "-o", file.to_str().unwrap()]);
        assert_says(&reason, &[&format!("dump type {hex} is not possible"), why]);
        // The process does not exist either; the type is checked first.
        let reason = refusal(&["--type", list, "--pid", "4194304", "-o", file.to_str().unwrap()]);
        assert_says(&reason, &["is not possible"]);
    }
    folder.assert_holds(&[]);
    victim.ping();
}

#[test]
fn the_type_in_the_result_is_the_effective_one() {
    let victim = plain();
    let folder = Folder::new();
    // MiniDumpWithoutOptionalData rules out full memory, as in the DbgHelp of 2026. Before, full
    // memory adds 0x20000.
    for (list, effective) in [
        ("normal", "0x0"),
        ("mini", "0x1005"),
        ("0x402", "0x20400"),
        ("0x4,with-thread-info", "0x1004"),
    ] {
        let outcome =
            Outcome::of(dump_of(&victim, &folder.file(list)).args(["--json", "--type", list])).expect(0);
        assert_eq!(outcome.json()["type"], effective, "{list}");
    }
}

#[test]
fn comments_and_streams_of_ones_own_are_in_the_dump() {
    let victim = plain();
    let folder = Folder::new();
    let (notes, file) = (folder.file("notes"), folder.file("dump"));
    std::fs::write(&notes, b"of my own").unwrap();
    let stream = |number: &str| format!("{number}={}", notes.display());
    let mut command = dump_of(&victim, &file);
    command.args(["--comment", "s\u{f6} \u{1F600}"]);
    command.args([
        "--user-stream",
        &stream("0x10002"),
        "--user-stream",
        &stream("65537"),
    ]);
    Outcome::of(&mut command).expect(0);
    let dump = dumpwright::read::Dump::open(&file).unwrap();
    assert_eq!(dump.comments().unwrap(), ["s\u{f6} \u{1F600}"]);
    let types: Vec<u32> = dump.directory().iter().map(|entry| entry.stream_type).collect();
    // After dumpwright's own streams, in the order in which they were given; the comment is first.
    assert_eq!(types[types.len() - 3..], [11, 0x1_0002, 0x1_0001]);
    for number in [0x1_0001, 0x1_0002] {
        assert_eq!(dump.stream_bytes(number).unwrap().unwrap(), b"of my own");
    }
    for (given, complaint) in [
        ("10001", "expected TYPE=FILE"),
        ("0xg=x", "expected TYPE=FILE"),
        ("=x", "expected TYPE=FILE"),
    ] {
        let outcome = Outcome::of(dump_of(&victim, &file).args(["--user-stream", given])).expect(2);
        assert_says(&outcome.stderr, &["--user-stream", complaint]);
    }
    let missing = format!("65537={}", folder.file("nothing").display());
    let pid = victim.pid().to_string();
    let new = folder.file("new");
    for (given, complaint) in [
        (missing, "cannot be read"),
        (stream("3"), "type 0x3 is Microsoft's"),
        (stream("24"), "type 0x18 is Microsoft's"),
    ] {
        let reason = refusal(&[
            "--user-stream",
            &given,
            "--pid",
            &pid,
            "-o",
            new.to_str().unwrap(),
        ]);
        assert_says(&reason, &[complaint]);
    }
    folder.assert_holds(&["dump", "notes"]);
}

#[test]
fn threads_are_listed_with_backing_stores_on_request() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(dump_of(&victim, &file).arg("--thread-ex")).expect(0);
    let dump = dumpwright::read::Dump::open(&file).unwrap();
    assert!(dump.stream(3).is_none() && dump.stream(8).is_some());
    let threads = dump.threads().unwrap();
    assert_eq!(threads[0].id, victim.pid());
    // No processor that dumpwright supports on Linux has a backing store.
    assert_eq!(
        threads[0].backing_store.map(|store| (store.start, store.size)),
        Some((0, 0))
    );
}

#[test]
fn arguments_that_make_no_sense_together() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let file = file.to_str().unwrap();
    for (arguments, complaint) in [
        (&["-o", file][..], "--pid"),
        (&["--scenario", "x"], "--output"),
        (&["--exec", "--", "true"], "--output"),
        (
            &["--pid", "1", "--exec", "-o", file, "--", "true"],
            "cannot be used with",
        ),
        (&["--exec", "-o", file], "CMD"),
        (&["--exec", "-o", file, "--"], "CMD"),
        (&["--pid", "1", "-o", file, "--", "true"], "--exec"),
        (&["--pid", "1", "-o", file, "--after", "5"], "--exec"),
        (&["--exec", "-o", file, "--after=-1", "--", "true"], "--after"),
        (
            &["--exec", "-o", file, "--after", "soon", "--", "true"],
            "--after",
        ),
        (&["--scenario", "x", "-o", file, "--", "true"], "--scenario"),
        (&["--scenario", "x", "-o", file, "--after", "5"], "--scenario"),
        (&["--pid", "1", "-o", file, "--max-pause", "0"], "--max-pause"),
        (&["--pid", "1", "-o", file, "--max-pause", "0s"], "--max-pause"),
        (&["--pid", "1", "-o", file, "--max-pause", "ms"], "500ms or 2s"),
        (&["--pid", "1", "-o", file, "--max-pause", "1.5s"], "500ms or 2s"),
        (&["--pid", "1", "-o", file, "--max-pause", "2d"], "500ms or 2s"),
        (
            &["--pid", "1", "-o", file, "--max-pause", "18446744073709552s"],
            "500ms or 2s",
        ),
        (
            &["--exec", "-o", file, "--max-pause", "5", "--", "true"],
            "--max-pause",
        ),
        (
            &["--scenario", "x", "--pid", "1", "-o", file],
            "cannot be used with",
        ),
        (&["--pid", "1", "-o", file, "--hold", "gently"], "stop"),
        (
            &["--pid", "1", "-o", file, "--no-such-option"],
            "--no-such-option",
        ),
        (&["--pid", "1", "-o", file, "stray"], "cannot be used with"),
        (&["--pid", "sshd"], "dumpwright dump sshd"),
        (&["1", "--name", "%x"], "--name"),
    ] {
        let outcome = Outcome::of(dump().args(arguments)).expect(2);
        assert!(outcome.stdout.is_empty(), "{arguments:?}");
        assert_says(&outcome.stderr, &["error: ", complaint]);
    }
    folder.assert_holds(&[]);
}

#[test]
fn profiles_are_chosen_by_name() {
    let mut victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    for profile in ["documented", "dbghelp63", "dbghelp10"] {
        Outcome::of(dump_of(&victim, &file).args(["--force", "--profile", profile])).expect(0);
    }
    // A later type, which 6.3 does not have.
    let later = ["--force", "--profile", "dbghelp63", "--type", "0x800000"];
    let outcome = Outcome::of(dump_of(&victim, &file).args(later)).expect(1);
    assert_says(&outcome.stderr, &["the bits 0x800000 are unknown"]);
    let outcome = Outcome::of(dump_of(&victim, &file).args(["--profile", "dbghelp64"])).expect(2);
    assert_says(&outcome.stderr, &["\"dbghelp64\" is not a profile", "dbghelp10"]);
    victim.ping();
}

#[test]
fn compressed_memory_needs_a_file_and_no_other_compression() {
    let mut victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    let pid = victim.pid().to_string();
    let compressed = ["--type", "with-memory-compressed", "--pid", &pid];
    let outcome = Outcome::of(dump_of(&victim, &file).args([
        "--type",
        "full,with-memory-compressed",
        "--compress",
        "zstd",
    ]));
    let text = outcome.expect(2).stderr;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_says(
        &text,
        &["--compress cannot be used", "with-memory-compressed (0x4000000)"],
    );
    let reason = Outcome::of(dump().args(compressed).args(["-o", "-"]))
        .expect(1)
        .stderr;
    assert_says(&reason, &["needs a file", "--output", "--compress zstd"]);
    let reason = refusal(&[&compressed[..], &["-o", "/dev/null"]].concat());
    assert_says(&reason, &["needs a file"]);
    let reason = refusal(
        &[
            &compressed[..],
            &["--profile", "dbghelp63", "-o", file.to_str().unwrap()],
        ]
        .concat(),
    );
    assert_says(&reason, &["the bits 0x4000000 are unknown to this profile"]);
    folder.assert_holds(&[]);
    victim.ping();
    // 0x400 makes it an ordinary dump.
    let ordinary = ["--type", "0x4000400", "--compress", "zstd"];
    Outcome::of(dump_of(&victim, &file).args(ordinary)).expect(0);
    victim.ping();
}
