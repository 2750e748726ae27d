//! `cargo xtask test`: the tests with everything they need.

use xshell::{Shell, cmd};

use crate::{readers, windows};

/// Installs what is missing of readers and of what runs Windows programs, and runs the tests of the whole workspace. The tests themselves fail, and
/// say which task installs it, when something is missing; none is ever skipped.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    readers::install(shell)?;
    windows::install(shell)?;
    windows::test(shell)?;
    cmd!(shell, "cargo test --workspace --no-fail-fast").run()?;
    Ok(())
}
