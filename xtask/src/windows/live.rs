//! Runs the tests that dump live Windows processes under Wine.

use std::fs::{self, File};
use std::process::Command;

use anyhow::ensure;
use xshell::{Shell, cmd};

use super::{keep_server, prefix};

/// How often a test may be run. On a busy machine, Wine 8's server can lose track of a thread that
/// it stops for a moment (`tests/support/windows.rs`), so what fails runs once more under a new
/// server.
const RUNS: usize = 2;

/// The test binaries. `cargo test --workspace` and `cargo clippy --all-targets` leave them out,
/// because of `test = false` in their manifests.
const BINARIES: [&str; 6] = [
    "--test",
    "windows",
    "--test",
    "windows_dialogue",
    "--test",
    "windows_faults",
];

/// Lints the tests.
pub(crate) fn lint_live(shell: &Shell) -> anyhow::Result<()> {
    cmd!(shell, "cargo clippy --workspace {BINARIES...} -- -D warnings").run()?;
    Ok(())
}

/// Runs the tests one at a time. Wine 8's server crashes if it lists all handles, for a dump with
/// handle data, while another process starts: it reads behind the handle table of a process that
/// has no handle yet (seen in a core dump of the server). All Windows programs then wait for ever.
pub(crate) fn test_live(shell: &Shell) -> anyhow::Result<()> {
    let folder = shell.create_temp_dir()?;
    let mut failed: Vec<String> = Vec::new();
    for run in 1..=RUNS {
        if run > 1 {
            eprintln!("windows: run {run} of {}", failed.join(", "));
            // All its programs are those of the tests.
            for option in ["-k", "-w"] {
                cmd!(shell, "wineserver {option}")
                    .env("WINEPREFIX", prefix()?)
                    .ignore_status()
                    .run()?;
            }
        }
        keep_server(shell)?;
        let tests = cmd!(shell, "cargo test --workspace {BINARIES...}")
            .args(["--no-fail-fast", "--", "--test-threads", "1"])
            .args((!failed.is_empty()).then_some("--exact"))
            .args(&failed);
        eprintln!("$ {tests}");
        // A file, not a pipe: Wine's services inherit it and outlive the tests.
        let printed = folder.path().join("printed");
        let status = Command::from(tests).stdout(File::create(&printed)?).status()?;
        let text = String::from_utf8_lossy(&fs::read(&printed)?).into_owned();
        println!("{text}");
        if status.success() {
            return Ok(());
        }
        failed = failures(&text);
        ensure!(!failed.is_empty(), "the tests could not be run");
    }
    anyhow::bail!("{} failed {RUNS} times", failed.join(", "))
}

/// Returns the names of the tests that failed, from the lines that the test harness prints.
fn failures(text: &str) -> Vec<String> {
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::failures;

    #[test]
    fn failed_tests_are_found_in_the_output() {
        let text = "running 2 tests\ntest a::b ... ok\ntest c::d ... FAILED\n\nfailures:\n    c::d\n";
        assert_eq!(failures(text), ["c::d"]);
    }
}
