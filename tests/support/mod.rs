//! What the integration tests share: victims to dump, the program that dumps them, and the readers that
//! judge the result.
//!
//! Every test crate uses a part of it.
#![allow(dead_code, missing_docs)]

pub mod dumper;
pub mod proc;
pub mod readers;
pub mod victim;
pub mod windows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that outlives the test run, for what is made once: compiled victims, symbols.
pub fn workshop() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Runs a command to its end.
///
/// # Panics
///
/// When it cannot be started: the message says how to get the readers, which is what is missing in most
/// cases.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("cannot run {command:?}: {error}\nIf it is not installed: cargo xtask readers")
    })
}

/// Runs a command that has to succeed; gives its standard output.
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

/// Copies a program that is to be run. Not by this process: another thread that starts a program at that moment hands the
/// half-written file's descriptor on to it, and nobody can execute a file that is open for writing ("Text
/// file busy").
pub fn copy_program(from: &Path, to: &Path) {
    run_well(Command::new("cp").arg(from).arg(to));
}
