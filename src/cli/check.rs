//! `dumpwright check`: checks which rules a dump breaks.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use dumpwright::read::{CheckOptions, Level, Violation, check_with};

use super::print::printable;
use super::show::{open, quiet_on_broken_pipe};

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The dump to check
    pub file: PathBuf,

    /// Report lost memory as a warning instead of an error
    ///
    /// Memory is lost if it could not be read while the dump was being written. The dump then
    /// contains a fill pattern in its place and a list of the lost ranges.
    #[arg(long)]
    pub expect_losses: bool,

    /// Print one JSON object instead of text
    ///
    /// docs/json.md describes the object.
    #[arg(long)]
    pub json: bool,
}

/// Checks the dump and prints the violations on standard output.
///
/// # Errors
///
/// The file cannot be opened or read, it is not a minidump, or standard output cannot be written
/// to.
pub fn run(args: &CheckArgs) -> Result<ExitCode, Box<dyn Error>> {
    let dump = open(&args.file)?;
    let violations = check_with(
        &dump,
        CheckOptions {
            expect_losses: args.expect_losses,
        },
    )?;
    let errors = violations
        .iter()
        .filter(|violation| violation.severity == Level::Error)
        .count();
    let mut out = io::stdout().lock();
    let printed = if args.json {
        print_json(&mut out, args, &violations, errors)
    } else {
        print_lines(&mut out, args, &violations, errors)
    };
    quiet_on_broken_pipe(printed)?;
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_lines(out: &mut impl Write, args: &CheckArgs, found: &[Violation], errors: usize) -> io::Result<()> {
    for violation in found {
        writeln!(out, "{}", printable(&violation.to_string()))?;
    }
    let file = args.file.display().to_string();
    let file = printable(&file);
    let warnings = found.len() - errors;
    match (errors, warnings) {
        (0, 0) => writeln!(out, "{file}: ok"),
        (0, _) => writeln!(out, "{file}: ok, {}", counted(warnings, "warning")),
        _ => writeln!(
            out,
            "{file}: {}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        ),
    }?;
    out.flush()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

fn print_json(out: &mut impl Write, args: &CheckArgs, found: &[Violation], errors: usize) -> io::Result<()> {
    let violations: Vec<_> = found
        .iter()
        .map(|violation| {
            serde_json::json!({
                "rule": violation.rule,
                "severity": violation.severity,
                "offset": violation.offset,
                "text": violation.text,
                "who_minds": violation.rule.who_minds(),
            })
        })
        .collect();
    let object = serde_json::json!({
        "version": super::JSON_VERSION,
        "file": args.file.to_string_lossy(),
        "ok": errors == 0,
        "errors": errors,
        "warnings": found.len() - errors,
        "violations": violations,
    });
    writeln!(out, "{object:#}")?;
    out.flush()
}
