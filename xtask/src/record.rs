//! `cargo xtask record FOLDER [DLL]`: records the dialogues of another DbgHelp, for
//! `cargo xtask conformance --import FOLDER`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

/// Runs all scenarios with a DLL, by default the system's on Windows, and writes transcripts and
/// descriptions into the folder.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    const USAGE: &str = "usage: cargo xtask record FOLDER [DLL]; DLL can be left out on Windows";
    let mut arguments = std::env::args_os().skip(2).map(PathBuf::from);
    let folder = std::path::absolute(arguments.next().context(USAGE)?)?;
    let library = match arguments.next() {
        Some(library) => std::path::absolute(library)?,
        None => system().context(USAGE)?,
    };
    ensure!(arguments.next().is_none(), USAGE);
    ensure!(library.is_file(), "{} is not a file", library.display());
    let is_empty = !folder.exists() || shell.read_dir(&folder)?.is_empty();
    ensure!(is_empty, "{} is not empty; name a new folder", folder.display());
    shell.create_dir(&folder)?;
    cmd!(
        shell,
        "cargo test --package dumpwright-capi --test windows_dialogue -- --ignored --exact dialogues_of_any_library_are_recorded"
    )
    .env("DUMPWRIGHT_TRANSCRIPTS", &folder)
    .env("DUMPWRIGHT_LIBRARY", &library)
    .run()?;
    eprintln!("recorded in {}", folder.display());
    Ok(())
}

/// Returns the path of the system's DbgHelp. From Windows 10 on, `dbghelp.dll` only forwards to
/// `dbgcore.dll`, which makes the system calls that are recorded.
fn system() -> Option<PathBuf> {
    let folder = Path::new(&std::env::var_os("SystemRoot")?).join("System32");
    let candidates = ["dbgcore.dll", "dbghelp.dll"].map(|name| folder.join(name));
    candidates.into_iter().find(|file| file.is_file())
}
