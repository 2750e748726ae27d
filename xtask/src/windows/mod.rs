//! `cargo xtask windows`: installs what is needed to run Windows programs on Linux, and Microsoft's
//! debugger engine.
//!
//! Wine, compilers for C and C++, and, if the toolchain lacks it, the source of Rust's standard
//! library come from Debian. Microsoft's DLLs and Wine's own folder are in the readers' folder
//! (`xtask/src/readers`). Whatever is already installed is not changed.

mod live;
mod microsoft;
mod prefix;
mod standard_library;

use std::path::PathBuf;

use xshell::{Cmd, Shell, cmd};

use crate::debian::{self, PYTHON_WITH_VENV, Program};
use crate::readers::{self, crates};

const PROGRAMS: &[Program] = &[
    // The 64-bit half is enough, because there are no 32-bit Windows programs here.
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
    // For programs with PDB files: clang writes CodeView, and its linker makes PDB files of it.
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

/// The packages of the workspace that contain programs or libraries for Windows.
const PACKAGES: [&str; 6] = [
    "dumpwright",
    "dumpwright-callback",
    "dumpwright-capi",
    "dumpwright-target",
    "dumpwright-windows",
    "dumpwright-windows-programs",
];

/// Lints the code that is compiled only for Windows, and the code that both systems share.
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

/// Builds the programs and the C library that the tests run under Wine, by the commands of the
/// tests' own fixture. A test that builds them keeps its target waiting.
pub(crate) fn build(shell: &Shell) -> anyhow::Result<()> {
    cargo(shell, "build")?.args(OWN_PROGRAMS).run()?;
    Ok(())
}

/// The command line, the C library, and the programs for the tests, in one command, so that they
/// share the compiled crates.
pub(crate) const OWN_PROGRAMS: [&str; 6] = [
    "--package",
    "dumpwright",
    "--package",
    "dumpwright-capi",
    "--package",
    "dumpwright-windows-programs",
];

/// Runs the unit tests of the Windows backend and of its building blocks, under Wine. Tests of
/// whole dumps run with the other tests.
pub(crate) fn test(shell: &Shell) -> anyhow::Result<()> {
    keep_server(shell)?;
    cargo(shell, "test")?
        .args([
            "--package",
            "dumpwright-windows",
            "--package",
            "dumpwright-callback",
        ])
        .args(["--package", "dumpwright-target"])
        // See `live.rs`.
        .args(["--", "--test-threads", "1"])
        .run()?;
    Ok(())
}

pub(crate) use live::{lint_live, test_live};

/// Returns a cargo command for Windows; see `.cargo/windows.toml`.
pub(crate) fn cargo<'s>(shell: &'s Shell, command: &str) -> anyhow::Result<Cmd<'s>> {
    // `--config` comes after the command, because `cargo clippy` does not pass on what comes
    // before.
    Ok(cmd!(shell, "cargo {command} --config .cargo/windows.toml")
        // The standard library is built as well. Stable toolchains do that only with this variable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("WINEPREFIX", prefix()?)
        .env_remove("DISPLAY"))
}

/// Starts Wine's server so that it stays between two programs.
///
/// Debian's `wineserver` ends with the last program. The next one then starts a whole Windows
/// system, which takes over a second, and a program that comes while the server ends may hang.
///
/// The time is two hours, longer than all tests: Wine 8's server ends so long after a moment
/// without programs, even if programs have come since (seen with 120 seconds), and then they all
/// hang.
pub(crate) fn keep_server(shell: &Shell) -> anyhow::Result<()> {
    // It keeps its output open, and fails when a server runs already.
    cmd!(shell, "wineserver -p7200")
        .env("WINEPREFIX", prefix()?)
        .env("WINEDEBUG", "-all")
        .quiet()
        .ignore_status()
        .ignore_stdout()
        .ignore_stderr()
        .run()?;
    Ok(())
}

/// Returns the Wine prefix: the folder with the registry and drive C.
pub(crate) fn prefix() -> anyhow::Result<PathBuf> {
    Ok(readers::cache()?.join("wine"))
}

/// Copies the source of the standard library to where cargo looks for it.
pub(crate) fn install_standard_library(shell: &Shell) -> anyhow::Result<()> {
    standard_library::install(shell)
}

/// Installs everything.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let cache = readers::cache()?;
    shell.create_dir(&cache)?;
    debian::install(shell, &debian::missing(shell, PROGRAMS))?;
    // For its pip, which downloads Microsoft's engines.
    readers::python::install(shell, &cache)?;
    microsoft::install(shell, &cache)?;
    prefix::install(shell, &cache)?;
    standard_library::install(shell)?;
    crates::install(&[crates::DUMP_SYMS], shell, &cache)?;
    eprintln!("windows: everything is installed, in {}", cache.display());
    Ok(())
}
