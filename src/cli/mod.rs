//! The command-line tool. It uses only the public interface of the library.

mod backend;
mod check;
mod convert;
mod dialogue;
mod dump;
#[cfg(target_os = "linux")]
mod guard;
mod print;
mod result;
mod show;
mod signals;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tracing::Level;

/// The version of all JSON output. `docs/json.md` describes when it changes.
const JSON_VERSION: u32 = 1;

/// The exit status of a command that failed. For `dump`, it means that there is no dump.
const FAILED: u8 = 1;

/// Write minidumps the way Microsoft's MiniDumpWriteDump does, and show and check them
///
/// Use -h for a summary of the options of a command, and --help for details.
#[derive(Debug, Parser)]
#[command(name = "dumpwright", version)]
struct Cli {
    /// Print more messages on standard error; may be repeated
    ///
    /// By default, only warnings are printed. -v adds information, -vv adds debug messages, and
    /// -vvv adds trace messages.
    // Without the order, the help of each command would list it among the command's first options.
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 998)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// The end of `dumpwright dump --help`.
const DUMP_EXAMPLES: &str = "\
Examples:
  Dump process 4711:
      dumpwright dump --pid 4711 -o hung.dmp
  Dump all of its memory, and compress the dump:
      dumpwright dump --pid 4711 --type full --compress zstd -o hung.dmp.zst
  Start a program, and dump it if it crashes:
      dumpwright dump --exec --after never -o crash.dmp -- ./server --port 8080
  Dump process 4711, answer the callback by a script, and record the calls:
      dumpwright dump --pid 4711 --script answers.toml --transcript calls.jsonl -o out.dmp";

// The help of each command must be here: clap ignores the doc comment of the arguments' type if
// the variant has one.
#[derive(Debug, Subcommand)]
enum Command {
    /// Dump a process
    ///
    /// The process is a live one (--pid), a program that this command starts (--exec), or a
    /// simulated one (--scenario). A live process is suspended while it is read, and continues to
    /// run afterwards. A program that this command started is killed after the dump.
    ///
    /// The result is printed on standard output, or on standard error if the dump itself is
    /// written to standard output.
    ///
    /// The exit status is 0 for a complete dump, 3 for a partial dump (it was written, and the
    /// result lists what is missing), 1 if there is no dump, 2 for wrong usage, and 4 if the dump
    /// was written but the result cannot be printed.
    #[command(after_long_help = DUMP_EXAMPLES)]
    Dump(Box<dump::DumpArgs>),
    /// Show what a dump contains
    ///
    /// Prints the streams, the system, the process, the threads with their registers, the modules
    /// with the identifiers of their symbol files, the memory, the exception, the handles, and
    /// what the writer reported as lost. If a stream of a damaged dump cannot be read, the output
    /// lists it with the reason.
    ///
    /// The exit status is 0 even if parts cannot be read. It is 1 if the file cannot be opened or
    /// is not a minidump, and 2 for wrong usage.
    Show(show::ShowArgs),
    /// Check a dump against the rules of the format and of the programs that read dumps
    ///
    /// Prints each violation with the file offset where it was found and with what follows from
    /// it. An error means that the dump contradicts the format, or that a program refuses or
    /// misreads it or a part of it. A warning means that the dump exceeds a limit of a program, or
    /// lacks data that a program uses.
    ///
    /// The exit status is 0 if there are no errors, 1 if there are errors or the file cannot be
    /// read, and 2 for wrong usage.
    Check(check::CheckArgs),
    /// Compress the memory of a dump, or make it plain again
    ///
    /// Writes a new dump with the same streams. A dump with compressed memory becomes one that most
    /// programs read (--to plain). A dump of all memory (with-full-memory) becomes a small one that
    /// WinDbg reads, and whose stacks other programs read as well (--to compressed). Dumps by other
    /// writers can be converted too. Dumps without all memory are refused.
    ///
    /// The exit status is 0 if the new dump was written, 1 if not, and 2 for wrong usage.
    Convert(convert::ConvertArgs),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

/// Runs the command that the arguments name. Usage errors end the program with status 2.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    if let Command::Dump(args) = &cli.command
        && let Some(reason) = args.conflict()
    {
        return answer(&Cli::command().error(ErrorKind::ArgumentConflict, reason));
    }
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
        // It would say on standard error that nothing can be written there, and panic.
        .log_internal_errors(false)
        .init();
    let outcome = match &cli.command {
        Command::Dump(args) => return dump::run(args),
        Command::Show(args) => {
            signals::survive_size_limit();
            show::run(args)
        }
        Command::Check(args) => {
            signals::survive_size_limit();
            check::run(args)
        }
        Command::Convert(args) => {
            signals::survive_size_limit();
            convert::run(args)
        }
        #[cfg(target_os = "linux")]
        Command::Guard(args) => guard::run(args),
    };
    outcome.unwrap_or_else(|error| {
        print::complain(error);
        ExitCode::from(FAILED)
    })
}

/// Prints the help that was asked for, or what is wrong with the arguments.
fn answer(error: &clap::Error) -> ExitCode {
    signals::survive_size_limit();
    let printed = show::quiet_on_broken_pipe(error.print());
    if let (Err(reason), false) = (printed, error.use_stderr()) {
        print::complain(reason);
        return ExitCode::from(FAILED);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED))
}
