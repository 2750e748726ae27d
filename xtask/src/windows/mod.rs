//! `cargo xtask windows`: what runs Windows programs on a Linux machine, and Microsoft's debugger engine among them.
//!
//! Wine and a compiler are Debian's; Microsoft's DLLs and Wine's own folder go to the readers' (`xtask/src/readers`). What is
//! there already is left alone.

mod microsoft;
mod prefix;

use xshell::Shell;

use crate::debian::{self, PYTHON_WITH_VENV, Program};
use crate::readers;

const PROGRAMS: &[Program] = &[
    // Its 64-bit half is enough: nothing here is a 32-bit Windows program.
    Program {
        name: "wine",
        packages: &["wine", "wine64"],
    },
    Program {
        name: "x86_64-w64-mingw32-gcc",
        packages: &["gcc-mingw-w64-x86-64"],
    },
    PYTHON_WITH_VENV,
];

/// Installs all of it.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let cache = readers::cache()?;
    shell.create_dir(&cache)?;
    debian::install(shell, &debian::missing(shell, PROGRAMS))?;
    // Its pip downloads.
    readers::python::install(shell, &cache)?;
    microsoft::install(shell, &cache)?;
    prefix::install(shell, &cache)?;
    eprintln!("windows: all there, in {}", cache.display());
    Ok(())
}
