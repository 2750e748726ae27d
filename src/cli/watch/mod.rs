//! `dumpwright watch`: waits for a reason to dump a process.

#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "linux")]
mod finder;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod short;
#[cfg(target_os = "linux")]
mod supervise;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dumpwright::policy::Size;

use super::dump::{MakeArgs, OUTPUT, PROCESS};
use super::{dump, process};

#[cfg(target_os = "linux")]
pub(super) use short::run_program;

/// The end of the help of `dumpwright watch`.
pub(super) const EXAMPLES: &str = "\
Examples:
  Run a server, and dump it and its children when they crash:
      dumpwright watch --dir /var/crash/ --exec -- ./server --port 8080
  Dump a process that uses more than 1 GiB of memory, and again at 2 GiB:
      dumpwright watch --pid 4711 --memory 1G,2G
  Dump each process of the program server that uses 90 % of a processor for 10 seconds:
      dumpwright watch --name server --cpu 90 --for 10s --events events.jsonl
  Dump a server whose heartbeat stops:
      dumpwright watch --name server --heartbeat /run/server.beat --heartbeat-timeout 30s

Exit status:
  With --exec, that of the program. Otherwise:
  0  every dump that was made is complete, or there was no reason for one
  1  a process cannot be watched, or a dump could not be made
  2  wrong usage
  3  every dump was made, but one of them is partial";

const TRIGGERS: &str = "Reasons for a dump";
const LIMITS: &str = "How long, how often";

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    source: WatchedSource,

    /// Write the dumps to this folder
    #[arg(long, value_name = "FOLDER", default_value = ".", help_heading = OUTPUT)]
    #[cfg_attr(target_os = "linux", arg(conflicts_with = "spool"))]
    dir: PathBuf,

    /// Name the files of the dumps by this pattern
    ///
    /// In the pattern, %e is the name of the program, %p the process id, %t the time in UTC (as in
    /// 20261130-153000), %h the name of the machine, and %% a percent sign. With --compress, .zst
    /// is added. With %t, a second dump in the same second gets a number.
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "%e.%p.%t.dmp",
        value_parser = process::pattern,
        help_heading = OUTPUT
    )]
    file_name: String,

    /// Append what happens to this file, as JSON lines, instead of printing it on standard error
    ///
    /// docs/json.md describes the objects.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    events: Option<PathBuf>,

    /// Dump a process when a signal is about to kill it, and processes that it starts as well
    ///
    /// This applies to signals that the process neither handles nor ignores, and whose default
    /// action is to dump core: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGQUIT,
    /// SIGXCPU and SIGXFSZ. It is the default if there is no other reason for a dump.
    ///
    /// The processes are traced for this: each signal takes somewhat longer, no debugger can attach
    /// to them, and set-user-ID programs that they start get no privileges. A process that was
    /// running already is released when dumpwright ends.
    #[arg(short = 'e', long, help_heading = TRIGGERS)]
    crash: bool,

    /// Dump a process that uses this percentage of one processor, or more
    ///
    /// 200 is two processors. It is measured over each --interval.
    #[arg(short = 'c', long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..), help_heading = TRIGGERS)]
    cpu: Option<u64>,

    /// Dump a process that uses less than this percentage of one processor
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..), help_heading = TRIGGERS)]
    cpu_below: Option<u64>,

    /// Percentages are of all processors together, not of one
    #[arg(long, help_heading = TRIGGERS)]
    cpu_of_machine: bool,

    /// Dump a process that has this much memory in RAM; may be a list, as in 1G,2G
    ///
    /// SIZE is a number of bytes, or a number with a unit, as in 64MiB or 4G. Each size leads to
    /// one dump, and to another one after the process had less. This also applies to the other
    /// options for memory, threads and descriptors.
    #[arg(long, value_name = "SIZE", value_delimiter = ',', help_heading = TRIGGERS)]
    rss: Vec<Size>,

    /// Dump a process that has this much memory in RAM or swap; may be a list
    #[arg(short = 'm', long, value_name = "SIZE", value_delimiter = ',', help_heading = TRIGGERS)]
    memory: Vec<Size>,

    /// Dump a process that has less than this memory in RAM or swap
    #[arg(long, value_name = "SIZE", help_heading = TRIGGERS)]
    memory_below: Option<Size>,

    /// Dump a process that has this many threads; may be a list
    #[arg(long, value_name = "COUNT", value_delimiter = ',', help_heading = TRIGGERS)]
    threads: Vec<u64>,

    /// Dump a process that has this many open file descriptors; may be a list
    #[arg(long, value_name = "COUNT", value_delimiter = ',', help_heading = TRIGGERS)]
    fds: Vec<u64>,

    /// Dump a process that does not modify this file any more
    ///
    /// In FILE, %p is the process id. The process hangs if the time of the last modification has
    /// not changed for --heartbeat-timeout. As long as the file has never existed, nothing happens.
    #[arg(long, value_name = "FILE", help_heading = TRIGGERS)]
    heartbeat: Option<PathBuf>,

    /// The time after which a heartbeat is missing
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration,
        default_value = "30s",
        requires = "heartbeat",
        help_heading = TRIGGERS
    )]
    heartbeat_timeout: Duration,

    /// Dump a process again and again, at this interval
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = TRIGGERS)]
    every: Option<Duration>,

    /// Dump a process only if all limits are exceeded at the same time
    ///
    /// Without this option, one is enough. It does not apply to --crash and --every.
    #[arg(long, help_heading = TRIGGERS)]
    all: bool,

    /// Dump a process only if it exceeds a limit for this long
    ///
    /// DURATION is a number with the unit ms, s, m or h, as in 500ms or 10s. Without this option,
    /// one measurement is enough.
    #[arg(short = 's', long = "for", value_name = "DURATION", value_parser = duration, help_heading = LIMITS)]
    lasting: Option<Duration>,

    /// The shortest time between two dumps of one process, except for --crash and --every
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s", help_heading = LIMITS)]
    cool_down: Duration,

    /// Make at most this many dumps
    ///
    /// After them, the command ends. With --exec, the program goes on without being dumped.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), help_heading = LIMITS)]
    max_dumps: u32,

    /// Make at most this many dumps of one process, not counting crashes
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = LIMITS)]
    max_per_process: Option<u32>,

    /// Measure at this interval
    ///
    /// What lasts less than two intervals may be missed.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s", help_heading = LIMITS)]
    interval: Duration,

    #[command(flatten)]
    pub(super) make: MakeArgs,

    /// The program that --exec starts, and its arguments
    // As for `dump`.
    #[arg(
        last = true,
        value_name = "CMD",
        requires = "exec",
        conflicts_with_all = ["pid", "watched_name"],
        help_heading = PROCESS
    )]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WatchedSource {
    /// Watch the live processes with these ids
    #[arg(
        short,
        long,
        value_name = "PID",
        value_parser = dump::pid,
        value_delimiter = ',',
        num_args = 1..,
        allow_negative_numbers = true,
        help_heading = PROCESS
    )]
    pid: Vec<u32>,

    /// Watch all processes with this name, also those that start later
    ///
    /// It is the name of the program: that of its file, or the one that the system shows. Processes
    /// are searched every second. One that gets the name long after its start is found later.
    #[arg(id = "watched_name", short = 'w', long = "name", value_name = "NAME", help_heading = PROCESS)]
    name: Option<String>,

    /// Start a program and watch it
    ///
    /// The program and its arguments follow after --. It has the terminal and the standard streams
    /// of dumpwright.
    #[arg(long, requires = "command", help_heading = PROCESS)]
    exec: bool,
}

/// Parses a duration, which must have a unit.
fn duration(text: &str) -> Result<Duration, String> {
    if text.ends_with(|letter: char| letter.is_ascii_digit()) {
        return Err("expected a unit, as in 500ms, 2s or 1m".to_owned());
    }
    dump::duration(text)
}

/// Watches. Returns the exit status.
#[cfg(target_os = "linux")]
pub(super) fn run(args: &WatchArgs) -> ExitCode {
    session::run(args)
}

/// Says that watching is not supported.
#[cfg(not(target_os = "linux"))]
pub(super) fn run(_: &WatchArgs) -> ExitCode {
    super::print::complain(
        "watch needs Linux so far; on this system, dump --exec --after never dumps a program that crashes, and the triggers \
         --cpu, --rss, --memory, --threads, --fds, --heartbeat and --every do not exist",
    );
    ExitCode::from(super::FAILED)
}
