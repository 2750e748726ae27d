//! `dumpwright dump`: dumps a process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dumpwright::native::{Outcome, Spawned};
use dumpwright::policy::PolicyFile;
use dumpwright::protocol::Symbols;
use dumpwright::sim::{Scenario, ScenarioError};
use dumpwright::target::{Fault, FaultKind, Target};
use dumpwright::{CompressedSink, DumpType, Error, FileSink, KnownCrash, Profile, Report, Request, Sink};

use super::backend::{self, BackendArg, BackendArgs, HoldArg, OpenCore, Writer};
use super::dialogue::{DialogueArgs, RecordedDialogue};
use super::policy::PolicyArgs;
use super::progress::ProgressSink;
use super::signals::{Unstoppable, survive_size_limit};
#[cfg(target_os = "linux")]
use super::spool::output::{SpoolOutput, Spooled};
use super::{FAILED, PARTIAL, UNPRINTED, USAGE, print, process, result};

// The groups of options in the help.
pub(super) const PROCESS: &str = "Process";
pub(super) const OUTPUT: &str = "Output";
pub(super) const CONTENTS: &str = "Contents";
pub(super) const CALLBACK: &str = "Callback and compatibility";

/// The size in bytes of the largest user stream.
const LARGEST_STREAM: u64 = 256 << 20;

/// The time of `--after never`.
pub(super) const NEVER: Duration = Duration::MAX;

/// The time without `--after`, where it has a default.
const USUAL_DELAY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    source: SourceArg,

    /// Dump the program of --exec after this time, or never, and kill it afterwards
    ///
    /// DURATION is a number of milliseconds, or a number with the unit ms, s, m or h, as in 500ms
    /// or 60s. With "never", the program is dumped only if it crashes.
    ///
    /// The program is dumped earlier if a signal (on Windows, an exception) is about to kill it. On
    /// Linux, a process that it has started is dumped instead if that one crashes. If the program
    /// and all of these processes end earlier, there is no dump.
    ///
    /// On Linux, without this option, the program is watched for crashes as long as it runs, and
    /// is not killed. On Windows, the default is 500ms.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = delay,
        requires = "exec",
        conflicts_with_all = ["pid", "process", "scenario", "core"],
        help_heading = PROCESS
    )]
    after: Option<Duration>,

    /// Write the dump to this file or folder, or to standard output if it is -
    ///
    /// In a folder, and without this option, the file has a name by the pattern of --name. The file
    /// appears under its name only when it has been fully written. An existing file is replaced
    /// only with --force. A device or a named pipe is written to directly.
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    #[cfg_attr(
        target_os = "linux",
        arg(required_unless_present_any = ["pid", "process", "core", "spool"], conflicts_with = "spool")
    )]
    #[cfg_attr(
        not(target_os = "linux"),
        arg(required_unless_present_any = ["pid", "process", "core"])
    )]
    pub(super) output: Option<PathBuf>,

    /// Name the file of the dump by this pattern
    ///
    /// In the pattern, %e is the name of the program, %p the process id, %t the time in UTC (as in
    /// 20261130-153000), %h the name of the machine, and %% a percent sign. With --compress, .zst
    /// is added. With %t, a second dump in the same second gets a number, as in ...-153000-2.dmp.
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "%e.%p.%t.dmp",
        value_parser = process::pattern,
        help_heading = OUTPUT
    )]
    pub(super) name: String,

    #[command(flatten)]
    pub(super) make: MakeArgs,

    #[command(flatten)]
    crash: CrashArgs,

    #[command(flatten)]
    pub(super) dialogue: DialogueArgs,

    /// Replace existing files
    ///
    /// This applies to the files of --output and --transcript. An existing file is not changed
    /// until the new one has been fully written.
    #[arg(long, help_heading = OUTPUT)]
    #[cfg_attr(target_os = "linux", arg(conflicts_with = "spool"))]
    pub(super) force: bool,

    /// Print the result as one JSON object instead of text
    ///
    /// The object is printed on standard output, or on standard error if the dump is written to
    /// standard output. docs/json.md describes it.
    #[arg(long, help_heading = OUTPUT)]
    pub(super) json: bool,

    /// The program that --exec starts, and its arguments
    // clap does not report a missing required argument if that argument conflicts with one that was
    // given. The explicit conflicts make it report an error.
    #[arg(
        last = true,
        value_name = "CMD",
        requires = "exec",
        conflicts_with_all = ["pid", "process", "scenario", "core"],
        help_heading = PROCESS
    )]
    pub(super) command: Vec<OsString>,
}

/// The options that say what a dump contains and how it is made: those of `dump` and `watch`.
#[derive(Debug, Args)]
pub(super) struct MakeArgs {
    /// Write the dump into this spool, a folder with limits
    ///
    /// The folder is created if it does not exist. Its file spool.toml limits how many dumps are
    /// kept and how many bytes; old ones are removed to make room. A crash that is in the spool
    /// already is only counted. docs/spool.md describes the limits, and the command spool shows the
    /// dumps.
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "FOLDER", help_heading = OUTPUT)]
    pub(super) spool: Option<PathBuf>,

    /// Compress the dump while it is written: zstd, or zstd:LEVEL with a level from 1 to 19
    ///
    /// The default level is 1, the fastest one. The output can be read at any offset ("seekable
    /// format" of zstd). The commands show and check open it as it is; for other programs, zstd -d
    /// decompresses it.
    ///
    /// The dump is compressed by up to 6 threads. All memory of a full dump is compressed while the
    /// process is suspended, so a higher level suspends it for longer.
    #[arg(long, value_name = "METHOD", value_parser = compression, help_heading = OUTPUT)]
    pub(super) compress: Option<i32>,

    /// Select what the dump contains: presets, flag names or 0xHEX, separated by commas
    ///
    /// The presets are normal (threads with their stacks, and modules), mini (also global
    /// variables, handles and times of threads), heap (also private writable memory), triage (only
    /// what a first analysis needs: other data on stacks is overwritten) and full (all memory).
    ///
    /// The flags are those of MINIDUMP_TYPE, written as with-full-memory, WithFullMemory,
    /// MiniDumpWithFullMemory or 0x2. All items of the list are combined. docs/flags.md describes
    /// the flags and presets.
    #[arg(
        long = "type",
        value_name = "LIST",
        default_value = "normal",
        value_parser = DumpType::parse,
        help_heading = CONTENTS
    )]
    pub(super) dump_type: DumpType,

    #[command(flatten)]
    pub(super) policy: PolicyArgs,

    #[command(flatten)]
    pub(super) backend: BackendArgs,

    /// Select whose behaviour to follow: documented, dbghelp63 or dbghelp10
    ///
    /// Where Microsoft's writer differs from its documentation, "documented" follows the
    /// documentation. "dbghelp63" follows DbgHelp 6.3.9600 as it was observed, and "dbghelp10" the
    /// DbgHelp of January 2026. Most users need only "documented". DEVIATIONS.md lists the
    /// differences.
    #[arg(long, value_name = "NAME", default_value = Profile::default().name(), help_heading = CALLBACK)]
    pub(super) profile: Profile,

    /// Wait until the dump is on disk before it gets its name
    ///
    /// The dump is then complete even if the system crashes or loses power directly afterwards.
    /// Without this option, the system writes the file to the disk within about half a minute.
    #[arg(long, help_heading = OUTPUT)]
    pub(super) sync: bool,

    /// Select how a live process is kept from changing while it is read
    ///
    /// The default is stop. On Linux, it is auto if there is a --max-pause.
    #[arg(long, value_enum, help_heading = PROCESS)]
    pub(super) hold: Option<HoldArg>,

    /// End the clone of the process when it has existed for this long
    ///
    /// This applies to --hold clone and --hold auto on Linux. While the clone exists, the process
    /// needs more time and memory for what it writes. The dump is then partial (exit status 3), and
    /// the result lists what was not read by then, as with --max-pause.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "600s", help_heading = PROCESS)]
    pub(super) max_clone: Duration,

    /// Resume the process when it has been suspended for this long
    ///
    /// DURATION is a number of milliseconds, or a number with the unit ms or s, as in 500ms or 2s.
    /// The dump is then partial (exit status 3), and the result lists what was not read by then. In
    /// the file, deferred memory has the byte 0xDD in its place, and zeros after 64 MiB of that. If
    /// not even the threads and the memory map are known by then, there is no dump (exit status 1).
    ///
    /// On Linux, the process is cloned if a stop is estimated to exceed this limit, unless --hold
    /// selects something else (see --hold auto).
    ///
    /// Without this option, the process is still resumed if nothing can be written to the output
    /// for 10 seconds, for example because the reader of a pipe has stalled.
    ///
    /// This option is not supported on Windows.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "exec", help_heading = PROCESS)]
    pub(super) max_pause: Option<Duration>,

    /// Also dump memory that the program marked "do not dump"
    ///
    /// On Linux, programs mark such memory with madvise(MADV_DONTDUMP). Programs on Windows cannot
    /// mark memory.
    #[arg(long, help_heading = CONTENTS)]
    pub(super) include_dontdump: bool,

    /// Add a comment, which debuggers show when they open the dump
    #[arg(long, value_name = "TEXT", help_heading = CONTENTS)]
    pub(super) comment: Option<String>,

    /// Add a stream with this type and the contents of this file; may be repeated
    ///
    /// TYPE is a decimal number, or a hexadecimal one with the prefix 0x. Use 10 for a comment,
    /// and types above 0xffff for all other streams. If dumpwright itself writes a stream with a
    /// type above 0xffff, the added stream replaces it.
    #[arg(long, value_name = "TYPE=FILE", value_parser = user_stream, help_heading = CONTENTS)]
    pub(super) user_stream: Vec<(u32, PathBuf)>,

    /// Write a ThreadExList instead of the ThreadList
    ///
    /// A ThreadExList also has the backing stores of the threads, which are the second stacks that
    /// Itanium processors have for registers. Most readers support only the ThreadList, so this
    /// option is meant for testing callbacks and readers.
    #[arg(long, help_heading = CONTENTS)]
    pub(super) thread_ex: bool,
}

/// The crash that the dump is about.
#[derive(Debug, Args)]
#[command(next_help_heading = CONTENTS)]
struct CrashArgs {
    /// Add the exception of this thread, which has crashed
    ///
    /// This is for programs that start dumpwright when they crash, as a crash handler or a
    /// supervisor does. The registers are those of the thread or, if it is inside of a handler of
    /// this signal, those at the moment of the signal.
    #[arg(long, value_name = "TID", value_parser = thread, requires = "signal", conflicts_with = "exec")]
    crash_thread: Option<u32>,

    /// The number of the signal by which it crashed (or, on Windows, of the exception)
    #[arg(long, value_name = "NUMBER", value_parser = number, requires = "crash_thread")]
    signal: Option<u32>,

    /// The code of the signal (si_code), which may be negative
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = number,
        default_value = "0",
        allow_hyphen_values = true,
        requires = "crash_thread"
    )]
    code: u32,

    /// The address of the fault (si_addr), in hexadecimal with the prefix 0x
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "crash_thread")]
    address: Option<u64>,
}

impl CrashArgs {
    fn known(&self) -> Option<KnownCrash> {
        Some(KnownCrash {
            thread_id: self.crash_thread?,
            code: self.signal?,
            flags: self.code,
            address: self.address,
        })
    }
}

/// Parses the value of `--crash-thread`.
fn thread(text: &str) -> Result<u32, String> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| "expected the id of a thread: a number above 0".to_owned())
}

/// Parses a number of 32 bits, which may be negative or hexadecimal.
fn number(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.starts_with('-') => text.parse().ok().map(i32::cast_unsigned),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "expected a number of 32 bits, as in 11, -6 or 0xc0000005".to_owned())
}

/// Parses the value of `--address`.
fn address(text: &str) -> Result<u64, String> {
    let digits = text
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.ok_or_else(|| "expected an address, as in 0x7f0012345678".to_owned())
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SourceArg {
    /// Dump the processes with these ids or names
    ///
    /// A name is that of the program: the name of its file, or the one that the system shows. If
    /// several processes have the name, choose one of them on the terminal. Names are not supported
    /// on Windows yet.
    #[arg(value_name = "PID|NAME", help_heading = PROCESS)]
    process: Vec<String>,

    /// Dump the live process with this process id
    ///
    /// On Linux, if a thread is inside the program's own handler of a crash (SIGSEGV and similar),
    /// the dump has the crash as its exception.
    #[arg(short, long, value_parser = pid, allow_negative_numbers = true, help_heading = PROCESS)]
    pid: Option<u32>,

    /// Dump the simulated process that this scenario describes
    ///
    /// docs/scenario.md describes the format.
    #[arg(long, value_name = "FILE", help_heading = PROCESS)]
    scenario: Option<PathBuf>,

    /// Dump the process of which this core file was written, or the core on standard input if it
    /// is -
    ///
    /// A core is what the kernel stores of a process that a signal has killed, or what gcore
    /// writes. The dump has the signal as its exception. Only cores of 64-bit x86 programs, on
    /// Linux, are supported.
    ///
    /// A core lacks what the kernel can find in files. It is read from the file with the path in
    /// the core if this file has the same build id; otherwise it is missing. A core that is cut off
    /// makes a partial dump.
    ///
    /// The core may be compressed with zstd. A compressed core, and one from a pipe, is stored in
    /// an unlinked file that only you may read, in the folder of the variable TMPDIR (by default
    /// /var/tmp).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hold", "max_pause"], help_heading = PROCESS)]
    core: Option<PathBuf>,

    /// Start a program, and dump it when it crashes
    ///
    /// The program and its arguments follow after --. It is dumped when a signal (on Windows, an
    /// exception) is about to kill it, or when the time of --after has passed. Signals that the
    /// program handles or ignores reach it as usual. With --json, or if the dump is written to
    /// standard output, the program's standard output is redirected to standard error.
    ///
    /// On Linux, this is a short form of "watch --crash --exec", unless there is --after:
    /// dumpwright passes on the signals that it receives, and ends with the program and with its
    /// exit status (128 and the signal's number if a signal has killed it). The program is never
    /// killed. If --output is a file, only the first crash is dumped.
    ///
    /// On Linux, the processes that the program starts are watched as well, and dumped if they
    /// crash. Like the program, they have no tracer but dumpwright, and set-user-ID has no effect
    /// on them. They are not killed with the program.
    #[arg(long, requires = "command", help_heading = PROCESS)]
    exec: bool,
}

impl SourceArg {
    /// Whether the process is a live one.
    fn is_live(&self) -> bool {
        self.scenario.is_none() && self.core.is_none()
    }
}

/// Where the process is.
enum DumpSource<'a> {
    Live(u32),
    Core(OpenCore),
    Scenario(&'a Path),
    /// A program that is started.
    Program,
}

impl MakeArgs {
    /// How a live process is held.
    fn hold(&self, policy: Option<&PolicyFile>) -> HoldArg {
        let has_limit = self.max_pause.is_some() || policy.is_some_and(PolicyFile::limits_pause);
        self.hold.unwrap_or_else(|| HoldArg::usual(has_limit))
    }

    /// Checks what would otherwise be found out only when a process crashes.
    #[cfg(target_os = "linux")]
    pub(super) fn check_early(&self, is_traced: bool) -> Result<(), Error> {
        self.backend.check(true)?;
        let policy = self.policy.load()?;
        let added = policy.as_ref().map_or(DumpType::NORMAL, PolicyFile::dump_type);
        (self.dump_type | added).normalised()?;
        let is_limited = self.max_pause.is_some() || policy.as_ref().is_some_and(PolicyFile::limits_pause);
        if is_traced && is_limited {
            let reason = "the pause of a process that is traced for crashes cannot be limited; leave out --max-pause, and \
                          max-pause in the policy";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        if let Some(folder) = &self.spool {
            SpoolOutput::check(folder)?;
        }
        adjusted(Request::new(DumpType::NORMAL), self, None).map(drop)
    }

    /// The folder of the spool that dumps are written into.
    pub(super) fn spool(&self) -> Option<&Path> {
        #[cfg(target_os = "linux")]
        return self.spool.as_deref();
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Returns why the arguments exclude each other, if they do in a way that their parser does not
    /// find out.
    pub(super) fn conflict(&self) -> Option<&'static str> {
        (compresses_memory(self.dump_type) && self.compress.is_some()).then_some(
            "--compress cannot be used with the dump type with-memory-compressed (0x4000000): its memory is compressed \
             already, and its header is written last, which a compressed output does not allow",
        )
    }
}

/// Whether a dump of this type has compressed memory.
fn compresses_memory(dump_type: DumpType) -> bool {
    let effective = dump_type.normalised();
    effective.is_ok_and(|effective| effective.contains(DumpType::WITH_MEMORY_COMPRESSED))
}

/// Makes the dumps that the arguments describe and prints the results. Returns the exit status: of
/// several dumps, that of the worst. `is_short` is true if the command is not `dump`, but only
/// names processes; it then also prints what the dumps contain.
pub(super) fn run(args: &DumpArgs, is_short: bool, commands: &[&str]) -> ExitCode {
    #[cfg(target_os = "linux")]
    if args.source.exec && args.after.is_none() {
        return super::watch::run_program(args);
    }
    if !args.source.exec {
        survive_size_limit();
    }
    if let Some(core) = &args.source.core {
        return ExitCode::from(run_core(args, core));
    }
    let processes = match processes(args, commands) {
        Ok(processes) => processes,
        Err(status) => return ExitCode::from(status),
    };
    let mut worst = 0;
    for (number, pid) in processes.iter().enumerate() {
        if number > 0 && is_short && !args.json {
            let _ = print::output("\n");
        }
        let file = output(args, pid.map(|pid| (pid, backend::program_of(pid))));
        let source = match (pid, &args.source.scenario) {
            (Some(pid), _) => DumpSource::Live(*pid),
            (None, Some(scenario)) => DumpSource::Scenario(scenario),
            (None, None) => DumpSource::Program,
        };
        let status = run_one(args, source, &file, is_short);
        // A dump that is not there is worse than one that lacks something.
        const ORDER: [u8; 4] = [0, PARTIAL, UNPRINTED, FAILED];
        let rank = |status| ORDER.iter().position(|known| *known == status);
        worst = if rank(status) > rank(worst) { status } else { worst };
    }
    ExitCode::from(worst)
}

/// Opens a core, makes a dump of it and prints the result. Returns the exit status.
fn run_core(args: &DumpArgs, core: &Path) -> u8 {
    match backend::open_core(core) {
        Ok(core) => {
            let program = core.program.clone().unwrap_or_else(|| "process".to_owned());
            let file = output(args, Some((core.target.process_id(), program)));
            run_one(args, DumpSource::Core(core), &file, false)
        }
        Err(error) => {
            let file = args.output.clone().unwrap_or_default();
            let to_stdout = file.as_os_str() == "-";
            let text = match args.json {
                true => format!("{}\n", result::failure_json(&file, &error)),
                false => String::new(),
            };
            let _ = match to_stdout {
                true => print::error(&text),
                false => print::output(&text),
            };
            if !(args.json && to_stdout) {
                print::complain(error);
            }
            FAILED
        }
    }
}

/// Returns the ids of the processes to dump. It is one `None` if there is no process yet. The error
/// is the exit status; its reason has been printed.
fn processes(args: &DumpArgs, commands: &[&str]) -> Result<Vec<Option<u32>>, u8> {
    let mut found = Vec::new();
    for text in &args.source.process {
        match process::resolve(text) {
            Ok(ids) => found.extend(ids.into_iter().map(Some)),
            Err(why) => {
                process::complain_about(text, &why, commands);
                return Err(FAILED);
            }
        }
    }
    if args.source.process.is_empty() {
        return Ok(vec![args.source.pid]);
    }
    let mut known = std::collections::HashSet::new();
    found.retain(|pid| known.insert(*pid));
    let one = match &args.output {
        Some(output) if !is_folder(output) => Some("-o is one file; name a folder, or leave it out"),
        _ if args.dialogue.transcript.is_some() => Some("--transcript is one file; leave it out"),
        _ => None,
    };
    match one {
        Some(reason) if found.len() > 1 => {
            print::complain(format_args!(
                "{} processes are to be dumped, but {reason}",
                found.len()
            ));
            Err(USAGE)
        }
        _ => Ok(found),
    }
}

/// Whether a path is that of a folder. A symbolic link is not followed, unless its name ends with a
/// separator.
pub(super) fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Returns the file of the dump of the process with this id and name, if they are known.
fn output(args: &DumpArgs, process: Option<(u32, String)>) -> PathBuf {
    if let Some(folder) = args.make.spool() {
        return folder.join(name_in_spool(args, process));
    }
    let folder = match &args.output {
        Some(output) if process.is_none() || !is_folder(output) => return output.clone(),
        Some(folder) => folder.clone(),
        None => PathBuf::new(),
    };
    let (pid, program) = process.unwrap_or_default();
    named_file(&folder, &args.name, &args.make, (pid, &program), args.force)
}

/// Returns the name of a dump in a spool, which adds a number to it.
fn name_in_spool(args: &DumpArgs, process: Option<(u32, String)>) -> String {
    let now = jiff::Timestamp::now();
    if let Some((pid, program)) = process {
        return process::file_name(&args.name, pid, &program, now);
    }
    // There is no process yet.
    let command = args.command.first().map(Path::new);
    let program = command.and_then(Path::file_name).unwrap_or("process".as_ref());
    process::file_name(&args.name.replace("%p.", ""), 0, &program.to_string_lossy(), now)
}

/// Returns a file in this folder for a dump of the process with this id and name. The pattern names
/// it.
pub(super) fn named_file(
    folder: &Path,
    pattern: &str,
    make: &MakeArgs,
    (pid, program): (u32, &str),
    force: bool,
) -> PathBuf {
    let mut name = process::file_name(pattern, pid, program, jiff::Timestamp::now());
    if make.compress.is_some() {
        name.push_str(".zst");
    }
    // Two dumps in one second are no reason to refuse the second one.
    match pattern.contains("%t") && !force {
        true => process::unused(folder, &name),
        false => folder.join(name),
    }
}

/// Makes one dump and prints the result. Returns the exit status.
fn run_one(args: &DumpArgs, source: DumpSource<'_>, file: &Path, is_short: bool) -> u8 {
    let to_stdout = file.as_os_str() == "-";
    if let DumpSource::Live(pid) = source {
        let dump_type = args.make.dump_type;
        tracing::info!("dumping process {pid} to {}: {dump_type}", file.display());
    }
    let outcome = run_checked(args, source, file, to_stdout);
    survive_size_limit();
    print_outcome(args, file, outcome, is_short)
}

/// Prints the result of a dump, or why there is none. Returns the exit status.
pub(super) fn print_outcome(
    args: &DumpArgs,
    file: &Path,
    outcome: Result<Written, Error>,
    is_short: bool,
) -> u8 {
    let to_stdout = file.as_os_str() == "-";
    let file = outcome.as_ref().map_or(file, |written| written.path(file));
    let text = match &outcome {
        Ok(written) if args.json => format!("{}\n", result::success_json(file, written)),
        Ok(written) => result::success_text(file, written),
        Err(error) if args.json => format!("{}\n", result::failure_json(file, error)),
        Err(_) => String::new(),
    };
    let printed = match to_stdout {
        true => print::error(&text),
        false => print::output(&text),
    };
    match &outcome {
        Err(error) => {
            if !(args.json && to_stdout) {
                print::complain(error);
            }
            FAILED
        }
        Ok(written) if printed.is_err() || print::is_lost() => {
            let reason = printed
                .err()
                .map_or_else(String::new, |error| format!(": {error}"));
            print::complain(format_args!(
                "{} was written and is {}, but the result cannot be printed{reason}",
                file.display(),
                result::status(&written.report),
            ));
            UNPRINTED
        }
        Ok(written) => {
            if is_short && !args.json && !to_stdout {
                let _ = print::output("\n");
                if let Err(error) = super::show::summarise(file) {
                    print::complain(error);
                }
            }
            if written.report.is_complete() { 0 } else { PARTIAL }
        }
    }
}

/// A dump that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) report: Report,
    /// The number of bytes in the file, if the dump is compressed.
    pub(super) compressed: Option<u64>,
    /// What came of a dump that was written into a spool.
    #[cfg(target_os = "linux")]
    pub(super) spool: Option<Spooled>,
}

impl Written {
    /// Whether a spool has only counted it.
    #[cfg(target_os = "linux")]
    pub(super) fn is_duplicate(&self) -> bool {
        self.spool.as_ref().is_some_and(|spooled| !spooled.is_kept)
    }

    /// Returns the file of the dump. In a spool, `file` has another name, or there is only the dump
    /// that this one is a duplicate of.
    pub(super) fn path<'a>(&'a self, file: &'a Path) -> &'a Path {
        #[cfg(target_os = "linux")]
        if let Some(spooled) = &self.spool {
            return &spooled.path;
        }
        file
    }
}

/// A dump that is about to be made. Its file has been created.
pub(super) struct PreparedDump<'a> {
    make: &'a MakeArgs,
    policy: Option<PolicyFile>,
    dialogue: &'a DialogueArgs,
    dump_type: DumpType,
    output: OutputArg,
    hold: HoldArg,
    request: Request,
    force: bool,
    /// Whether standard error may be for the result.
    quiet: bool,
}

impl<'a> PreparedDump<'a> {
    /// Checks what can be checked without the process, and creates the file. `note` is a comment
    /// for the dump.
    pub(super) fn new(
        make: &'a MakeArgs,
        dialogue: &'a DialogueArgs,
        is_live: bool,
        file: &Path,
        force: bool,
        note: Option<&str>,
    ) -> Result<Self, Error> {
        make.backend.check(is_live)?;
        let policy = make.policy.load()?;
        let names_threads = policy.as_ref().is_some_and(PolicyFile::names_threads);
        if names_threads && make.backend.of(is_live) == BackendArg::Dbghelp {
            let reason = "the policy names threads, and DbgHelp does not provide their names; use --backend dumpwright";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        let added = policy.as_ref().map_or(DumpType::NORMAL, PolicyFile::dump_type);
        let dump_type = make.dump_type | added;
        // Without these two checks, the errors would be found only after the process was suspended.
        dump_type.normalised()?;
        if dialogue.transcript.as_deref() == Some(file) {
            let reason = "--output and --transcript have the same name; give them different names";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        let output = OutputArg::open(make, file, force)?;
        if compresses_memory(dump_type) && dialogue.asks_nobody() && output.file.sink().check_amend().is_err()
        {
            let reason = "with-memory-compressed (0x4000000) needs a file, because its header is written last; name a file \
                          with --output, or use --type with-full-memory --compress zstd";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        let request = match &policy {
            Some(policy) => policy.request(Request::new(dump_type)),
            None => Request::new(dump_type),
        };
        Ok(Self {
            hold: make.hold(policy.as_ref()),
            request: adjusted(request, make, note)?,
            make,
            policy,
            dialogue,
            dump_type,
            output,
            force,
            quiet: false,
        })
    }

    /// Does not print how long the process will be stopped.
    pub(super) fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Adds the exception of a thread that is known to have crashed.
    fn known_crash(mut self, crash: Option<KnownCrash>) -> Self {
        if let Some(crash) = crash {
            self.request = self.request.known_crash(crash);
        }
        self
    }

    fn open_dialogue(&mut self, symbols: Symbols) -> Result<RecordedDialogue<'a>, Error> {
        RecordedDialogue::open(self.dialogue, self.policy.take(), symbols, self.force)
    }

    /// Dumps a live process.
    pub(super) fn dump_process(mut self, pid: u32) -> Result<Written, Error> {
        let dialogue = self.open_dialogue(Symbols::live())?.of_process(pid)?;
        if let Some(file) = self.output.file.as_file()
            && self.dump_type.contains(DumpType::WITH_FULL_MEMORY)
        {
            backend::check_reader(file, pid)?;
        }
        let (mut process, announced) = backend::hold(&self.make.backend, pid, self.hold, &self.request)?;
        if let Some(text) = announced.filter(|_| !self.quiet) {
            print::complain(text);
        }
        self.output.write(&mut *process, &self.request, dialogue)
    }

    /// Dumps the process of a core file.
    fn dump_core(mut self, mut core: OpenCore) -> Result<Written, Error> {
        let dialogue = self.open_dialogue(Symbols::live())?.without_texts()?;
        let request = match core.exception.take() {
            Some(exception) => self.request.exception(exception),
            None => self.request,
        };
        self.output.write(&mut core, &request, dialogue)
    }

    /// Dumps the simulated process of a file.
    fn dump_scenario(mut self, file: &Path) -> Result<Written, Error> {
        let refused =
            |error: ScenarioError| Fault::new(FaultKind::Malformed, "use the scenario", error.to_string());
        let mut process = Scenario::load(file).map_err(refused)?;
        let symbols = Symbols::new().names_of(process.symbols().iter());
        let dialogue = self.open_dialogue(symbols)?.reading(process.clone());
        self.output.write(&mut process, &self.request, dialogue)
    }

    /// Dumps a program that dumpwright has started, or a process that it has started, which has
    /// crashed.
    #[cfg(target_os = "linux")]
    pub(super) fn dump_program(mut self, program: &mut Spawned) -> Result<Written, Error> {
        let dialogue = self.open_dialogue(Symbols::live())?;
        self.dump_program_by(program, dialogue)
    }

    fn dump_program_by(
        self,
        program: &mut Spawned,
        dialogue: RecordedDialogue<'_>,
    ) -> Result<Written, Error> {
        let request = match program.exception() {
            Some(exception) => self.request.exception(exception),
            None => self.request,
        };
        // A process that the program started may have crashed instead.
        let dialogue = dialogue.of_process(program.process_id())?;
        backend::dump_program(&self.make.backend, program, self.hold, |writer| {
            self.output.write(writer, &request, dialogue)
        })
    }
}

fn run_checked(
    args: &DumpArgs,
    source: DumpSource<'_>,
    file: &Path,
    to_stdout: bool,
) -> Result<Written, Error> {
    let is_live = args.source.is_live();
    let prepared = PreparedDump::new(&args.make, &args.dialogue, is_live, file, args.force, None)?;
    // With --json, standard error may be for the result.
    let prepared = prepared.quiet(args.json).known_crash(args.crash.known());
    match source {
        DumpSource::Live(pid) => prepared.dump_process(pid),
        DumpSource::Core(core) => prepared.dump_core(core),
        DumpSource::Scenario(file) => prepared.dump_scenario(file),
        DumpSource::Program => exec(args, prepared, to_stdout),
    }
}

/// Adds what the arguments say to a request. Reads the files of the user streams.
/// `note` is a comment that is added to that of the arguments.
pub(super) fn adjusted(request: Request, args: &MakeArgs, note: Option<&str>) -> Result<Request, Error> {
    let mut request = request
        .profile(args.profile)
        .find_crash(true)
        .thread_ex_list(args.thread_ex)
        .max_clone(args.max_clone);
    if args.include_dontdump {
        request = request.include_dont_dump(true);
    }
    let comments = args.comment.as_deref().into_iter().chain(note);
    let comment = comments.collect::<Vec<_>>().join("\n");
    if !comment.is_empty() || args.comment.is_some() {
        request = request.comment(&comment);
    }
    if let Some(limit) = args.max_pause {
        request = request.max_pause(limit);
    }
    for (stream_type, file) in &args.user_stream {
        let bytes = read_stream(file).map_err(|reason| {
            Error::InvalidRequest(format!("the user stream {} {reason}", file.display()))
        })?;
        request = request.user_stream(*stream_type, bytes);
    }
    Ok(request)
}

/// Parses the value of `--pid`.
pub(super) fn pid(text: &str) -> Result<u32, String> {
    let pid = text.parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| {
        let is_name = text.chars().next().is_some_and(char::is_alphabetic);
        if is_name {
            format!(
                "expected a number; to dump a process by its name, leave out --pid: dumpwright dump {text}"
            )
        } else {
            "expected the id of a process: a number above 0".to_owned()
        }
    })
}

/// Parses the value of `--user-stream`, `TYPE=FILE`.
fn user_stream(text: &str) -> Result<(u32, PathBuf), String> {
    let refusal = || format!("expected TYPE=FILE, as in 0x10001=notes.txt, found \"{text}\"");
    let (number, file) = text.split_once('=').ok_or_else(refusal)?;
    let stream_type = match number.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    Ok((stream_type.map_err(|_| refusal())?, file.into()))
}

/// Parses the value of `--after`.
fn delay(text: &str) -> Result<Duration, String> {
    match text {
        "never" => Ok(NEVER),
        "0" => Ok(Duration::ZERO),
        _ => duration(text).map_err(|reason| format!("{reason}, or never")),
    }
}

/// Parses the value of `--compress`, `zstd` or `zstd:LEVEL`. Returns the level.
pub(super) fn compression(text: &str) -> Result<i32, String> {
    let level = match text.strip_prefix("zstd") {
        Some("") => Some(CompressedSink::DEFAULT_LEVEL),
        Some(level) => level.strip_prefix(':').and_then(|level| level.parse().ok()),
        None => None,
    };
    let levels = CompressedSink::LEVELS;
    level.filter(|level| levels.contains(level)).ok_or_else(|| {
        format!(
            "expected zstd or zstd:LEVEL with a level from {} to {}",
            levels.start(),
            levels.end()
        )
    })
}

/// Parses a duration, such as `500ms`, `2s` or a number of milliseconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let milliseconds = match &text[digits.len()..] {
        "" | "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let product = number
        .zip(milliseconds)
        .and_then(|(number, unit)| number.checked_mul(unit));
    product
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a whole number above 0 and optionally a unit, as in 500ms or 2s".to_owned())
}

/// Reads the file of a user stream. The error completes a sentence that begins with its name.
fn read_stream(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    // Opening a pipe would block.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LARGEST_STREAM + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST_STREAM {
        return Err(format!("is too large: the limit is {} MiB", LARGEST_STREAM >> 20));
    }
    Ok(bytes)
}

/// Starts the program of `--exec`, dumps it when the time has passed or when it is about to be
/// killed, and kills it.
fn exec(args: &DumpArgs, mut prepared: PreparedDump<'_>, to_stdout: bool) -> Result<Written, Error> {
    let dialogue = prepared.open_dialogue(Symbols::live())?;
    // If standard output is for the dump or for JSON, the program must not write to it.
    let stderr = io::stderr();
    let elsewhere = (to_stdout || args.json).then(|| backend::standard_error(&stderr));
    let (name, arguments) = args.command.split_first().expect("required by --exec");
    let mut program = Spawned::start(name, arguments, elsewhere)?;
    // Earlier, the program would inherit the blocked signal.
    survive_size_limit();
    let after = args.after.unwrap_or(USUAL_DELAY);
    match program.wait(after)? {
        Outcome::Elapsed | Outcome::Dying { .. } => {}
        Outcome::Exited(how) => {
            let operation = format!("dump {}", Path::new(name).display());
            let fault = |reason| Fault::new(FaultKind::Gone, operation, reason);
            if after == NEVER {
                return Err(fault(format!("it ended without a crash ({how})")).into());
            }
            let reason = format!("it ended before the time of --after had passed ({how})");
            return Err(fault(reason).advise("give a shorter --after").into());
        }
    }
    let written = prepared.dump_program_by(&mut program, dialogue);
    if let Err(fault) = program.kill() {
        tracing::debug!(%fault, "the program could not be killed, or its end could not be waited for");
    }
    written
}

/// The destination of the dump.
struct OutputArg {
    file: OutputFile,
    /// The compression level, if the dump is to be compressed.
    level: Option<i32>,
    /// The comment, which is also in the record of a dump in a spool.
    #[cfg(target_os = "linux")]
    comment: Option<String>,
}

enum OutputFile {
    File(FileSink),
    #[cfg(target_os = "linux")]
    Spool(Box<SpoolOutput>),
}

impl OutputFile {
    fn sink(&self) -> &dyn Sink {
        match self {
            Self::File(file) => file,
            #[cfg(target_os = "linux")]
            Self::Spool(output) => &output.sink,
        }
    }

    /// Returns the file that the user has named, which may be a pipe.
    fn as_file(&self) -> Option<&FileSink> {
        match self {
            Self::File(file) => Some(file),
            #[cfg(target_os = "linux")]
            Self::Spool(_) => None,
        }
    }

    /// Opens a spool if the arguments name one. `file` is in its folder.
    #[cfg(target_os = "linux")]
    fn of_spool(args: &MakeArgs, file: &Path) -> Result<Option<Self>, Error> {
        let Some(folder) = &args.spool else {
            return Ok(None);
        };
        let name = file.strip_prefix(folder).unwrap_or(file).to_string_lossy();
        let output = SpoolOutput::open(folder, &name, args.compress.is_some(), args.sync)?;
        Ok(Some(Self::Spool(Box::new(output))))
    }

    #[cfg(not(target_os = "linux"))]
    fn of_spool(_: &MakeArgs, _: &Path) -> Result<Option<Self>, Error> {
        Ok(None)
    }
}

impl OutputArg {
    fn open(args: &MakeArgs, file: &Path, force: bool) -> Result<Self, Error> {
        let file = if let Some(file) = OutputFile::of_spool(args, file)? {
            file
        } else if file.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                return Err(Error::InvalidRequest(
                    "standard output is a terminal; redirect it to a file or a pipe".to_owned(),
                ));
            }
            let stdout = backend::standard_output().map_err(Error::InvalidRequest)?;
            OutputFile::File(FileSink::onto(stdout).sync(args.sync))
        } else {
            OutputFile::File(backend::create_file(file, force)?.sync(args.sync))
        };
        Ok(Self {
            file,
            level: args.compress,
            #[cfg(target_os = "linux")]
            comment: args.comment.clone(),
        })
    }

    fn write(
        self,
        writer: &mut dyn Writer,
        request: &Request,
        dialogue: RecordedDialogue<'_>,
    ) -> Result<Written, Error> {
        let _unstoppable = Unstoppable::new();
        match self.file {
            OutputFile::File(file) => {
                let (report, compressed, file) = dump_into(file, self.level, writer, request, dialogue)?;
                let is_private = file.is_private();
                let path = file.path().map(Path::to_owned).unwrap_or_default();
                file.publish()?;
                warn_if_public(is_private, &path);
                Ok(Written {
                    report,
                    compressed,
                    #[cfg(target_os = "linux")]
                    spool: None,
                })
            }
            #[cfg(target_os = "linux")]
            OutputFile::Spool(output) => {
                let SpoolOutput { destination, sink } = *output;
                let (report, compressed, sink) = dump_into(sink, self.level, writer, request, dialogue)?;
                let is_private = sink.is_private();
                let annotations = [
                    ("comment", self.comment),
                    ("host", Some(backend::host())),
                    ("status", Some(result::status(&report).to_owned())),
                    ("type", Some(report.dump_type.to_string())),
                ];
                let annotations = annotations.into_iter();
                let annotations = annotations.filter_map(|(name, text)| Some((name, text?)));
                let spooled = destination.commit(sink, annotations)?;
                warn_if_public(is_private, &spooled.path);
                Ok(Written {
                    report,
                    compressed,
                    spool: Some(spooled),
                })
            }
        }
    }
}

/// Dumps into a sink. Also returns the number of compressed bytes, if the dump is compressed.
fn dump_into<S: Sink>(
    mut sink: S,
    level: Option<i32>,
    writer: &mut dyn Writer,
    request: &Request,
    dialogue: RecordedDialogue<'_>,
) -> Result<(Report, Option<u64>, S), Error> {
    match level {
        None => {
            let report = dialogue.dump(writer, request, &mut ProgressSink::new(&mut sink))?;
            Ok((report, None, sink))
        }
        Some(level) => {
            let mut compressing = CompressedSink::new(sink, level)?;
            let report = dialogue.dump(writer, request, &mut ProgressSink::new(&mut compressing))?;
            let compressed = compressing.written();
            Ok((report, Some(compressed), compressing.into_inner()))
        }
    }
}

/// Says so if other users can read the dump.
fn warn_if_public(is_private: io::Result<bool>, path: &Path) {
    if is_private.is_ok_and(|is_private| !is_private) {
        print::complain(format_args!(
            "{}: other users may read the dump, because this file system does not keep permissions",
            path.display()
        ));
    }
}
