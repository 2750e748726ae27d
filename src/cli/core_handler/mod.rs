//! `dumpwright core-handler`: the program that the kernel starts when a process crashes, and the
//! commands that set it up.
//!
//! The kernel starts it as root, and what it reads was written by a program that has crashed. So
//! there are two processes. The [`supervisor`](supervise) has root's rights, and examines little:
//! it reads the beginning of the core from the pipe, creates the file of the dump, and watches the
//! time. The [`worker`] examines the crashed process, after it has given up all rights but those to
//! read. If anything fails, the core goes [where it would have gone](fallback) without a handler.

mod crash;
mod fallback;
mod front;
mod journal;
mod rate;
mod serve;
mod settings;
mod supervise;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use dumpwright::DumpType;
use dumpwright::policy::Size;

use super::dump::{CONTENTS, OUTPUT, compression, duration};
use super::policy::PolicyArgs;
use super::{FAILED, print, process};

/// The end of the help of `dumpwright core-handler`.
pub(super) const EXAMPLES: &str = "\
Examples:
  Write a small dump instead of a core whenever a process crashes:
      dumpwright core-handler install --dir /var/lib/dumpwright/dumps --type mini
  See what is set:
      dumpwright core-handler status
  Set what was there before:
      dumpwright core-handler uninstall";

/// Where the settings are if no option names another file.
const SETTINGS: &str = "/var/lib/dumpwright/core-handler.json";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct CoreHandlerArgs {
    #[command(subcommand)]
    command: Option<SetupCommand>,

    /// What the kernel knows about the crash: the letters that core(5) has for core_pattern
    ///
    /// For example P=%P s=%s in core_pattern. P (the process id outside of containers) is required.
    /// I (the thread id outside of containers), s (the signal), d (whether the process may be
    /// dumped by its user), F (a file descriptor of the process, on Linux 6.16 and later) and all
    /// others are used if they are given.
    #[arg(value_name = "LETTER=VALUE", required = true, value_parser = crash::value)]
    values: Vec<(char, String)>,

    #[command(flatten)]
    options: HandlerOptions,

    /// Make the dump that the supervisor with this process id has asked for
    #[arg(long, hide = true, value_name = "PID")]
    worker: Option<u32>,
}

/// What the handler does with a crash.
#[derive(Debug, Args)]
struct HandlerOptions {
    /// Read the options that `install` has stored in this file, and use them before those given
    /// here
    #[arg(long, value_name = "FILE", default_value = SETTINGS, help_heading = "Setup")]
    settings: PathBuf,

    /// Write the dumps into this folder
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/dumpwright/dumps", help_heading = OUTPUT)]
    dir: PathBuf,

    /// Name the files of the dumps by this pattern
    ///
    /// In the pattern, %e is the name of the program, %p the process id, %t the time in UTC (as in
    /// 20261130-153000), %h the name of the machine, and %% a percent sign. With --compress, .zst
    /// is added. If the name is taken, it gets a number, as in ...-153000-2.dmp.
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "%e.%p.%t.dmp",
        value_parser = process::pattern,
        help_heading = OUTPUT
    )]
    name: String,

    /// Compress the dumps: zstd, or zstd:LEVEL with a level from 1 to 19
    #[arg(long, value_name = "METHOD", value_parser = compression, help_heading = OUTPUT)]
    compress: Option<i32>,

    /// Wait until a dump is on disk before it gets its name
    #[arg(long, help_heading = OUTPUT)]
    sync: bool,

    /// Select to whom the files belong
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    owner: OwnerArg,

    /// Append a line for each crash to this file, instead of the log of the kernel
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    log: Option<PathBuf>,

    /// Select what a dump contains: presets, flag names or 0xHEX, separated by commas
    ///
    /// The same as --type of dump.
    #[arg(
        long = "type",
        value_name = "LIST",
        default_value = "normal",
        value_parser = DumpType::parse,
        help_heading = CONTENTS
    )]
    dump_type: DumpType,

    #[command(flatten)]
    policy: PolicyArgs,

    /// Answer the callback by the rules in this script
    #[arg(long, value_name = "FILE", conflicts_with = "policies", help_heading = CONTENTS)]
    script: Option<PathBuf>,

    /// Also dump memory that the program marked "do not dump"
    #[arg(long, help_heading = CONTENTS)]
    include_dontdump: bool,

    /// Give up the dump after this time
    ///
    /// The crashed process exists until then, and its parent waits for it.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s", help_heading = LIMITS)]
    deadline: Duration,

    /// Limit the memory that the handler itself uses
    #[arg(long, value_name = "SIZE", default_value = "2GiB", help_heading = LIMITS)]
    max_memory: Size,

    /// Write at most this many dumps of one program in a time, as in 5/60s
    ///
    /// Of further crashes, there is neither a dump nor a core, but a line in the log.
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate::parse, default_value = "10/60s", help_heading = LIMITS)]
    rate: rate::Rate,

    /// Write at most this many dumps of all programs together in a time
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate::parse, default_value = "60/60s", help_heading = LIMITS)]
    total_rate: rate::Rate,

    /// Select where the core goes if there is no dump: a pattern as in core_pattern, or none
    ///
    /// The default is the pattern that install has replaced. A pattern that begins with | starts a
    /// program that reads the core; other patterns are names of files. Sockets (@) are not
    /// supported.
    #[arg(long, value_name = "PATTERN", help_heading = LIMITS)]
    fallback: Option<String>,
}

/// A heading of the help.
const LIMITS: &str = "Limits and failures";

/// The values of `--owner`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum OwnerArg {
    /// The user of the process, if that user could have read its memory, else root
    #[default]
    User,
    /// Root
    Root,
}

#[derive(Debug, Subcommand)]
enum SetupCommand {
    /// Make the kernel start this program when a process crashes
    ///
    /// Keeps what core_pattern and core_pipe_limit were before, for uninstall. The setting lasts
    /// until the system is started again; docs/guide/core-handler.md shows how to keep it.
    Install(settings::InstallArgs),
    /// Set core_pattern and core_pipe_limit to what they were before install
    Uninstall(settings::SettingsArgs),
    /// Say what is set, and by whom
    ///
    /// The exit status is 0 if the handler is installed and its program exists.
    Status(settings::StatusArgs),
    /// Wait for crashes that the kernel sends to a socket (Linux 6.16 and later)
    ///
    /// For core_pattern @SOCKET. The process runs until it is killed; a service manager starts it.
    /// All dumps belong to root. install and uninstall are for the other form, in which the kernel
    /// starts a program.
    Serve(serve::ServeArgs),
}

/// Runs the command. As a handler, it prints nothing, because nobody would see it.
pub(super) fn run(args: &CoreHandlerArgs) -> ExitCode {
    let outcome = match &args.command {
        Some(SetupCommand::Install(args)) => settings::install(args),
        Some(SetupCommand::Uninstall(args)) => settings::uninstall(args),
        Some(SetupCommand::Status(args)) => return settings::status(args),
        Some(SetupCommand::Serve(args)) => serve::run(args),
        None => match args.worker {
            Some(supervisor) => return worker::run(args, supervisor),
            None => return supervise::run(args),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            print::complain(reason);
            ExitCode::from(FAILED)
        }
    }
}
