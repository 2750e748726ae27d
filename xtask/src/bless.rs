//! `cargo xtask bless`: renews what is generated and committed. The difference is the review.

use xshell::{Shell, cmd};

/// Runs the tests that hold generated files against their source, and has them write instead of compare.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    cmd!(shell, "cargo test --quiet --package dumpwright --lib -- streams")
        .env("BLESS", "1")
        .run()?;
    cmd!(shell, "git diff --stat -- docs").run()?;
    Ok(())
}
