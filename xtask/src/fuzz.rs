//! `cargo xtask fuzz [SECONDS [SEED]]`: the C library with AddressSanitizer against callbacks that answer with arbitrary bytes.

use anyhow::Context;
use xshell::{Shell, cmd};

/// AddressSanitizer is an unstable option of the compiler; with this the stable one takes it.
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
/// With a target given, build scripts and macros are built without the sanitizer.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs for so many seconds, by default ten minutes. A finding fails the task, and the last seed in its output repeats it.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(2);
    let seconds = arguments.next().unwrap_or_else(|| "600".to_owned());
    let seed = arguments.next().unwrap_or_else(|| "1".to_owned());
    let target_folder = shell
        .var("CARGO_TARGET_DIR")
        .map_or_else(|_| shell.current_dir().join("target"), Into::into)
        .join("fuzz");
    cmd!(shell, "cargo build --package dumpwright-capi --target {TARGET}")
        .env(UNSTABLE.0, UNSTABLE.1)
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", &target_folder)
        .run()?;
    let library = target_folder.join(TARGET).join("debug");
    let program = target_folder.join("hostile");
    let run_path = format!("-Wl,-rpath,{}", library.display());
    cmd!(
        shell,
        "clang -std=gnu11 -g -O1 -Wall -Wextra -fsanitize=address -I platform/capi/include platform/capi/fuzz/hostile.c
         -o {program} -L {library} {run_path} -ldumpwright"
    )
    .run()?;
    let cases = shell.read_dir("testdata/cases")?.into_iter();
    let scenarios: Vec<_> = cases
        .map(|case| case.join("scenario.toml"))
        .filter(|scenario| shell.path_exists(scenario))
        .collect();
    let mut victim = std::process::Command::new("sleep")
        .arg("1000000")
        .spawn()
        .context("cannot start sleep")?;
    let process = victim.id().to_string();
    let outcome = cmd!(shell, "{program} {seconds} {seed} {process} {scenarios...}").run();
    victim.kill()?;
    victim.wait()?;
    Ok(outcome?)
}
