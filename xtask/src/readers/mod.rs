//! `cargo xtask readers`: the programs, written by others, that judge our dumps.
//!
//! Debian's packages are installed by apt; the rest goes, in pinned versions, into one folder:
//! `$DUMPWRIGHT_READERS`, else `$XDG_CACHE_HOME/dumpwright-readers`, else `~/.cache/dumpwright-readers`.
//! `tests/support/readers.rs` looks in the same places. What is there already is left alone, so the task
//! costs nothing the second time.

mod breakpad;
pub(crate) mod crates;
mod debian;
pub(crate) mod python;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use xshell::Shell;

/// Installs every reader that is missing.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let cache = cache()?;
    shell.create_dir(&cache)?;
    debian::install(shell)?;
    breakpad::install(shell, &cache)?;
    python::install(shell, &cache)?;
    crates::MINIDUMP_STACKWALK.install(shell, &cache)?;
    eprintln!("readers: all there, in {}", cache.display());
    Ok(())
}

/// The folder of what no Debian package has.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("DUMPWRIGHT_READERS")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("dumpwright-readers")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/dumpwright-readers")))
        .context("none of DUMPWRIGHT_READERS, XDG_CACHE_HOME and HOME is set: nowhere to put the readers")?;
    ensure!(
        cache.is_absolute(),
        "the readers' folder must be an absolute path, not {}",
        cache.display()
    );
    Ok(cache)
}
