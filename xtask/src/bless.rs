//! `cargo xtask bless`: renews what is generated and committed. The difference is the review.

use xshell::{Shell, cmd};

/// Runs the tests that hold generated files against their source, and has them write instead of compare.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    for tests in [
        ["--lib", "--", "streams"].as_slice(),
        // Golden files of the cases, and the document that is made from them.
        &["--test", "cases", "--", "every_"],
    ] {
        cmd!(shell, "cargo test --quiet --package dumpwright {tests...}")
            .env("BLESS", "1")
            .run()?;
    }
    // The C header.
    cmd!(
        shell,
        "cargo test --quiet --package dumpwright-capi --test header the_header"
    )
    .env("BLESS", "1")
    .run()?;
    cmd!(shell, "git diff --stat -- docs testdata platform/capi/include").run()?;
    Ok(())
}
