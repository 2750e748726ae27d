//! Code that the tests of all packages share: processes to dump (simulated, live, and under Wine),
//! the programs that dump them, and readers of dumps from other projects.
#![allow(missing_docs, reason = "for tests, where names and signatures say enough")]

pub mod cargo;
pub mod child;
pub mod compressed_memory;
#[cfg(unix)]
pub mod cores;
pub mod dumper;
#[cfg(unix)]
pub mod hanging;
#[cfg(unix)]
mod mounted;
#[cfg(unix)]
pub mod proc;
pub mod readers;
pub mod recorded;
pub mod seekable;
pub mod simulated;
#[cfg(unix)]
pub mod stops;
pub mod victim;
#[cfg(unix)]
pub mod volume;
pub mod watched;
pub mod windows;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Returns the root directory of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("xtask").is_dir());
    root.expect("this package is in the repository").to_owned()
}

/// Returns a directory that outlives the test run, for files that are created once, such as
/// compiled victims and symbols.
///
/// It is cargo's `CARGO_TARGET_TMPDIR`. Cargo passes that variable only to the compiler of a test
/// binary, so this function derives the directory from the path of the running test.
pub fn scratch() -> PathBuf {
    let profile = built_with_this();
    let folder = profile.parent().expect("target/debug has a parent").join("tmp");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

/// Returns the directory of the programs that were built together with the running test, usually
/// `target/debug`.
pub fn built_with_this() -> PathBuf {
    let test = std::env::current_exe().expect("the system knows the running program");
    // Tests are in `deps`.
    let folder = test.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
    folder.to_owned()
}

/// Whether tests should write generated files instead of comparing them: `cargo xtask bless`.
pub fn blessing() -> bool {
    std::env::var_os("DUMPWRIGHT_BLESS").is_some_and(|value| value == "1")
}

/// Runs a command to its end.
///
/// # Panics
///
/// If the command cannot be started. The message says how to install the readers, because usually
/// one is missing.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("cannot run {command:?}: {error}\nIf it is not installed: cargo xtask readers")
    })
}

/// Runs a command and returns its standard output.
///
/// # Panics
///
/// If the command cannot be started or fails.
pub fn run_well(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program that will be executed.
///
/// The copy is made by a child process. If this process wrote the file, another thread that starts
/// a program at that moment would pass the open descriptor on, and a file that is open for writing
/// cannot be executed ("Text file busy").
pub fn copy_program(from: &Path, to: &Path) {
    run_well(Command::new("cp").arg(from).arg(to));
}
