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
use dumpwright::{CompressedSink, DumpType, Error, FileSink, Profile, Report, Request, Sink};

use super::backend::{self, BackendArg, BackendArgs, HoldArg, Writer};
use super::dialogue::{DialogueArgs, RecordedDialogue};
use super::policy::PolicyArgs;
use super::progress::ProgressSink;
use super::signals::{Unstoppable, survive_size_limit};
#[cfg(target_os = "linux")]
use super::spool::output::{SpoolOutput, Spooled};
use super::{FAILED, PARTIAL, UNPRINTED, USAGE, print, process, result};

// The groups of options in the help.
pub(super) const PROCESS: &str = "Process";
const OUTPUT: &str = "Output";
pub(super) const CONTENTS: &str = "Contents";
pub(super) const CALLBACK: &str = "Callback and compatibility";

/// The size in bytes of the largest user stream.
const LARGEST_STREAM: u64 = 256 << 20;

/// The time of `--after never`.
const NEVER: Duration = Duration::MAX;

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    source: SourceArg,

    /// Dump the program of --exec after this time, or never
    ///
    /// DURATION is a number of milliseconds, or a number with the unit ms or s, as in 500ms or 60s.
    /// With "never", the program is dumped only if it crashes.
    ///
    /// The program is dumped earlier if a signal (on Windows, an exception) is about to kill it. On
    /// Linux, a process that it has started is dumped instead if that one crashes. If the program
    /// and all of these processes end earlier, there is no dump.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "500ms",
        value_parser = delay,
        requires = "exec",
        conflicts_with_all = ["pid", "process", "scenario"],
        help_heading = PROCESS
    )]
    after: Duration,

    /// Write the dump to this file or folder, or to standard output if it is -
    ///
    /// In a folder, and without this option, the file has a name by the pattern of --name. The file
    /// appears under its name only when it has been fully written. An existing file is replaced
    /// only with --force. A device or a named pipe is written to directly.
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    #[cfg_attr(target_os = "linux", arg(required_unless_present_any = ["pid", "process", "spool"]))]
    #[cfg_attr(not(target_os = "linux"), arg(required_unless_present_any = ["pid", "process"]))]
    output: Option<PathBuf>,

    /// Write the dump into this spool, a folder with limits
    ///
    /// The folder is created if it does not exist. Its file spool.toml limits how many dumps are
    /// kept and how many bytes; old ones are removed to make room. A crash that is in the spool
    /// already is only counted. docs/spool.md describes the limits, and the command spool shows the
    /// dumps.
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "force"], help_heading = OUTPUT)]
    spool: Option<PathBuf>,

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
    name: String,

    /// Compress the dump while it is written: zstd, or zstd:LEVEL with a level from 1 to 19
    ///
    /// The default level is 1, the fastest one. The output can be read at any offset ("seekable
    /// format" of zstd). The commands show and check open it as it is; for other programs, zstd -d
    /// decompresses it.
    ///
    /// The dump is compressed by up to 6 threads. All memory of a full dump is compressed while the
    /// process is suspended, so a higher level suspends it for longer.
    #[arg(long, value_name = "METHOD", value_parser = compression, help_heading = OUTPUT)]
    compress: Option<i32>,

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
    dump_type: DumpType,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    dialogue: DialogueArgs,

    #[command(flatten)]
    backend: BackendArgs,

    /// Select whose behaviour to follow: documented, dbghelp63 or dbghelp10
    ///
    /// Where Microsoft's writer differs from its documentation, "documented" follows the
    /// documentation. "dbghelp63" follows DbgHelp 6.3.9600 as it was observed, and "dbghelp10" the
    /// DbgHelp of January 2026. Most users need only "documented". DEVIATIONS.md lists the
    /// differences.
    #[arg(long, value_name = "NAME", default_value = Profile::default().name(), help_heading = CALLBACK)]
    profile: Profile,

    /// Replace existing files
    ///
    /// This applies to the files of --output and --transcript. An existing file is not changed
    /// until the new one has been fully written.
    #[arg(long, help_heading = OUTPUT)]
    force: bool,

    /// Wait until the dump is on disk before it gets its name
    ///
    /// The dump is then complete even if the system crashes or loses power directly afterwards.
    /// Without this option, the system writes the file to the disk within about half a minute.
    #[arg(long, help_heading = OUTPUT)]
    sync: bool,

    /// Select how a live process is kept from changing while it is read
    ///
    /// The default is stop. On Linux, it is auto if there is a --max-pause.
    #[arg(long, value_enum, help_heading = PROCESS)]
    hold: Option<HoldArg>,

    /// End the clone of the process when it has existed for this long
    ///
    /// This applies to --hold clone and --hold auto on Linux. While the clone exists, the process
    /// needs more time and memory for what it writes. The dump is then partial (exit status 3), and
    /// the result lists what was not read by then, as with --max-pause.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "600s", help_heading = PROCESS)]
    max_clone: Duration,

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
    max_pause: Option<Duration>,

    /// Also dump memory that the program marked "do not dump"
    ///
    /// On Linux, programs mark such memory with madvise(MADV_DONTDUMP). Programs on Windows cannot
    /// mark memory.
    #[arg(long, help_heading = CONTENTS)]
    include_dontdump: bool,

    /// Add a comment, which debuggers show when they open the dump
    #[arg(long, value_name = "TEXT", help_heading = CONTENTS)]
    comment: Option<String>,

    /// Add a stream with this type and the contents of this file; may be repeated
    ///
    /// TYPE is a decimal number, or a hexadecimal one with the prefix 0x. Use 10 for a comment,
    /// and types above 0xffff for all other streams. If dumpwright itself writes a stream with a
    /// type above 0xffff, the added stream replaces it.
    #[arg(long, value_name = "TYPE=FILE", value_parser = user_stream, help_heading = CONTENTS)]
    user_stream: Vec<(u32, PathBuf)>,

    /// Write a ThreadExList instead of the ThreadList
    ///
    /// A ThreadExList also has the backing stores of the threads, which are the second stacks that
    /// Itanium processors have for registers. Most readers support only the ThreadList, so this
    /// option is meant for testing callbacks and readers.
    #[arg(long, help_heading = CONTENTS)]
    thread_ex: bool,

    /// Print the result as one JSON object instead of text
    ///
    /// The object is printed on standard output, or on standard error if the dump is written to
    /// standard output. docs/json.md describes it.
    #[arg(long, help_heading = OUTPUT)]
    json: bool,

    /// The program that --exec starts, and its arguments
    // clap does not report a missing required argument if that argument conflicts with one that was
    // given. The explicit conflicts make it report an error.
    #[arg(
        last = true,
        value_name = "CMD",
        requires = "exec",
        conflicts_with_all = ["pid", "process", "scenario"],
        help_heading = PROCESS
    )]
    command: Vec<OsString>,
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

    /// Start a program, dump it, and kill it even if it did not crash
    ///
    /// The program and its arguments follow after --. It is dumped when the time of --after has
    /// passed, or when a signal (on Windows, an exception) is about to kill it. Signals that the
    /// program handles or ignores reach it as usual. With --json, or if the dump is written to
    /// standard output, the program's standard output is redirected to standard error.
    ///
    /// On Linux, the processes that the program starts are watched as well. If one of them crashes
    /// (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP or SIGSYS), it is dumped instead. Like
    /// the program, they have no tracer but dumpwright, and set-user-ID has no effect on them. They
    /// are not killed with the program.
    #[arg(long, requires = "command", help_heading = PROCESS)]
    exec: bool,
}

impl DumpArgs {
    /// How a live process is held.
    fn hold(&self, policy: Option<&PolicyFile>) -> HoldArg {
        let has_limit = self.max_pause.is_some() || policy.is_some_and(PolicyFile::limits_pause);
        self.hold.unwrap_or_else(|| HoldArg::usual(has_limit))
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
    if !args.source.exec {
        survive_size_limit();
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
        let file = output(args, *pid);
        let status = run_one(args, *pid, &file, is_short);
        // A dump that is not there is worse than one that lacks something.
        const ORDER: [u8; 4] = [0, PARTIAL, UNPRINTED, FAILED];
        let rank = |status| ORDER.iter().position(|known| *known == status);
        worst = if rank(status) > rank(worst) { status } else { worst };
    }
    ExitCode::from(worst)
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
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Returns the file of the dump of this process.
fn output(args: &DumpArgs, pid: Option<u32>) -> PathBuf {
    let folder = match &args.output {
        Some(output) if pid.is_none() || !is_folder(output) => return output.clone(),
        Some(folder) => folder.clone(),
        None => PathBuf::new(),
    };
    #[cfg(target_os = "linux")]
    if let Some(folder) = &args.spool {
        return folder.join(name_in_spool(args, pid));
    }
    let pid = pid.unwrap_or_default();
    let program = backend::name_of(pid).unwrap_or_else(|| "process".to_owned());
    let mut name = process::file_name(&args.name, pid, &program, jiff::Timestamp::now());
    if args.compress.is_some() {
        name.push_str(".zst");
    }
    // Two dumps in one second are no reason to refuse the second one.
    match args.name.contains("%t") && !args.force {
        true => process::unused(&folder, &name),
        false => folder.join(name),
    }
}

/// Returns the name of a dump in a spool, which adds a number to it.
#[cfg(target_os = "linux")]
fn name_in_spool(args: &DumpArgs, pid: Option<u32>) -> String {
    let started = args
        .command
        .first()
        .and_then(|command| Path::new(command).file_name());
    let started = started.map(|name| name.to_string_lossy().into_owned());
    let program = pid.and_then(backend::name_of).or(started);
    // There is no process yet.
    let pattern = match pid {
        None => args.name.replace("%p.", ""),
        Some(_) => args.name.clone(),
    };
    let program = program.unwrap_or_else(|| "process".to_owned());
    process::file_name(
        &pattern,
        pid.unwrap_or_default(),
        &program,
        jiff::Timestamp::now(),
    )
}

/// Makes one dump and prints the result. Returns the exit status.
fn run_one(args: &DumpArgs, pid: Option<u32>, file: &Path, is_short: bool) -> u8 {
    let to_stdout = file.as_os_str() == "-";
    if let Some(pid) = pid {
        tracing::info!("dumping process {pid} to {}: {}", file.display(), args.dump_type);
    }
    let outcome = run_checked(args, pid, file, to_stdout);
    survive_size_limit();
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
pub(super) struct Written {
    pub(super) report: Report,
    /// The number of bytes in the file, if the dump is compressed.
    pub(super) compressed: Option<u64>,
    /// What came of a dump that was written into a spool.
    #[cfg(target_os = "linux")]
    pub(super) spool: Option<Spooled>,
}

impl Written {
    /// Returns the file of the dump. In a spool, `file` has another name, or there is only the dump
    /// that this one is a duplicate of.
    fn path<'a>(&'a self, file: &'a Path) -> &'a Path {
        #[cfg(target_os = "linux")]
        if let Some(spooled) = &self.spool {
            return &spooled.path;
        }
        file
    }
}

fn run_checked(args: &DumpArgs, pid: Option<u32>, file: &Path, to_stdout: bool) -> Result<Written, Error> {
    args.backend.check(args.source.scenario.is_none())?;
    let policy = args.policy.load()?;
    let names_threads = policy.as_ref().is_some_and(PolicyFile::names_threads);
    if names_threads && args.backend.of(args.source.scenario.is_none()) == BackendArg::Dbghelp {
        let reason =
            "the policy names threads, and DbgHelp does not provide their names; use --backend dumpwright";
        return Err(Error::InvalidRequest(reason.to_owned()));
    }
    let added = policy.as_ref().map_or(DumpType::NORMAL, PolicyFile::dump_type);
    let dump_type = args.dump_type | added;
    // Without these two checks, the errors would be found only after the process was suspended.
    dump_type.normalised()?;
    if args.dialogue.transcript.as_deref() == Some(file) {
        let reason = "--output and --transcript have the same name; give them different names";
        return Err(Error::InvalidRequest(reason.to_owned()));
    }
    let output = OutputArg::open(args, file, to_stdout)?;
    if compresses_memory(dump_type)
        && args.dialogue.asks_nobody()
        && output.file.sink().check_amend().is_err()
    {
        let reason = "with-memory-compressed (0x4000000) needs a file, because its header is written last; name a file with \
                      --output, or use --type with-full-memory --compress zstd";
        return Err(Error::InvalidRequest(reason.to_owned()));
    }
    let hold = args.hold(policy.as_ref());
    let request = match &policy {
        Some(policy) => policy.request(Request::new(dump_type)),
        None => Request::new(dump_type),
    };
    let dialogue = |symbols| RecordedDialogue::open(&args.dialogue, policy, symbols, args.force);
    let request = adjusted(request, args)?;
    match (pid, &args.source.scenario) {
        (Some(pid), _) => {
            let dialogue = dialogue(Symbols::live())?.of_process(pid)?;
            if let Some(file) = output.file.as_file()
                && dump_type.contains(DumpType::WITH_FULL_MEMORY)
            {
                backend::check_reader(file, pid)?;
            }
            let (mut process, announced) = backend::hold(&args.backend, pid, hold, &request)?;
            // With --json, standard error may be for the result.
            if let Some(text) = announced.filter(|_| !args.json) {
                print::complain(text);
            }
            output.write(&mut *process, &request, dialogue)
        }
        (None, Some(file)) => {
            let refused = |error: ScenarioError| {
                Fault::new(FaultKind::Malformed, "use the scenario", error.to_string())
            };
            let mut process = Scenario::load(file).map_err(refused)?;
            let dialogue =
                dialogue(Symbols::new().names_of(process.symbols().iter()))?.reading(process.clone());
            output.write(&mut process, &request, dialogue)
        }
        (None, None) => {
            let dialogue = dialogue(Symbols::live())?;
            exec(args, hold, request, output, dialogue, to_stdout)
        }
    }
}

/// Adds what the arguments say to a request. Reads the files of the user streams.
pub(super) fn adjusted(request: Request, args: &DumpArgs) -> Result<Request, Error> {
    let mut request = request
        .profile(args.profile)
        .find_crash(true)
        .thread_ex_list(args.thread_ex)
        .max_clone(args.max_clone);
    if args.include_dontdump {
        request = request.include_dont_dump(true);
    }
    if let Some(comment) = &args.comment {
        request = request.comment(comment);
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
fn compression(text: &str) -> Result<i32, String> {
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
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let milliseconds = match &text[digits.len()..] {
        "" | "ms" => Some(1),
        "s" => Some(1000),
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
fn exec(
    args: &DumpArgs,
    hold: HoldArg,
    request: Request,
    output: OutputArg,
    dialogue: RecordedDialogue<'_>,
    to_stdout: bool,
) -> Result<Written, Error> {
    // If standard output is for the dump or for JSON, the program must not write to it.
    let stderr = io::stderr();
    let elsewhere = (to_stdout || args.json).then(|| backend::standard_error(&stderr));
    let (name, arguments) = args.command.split_first().expect("required by --exec");
    let mut program = Spawned::start(name, arguments, elsewhere)?;
    // Earlier, the program would inherit the blocked signal.
    survive_size_limit();
    let request = match program.wait(args.after)? {
        Outcome::Elapsed => request,
        Outcome::Dying { .. } => match program.exception() {
            Some(exception) => request.exception(exception),
            None => request,
        },
        Outcome::Exited(how) => {
            let operation = format!("dump {}", Path::new(name).display());
            let fault = |reason| Fault::new(FaultKind::Gone, operation, reason);
            if args.after == NEVER {
                return Err(fault(format!("it ended without a crash ({how})")).into());
            }
            let reason = format!("it ended before the time of --after had passed ({how})");
            return Err(fault(reason).advise("give a shorter --after").into());
        }
    };
    // A process that the program started may have crashed instead.
    let dialogue = dialogue.of_process(program.process_id())?;
    let written = backend::dump_program(&args.backend, &mut program, hold, |writer| {
        output.write(writer, &request, dialogue)
    });
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
    fn of_spool(args: &DumpArgs, file: &Path) -> Result<Option<Self>, Error> {
        let Some(folder) = &args.spool else {
            return Ok(None);
        };
        let name = file.strip_prefix(folder).unwrap_or(file).to_string_lossy();
        let output = SpoolOutput::open(folder, &name, args.compress.is_some(), args.sync)?;
        Ok(Some(Self::Spool(Box::new(output))))
    }

    #[cfg(not(target_os = "linux"))]
    fn of_spool(_: &DumpArgs, _: &Path) -> Result<Option<Self>, Error> {
        Ok(None)
    }
}

impl OutputArg {
    fn open(args: &DumpArgs, file: &Path, to_stdout: bool) -> Result<Self, Error> {
        let file = if let Some(file) = OutputFile::of_spool(args, file)? {
            file
        } else if to_stdout {
            if io::stdout().is_terminal() {
                return Err(Error::InvalidRequest(
                    "standard output is a terminal; redirect it to a file or a pipe".to_owned(),
                ));
            }
            let stdout = backend::standard_output().map_err(Error::InvalidRequest)?;
            OutputFile::File(FileSink::onto(stdout).sync(args.sync))
        } else {
            OutputFile::File(backend::create_file(file, args.force)?.sync(args.sync))
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
