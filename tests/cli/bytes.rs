//! What `show` prints of the bytes of a dump, what it finds in them, and what it writes into files;
//! and the dialogue of a transcript.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dumpwright::read::Dump;
use minidump::Minidump;

use crate::attempt::{Folder, Outcome, assert_says, dump, threads};
use crate::support::dumper::dumpwright;
use crate::support::repository;
use crate::support::victim::{Pattern, ThreadsTruth, Victim};

fn show(file: &Path, more: &[&str]) -> Outcome {
    Outcome::of(dumpwright().arg("show").arg(file).args(more))
}

fn text(outcome: Outcome) -> String {
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
    String::from_utf8(outcome.stdout).unwrap()
}

/// Dumps a victim with all of its memory, plain and compressed.
fn full_dumps(folder: &Folder, victim: &Victim) -> [PathBuf; 3] {
    let make = |name: &str, more: &[&str]| {
        let file = folder.file(name);
        let pid = victim.pid().to_string();
        Outcome::of(dump().args([pid.as_str(), "-o"]).arg(&file).args(more)).expect(0);
        file
    };
    [
        make("plain", &["--type", "full"]),
        make("seekable", &["--type", "full", "--compress", "zstd"]),
        make("inside", &["--type", "with-memory-compressed"]),
    ]
}

/// The bytes in the lines that `--address` prints. `None` is `??`.
fn shown_bytes(text: &str) -> Vec<Option<u8>> {
    let digits = text.lines().map(|line| {
        let (_, rest) = line.split_once("  ").expect("an address");
        rest.split_once('|').expect("a text").0
    });
    let bytes = digits.flat_map(str::split_whitespace);
    bytes.map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

#[test]
fn memory_is_shown_searched_and_written() {
    let victim = threads();
    let truth: ThreadsTruth = victim.truth();
    let folder = Folder::new();
    let pattern: &Pattern = truth.pattern("heap");
    let bytes = pattern.bytes();
    // Not at the start of a line.
    let at = pattern.address + 3;
    for file in full_dumps(&folder, &victim) {
        let view = text(show(&file, &["--address", &format!("{at:#x}:100")]).expect(0));
        let expected: Vec<_> = bytes[3..103].iter().copied().map(Some).collect();
        assert_eq!(shown_bytes(&view), expected, "{view}");
        // Both ways to write a range are the same.
        let range = format!("{at:#x}-{:#x}", at + 100);
        assert_eq!(text(show(&file, &["--address", &range]).expect(0)), view);

        let wanted: String = bytes[40..72].iter().map(|byte| format!("{byte:02x}")).collect();
        let found = text(show(&file, &["--search", &format!("hex:{wanted}")]).expect(0));
        let place = format!("{:016x}  ", pattern.address + 40);
        assert!(
            found.lines().any(|line| line.starts_with(&place)),
            "{place}: {found}"
        );

        let out = folder.file("range.bin");
        let range = format!("{:#x}:{}", pattern.address, pattern.length);
        let said = text(
            show(
                &file,
                &["--export", &range, "--force", "--out", out.to_str().unwrap()],
            )
            .expect(0),
        );
        assert_says(&said, &["range.bin: ", " bytes"]);
        assert!(fs::read(&out).unwrap() == bytes);
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = show(&file, &["--export", &range, "--out", out.to_str().unwrap()]).expect(1);
        assert_says(&refused.stderr, &["range.bin", "exists"]);
        let printed = show(&file, &["--export", &range, "--out", "-"]).expect(0);
        assert!(printed.stdout == bytes);

        // What the dump does not have.
        let [start, _] = truth.unreadable;
        let view = text(show(&file, &["--address", &format!("{start:#x}:32")]).expect(0));
        assert_eq!(shown_bytes(&view), [None; 32], "{view}");
        let lacking = show(&file, &["--export", &format!("{start:#x}:32"), "--out", "-"]).expect(1);
        assert_says(
            &lacking.stderr,
            &["does not have all of the 32 bytes", "--address"],
        );
        assert!(lacking.stdout.is_empty());
    }
}

#[test]
fn texts_are_found_in_both_encodings() {
    let folder = Folder::new();
    let wide: String = "wide words"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let scenario = format!(
        "[process]\nid = 1000\n[system]\nplatform = \"linux\"\n\
         [[memory]]\nbase = 0x6000_0000\nsize = 0x3000\nput = [\
         {{ offset = 0xff8, text = \"across a page\" }}, {{ offset = 0x2100, hex = \"{wide}\" }}]\n\
         [[memory]]\nbase = 0x7000_0000\nsize = 0x1000\nput = [{{ offset = 0xff0, text = \"narrow words\" }}]\n\
         [[thread]]\nid = 1000\nname = \"main\"\nregisters = {{ rip = 0x6000_0000, rsp = 0x7000_0800 }}\n"
    );
    let (input, file) = (folder.file("scenario.toml"), folder.file("dump"));
    fs::write(&input, scenario).unwrap();
    Outcome::of(
        dump()
            .arg("--scenario")
            .arg(&input)
            .args(["--type", "full", "-o"])
            .arg(&file),
    )
    .expect(0);
    for (wanted, place, says) in [
        ("across a page", "0000000060000ff8", "|"),
        ("wide words", "0000000060002100", "w.i.d.e."),
        ("narrow", "0000000070000ff0", "stack of thread 1000 main"),
        ("hex:6e 61 72 72", "0000000070000ff0", "narrow words....????"),
    ] {
        let found = text(show(&file, &["--search", wanted]).expect(0));
        assert_eq!(found.lines().count(), 1, "{found}");
        assert_says(&found, &[place, says]);
    }
    let nowhere = show(&file, &["--search", "no such words"]).expect(1);
    assert_says(&String::from_utf8(nowhere.stdout).unwrap(), &["does not contain"]);
    let wrong = show(&file, &["--search", "hex:123"]).expect(1);
    assert_says(&wrong.stderr, &["pairs of hexadecimal digits"]);
    // Equal lines are one line.
    let view = text(show(&file, &["--address", "0x60000000:0x2000"]).expect(0));
    assert_eq!(view.lines().filter(|line| *line == "*").count(), 2, "{view}");
    assert!(view.lines().count() < 10, "{view}");
    assert!(view.ends_with("|................|\n"), "the end is shown: {view}");
    for wrong in ["", "x", "0x10:0", "0x20-0x10"] {
        let refused = show(&file, &["--address", wrong]).expect(2);
        assert_says(&refused.stderr, &["expected 0xADDRESS:LENGTH"]);
    }
}

/// A range that claims more memory than the file can have is not searched for ever.
#[test]
fn a_search_in_a_hostile_dump_ends() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    Outcome::of(
        dump()
            .arg("--scenario")
            .arg(scenario)
            .args(["--type", "full", "-o"])
            .arg(&file),
    )
    .expect(3);
    let range = Dump::open(&file).unwrap().memory_ranges().unwrap()[0];
    let mut bytes = fs::read(&file).unwrap();
    let size = range.record_offset as usize + 8;
    bytes[size..size + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let found = Outcome::of(
        dumpwright()
            .arg("show")
            .arg(&file)
            .args(["--search", "no such words"]),
    )
    .expect(1);
    assert_says(
        &String::from_utf8(found.stdout).unwrap(),
        &["does not contain it", "was not searched"],
    );
}

#[test]
fn streams_are_written_as_they_are() {
    let folder = Folder::new();
    let (file, out) = (folder.file("dump"), folder.file("stream.bin"));
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    Outcome::of(dump().arg("--scenario").arg(scenario).arg("-o").arg(&file)).expect(0);
    let other = Minidump::read_path(&file).unwrap();
    let expected = other.get_raw_stream(4).unwrap();
    for name in ["ModuleListStream", "modulelist", "4", "0x4"] {
        show(
            &file,
            &["--export", name, "--force", "--out", out.to_str().unwrap()],
        )
        .expect(0);
        assert_eq!(fs::read(&out).unwrap(), expected, "{name}");
    }
    for (name, says) in [
        ("ModulListStream", "did you mean ModuleListStream?"),
        ("NoSuchThing", "streams\" lists the streams"),
        ("0x12345", "no stream of the type 0x12345"),
    ] {
        let refused = show(&file, &["--export", name, "--out", "-"]).expect(1);
        assert_says(&refused.stderr, &[says]);
    }
    show(&file, &["--export", "4"]).expect(2);
    show(&file, &["--export", "4", "--out", "-", "--json"]).expect(2);
}

#[test]
fn a_dialogue_is_shown_with_the_effects_of_the_answers() {
    let cases = repository().join("testdata/cases");
    let case = |name: &str| cases.join(name).join("transcript.jsonl");
    let shown = |name: &str| text(show(&case(name), &["dialogue"]).expect(0));
    for (name, says) in [
        ("thread-left-out", &["thread 1001 is left out", ": complete)"][..]),
        ("thread-less", &["thread 1000 without stack, instruction window"]),
        ("module-left-out", &["libextra.so is left out"]),
        (
            "memory-added",
            &["adds 256 bytes at heap", "adds 32 bytes at secret+0x100"],
        ),
        ("memory-removed", &["removes 32 bytes at secret+0x100"]),
        ("cancel", &["cancels the dump", ": failed 0x800704c7)"]),
        ("thread-refused", &["the dump fails"]),
        ("output", &["takes over the output"]),
        ("full-region-less", &["secret is left out"]),
        ("unreadable-forgiven", &["goes on without 4096 bytes at late"]),
        ("vm-reads", &["is asked about every read", "changes "]),
        (
            "plain",
            &[
                "without a callback: complete",
                "\nnegotiate\n",
                "\nselect\n",
                "\nmemory\n",
            ],
        ),
    ] {
        let text = shown(name);
        assert_says(&text, says);
    }
    // A transcript needs no word, may belong to a dump, and may come from a pipe.
    let expected = shown("memory-added");
    assert_eq!(text(show(&case("memory-added"), &[]).expect(0)), expected);
    let file = cases.join("memory-added/dump.dmp");
    let transcript = case("memory-added");
    for more in [&["dialogue"][..], &[]] {
        let more = [more, &["--transcript", transcript.to_str().unwrap()]].concat();
        assert_eq!(text(show(&file, &more).expect(0)), expected);
    }
    let mut child = dumpwright()
        .args(["show", "-", "dialogue"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = fs::read(&transcript).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, expected.as_bytes());
    // A dump does not have it.
    let refused = show(&file, &["dialogue"]).expect(1);
    assert_says(
        &refused.stderr,
        &["a dump does not have the dialogue", "--transcript"],
    );
    let absent = show(Path::new("/no/such/file"), &["dialogue"]).expect(1);
    assert_says(&absent.stderr, &["/no/such/file"]);
}
