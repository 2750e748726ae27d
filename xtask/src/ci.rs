//! `cargo xtask ci`: the whole of CI, in the order in which it is cheap to fail.

use anyhow::ensure;
use xshell::{Shell, cmd};

/// Format, lints, documentation, tests, release build, and the release binary at work on a live process and on cases.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    cmd!(shell, "cargo fmt --all --check").run()?;
    cmd!(shell, "cargo clippy --workspace --all-targets -- -D warnings").run()?;
    cmd!(
        shell,
        "cargo clippy --package dumpwright --no-default-features -- -D warnings"
    )
    .run()?;
    cmd!(shell, "cargo doc --workspace --no-deps")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    cmd!(shell, "cargo xtask test").run()?;
    release_dump(shell)?;
    release_cases(shell)
}

/// What the README shows first: the release binary dumps a process and reads its dump back.
fn release_dump(shell: &Shell) -> anyhow::Result<()> {
    let folder = shell.create_temp_dir()?;
    let file = folder.path().join("sleep.dmp");
    cmd!(
        shell,
        "cargo run --release --quiet -- dump --exec --after 200 -o {file} -- sleep 600"
    )
    .run()?;
    cmd!(shell, "cargo run --release --quiet -- check {file}").run()?;
    let shown = cmd!(shell, "cargo run --release --quiet -- show {file}").read()?;
    ensure!(
        shown.contains("sleep"),
        "`show` does not mention the program that was dumped:\n{shown}"
    );
    Ok(())
}

/// The release binary writes the golden dumps, byte by byte; the tests have asserted it of the debug build.
fn release_cases(shell: &Shell) -> anyhow::Result<()> {
    let folder = shell.create_temp_dir()?;
    let file = folder.path().join("case.dmp");
    // Both are of the type "normal" and have a scenario of their own.
    for (case, script) in [("plain", None), ("snapshot", Some("script.toml"))] {
        let golden = format!("testdata/cases/{case}");
        let script = script.map(|name| format!("--script={golden}/{name}"));
        cmd!(
            shell,
            "cargo run --release --quiet -- dump --force --scenario {golden}/scenario.toml {script...} -o {file}"
        )
        .run()?;
        ensure!(
            shell.read_binary_file(&file)? == shell.read_binary_file(format!("{golden}/dump.dmp"))?,
            "the release build's dump of the case {case} is not {golden}/dump.dmp"
        );
    }
    Ok(())
}
