//! `cargo xtask ci`: all steps of CI. Steps that fail quickly come first.

use std::path::Path;

use anyhow::{Context, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::cost::Costs;
use crate::test::TESTS;
use crate::{bench, msrv, packages, readers, windows};

/// Runs format, lints, documentation, packages, tests and a release build, and uses the release
/// binary on a live process and on cases. Ends with a table of the cost of each step.
///
/// Starting with an empty target folder and no readers, all of it may take 30 minutes of CPU time
/// and, on two idle cores, 35 minutes.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut costs = Costs::begin();
    let outcome = steps(shell, &mut costs);
    eprintln!("\n{}", costs.table());
    outcome
}

fn steps(shell: &Shell, costs: &mut Costs) -> anyhow::Result<()> {
    let run = |command: Cmd<'_>| -> anyhow::Result<()> { Ok(command.run()?) };
    // Each crate is built once, so what makes a second build faster only costs time.
    let _incremental = shell.push_env("CARGO_INCREMENTAL", "0");
    costs.step("format", || run(cmd!(shell, "cargo fmt --all --check")))?;
    costs.step("lints", || {
        run(cmd!(
            shell,
            "cargo clippy --workspace --all-targets -- -D warnings"
        ))?;
        windows::lint_live(shell)
    })?;
    costs.step("lints of the engine alone", || {
        run(cmd!(
            shell,
            "cargo clippy --package dumpwright --no-default-features -- -D warnings"
        ))
    })?;
    costs.step("documentation", || {
        run(cmd!(shell, "cargo doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    costs.step("packages", || packages::check(shell))?;
    costs.step("readers: installation", || readers::install(shell))?;
    costs.step("minimum Rust version", || msrv::check(shell))?;
    costs.step("Windows: installation", || windows::install(shell))?;
    costs.step("Windows: lints and documentation", || windows::lint(shell))?;
    costs.step("Windows: unit tests", || windows::test(shell))?;
    costs.step("Windows: build", || windows::build(shell))?;
    costs.step("tests: build", || run(cmd!(shell, "cargo {TESTS...} --no-run")))?;
    let binary = costs.step("release: build", || {
        executable(
            cmd!(
                shell,
                "cargo build --release --bin dumpwright --message-format json"
            ),
            "dumpwright",
        )
    })?;
    costs.step("tests", || {
        // Tests that read gigabytes use it.
        run(cmd!(shell, "cargo {TESTS...} --no-fail-fast").env("DUMPWRIGHT_OPTIMIZED", &binary))
    })?;
    costs.step("Windows: tests of live processes", || windows::test_live(shell))?;
    costs.step("release: a live process", || release_dump(shell, &binary))?;
    costs.step("release: benchmark", || bench::quick(shell))?;
    costs.step("release: golden cases", || cases_by(shell, &binary))?;
    costs.step("Windows: golden cases", || windows_cases(shell))
}

/// Runs the first example of the README: the release binary dumps a process and reads the dump.
pub(crate) fn release_dump(shell: &Shell, binary: &str) -> anyhow::Result<()> {
    let folder = shell.create_temp_dir()?;
    let file = folder.path().join("sleep.dmp");
    cmd!(shell, "{binary} dump --exec --after 200 -o {file} -- sleep 600").run()?;
    cmd!(shell, "{binary} check {file}").run()?;
    let shown = cmd!(shell, "{binary} show {file}").read()?;
    ensure!(
        shown.contains("sleep"),
        "`show` does not mention the program that was dumped:\n{shown}"
    );
    Ok(())
}

/// Checks that the Windows binary under Wine writes the same golden files: the dump of a scenario
/// must not depend on the machine.
fn windows_cases(shell: &Shell) -> anyhow::Result<()> {
    let build = windows::cargo(shell, "build")?;
    let binary = executable(
        build
            .args(windows::OWN_PROGRAMS)
            .args(["--message-format", "json"]),
        "dumpwright.exe",
    )?;
    let folder = shell.create_temp_dir()?;
    let script = folder.path().join("dumpwright");
    shell.write_file(&script, format!("#!/bin/sh\nexec wine \"{binary}\" \"$@\"\n"))?;
    cmd!(shell, "chmod 755 {script}").run()?;
    windows::keep_server(shell)?;
    let _prefix = shell.push_env("WINEPREFIX", windows::prefix()?);
    let _quiet = shell.push_env("WINEDEBUG", "-all");
    cases_by(shell, &script.display().to_string())
}

/// Checks that this program writes every golden file, byte by byte, like the debug build in the
/// tests.
fn cases_by(shell: &Shell, binary: &str) -> anyhow::Result<()> {
    // Built like the tests: for a single package, cargo would build everything again with that
    // package's features.
    cmd!(
        shell,
        "cargo {TESTS...} --quiet --test engine -- --exact cases::every_case_gives_its_files_again"
    )
    .env("DUMPWRIGHT_UNDER_TEST", binary)
    .run()?;
    Ok(())
}

/// Returns the path of the program with this file name that a build reports in its JSON messages.
pub(crate) fn executable(build: Cmd<'_>, name: &str) -> anyhow::Result<String> {
    let messages = build.read()?;
    let binary = messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next())
        .find(|path| Path::new(path).file_name().is_some_and(|file| file == name));
    Ok(binary
        .context("cargo reported no path of the program")?
        .to_owned())
}
