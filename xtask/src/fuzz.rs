//! `cargo xtask fuzz [TARGET] [SECONDS [SEED]]`: tests the C library with callbacks that answer
//! with arbitrary bytes or, if a target is given, a parser with arbitrary input: `images` (ELF and
//! PE), `dumps` (the reader and the check), `texts` (scenario, script and transcript) or `proc`
//! (files of /proc). All run with AddressSanitizer.

use std::path::{Path, PathBuf};

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::packages::target_folder;

/// AddressSanitizer is an unstable option of the compiler. With this variable, the stable compiler
/// accepts it.
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
/// If a target is given, build scripts and macros are built without the sanitizer.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs for this many seconds, by default ten minutes. If a test fails, the task fails, and the
/// last seed in its output reproduces the failure.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(2).peekable();
    let parser = arguments.next_if(|argument| PARSERS.iter().any(|(name, _)| name == argument));
    let seconds = arguments.next().unwrap_or_else(|| "600".to_owned());
    let seed = arguments.next().unwrap_or_else(|| "1".to_owned());
    let target_folder = target_folder(shell).join("fuzz");
    if let Some(parser) = parser {
        return run_parser(shell, &target_folder, &parser, &seconds, &seed);
    }
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

/// The fuzz targets of parsers, and the packages that contain them.
const PARSERS: [(&str, &str); 4] = [
    ("images", "platform/image/fuzz"),
    ("dumps", "fuzz"),
    ("texts", "fuzz"),
    ("proc", "fuzz"),
];

/// Runs libFuzzer on one target. (`cargo fuzz run TARGET` does the same if it is installed.) Inputs
/// that cover more code are kept in the target folder for the next run. An input that fails is kept
/// as well, and its path is printed.
fn run_parser(
    shell: &Shell,
    target_folder: &Path,
    parser: &str,
    seconds: &str,
    seed: &str,
) -> anyhow::Result<()> {
    /// The options that cargo-fuzz uses to tell libFuzzer which code an input has reached.
    const COVERAGE: &str = "--cfg fuzzing -Zsanitizer=address -Ccodegen-units=1 -Cpasses=sancov-module \
         -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
         -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
    let package = PARSERS.iter().find(|(name, _)| *name == parser);
    let (_, package) = package.context("there is no such fuzz target")?;
    let package = shell.current_dir().join(package);
    let manifest = package.join("Cargo.toml");
    cmd!(
        shell,
        "cargo build --release --locked --manifest-path {manifest} --target {TARGET} --bin {parser}"
    )
    .env(UNSTABLE.0, UNSTABLE.1)
    .env("RUSTFLAGS", COVERAGE)
    .env("CARGO_TARGET_DIR", target_folder)
    .run()?;
    let program = target_folder.join(TARGET).join("release").join(parser);
    let corpus = shell.create_dir(target_folder.join(format!("{parser}-corpus")))?;
    let failures = shell.create_dir(target_folder.join(format!("{parser}-failures")))?;
    let prefix = format!("-artifact_prefix={}/", failures.display());
    let seeds = seeds(shell, target_folder, &package, parser)?;
    // An input that takes more than a minute or more than 2 GiB is a failure.
    let limits = ["-timeout=60", "-rss_limit_mb=2048", "-max_len=65536"];
    cmd!(
        shell,
        "{program} -max_total_time={seconds} -seed={seed} -print_final_stats=1 {limits...} {prefix} {corpus} {seeds}"
    )
    .run()?;
    Ok(())
}

/// Returns a folder with inputs to start from.
fn seeds(shell: &Shell, target_folder: &Path, package: &Path, parser: &str) -> anyhow::Result<PathBuf> {
    let names: &[&str] = match parser {
        "dumps" => &["dump.dmp"],
        "texts" => &["scenario.toml", "script.toml", "transcript.jsonl"],
        "proc" => &[],
        _ => return Ok(package.join("seeds")),
    };
    let seeds = shell.create_dir(target_folder.join(format!("{parser}-seeds")))?;
    for case in shell.read_dir("testdata/cases")? {
        let case_name = case
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for name in names {
            let file = case.join(name);
            if shell.path_exists(&file) {
                shell.copy_file(&file, seeds.join(format!("{case_name}-{name}")))?;
            }
        }
    }
    if parser == "proc" {
        for name in ["maps", "smaps", "status", "stat", "auxv"] {
            std::fs::write(
                seeds.join(name),
                std::fs::read(Path::new("/proc/self").join(name))?,
            )?;
        }
    }
    Ok(seeds)
}
