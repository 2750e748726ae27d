//! Checks the sources against the structure that `DESIGN.md` describes.
//!
//! Would catch: a dependency that users of the library would have to build without need; a backend
//! that the engine knows; a call of the callback in two places; code after the layout that could
//! change the file's layout; a writer that seeks; unsafe code where it is not allowed; an offset
//! that is narrowed outside the layout; a stream outside the table.

use std::collections::{BTreeMap, BTreeSet};
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

/// The files of `place` whose code contains one of these words.
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
        "aho-corasick",
        "bitflags",
        "byteorder",
        "dumpwright-callback",
        "dumpwright-image",
        "dumpwright-target",
        "dumpwright-text",
        "lz4_flex",
        "minidump-common",
        "scroll",
        "serde",
        "serde_json",
        "thiserror",
        "twox-hash",
    ];
    assert_eq!(names, BTreeSet::from(allowed));
}

#[test]
fn backends_know_the_vocabulary_and_nothing_else_of_ours() {
    for (backend, ours) in [
        ("platform/target", vec![]),
        ("platform/callback", vec![]),
        // Only code that meets C needs C layouts: the system's DbgHelp and the C library.
        ("platform/abi", vec!["dumpwright-callback"]),
        // Texts are escaped for the terminal by the same function everywhere.
        ("platform/text", vec!["dumpwright-target"]),
        ("platform/sim", vec!["dumpwright-target", "dumpwright-text"]),
        ("platform/image", vec!["dumpwright-target"]),
        ("platform/spool", vec!["dumpwright-text"]),
        ("platform/linux", vec!["dumpwright-image", "dumpwright-target"]),
        (
            "platform/windows",
            vec![
                "dumpwright-abi",
                "dumpwright-callback",
                "dumpwright-image",
                "dumpwright-target",
            ],
        ),
        ("platform/capi", vec!["dumpwright", "dumpwright-abi"]),
    ] {
        let manifest = fs::read_to_string(root().join(backend).join("Cargo.toml")).unwrap();
        let normal = manifest.split("dev-dependencies]").next().unwrap();
        let named: Vec<_> = normal
            .lines()
            .filter(|line| line.starts_with("dumpwright"))
            .map(|line| line.split(['.', ' ', '=']).next().unwrap())
            .collect();
        assert_eq!(named, ours, "{backend}");
    }
}

#[test]
fn two_files_of_the_engine_name_a_backend() {
    let naming = with_word(
        "src",
        &["dumpwright_linux", "dumpwright_windows", "dumpwright_sim"],
    );
    assert_eq!(
        BTreeSet::from_iter(naming.iter().map(String::as_str)),
        BTreeSet::from(["src/native.rs", "src/sim.rs"])
    );
}

#[test]
fn questions_are_asked_in_one_place() {
    let asking: Vec<_> = sources("src")
        .into_iter()
        .filter(|(_, code)| code.contains("callback.ask("))
        .map(|(path, code)| (path.display().to_string(), code.matches("callback.ask(").count()))
        .collect();
    assert_eq!(asking, [("src/protocol/dialogue.rs".to_owned(), 1)]);
    // Code that writes the file receives the service, which has no call that changes the layout.
    assert!(with_word("src/emit.rs", &["Dialogue"]).is_empty());
    assert!(with_word("src/emit", &["Dialogue"]).is_empty());
    assert!(with_word("src/memory", &["Dialogue"]).is_empty());
}

#[test]
fn what_lies_behind_the_snapshot_knows_neither_target_nor_callback_nor_output() {
    for place in ["src/streams", "src/format", "src/plan"] {
        let knowing = with_word(place, &["Dialogue", "Service", "Frozen", "Sink"]);
        assert!(knowing.is_empty(), "{knowing:?}");
    }
}

/// Each read passes the callback: `read` is for content, the hook `Structures` for everything else.
#[test]
fn the_target_is_read_in_one_place() {
    const READING: [&str; 7] = ["read", "fill", "fill_all", "up_to", "bytes", "array", "word"];
    for (path, code) in sources("src") {
        // A script reads its own target.
        let may = path.ends_with("protocol/script/mod.rs");
        assert!(may || !code.contains("&mut Direct"), "{}", path.display());
        for method in READING {
            assert!(
                !code.contains(&format!("frozen.{method}(")),
                "{}: {method}",
                path.display()
            );
        }
    }
}

#[test]
fn the_writer_never_goes_back() {
    assert!(with_word("src", &["Seek", "SeekFrom", "seek"]).is_empty());
    // A write at an offset is seeking under another name. The file sink has one, by the names of
    // its systems. It appends with it, and writes the header of compressed memory last.
    const AT_A_PLACE: [&str; 6] = [
        "seek_write",
        "write_at",
        "write_all_at",
        "pwrite",
        "pwritev",
        "pwrite64",
    ];
    let mut writing = with_word("src", &AT_A_PLACE);
    writing.sort();
    assert_eq!(
        writing,
        [
            "src/sink/file.rs",
            "src/sink/file/linux.rs",
            "src/sink/file/windows.rs"
        ]
    );
    let (_, sink) = sources("src/sink/file.rs").remove(0);
    assert!(sink.contains("debug_assert_eq!(at, self.end"));
    // The engine writes one block last, and a conversion its own one. The progress of the command
    // line passes the request on.
    let amending = sources("src").into_iter();
    let mut amending: Vec<_> = amending
        .filter(|(path, code)| !path.starts_with("src/sink") && code.contains(".amend("))
        .map(|(path, _)| path.display().to_string())
        .collect();
    amending.sort();
    assert_eq!(amending, ["src/cli/progress.rs", "src/convert.rs", "src/emit.rs"]);
}

#[test]
fn unsafe_code_is_forbidden_outside_backends_and_the_c_interface() {
    for place in [
        "src/lib.rs",
        "platform/target/lib.rs",
        "platform/callback/lib.rs",
        "platform/text/lib.rs",
        "platform/image/lib.rs",
        "platform/sim/lib.rs",
        "platform/spool/lib.rs",
    ] {
        let (_, code) = sources(place).remove(0);
        assert!(code.contains("#![forbid(unsafe_code)]"), "{place}");
    }
    // The binary is a separate crate.
    assert!(with_word("src/main.rs", &["unsafe"]).is_empty());
    assert!(with_word("src/cli", &["unsafe"]).is_empty());
}

/// Handles of Windows are closed and shared between threads by std's types. Only one file opens
/// them, and only one file queries the kernel with its true signatures.
#[test]
fn the_windows_backend_owns_handles_and_queries_the_kernel_in_one_way() {
    let with = |text: &str| {
        let files = sources("platform/windows").into_iter();
        let files = files.filter(|(path, code)| !path.ends_with("tests.rs") && code.contains(text));
        files
            .map(|(path, _)| path.display().to_string())
            .collect::<Vec<_>>()
    };
    for (text, files) in [
        ("CloseHandle", &[][..]),
        ("unsafe impl", &[]),
        ("OpenProcess(", &["platform/windows/access.rs"]),
        ("OpenThread(", &["platform/windows/access.rs"]),
        ("NtQuery", &["platform/windows/query.rs"]),
    ] {
        assert_eq!(with(text), files, "{text}");
    }
}

#[test]
fn sizes_and_offsets_are_narrowed_by_the_layout_only() {
    for place in ["src/streams", "src/format", "src/plan", "src/emit.rs", "src/emit"] {
        for (path, code) in sources(place) {
            let code = code.split("#[cfg(test)]").next().unwrap_or_default();
            for cast in [" as u32", " as u16", " as u8"] {
                assert!(!code.contains(cast), "{}{cast}", path.display());
            }
            // A saturated number is wrong. `plan::capped` names the two exceptions.
            let code = code.split_whitespace().collect::<String>();
            for saturation in [
                ".unwrap_or(u32::MAX)",
                ".unwrap_or(u16::MAX)",
                ".unwrap_or(u8::MAX)",
                ".unwrap_or_else(|_|u32::MAX)",
                "u32::saturating_from",
                ".min(u32::MAXas",
                ".min(u64::from(u32::MAX))",
                ".min(usize::try_from(u32::MAX)",
            ] {
                assert!(!code.contains(saturation), "{}: {saturation}", path.display());
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
    let says = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        head.join(" ").to_lowercase().contains("would catch:")
    };
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let main = path.join("main.rs");
        if path.extension().is_some_and(|extension| extension == "rs") {
            assert!(says(&path), "{}", path.display());
        } else if main.is_file() && !says(&main) {
            // If not, each of its modules does.
            let text = fs::read_to_string(&main).unwrap();
            let before = std::iter::once("").chain(text.lines());
            let modules = before
                .zip(text.lines())
                // A file of another binary of tests.
                .filter(|(before, _)| !before.starts_with("#["))
                .filter_map(|(_, line)| line.strip_prefix("mod ")?.strip_suffix(';'));
            for module in modules {
                let files = [format!("{module}.rs"), format!("{module}/mod.rs")];
                let file = files
                    .map(|file| path.join(file))
                    .into_iter()
                    .find(|file| file.is_file());
                assert!(
                    file.is_some_and(|file| says(&file)),
                    "{module} of {}",
                    main.display()
                );
            }
        }
    }
}

/// The paths that git has, with one of these extensions.
fn tracked(extensions: &[&str]) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    let files: Vec<PathBuf> = names
        .split_terminator('\0')
        .map(PathBuf::from)
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
                && root().join(path).is_file()
        })
        .collect();
    assert!(!files.is_empty());
    files
}

/// The lines of a file, each with its number.
fn lines(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.to_owned()))
        .collect()
}

/// Returns the text of a comment, if the line is one.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ["///", "//!", "//", "/*", "* "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark))
}

#[test]
fn comments_end_at_column_100() {
    let mut wide = Vec::new();
    for path in tracked(&["rs", "c", "cpp", "h", "hpp", "in"]) {
        for (number, line) in lines(&path) {
            let Some(text) = comment(&line) else {
                continue;
            };
            // A table has a line for each row, and an address cannot be divided.
            let is_excepted = text.trim_start().starts_with('|') || text.contains("://");
            if !is_excepted && line.chars().count() > 100 {
                wide.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn markdown_is_wrapped() {
    let mut wide = Vec::new();
    for path in tracked(&["md"]) {
        let mut is_code = false;
        for (number, line) in lines(&path) {
            is_code ^= line.trim_start().starts_with("```");
            let is_excepted = is_code || line.starts_with('|') || line.contains("://");
            if !is_excepted && line.chars().count() > 100 {
                wide.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

/// Words that readers found hard to understand, and what replaces them. `docs/glossary.md` has the
/// words of the project.
const REFUSED: &[(&str, &str)] = &[
    ("callbacks and all", "with callbacks"),
    ("gravity", "severity"),
    ("has it not", "does not have it"),
    ("has promised", "guarantees"),
    ("in the place of which", "instead of it"),
    ("is said to be", "is described as"),
    ("is told", "is passed, or is reported"),
    ("make no sense", "are malformed, or are invalid"),
    ("makes no sense", "is malformed, or is invalid"),
    ("promised memory", "deferred memory"),
    ("remark", "diagnostic, or note"),
    ("so much for", "a statement"),
    ("treacherous", "that fails when it is read"),
    ("what is told", "the report"),
    ("workshop", "directory"),
    ("worth nothing", "invalid"),
];

#[test]
fn no_refused_word_is_used() {
    let mut used = Vec::new();
    for path in tracked(&["rs", "c", "cpp", "h", "hpp", "in", "md"]) {
        // The changelog has the old names of what was renamed, and this file has all of them.
        if path.ends_with("CHANGELOG.md") || path.ends_with("tests/tidy.rs") {
            continue;
        }
        for (number, line) in lines(&path) {
            let line = line.to_lowercase();
            for (word, instead) in REFUSED {
                if has_word(&line, word) {
                    used.push(format!("{}:{number}: {word:?}: say {instead}", path.display()));
                }
            }
        }
    }
    assert!(used.is_empty(), "{used:#?}");
}

/// A type has a name of its own. The backends of Linux and Windows may have twins, and the reader
/// of dumps its view of what the target has.
#[test]
fn a_type_name_stands_for_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let kinds = ["struct", "enum", "trait", "union", "type"];
    for place in ["src", "platform"] {
        for (path, code) in sources(place) {
            let path = path.display().to_string();
            if path.ends_with("tests.rs")
                || ["/tests/", "/fuzz/", "testing"]
                    .iter()
                    .any(|part| path.contains(part))
            {
                continue;
            }
            for line in code.lines() {
                // Only items of a module: those inside of functions begin further right.
                let mut words = line.split(' ').skip_while(|word| {
                    word.starts_with("pub") || ["in", "unsafe"].contains(word) || word.ends_with(')')
                });
                let (Some(kind), Some(name)) = (words.next(), words.next()) else {
                    continue;
                };
                if kinds.contains(&kind) {
                    let end = name
                        .find(|c: char| !c.is_alphanumeric() && c != '_')
                        .unwrap_or(name.len());
                    places
                        .entry(name[..end].to_owned())
                        .or_default()
                        .push(path.clone());
                }
            }
        }
    }
    assert!(places.len() > 300, "{}", places.len());
    for (name, places) in places {
        let twins = |path: &String| path.contains("linux") || path.contains("windows");
        let of_reader: Vec<_> = places
            .iter()
            .filter(|path| path.starts_with("src/read/"))
            .collect();
        let of_target: Vec<_> = places
            .iter()
            .filter(|path| path.starts_with("platform/target/"))
            .collect();
        let are_views = of_reader.len() == 1 && of_target.len() == 1 && places.len() == 2;
        let are_twins = places.len() == 2 && places.iter().all(twins);
        assert!(
            places.len() == 1 || are_views || are_twins,
            "{name} is defined in {places:?}"
        );
    }
}
