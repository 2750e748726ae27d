//! `cargo xtask conformance`: how far the dialogue of profile dbghelp63 is Microsoft's.

use xshell::{Shell, cmd};

/// Prints how many of the recorded scenarios are equal, and each exception with its reason.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    cmd!(
        shell,
        "cargo test --quiet --no-default-features --features file --test conformance -- --nocapture"
    )
    .run()?;
    Ok(())
}
