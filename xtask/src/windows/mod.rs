//! `cargo xtask windows`: what runs Windows programs on a Linux machine, and Microsoft's debugger engine among them.
//!
//! Wine and compilers for C and C++ are Debian's, and the source of Rust's standard library where the toolchain lacks it; Microsoft's DLLs and
//! Wine's own folder go to the readers' (`xtask/src/readers`). What is there already is left alone.

mod microsoft;
mod prefix;
mod standard_library;

use std::path::PathBuf;

use xshell::{Cmd, Shell, cmd};

use crate::debian::{self, PYTHON_WITH_VENV, Program};
use crate::readers::{self, crates::DUMP_SYMS};

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
    // C++ programs call the C library as well.
    Program {
        name: "x86_64-w64-mingw32-g++",
        packages: &["g++-mingw-w64-x86-64"],
    },
    // Programs with PDB files: clang writes CodeView, its linker makes PDBs of it.
    Program {
        name: "clang",
        packages: &["clang"],
    },
    Program {
        name: "ld.lld",
        packages: &["lld"],
    },
    PYTHON_WITH_VENV,
];

/// What is a program or a library for Windows, of the packages here.
const PACKAGES: [&str; 5] = [
    "dumpwright",
    "dumpwright-callback",
    "dumpwright-capi",
    "dumpwright-target",
    "dumpwright-windows",
];

/// Lints what is compiled for Windows only, and what both systems share.
pub(crate) fn lint(shell: &Shell) -> anyhow::Result<()> {
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    cargo(shell, "clippy")?
        .args(packages)
        .args(["--", "-D", "warnings"])
        .run()?;
    cargo(shell, "clippy")?
        .args([
            "--package",
            "dumpwright-windows",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
        .run()?;
    cargo(shell, "doc")?
        .args([
            "--no-deps",
            "--package",
            "dumpwright-windows",
            "--package",
            "dumpwright",
        ])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(())
}

/// Runs the unit tests of the Windows backend and of what it is made of, under Wine. What a whole dump is judged by runs with the other tests.
pub(crate) fn test(shell: &Shell) -> anyhow::Result<()> {
    cargo(shell, "test")?
        .args([
            "--package",
            "dumpwright-windows",
            "--package",
            "dumpwright-callback",
        ])
        .args(["--package", "dumpwright-target"])
        .run()?;
    Ok(())
}

/// A command of cargo's, for Windows: see `.cargo/windows.toml`.
pub(crate) fn cargo<'s>(shell: &'s Shell, command: &str) -> anyhow::Result<Cmd<'s>> {
    // The file is named behind the command: what stands before it, `cargo clippy` does not pass on.
    Ok(cmd!(shell, "cargo {command} --config .cargo/windows.toml")
        // The standard library is built as well, which stable toolchains do only if they are told that this is known.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("WINEPREFIX", prefix()?)
        .env_remove("DISPLAY"))
}

/// A command line under Wine, in the folder that is a Windows machine to it.
pub(crate) fn wine<'s>(shell: &'s Shell, command: &str) -> anyhow::Result<Cmd<'s>> {
    Ok(cmd!(shell, "wine")
        .args(command.split(' '))
        .env("WINEPREFIX", prefix()?)
        .env("WINEDEBUG", "-all")
        .env_remove("DISPLAY"))
}

/// That folder.
pub(crate) fn prefix() -> anyhow::Result<PathBuf> {
    Ok(readers::cache()?.join("wine"))
}

/// Installs all of it.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let cache = readers::cache()?;
    shell.create_dir(&cache)?;
    debian::install(shell, &debian::missing(shell, PROGRAMS))?;
    // Its pip downloads.
    readers::python::install(shell, &cache)?;
    microsoft::install(shell, &cache)?;
    prefix::install(shell, &cache)?;
    standard_library::install(shell)?;
    DUMP_SYMS.install(shell, &cache)?;
    eprintln!("windows: all there, in {}", cache.display());
    Ok(())
}
