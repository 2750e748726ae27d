//! `cargo xtask test`: runs the tests with everything they need.

use xshell::{Shell, cmd};

use crate::{readers, windows};

/// The cargo arguments for all tests. They are built with the features of the whole workspace,
/// which a command for a single package does not use.
pub(crate) const TESTS: [&str; 2] = ["test", "--workspace"];

/// Installs missing readers and the programs that run Windows programs, and runs the tests of the
/// whole workspace. If something is missing, the tests fail and name the task that installs it;
/// none is skipped.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    readers::install(shell)?;
    windows::install(shell)?;
    windows::test(shell)?;
    windows::build(shell)?;
    cmd!(shell, "cargo {TESTS...} --no-fail-fast").run()?;
    windows::test_live(shell)
}

/// Every fault that a system call of a dump may have, on Linux and under Wine: `docs/faults.md`. A
/// part of this is in CI.
pub(crate) fn faults(shell: &Shell) -> anyhow::Result<()> {
    whole(shell, "faults")?;
    windows::install(shell)?;
    windows::build(shell)?;
    windows::keep_server(shell)?;
    whole(shell, "windows_faults")
}

/// Every moment at which a dumper may be killed or stopped. A part of this is in CI.
pub(crate) fn kills(shell: &Shell) -> anyhow::Result<()> {
    whole(shell, "kills")
}

/// The part of a test that takes too long for CI. It prints its counts.
fn whole(shell: &Shell, test: &str) -> anyhow::Result<()> {
    cmd!(
        shell,
        "cargo test --release --test {test} -- --ignored --nocapture"
    )
    .run()?;
    Ok(())
}
