//! Policy files: mistakes, the schema, and what an explanation says about a dump.

use std::fs;
use std::path::Path;

use dumpwright::explain;
use dumpwright::policy::{PolicyFile, ProcessTexts};
use dumpwright::{Explanation, MemoryCause};

use super::*;

fn mistake(text: &str) -> String {
    let error = PolicyFile::parse(text, "p.toml").unwrap_err();
    error.mistakes()[0].to_string()
}

#[test]
fn mistakes_have_a_position_and_the_nearest_name() {
    for (text, says) in [
        (
            "max-sise = 1",
            "p.toml:1:1: unknown key \"max-sise\"; did you mean \"max-size\"?",
        ),
        (
            "[threads]\nonyl = []",
            "p.toml:2:1: unknown key \"onyl\"; did you mean \"only\"?",
        ),
        (
            "[treads]\n",
            "p.toml:1:2: unknown key \"treads\"; did you mean \"threads\"?",
        ),
        (
            "preset = \"frist-look\"",
            "p.toml:1:10: \"frist-look\" is not a preset; did you mean \"first-look\"?",
        ),
        (
            "type = \"fulll\"",
            "p.toml:1:8: \"fulll\" is not a dump type; did you mean \"full\"?",
        ),
        (
            "type = \"first-look\"",
            "p.toml:1:8: \"first-look\" is a preset with policies",
        ),
        (
            "max-size = \"64MB\"",
            "p.toml:1:12: \"64MB\" is not a size; write",
        ),
        ("max-size = -1", "p.toml:1:12: -1 is negative"),
        (
            "max-pause = 5",
            "p.toml:1:13: 5 has no unit; write \"5ms\" or \"5s\"",
        ),
        (
            "deadline = \"soon\"",
            "p.toml:1:12: \"soon\" is not a duration; write",
        ),
        (
            "acceptable-losses = [\"memroy\"]",
            "\"memroy\" is not a kind of loss; did you mean \"memory\"?",
        ),
        (
            "acceptable-losses = [\"HandelData\"]",
            "did you mean \"HandleData\"?",
        ),
        (
            "keep-first = [\"heap\"]\nmax-size = 1",
            "\"heap\" is not a word for this key; known names: private, data, rest",
        ),
        (
            "[memory]\nadd = [\"0x1000\"]",
            "p.toml:2:8: \"0x1000\" is not a range of addresses; write START-END",
        ),
        (
            "[memory]\naround-registers = { before = 1 }",
            "the key \"after\" is missing",
        ),
        (
            "[threads]\nwhole-stack = [\"a\"]",
            "p.toml:2:1: \"whole-stack\" has no effect",
        ),
        (
            "keep-first = [\"data\"]",
            "p.toml:1:1: \"keep-first\" has no effect",
        ),
        ("a = ", "p.toml:1:5: expected a value"),
        (
            "[redact]\nsecrets = \"no/such/file\"",
            "no/such/file: cannot be read",
        ),
    ] {
        let found = mistake(text);
        assert!(found.contains(says), "{text}: {found}");
    }
}

/// A preset of policies cannot be forgotten to have something to overwrite.
#[test]
fn a_policy_that_lacks_its_secrets_is_refused() {
    for (text, says) in [
        ("preset = \"discreet\"", "needs something to overwrite"),
        (
            "[redact]\nenvironment = true",
            "the environment of the process, which cannot be read",
        ),
        (
            "[redact]\ncommand-line = true",
            "the arguments of the process, which cannot be read",
        ),
    ] {
        let policy = PolicyFile::parse(text, "p.toml").unwrap();
        let refused = policy
            .policies(&ProcessTexts::default())
            .err()
            .expect(text)
            .to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn an_empty_policy_changes_nothing() {
    let policy = PolicyFile::parse("", "p.toml").unwrap();
    let mut policies = policy.policies(&ProcessTexts::default()).unwrap();
    for dump_type in [0, 0x1, 0x2, 0x200] {
        let dumped = run_on(&mut process(), &policy.request(request(dump_type)), &mut policies);
        assert!(dumped.bytes == plain(dump_type), "{dump_type:#x}");
    }
}

#[test]
fn the_schema_is_that_of_the_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.schema.json");
    let made = format!("{:#}\n", PolicyFile::schema());
    if std::env::var_os("DUMPWRIGHT_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is out of date; run cargo xtask bless",
        path.display()
    );
}

fn explained(text: &str, dump_type: u32) -> Explanation {
    let policy = PolicyFile::parse(text, "p.toml").unwrap();
    let mut policies = policy.policies(&ProcessTexts::default()).unwrap();
    let request = policy.request(request(dump_type).fetch_limit(0));
    explain(&mut process(), &request, Some(&mut policies)).unwrap()
}

fn bytes_of(explanation: &Explanation, cause: MemoryCause) -> u64 {
    let share = explanation.shares.iter().find(|share| share.cause == cause);
    share.map_or(0, |share| share.bytes)
}

/// The dump itself is the judge of the size.
#[test]
fn an_explanation_has_the_size_of_the_dump() {
    for text in [
        "",
        "[memory]\nadd = [\"0x1000002000/4KiB\"]",
        "[threads]\nonly = [7]",
    ] {
        for dump_type in [0, 0x1, 0x2, 0x40, 0x200, 0x2000] {
            let explanation = explained(text, dump_type);
            let policy = PolicyFile::parse(text, "p.toml").unwrap();
            let mut policies = policy.policies(&ProcessTexts::default()).unwrap();
            let dumped = run_on(&mut process(), &policy.request(request(dump_type)), &mut policies);
            let report = &explanation.report;
            assert_eq!(report.bytes, dumped.report.bytes, "{text} {dump_type:#x}");
            assert_eq!(report.memory_bytes, dumped.report.memory_bytes);
            assert_eq!(
                (report.threads, report.modules),
                (dumped.report.threads, dumped.report.modules)
            );
            let sum: u64 = explanation.shares.iter().map(|share| share.bytes).sum();
            assert_eq!(sum + explanation.table_bytes, report.bytes);
        }
    }
}

#[test]
fn an_explanation_names_the_causes() {
    let normal = explained("", 0);
    assert_eq!(bytes_of(&normal, MemoryCause::Stacks), 0x3000 + 0x3800);
    assert_eq!(bytes_of(&normal, MemoryCause::Code), 0x200);
    assert_eq!(normal.shares.len(), 2);
    assert_eq!(bytes_of(&explained("", 0x1), MemoryCause::Modules), 0x2000);
    assert_eq!(
        bytes_of(&explained("", 0x200), MemoryCause::Private),
        0x1_0000 + 0x2000 + 0x1000 + 0x800
    );
    let added = explained("[memory]\nadd = [\"0x1000002000/4KiB\"]", 0);
    assert_eq!(bytes_of(&added, MemoryCause::Callback), 0x1000);
    // Of memory that is in the dump anyway, the callback is not the cause.
    let added = explained("[memory]\nadd = [\"0x1000002000/4KiB\"]", 0x200);
    assert_eq!(bytes_of(&added, MemoryCause::Callback), 0);
    let full = explained("", 0x2);
    assert_eq!(
        bytes_of(&full, MemoryCause::Private),
        0x9000 + 0x3000 + 0x1_0000 + 0x1000 + 0x800
    );
    // The words of the stacks are their own addresses, so the 256 bytes below each stack are added.
    assert_eq!(bytes_of(&explained("", 0x40), MemoryCause::Referenced), 0x200);
}

#[test]
fn an_explanation_reads_no_memory_but_stacks() {
    let read = Cell::new(0);
    let on_read = |at: u64, len: usize, _| {
        if at < HEAP + 0x1_0000 && at + len as u64 > HEAP {
            read.set(read.get() + len);
        }
    };
    let mut target = Watched {
        target: process(),
        on_read: &on_read,
    };
    let request = request(0x2).fetch_limit(0);
    let explanation = explain(&mut target, &request, None).unwrap();
    assert!(explanation.report.memory_bytes > 0x1_0000);
    assert_eq!(read.get(), 0, "bytes of the heap");
}

#[test]
fn a_limit_is_part_of_the_explanation() {
    let explanation = explained("max-size = \"16KiB\"", 0x200);
    assert!(explanation.report.memory_bytes <= 16 << 10);
    assert_eq!(bytes_of(&explanation, MemoryCause::Private), 0);
}
