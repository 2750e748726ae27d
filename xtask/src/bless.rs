//! `cargo xtask bless`: renews the generated files that are committed. Review the difference before
//! you commit it.

use xshell::{Shell, cmd};

/// The tests that compare generated files with their source. If `DUMPWRIGHT_BLESS` is 1, they write
/// the files instead.
const TESTS: [&str; 7] = [
    // docs/streams.md and docs/flags.md.
    "the_documented_table_is_this_table",
    // Golden files of the cases. docs/callbacks.md and a table of README.md are made from them.
    "cases::every_",
    // docs/policy.schema.json.
    "the_schema_is_that_of_the_keys",
    // The hashes of the script and the style sheet in the page of `show --html`.
    "the_policy_has_the_hashes_of_the_page",
    // docs/show.schema.json.
    "the_documented_schema_is_this_schema",
    // The C header.
    "the_header_is_what_its_source_says",
    // The seeds of the fuzz target for images.
    "the_fuzz_targets_seeds_are_the_samples",
];

/// Runs these tests, with the same build as `cargo xtask test`.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    cmd!(
        shell,
        "cargo test --quiet --workspace --lib --test cli --test engine --test header -- {TESTS...}"
    )
    .env("DUMPWRIGHT_BLESS", "1")
    .run()?;
    cmd!(
        shell,
        "git diff --stat -- README.md docs src testdata platform/capi/include platform/image/fuzz"
    )
    .run()?;
    Ok(())
}
