//! The command line: a user of the public interface like any other.

mod backend;
mod check;
mod dialogue;
mod dump;
mod result;
mod show;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use tracing::Level;

/// No dump, or a file that fails its check.
const FAILED: u8 = 1;

/// Writes minidumps as Microsoft's MiniDumpWriteDump does, and shows and checks them.
#[derive(Debug, Parser)]
#[command(name = "dumpwright", version, about)]
struct Cli {
    /// Say more on standard error; twice for every step
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Dump a process
    Dump(Box<dump::DumpArgs>),
    /// Show what a dump contains
    Show(show::ShowArgs),
    /// Check a dump against the rules of the format and of its readers
    Check(check::CheckArgs),
}

/// Runs the command that the arguments name. Usage errors end the program with status 2.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    let outcome = match &cli.command {
        Command::Dump(args) => return dump::run(args),
        Command::Show(args) => show::run(args),
        Command::Check(args) => check::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("dumpwright: {error}");
        ExitCode::from(FAILED)
    })
}
