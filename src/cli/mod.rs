//! The command-line tool. It uses only the public interface of the library.

mod backend;
mod case;
mod check;
mod convert;
#[cfg(target_os = "linux")]
mod core_handler;
#[cfg(target_os = "linux")]
mod crash_server;
#[cfg(target_os = "linux")]
mod createdump;
mod dialogue;
mod diff;
mod dump;
mod explain;
#[cfg(target_os = "linux")]
mod guard;
mod manual;
mod policy;
mod print;
mod process;
mod progress;
mod record;
mod rehearse;
mod result;
mod show;
mod signals;
#[cfg(target_os = "linux")]
mod spool;
mod stack;
mod transcript;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// The version of all JSON output. `docs/json.md` describes when it changes.
const JSON_VERSION: u32 = 1;

// The exit statuses of all commands. `EXIT_STATUS` explains them.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const PARTIAL: u8 = 3;
const UNPRINTED: u8 = 4;

/// The end of the help of each command.
const EXIT_STATUS: &str = "\
Exit status:
  0  success; for dump, the dump is complete
  1  failure; for dump, there is no dump; for check, the dump has errors; for diff, the dumps differ
  2  wrong usage; for diff, also a dump that cannot be read
  3  dump only: the dump was written but is partial; the result lists what is missing
  4  dump only: the dump was written, but its result cannot be printed";

/// Write minidumps the way Microsoft's MiniDumpWriteDump does, and show and check them
///
/// Use -h for a summary of the options of a command, and --help for details.
#[derive(Debug, Parser)]
#[command(
    name = "dumpwright",
    version,
    override_usage = "dumpwright [OPTIONS] <COMMAND>\n       dumpwright <PID|NAME>... [OPTIONS of dump]",
    after_help = SHORT_FORM,
    after_long_help = format!("{SHORT_FORM}\n\n{EXIT_STATUS}"),
)]
struct Cli {
    /// Print more messages on standard error; may be repeated
    ///
    /// By default, only warnings are printed. -v says what is done, -vv each step, and -vvv what
    /// the libraries do.
    // Without the order, the help of each command would list it among the command's first options.
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 998)]
    verbose: u8,

    /// Select when the output has colours
    ///
    /// "auto" means: on a terminal, unless the environment variable NO_COLOR is set.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        display_order = 997
    )]
    color: ColorArg,

    #[command(subcommand)]
    command: Command,
}

/// The values of `--color`.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum ColorArg {
    #[default]
    Auto,
    Always,
    Never,
}

/// The end of `dumpwright -h`.
const SHORT_FORM: &str = "\
dumpwright 4711, or dumpwright NAME, dumps a process to NAME.PID.TIME.dmp in the current folder and
shows a summary of the dump.";

/// The end of `dumpwright dump --help`.
const DUMP_EXAMPLES: &str = "\
Examples:
  Dump process 4711 to a file with a name such as server.4711.20261130-153000.dmp:
      dumpwright dump 4711
  Dump the process of the program server into a folder:
      dumpwright dump server -o /var/crash/
  Dump all of its memory, and compress the dump:
      dumpwright dump 4711 --type full --compress zstd -o hung.dmp.zst
  Start a program, and dump it if it crashes:
      dumpwright dump --exec -o crash.dmp -- ./server --port 8080
  Make a dump of a core file:
      dumpwright dump --core core.4711 -o crash.dmp
  Make a small dump without the secrets in a file:
      dumpwright dump 4711 --for-upload --redact secrets.txt
  Dump process 4711 as a policy says:
      dumpwright dump 4711 --policy small.toml
  Dump process 4711, answer the callback by a script, and record the calls:
      dumpwright dump 4711 --script answers.toml --transcript calls.jsonl -o out.dmp";

/// The end of `dumpwright rehearse --help`.
const REHEARSE_EXAMPLES: &str = "\
Examples:
  Create a case and run it:
      dumpwright new-case leave-out-worker
      dumpwright rehearse leave-out-worker
  Run a C callback on the same process:
      gcc -shared -fPIC -o callback.so callback.c
      dumpwright rehearse leave-out-worker --callback ./callback.so
  Keep the results, for later runs:
      dumpwright rehearse leave-out-worker --bless";

/// The end of `dumpwright completions --help`.
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  Install the completions for bash:
      dumpwright completions bash > /etc/bash_completion.d/dumpwright";

/// The end of `dumpwright man --help`.
const MAN_EXAMPLES: &str = "\
Examples:
  Install the pages of all commands:
      dumpwright man /usr/local/share/man/man1/";

/// The exit statuses of `rehearse`.
const REHEARSE_STATUS: &str = "\
Exit status:
  0  the results are the expected ones; without expectations, the dump is complete
  1  they differ, or a file of the case cannot be used; without expectations, there is no dump
  2  wrong usage
  3  without expectations: the dump is partial";

// The help of each command must be here: clap ignores the doc comment of the arguments' type if
// the variant has one.
#[derive(Debug, Subcommand)]
enum Command {
    /// Dump a process
    ///
    /// The process is a live one (its id or its name), a program that this command starts
    /// (--exec), one of which there is a core file (--core), or a simulated one (--scenario). A
    /// live process is suspended while it is read, and continues to run afterwards. A program that
    /// this command started is killed after the dump.
    ///
    /// The result is printed on standard output, or on standard error if the dump itself is
    /// written to standard output.
    #[command(after_long_help = format!("{DUMP_EXAMPLES}\n\n{EXIT_STATUS}"))]
    Dump(Box<dump::DumpArgs>),
    /// Show what a dump contains
    ///
    /// Prints a summary: what was dumped, the exception, what is missing, and what the threads do,
    /// with the functions on their stacks. VIEW shows one part in detail, and --all everything. If
    /// a stream of a damaged dump cannot be read, the output has the reason, and the exit status is
    /// still 0.
    #[command(after_long_help = EXIT_STATUS)]
    Show(show::ShowArgs),
    /// Check a dump against the rules of the format and of the programs that read dumps
    ///
    /// Prints each violation with the file offset where it was found and with what follows from
    /// it. An error means that the dump contradicts the format, or that a program refuses or
    /// misreads it or a part of it. A warning means that the dump exceeds a limit of a program, or
    /// lacks data that a program uses.
    #[command(after_long_help = EXIT_STATUS)]
    Check(check::CheckArgs),
    /// Compress the memory of a dump, or make it plain again
    ///
    /// Writes a new dump with the same streams. A dump with compressed memory becomes one that most
    /// programs read (--to plain). A dump of all memory (with-full-memory) becomes a small one that
    /// WinDbg reads, and whose stacks other programs read as well (--to compressed). Dumps by other
    /// writers can be converted too. Dumps without all memory are refused.
    #[command(after_long_help = EXIT_STATUS)]
    Convert(convert::ConvertArgs),
    /// Run a test case of a callback on a simulated process
    ///
    /// Prints the dialogue with the callback, the mistakes that the linter finds in its answers,
    /// and what the dump contains. The case is a folder; if it has the results of an earlier run
    /// (--bless), each difference from them is printed as well.
    ///
    /// The callback is a script, or a C function in a shared library (--callback).
    #[command(after_long_help = format!("{REHEARSE_EXAMPLES}\n\n{REHEARSE_STATUS}"))]
    Rehearse(rehearse::RehearseArgs),
    /// Create the folder of a test case to start from
    ///
    /// The folder has a process with two threads, a script that leaves one of them out, and
    /// settings, each explained by comments.
    #[command(after_long_help = EXIT_STATUS)]
    NewCase(case::NewCaseArgs),
    /// Describe a live process as a scenario
    ///
    /// The scenario has the threads with their registers, the modules and the memory map. Use it
    /// to rehearse a callback on a process like this one. The process is suspended while it is
    /// read. The file can be read only by you, as a dump.
    #[command(after_long_help = EXIT_STATUS)]
    Record(record::RecordArgs),
    /// Show or compare recorded dialogues
    ///
    /// A transcript is written by the option --transcript of dump, and by rehearse.
    #[command(after_long_help = EXIT_STATUS)]
    Transcript(transcript::TranscriptArgs),
    /// Compare two dumps
    ///
    /// Compares what the dumps contain: the streams, and in these the fields, threads, modules,
    /// handles and ranges of memory. Where something is in the file makes no difference, and
    /// neither does the form of the memory: plain, compressed, or in a file that is compressed as a
    /// whole.
    #[command(after_long_help = format!("{}\n\n{EXIT_STATUS}", diff::EXAMPLES))]
    Diff(diff::DiffArgs),
    /// Wait until a process crashes or exceeds a limit, and dump it then
    ///
    /// Watches running processes (--pid), all processes with a name, also those that start later
    /// (--name), or a program that this command starts (--exec). Without limits, crashes are
    /// dumped. Processes are neither stopped nor traced until they are dumped, except for --crash.
    ///
    /// A program of --exec gets the signals that dumpwright receives, and its exit status is that
    /// of dumpwright (128 and the signal's number if a signal has killed it). It is never killed.
    ///
    /// Each dump has its reason as a comment. Only Linux is supported.
    #[command(after_long_help = watch::EXAMPLES)]
    Watch(Box<watch::WatchArgs>),
    /// Say what a dump would contain and how large it would be, without writing it
    ///
    /// The size is divided by the reasons why memory is in the dump. A live process is stopped for
    /// a short time, as for a normal dump; its memory is not read, apart from stacks. On Linux, the
    /// time for which a dump would stop it is estimated.
    #[command(after_long_help = format!("{}\n\n{EXIT_STATUS}", explain::EXAMPLES))]
    Explain(Box<explain::ExplainArgs>),
    /// List, show, check and remove the dumps in a spool, a folder with limits
    ///
    /// Dumps get into a spool by the option --spool of dump and watch. Old ones are removed to make
    /// room, and a crash that is in the spool already is only counted. The limits are in the file
    /// spool.toml in the folder, which docs/spool.md describes.
    #[cfg(target_os = "linux")]
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_long_help = format!("{}\n\n{EXIT_STATUS}", spool::EXAMPLES)
    )]
    Spool(spool::SpoolCommand),
    /// Check policy files, which say what dumps contain
    #[command(subcommand, arg_required_else_help = true)]
    Policy(policy::PolicyCommand),
    /// Print the completions of a shell
    #[command(after_long_help = format!("{COMPLETIONS_EXAMPLES}\n\n{EXIT_STATUS}"))]
    Completions(manual::CompletionsArgs),
    /// Print the man page, or write the pages of all commands into a folder
    #[command(after_long_help = format!("{MAN_EXAMPLES}\n\n{EXIT_STATUS}"))]
    Man(manual::ManArgs),
    /// Write dumps instead of cores: the program that the kernel starts when a process crashes
    ///
    /// The kernel starts it if core_pattern names it (core(5)); the command install arranges that.
    /// The dump has the registers from the core and the memory from the process, which still
    /// exists. No core is written, so that a crash of a large process costs little. If there can be
    /// no dump, the core goes where it would have gone otherwise.
    #[cfg(target_os = "linux")]
    #[command(
        args_override_self = true,
        after_long_help = format!("{}\n\n{EXIT_STATUS}", core_handler::EXAMPLES),
    )]
    CoreHandler(Box<core_handler::CoreHandlerArgs>),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    /// Wait for the crash of the program that has started this command, and dump it
    ///
    /// Programs start it by themselves when they install dumpwright's crash handler
    /// (`dumpwright::crash::install`, `dumpwright_crash_install`). It has the other end of a socket
    /// as its standard input, and ends with the program.
    #[cfg(target_os = "linux")]
    #[command(hide = true, after_long_help = EXIT_STATUS)]
    CrashServer(crash_server::CrashServerArgs),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Createdump(Box<createdump::CreatedumpArgs>),
    /// The short form of `dump`: processes, and options of `dump`.
    #[command(external_subcommand)]
    Short(Vec<OsString>),
}

/// The names of the commands, for hints about misspelt ones.
const COMMANDS: &[&str] = &[
    #[cfg(target_os = "linux")]
    "core-handler",
    "dump",
    "watch",
    "show",
    "check",
    "convert",
    "rehearse",
    "new-case",
    "record",
    "transcript",
    "diff",
    "explain",
    #[cfg(target_os = "linux")]
    "spool",
    "policy",
    "completions",
    "man",
    "help",
];

/// Runs the command that the arguments name. Usage errors end the program with status 2.
pub(crate) fn run() -> ExitCode {
    #[cfg_attr(windows, expect(unused_mut))]
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(target_os = "linux")]
    createdump::by_name(&mut arguments);
    let (cli, is_short) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return answer(&error),
    };
    let make = match &cli.command {
        Command::Dump(args) => Some(&args.make),
        Command::Watch(args) => Some(&args.make),
        _ => None,
    };
    if let Some(reason) = make.and_then(dump::MakeArgs::conflict) {
        return answer(&Cli::command().error(ErrorKind::ArgumentConflict, reason));
    }
    let choice = match cli.color {
        ColorArg::Auto => ColorChoice::Auto,
        ColorArg::Always => ColorChoice::Always,
        ColorArg::Never => ColorChoice::Never,
    };
    choice.write_global();
    log(cli.verbose);
    let outcome = match &cli.command {
        Command::Dump(args) => {
            let commands: &[&str] = if is_short { COMMANDS } else { &[] };
            return dump::run(args, is_short, commands);
        }
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
        Command::Rehearse(args) => {
            signals::survive_size_limit();
            rehearse::run(args)
        }
        Command::NewCase(args) => case::create(args),
        Command::Record(args) => {
            signals::survive_size_limit();
            record::run(args)
        }
        Command::Transcript(args) => transcript::run(args),
        Command::Diff(args) => {
            signals::survive_size_limit();
            return diff::run(args);
        }
        Command::Watch(args) => return watch::run(args),
        Command::Explain(args) => return explain::run(args),
        #[cfg(target_os = "linux")]
        Command::Spool(command) => {
            signals::survive_size_limit();
            spool::run(command)
        }
        Command::Policy(command) => policy::run(command),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::man(args),
        #[cfg(target_os = "linux")]
        Command::CoreHandler(args) => return core_handler::run(args),
        #[cfg(target_os = "linux")]
        Command::Guard(args) => guard::run(args),
        #[cfg(target_os = "linux")]
        Command::CrashServer(args) => crash_server::run(args),
        #[cfg(target_os = "linux")]
        Command::Createdump(args) => createdump::run(args),
        Command::Short(_) => unreachable!("it was parsed as `dump`"),
    };
    outcome.unwrap_or_else(|error| {
        print::complain(error);
        ExitCode::from(FAILED)
    })
}

/// Parses the arguments. Returns true as well if they are the short form of `dump`, as in
/// `dumpwright 4711 --type full`.
fn parse(arguments: Vec<OsString>) -> Result<(Cli, bool), clap::Error> {
    let as_dump = |global: &[OsString], rest: &[OsString]| {
        let name = arguments.first().cloned().unwrap_or_default();
        let all = [&[name][..], global, &["dump".into()], rest].concat();
        Cli::try_parse_from(all).map(|cli| (cli, true))
    };
    let is_option = |text: &OsString| text.as_encoded_bytes().starts_with(b"-");
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        // An option of `dump` may come first, as in `dumpwright -o DIR/ 4711`.
        Err(error)
            if error.kind() == ErrorKind::UnknownArgument && arguments.get(1).is_some_and(is_option) =>
        {
            return as_dump(&[], arguments.get(1..).unwrap_or_default()).map_err(|_| error);
        }
        Err(error) => return Err(error),
    };
    match &cli.command {
        Command::Short(rest) => {
            let before = arguments.len().saturating_sub(rest.len());
            as_dump(arguments.get(1..before).unwrap_or_default(), rest)
        }
        _ => Ok((cli, false)),
    }
}

/// Parses arguments of `dump`.
fn dump_args(arguments: Vec<OsString>) -> Result<dump::DumpArgs, clap::Error> {
    let command = ["dumpwright".into(), "dump".into()];
    let cli = Cli::try_parse_from(command.into_iter().chain(arguments))?;
    match cli.command {
        Command::Dump(args) => Ok(*args),
        _ => unreachable!("the command is `dump`"),
    }
}

/// Parses arguments of `core-handler`.
#[cfg(target_os = "linux")]
fn handler_args(arguments: Vec<OsString>) -> Result<core_handler::CoreHandlerArgs, clap::Error> {
    let command = ["dumpwright".into(), "core-handler".into()];
    let cli = Cli::try_parse_from(command.into_iter().chain(arguments))?;
    match cli.command {
        Command::CoreHandler(args) => Ok(*args),
        _ => unreachable!("the command is `core-handler`"),
    }
}

/// Prints the messages of this program on standard error, and those of libraries if everything is
/// to be printed.
fn log(verbose: u8) {
    let level = match verbose {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let mut targets = Targets::new().with_target("dumpwright", level);
    if verbose > 2 {
        targets = targets.with_default(level);
    }
    let choice = AutoStream::choice(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(choice != ColorChoice::Never)
        .without_time()
        .with_target(verbose > 1)
        // It would say on standard error that nothing can be written there, and panic.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .init();
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
