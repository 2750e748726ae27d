//! `dumpwright check`: which rules a dump breaks.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use dumpwright::read::{CheckOptions, Severity, Violation, check_with};

use super::show::{open, quiet_on_broken_pipe};

/// Check a dump against the rules of the format and of the programs that read dumps
///
/// Each violation is printed with the file offset where it was found. Errors are what makes a reader refuse or misread
/// the dump; warnings are limits of single readers. The exit status is 1 if there is an error, else 0.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The dump to check
    pub file: PathBuf,

    /// Accept that memory was lost while the dump was written (it is reported as a warning)
    #[arg(long)]
    pub expect_losses: bool,

    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// Checks the file and prints what was found on standard output.
///
/// # Errors
///
/// The file can't be opened or read, or is no minidump at all.
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
        .filter(|violation| violation.severity == Severity::Error)
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
        writeln!(out, "{violation}")?;
    }
    let file = args.file.display();
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
        "file": args.file.to_string_lossy(),
        "ok": errors == 0,
        "errors": errors,
        "warnings": found.len() - errors,
        "violations": violations,
    });
    writeln!(out, "{object:#}")?;
    out.flush()
}
