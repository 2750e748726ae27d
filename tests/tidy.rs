//! The structure that `DESIGN.md` promises, held against the sources.
//!
//! Would catch: a dependency that library users would have to pay for, a backend that the engine knows about, a question asked in
//! two places, code behind the layout that could change the shape of a file, a writer that goes backwards, unsafe
//! code where none belongs, an offset narrowed outside the layout, a stream outside the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder (or the one file), with their text without comments.
fn sources(place: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut places = vec![root().join(place)];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&place).unwrap();
            let code: Vec<_> = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect();
            files.push((place.strip_prefix(root()).unwrap().to_owned(), code.join("\n")));
        }
    }
    assert!(!files.is_empty(), "{place} has no sources");
    files
}

/// The files of `place` whose code has one of these words.
fn with_word(place: &str, words: &[&str]) -> Vec<String> {
    sources(place)
        .into_iter()
        .filter(|(_, code)| words.iter().any(|word| has_word(code, word)))
        .map(|(path, _)| path.display().to_string())
        .collect()
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part))
}

#[test]
fn the_engine_alone_needs_the_vocabularies_and_the_format_crates() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "dumpwright",
            "--no-default-features",
            "-e",
            "normal",
            "--depth",
            "1",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<_> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    let allowed = [
        "bitflags",
        "byteorder",
        "dumpwright-callback",
        "dumpwright-target",
        "goblin",
        "minidump-common",
        "scroll",
        "serde",
        "serde_json",
        "strsim",
        "thiserror",
        "toml",
    ];
    assert_eq!(names, BTreeSet::from(allowed));
}

#[test]
fn backends_know_the_vocabulary_and_nothing_else_of_ours() {
    for (backend, ours) in [
        ("platform/target", vec![]),
        ("platform/callback", vec![]),
        ("platform/sim", vec!["dumpwright-target"]),
        ("platform/linux", vec!["dumpwright-target"]),
        (
            "platform/windows",
            vec!["dumpwright-callback", "dumpwright-target"],
        ),
        (
            "platform/windows",
            vec!["dumpwright-callback", "dumpwright-target"],
        ),
        ("platform/capi", vec!["dumpwright", "dumpwright-callback"]),
    ] {
        let manifest = fs::read_to_string(root().join(backend).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        let named: Vec<_> = normal
            .lines()
            .filter(|line| line.starts_with("dumpwright"))
            .map(|line| line.split(['.', ' ', '=']).next().unwrap())
            .collect();
        assert_eq!(named, ours, "{backend}");
    }
}

#[test]
fn one_file_of_the_engine_names_a_backend() {
    let naming = with_word(
        "src",
        &["dumpwright_linux", "dumpwright_windows", "dumpwright_sim"],
    );
    assert_eq!(naming, ["src/native.rs"]);
}

#[test]
fn questions_are_asked_in_one_place() {
    let asking: Vec<_> = sources("src")
        .into_iter()
        .filter(|(_, code)| code.contains("callback.ask("))
        .map(|(path, code)| (path.display().to_string(), code.matches("callback.ask(").count()))
        .collect();
    assert_eq!(asking, [("src/protocol/dialogue.rs".to_owned(), 1)]);
    // Whoever writes the file gets the service, which has no question that changes the shape.
    assert!(with_word("src/emit.rs", &["Dialogue"]).is_empty());
    assert!(with_word("src/memory", &["Dialogue"]).is_empty());
}

#[test]
fn what_lies_behind_the_snapshot_knows_neither_target_nor_callback_nor_output() {
    for place in ["src/streams", "src/format", "src/plan"] {
        let knowing = with_word(place, &["Dialogue", "Service", "Frozen", "Sink"]);
        assert!(knowing.is_empty(), "{knowing:?}");
    }
}

#[test]
fn the_writer_never_goes_back() {
    assert!(with_word("src", &["Seek", "SeekFrom", "seek"]).is_empty());
}

#[test]
fn unsafe_code_is_forbidden_outside_backends_and_the_c_interface() {
    for place in ["src/lib.rs", "platform/target/lib.rs", "platform/sim/lib.rs"] {
        let (_, code) = sources(place).remove(0);
        assert!(code.contains("#![forbid(unsafe_code)]"), "{place}");
    }
    // C's structures have unions and pointers; nothing else of the vocabulary has.
    let (_, code) = sources("platform/callback/lib.rs").remove(0);
    assert!(code.contains("#![deny(unsafe_code)]"));
    let unsafe_files = with_word("platform/callback", &["unsafe", "unsafe_code"]);
    let elsewhere: Vec<_> = unsafe_files
        .iter()
        .filter(|file| !file.starts_with("platform/callback/abi/") && *file != "platform/callback/lib.rs")
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    // The binary is a crate of its own.
    assert!(with_word("src/main.rs", &["unsafe"]).is_empty());
    assert!(with_word("src/cli", &["unsafe"]).is_empty());
}

#[test]
fn sizes_and_offsets_are_narrowed_by_the_layout_only() {
    for place in ["src/streams", "src/format", "src/plan", "src/emit.rs"] {
        for (path, code) in sources(place) {
            for cast in [" as u32", " as u16", " as u8"] {
                assert!(!code.contains(cast), "{}{cast}", path.display());
            }
        }
    }
}

#[test]
fn every_stream_file_has_a_row_and_nothing_else_knows_its_type() {
    let table = fs::read_to_string(root().join("src/streams/mod.rs")).unwrap();
    // A row may take one line or several.
    let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
    for (path, code) in sources("src/streams") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "mod" {
            continue;
        }
        assert!(
            code.contains("pub(super) fn plan"),
            "{name} has the outline of its siblings"
        );
        assert!(
            table.contains(&format!(", {name},")) || table.contains(&format!("{name}::plan")),
            "{name} has a row"
        );
        assert!(
            !code.contains("MINIDUMP_STREAM_TYPE"),
            "{name}'s type stands in its row"
        );
    }
    for (path, code) in sources("src") {
        let is_writer =
            !path.starts_with("src/read") && !path.starts_with("src/streams") && !path.starts_with("src/cli");
        assert!(
            !is_writer || !code.contains("MINIDUMP_STREAM_TYPE"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_test_file_says_what_it_would_catch() {
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let head: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
            assert!(head.join(" ").contains("catch"), "{}", path.display());
        }
    }
}
