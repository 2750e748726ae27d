//! `cargo xtask readers`: installs independent readers, which check dumpwright's dumps.
//!
//! Debian's packages are installed with apt. Everything else is installed, in pinned versions, into
//! one folder: `$DUMPWRIGHT_READERS`, otherwise `$XDG_CACHE_HOME/dumpwright-readers`, otherwise
//! `~/.cache/dumpwright-readers`. `tests/support/readers` looks in the same places. Installed
//! readers are not changed, so the task costs nothing the second time.

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
    crates::install(&[crates::MINIDUMP_STACKWALK, crates::DUMP_SYMS], shell, &cache)?;
    eprintln!("readers: all are installed, in {}", cache.display());
    Ok(())
}

/// Returns the folder of everything that is not a Debian package.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("DUMPWRIGHT_READERS")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("dumpwright-readers")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/dumpwright-readers")))
        .context("cannot find a folder for the readers: set DUMPWRIGHT_READERS, XDG_CACHE_HOME or HOME")?;
    ensure!(
        cache.is_absolute(),
        "the readers' folder must be an absolute path, not {}",
        cache.display()
    );
    Ok(cache)
}
