//! `cargo xtask dist`: makes the files that users install, and tries each of them.
//!
//! The files are in `target/dist`: a static program for Linux as an archive and as a Debian
//! package, and an archive for Windows. Each has the notices of everything that is compiled into
//! it.

mod archive;
mod debian_package;
mod linux;
mod notices;
mod windows_zip;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use xshell::{Shell, cmd};

use crate::packages::target_folder;

/// The version of all packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files of the repository that each package has, besides its program.
const TEXTS: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "COMPARE.md",
    "DEVIATIONS.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];

/// Makes the packages for the systems that the arguments name, by default for all.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let systems: Vec<_> = std::env::args().skip(2).collect();
    let systems: Vec<_> = match systems.is_empty() {
        true => vec!["linux", "windows"],
        false => systems.iter().map(String::as_str).collect(),
    };
    let dist = target_folder(shell).join("dist");
    shell.create_dir(&dist)?;
    let mut made = Vec::new();
    for system in systems {
        made.extend(match system {
            "linux" => linux::make(shell, &dist)?,
            "windows" => windows_zip::make(shell, &dist)?,
            other => bail!("there is no system {other:?}; use linux or windows"),
        });
    }
    let _folder = shell.push_dir(&dist);
    let names: Vec<_> = made.iter().filter_map(|path| path.file_name()).collect();
    let sums = cmd!(shell, "sha256sum {names...}").read()?;
    shell.write_file("SHA256SUMS", format!("{sums}\n"))?;
    for path in &made {
        eprintln!("dist: {} ({} bytes)", path.display(), size(path)?);
    }
    Ok(())
}

fn size(path: &Path) -> anyhow::Result<u64> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.len())
}

/// Returns the time that all files in the packages have, in seconds since 1970: that of the latest
/// commit, so that the same sources give the same packages.
fn time_of_files(shell: &Shell) -> anyhow::Result<u64> {
    let text = match shell.var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => cmd!(shell, "git log -1 --format=%ct").quiet().read()?,
    };
    text.trim().parse().context("the time of the latest commit")
}

/// Copies the texts and the documentation into a folder, and writes the notices.
fn add_texts(shell: &Shell, folder: &Path, notices: &str) -> anyhow::Result<()> {
    shell.create_dir(folder)?;
    for name in TEXTS {
        shell.copy_file(name, folder.join(name))?;
    }
    let docs = folder.join("docs");
    cmd!(shell, "cp --recursive docs {docs}").quiet().run()?;
    shell.write_file(folder.join("THIRD-PARTY.txt"), notices)?;
    Ok(())
}

/// Writes what a program prints for these arguments into a file.
fn generate(shell: &Shell, program: &str, arguments: &[&str], file: &Path) -> anyhow::Result<()> {
    let text = cmd!(shell, "{program} {arguments...}").quiet().read()?;
    shell.create_dir(file.parent().context("a file is in a folder")?)?;
    shell.write_file(file, format!("{text}\n"))?;
    Ok(())
}

/// Returns an empty folder with this name beside the packages.
fn empty_folder(shell: &Shell, dist: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = dist.join(name);
    shell.remove_path(&folder)?;
    shell.create_dir(&folder)?;
    Ok(folder)
}

/// Runs commands with the program of a package: a case, a dump of its process, and what the reader
/// says of it. `run` passes the arguments to the program; paths in them are absolute.
fn try_commands(run: impl Fn(&[&str]) -> anyhow::Result<String>) -> anyhow::Result<()> {
    let version = run(&["--version"])?;
    ensure!(
        version.trim() == format!("dumpwright {VERSION}"),
        "--version says {version:?}"
    );
    run(&["new-case", "/case"])?;
    let dialogue = run(&["rehearse", "/case"])?;
    let is_left_out = |line: &str| line == "IncludeThread thread=1001 | flags=0x17 -> FALSE";
    ensure!(
        dialogue.lines().any(|line| is_left_out(line.trim_end())),
        "rehearse prints no such answer:\n{dialogue}"
    );
    run(&[
        "dump",
        "--scenario",
        "/case/scenario.toml",
        "-o",
        "/case/case.dmp.zst",
        "--compress",
        "zstd",
    ])?;
    run(&["check", "/case/case.dmp.zst"])?;
    let shown = run(&["show", "/case/case.dmp.zst", "--all"])?;
    ensure!(
        shown.contains("worker"),
        "show does not name the thread:\n{shown}"
    );
    Ok(())
}
