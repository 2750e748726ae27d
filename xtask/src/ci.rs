//! `cargo xtask ci`: the whole of CI, in the order in which it is cheap to fail.

use anyhow::{Context, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::windows;

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
    // Installs what builds for Windows.
    windows::install(shell)?;
    windows::lint(shell)?;
    cmd!(shell, "cargo xtask test").run()?;
    release_dump(shell)?;
    release_cases(shell)?;
    windows_cases(shell)
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

/// The release binary gives every golden file again, byte by byte, as the debug build has in the tests.
fn release_cases(shell: &Shell) -> anyhow::Result<()> {
    let built = cmd!(
        shell,
        "cargo build --release --bin dumpwright --message-format json"
    );
    cases_by(shell, &executable(built)?)
}

/// So does the Windows binary under Wine: what a scenario gives depends on nothing else.
fn windows_cases(shell: &Shell) -> anyhow::Result<()> {
    let build = windows::cargo(shell, "build")?;
    let binary = executable(build.args([
        "--package",
        "dumpwright",
        "--bin",
        "dumpwright",
        "--message-format",
        "json",
    ]))?;
    let folder = shell.create_temp_dir()?;
    let script = folder.path().join("dumpwright");
    shell.write_file(&script, format!("#!/bin/sh\nexec wine \"{binary}\" \"$@\"\n"))?;
    cmd!(shell, "chmod 755 {script}").run()?;
    // Wine's services outlive whoever starts them, and keep his output open: nobody waits for the end of this one's.
    windows::wine(shell, "cmd /c exit")?
        .ignore_stdout()
        .ignore_stderr()
        .run()?;
    let _prefix = shell.push_env("WINEPREFIX", windows::prefix()?);
    let _quiet = shell.push_env("WINEDEBUG", "-all");
    cases_by(shell, &script.display().to_string())
}

fn cases_by(shell: &Shell, binary: &str) -> anyhow::Result<()> {
    cmd!(
        shell,
        "cargo test --quiet --test cases -- every_case_gives_its_files_again"
    )
    .env("DUMPWRIGHT_UNDER_TEST", binary)
    .run()?;
    Ok(())
}

/// The program that a build says it has made, in JSON.
fn executable(build: Cmd<'_>) -> anyhow::Result<String> {
    let messages = build.read()?;
    let binary = messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next())
        .next_back();
    Ok(binary
        .context("cargo does not say where the program is")?
        .to_owned())
}
