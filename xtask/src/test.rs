//! `cargo xtask test`: the tests with everything they need.

use xshell::{Shell, cmd};

use crate::readers;

/// Installs the missing readers and runs the tests of the whole workspace. The tests themselves fail, and
/// name this task, when a reader is missing; none is ever skipped.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    readers::install(shell)?;
    cmd!(shell, "cargo test --workspace --no-fail-fast").run()?;
    Ok(())
}
