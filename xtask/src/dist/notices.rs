//! The licences of everything that is compiled into a program, as one text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

/// Something by others that is compiled into the program.
pub(super) struct Part {
    /// Its name and version.
    pub(super) name: String,
    /// An SPDX expression.
    pub(super) licence: String,
    /// Where it comes from; may be empty.
    pub(super) source: String,
    /// The texts of its licences.
    pub(super) texts: Vec<String>,
}

impl Part {
    /// A part with one text, which is a file of this machine.
    pub(super) fn with_file(shell: &Shell, name: &str, licence: &str, file: &str) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            licence: licence.to_owned(),
            source: String::new(),
            texts: vec![shell.read_file(file)?],
        })
    }
}

/// Returns the crates of other people that these packages are compiled with for this target.
pub(super) fn crates(shell: &Shell, packages: &[&str], target: &str) -> anyhow::Result<Vec<Part>> {
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    let tree = cmd!(
        shell,
        "cargo tree --locked --edges normal --target {target} --prefix none"
    )
    .arg("--format={p}")
    .args(packages)
    .quiet()
    .read()?;
    let metadata = cmd!(
        shell,
        "cargo metadata --locked --format-version 1 --filter-platform {target}"
    )
    .quiet()
    .read()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let all = metadata["packages"]
        .as_array()
        .context("packages of cargo metadata")?;
    let mut parts = BTreeMap::new();
    for line in tree.lines() {
        // "NAME vVERSION", for some with "(proc-macro)" or a path.
        let mut words = line.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let version = version.trim_start_matches('v');
        let package = all
            .iter()
            .find(|package| package["name"] == name && package["version"] == version)
            .with_context(|| format!("cargo metadata has no package {name} {version}"))?;
        // Packages without a source are those of the repository.
        if package["source"].is_string() {
            parts.insert(format!("{name} {version}"), part(package)?);
        }
    }
    Ok(parts.into_values().collect())
}

/// Describes a package of `cargo metadata`.
fn part(package: &Value) -> anyhow::Result<Part> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let name = format!("{} {}", text("name"), text("version"));
    let manifest = PathBuf::from(text("manifest_path"));
    let folder = manifest.parent().context("a manifest is in a folder")?;
    let texts = texts_in(folder)?;
    ensure!(
        !texts.is_empty(),
        "{name} has no file with its licence in {}",
        folder.display()
    );
    let licence = match package["license"].as_str() {
        Some(licence) => licence.to_owned(),
        None => "see its text".to_owned(),
    };
    Ok(Part {
        name,
        licence,
        source: text("repository"),
        texts,
    })
}

/// The texts of the files in this folder whose names are those of licences.
fn texts_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    const NAMES: [&str; 6] = [
        "license",
        "licence",
        "copying",
        "copyright",
        "notice",
        "unlicense",
    ];
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
            path.is_file() && name.is_some_and(|name| NAMES.iter().any(|start| name.starts_with(start)))
        })
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    files.iter().map(read).collect()
}

/// Returns the text with all parts, and each text of a licence once.
pub(super) fn render(program: &str, parts: &[Part]) -> String {
    // Texts that differ only in their line breaks are the same.
    let mut texts: BTreeMap<String, (&str, Vec<&str>)> = BTreeMap::new();
    for part in parts {
        for text in &part.texts {
            let words: Vec<_> = text.split_whitespace().collect();
            let (_, names) = texts
                .entry(words.join(" "))
                .or_insert((text.as_str(), Vec::new()));
            if names.last() != Some(&part.name.as_str()) {
                names.push(&part.name);
            }
        }
    }
    let mut page = format!(
        "{program} contains the following software by other people. Below the list are the texts of\n\
         the licences. Where a licence says \"OR\", one of them applies.\n\n"
    );
    for part in parts {
        let _ = write!(page, "{}: {}", part.name, part.licence);
        if !part.source.is_empty() {
            let _ = write!(page, "; {}", part.source);
        }
        page.push('\n');
    }
    for (text, names) in texts.into_values() {
        let line = "=".repeat(80);
        let _ = write!(
            page,
            "\n{line}\nFor {}:\n\n{}\n",
            names.join(", "),
            text.trim_end().replace("\r\n", "\n")
        );
    }
    page
}

/// Copies the notices of Rust's standard library, which is compiled into each program.
pub(super) fn add_standard_library(shell: &Shell, folder: &Path) -> anyhow::Result<()> {
    let sysroot = PathBuf::from(cmd!(shell, "rustc --print sysroot").quiet().read()?);
    let candidates = [
        (sysroot.join("share/doc/rust/COPYRIGHT-library.html"), "html"),
        (PathBuf::from("/usr/share/doc/rustc/copyright"), "txt"),
    ];
    let found = candidates.iter().find(|(file, _)| file.is_file());
    let (file, extension) = found.with_context(|| {
        format!(
            "the toolchain has no notices of the standard library: {} does not exist",
            candidates[0].0.display()
        )
    })?;
    shell.copy_file(
        file,
        folder.join(format!("THIRD-PARTY-standard-library.{extension}")),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dependency_has_a_text_and_tests_are_not_named() {
        let shell = crate::in_repository().unwrap();
        let parts = crates(&shell, &["dumpwright"], "x86_64-unknown-linux-gnu").unwrap();
        let names: Vec<_> = parts
            .iter()
            .filter_map(|part| part.name.split(' ').next())
            .collect();
        for name in ["clap", "framehop", "zstd-sys", "libc"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        // Tests use the first one, and the next two are of the repository and of Windows.
        for name in ["proptest", "dumpwright-target", "windows-sys"] {
            assert!(!names.contains(&name), "{name} in {names:?}");
        }
        assert!(
            parts
                .iter()
                .all(|part| !part.texts.is_empty() && !part.licence.is_empty())
        );
    }

    #[test]
    fn a_text_is_printed_once_for_all_that_have_it() {
        let part = |name: &str, text: &str| Part {
            name: name.to_owned(),
            licence: "MIT".to_owned(),
            source: String::new(),
            texts: vec![text.to_owned()],
        };
        let parts = [
            part("one 1.0.0", "Permission is\ngranted.\n"),
            part("two 2.0.0", "All rights."),
            part("three 3.0.0", "Permission\r\nis granted."),
        ];
        let page = render("the program", &parts);
        assert_eq!(page.matches("granted.").count(), 1, "{page}");
        assert!(page.contains("For one 1.0.0, three 3.0.0:"), "{page}");
        assert!(page.contains("\ntwo 2.0.0: MIT\n"), "{page}");
    }

    #[test]
    fn a_dependency_without_a_text_is_an_error() {
        let shell = Shell::new().unwrap();
        let folder = shell.create_temp_dir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        let package = serde_json::json!({
            "name": "bare", "version": "1.0.0", "license": "MIT", "manifest_path": manifest,
        });
        let error = part(&package).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("bare 1.0.0 has no file")));
    }
}
