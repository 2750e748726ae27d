//! `dumpwright dump`: dumps a process.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
#[cfg(unix)]
use std::os::fd::{AsFd as _, BorrowedFd as Borrowed};
#[cfg(windows)]
use std::os::windows::io::{AsHandle as _, BorrowedHandle as Borrowed};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
#[cfg(windows)]
use dumpwright::Target;
use dumpwright::native::sim::{Scenario, ScenarioError};
use dumpwright::native::{self, Outcome, Spawned};
use dumpwright::protocol::Symbols;
use dumpwright::target::{Fault, FaultKind};
use dumpwright::{DumpType, Error, FileSink, Profile, Report, Request, StreamSink};

#[cfg(windows)]
use super::backend::{Backend, System};
use super::backend::{BackendArgs, Writer};
use super::dialogue::{Dialogue, DialogueArgs};
use super::{FAILED, result};

/// The dump lacks something; it was written.
const PARTIAL: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    source: Source,

    /// How long --exec lets the program run before it is dumped, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 500,
        requires = "exec",
        conflicts_with_all = ["pid", "scenario"]
    )]
    after: u64,

    /// Where the dump goes; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What is to be in it: presets, flag names or 0xHEX, separated by commas
    ///
    /// Presets are normal, mini, triage, heap and full; flag names are those of MINIDUMP_TYPE, as in
    /// with-full-memory.
    #[arg(long = "type", value_name = "LIST", default_value = "normal", value_parser = DumpType::parse)]
    dump_type: DumpType,

    #[command(flatten)]
    dialogue: DialogueArgs,

    #[command(flatten)]
    backend: BackendArgs,

    /// Whose behaviour to follow: documented, or DbgHelp's as observed (dbghelp63, dbghelp10)
    #[arg(long, value_name = "NAME", default_value = Profile::default().name())]
    profile: Profile,

    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,

    /// How the process is held
    #[arg(long, value_enum, default_value_t = Hold::Stop)]
    hold: Hold,

    /// Dump also memory that the program marked "do not dump"
    #[arg(long)]
    include_dontdump: bool,

    /// A comment that debuggers show when they open the dump
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,

    /// Add a stream of one's own: its type (10 for a comment, or above 0xffff) and the file with its bytes; may be repeated
    #[arg(long, value_name = "TYPE=FILE", value_parser = user_stream)]
    user_stream: Vec<(u32, PathBuf)>,

    /// List the threads with their backing stores, in a ThreadExList in place of the ThreadList
    #[arg(long)]
    thread_ex: bool,

    /// Print the result as one JSON object (on standard error if the dump goes to standard output)
    #[arg(long)]
    json: bool,

    /// The program to start, for --exec
    // Of a requirement that another source rules out, clap says nothing; hence the conflict.
    #[arg(last = true, value_name = "CMD", requires = "exec", conflicts_with_all = ["pid", "scenario"])]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Dump the process with this id
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pid: Option<u32>,

    /// Dump the simulated process that this file describes
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Start a program, dump it after a while or when a signal is about to kill it, then end it
    #[arg(long, requires = "command")]
    exec: bool,
}

/// How a live process is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hold {
    /// Stopped while its facts and its memory are read
    Stop,
    /// Copied in a moment, and the copy is read while it runs on (Windows 8.1 and later; else it is stopped)
    #[cfg(windows)]
    Clone,
}

/// Dumps what the arguments say, and says what came of it.
pub(super) fn run(args: &DumpArgs) -> ExitCode {
    let to_stdout = args.output.as_os_str() == "-";
    let outcome = run_checked(args, to_stdout);
    let text = match &outcome {
        Ok(report) if args.json => format!("{}\n", result::success_json(&args.output, report)),
        Ok(report) => result::success_text(&args.output, report),
        Err(error) if args.json => format!("{}\n", result::failure_json(&args.output, error)),
        Err(_) => String::new(),
    };
    if to_stdout {
        eprint!("{text}");
    } else {
        print!("{text}");
    }
    match outcome {
        Ok(report) if report.is_complete() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(PARTIAL),
        Err(error) => {
            if !(args.json && to_stdout) {
                eprintln!("dumpwright: {error}");
            }
            ExitCode::from(FAILED)
        }
    }
}

fn run_checked(args: &DumpArgs, to_stdout: bool) -> Result<Report, Error> {
    args.backend.check(args.source.scenario.is_none())?;
    // Both would only be found out when the process has been disturbed already.
    args.dump_type.normalised()?;
    if args.dialogue.transcript.as_ref() == Some(&args.output) {
        let reason = "the dump and its transcript are to have the same name; give them different ones";
        return Err(Error::InvalidRequest(reason.to_owned()));
    }
    let output = Output::open(&args.output, to_stdout, args.force)?;
    let dialogue = |symbols| Dialogue::open(&args.dialogue, symbols, args.force);
    let mut request = Request::new(args.dump_type)
        .profile(args.profile)
        .thread_ex_list(args.thread_ex)
        .include_dont_dump(args.include_dontdump);
    if let Some(comment) = &args.comment {
        request = request.comment(comment);
    }
    for (stream_type, file) in &args.user_stream {
        let bytes = std::fs::read(file).map_err(|error| {
            Error::InvalidRequest(format!(
                "the user stream {} cannot be read: {error}",
                file.display()
            ))
        })?;
        request = request.user_stream(*stream_type, bytes);
    }
    match &args.source {
        Source { pid: Some(pid), .. } => {
            // Who runs this elevated means to dump whatever process.
            #[cfg(windows)]
            native::use_debug_privilege();
            let dialogue = dialogue(Symbols::live())?;
            #[cfg(windows)]
            if let Some(mut system) = system(args, *pid)? {
                return output.write(&mut system, &request, dialogue);
            }
            output.write(&mut live(*pid, args.hold)?, &request, dialogue)
        }
        Source {
            scenario: Some(file), ..
        } => {
            let refused = |error: ScenarioError| {
                Fault::new(FaultKind::Malformed, "read the scenario", error.to_string())
            };
            let mut process = Scenario::load(file).map_err(refused)?;
            let dialogue =
                dialogue(Symbols::new().names_of(process.symbols().iter()))?.reading(process.clone());
            output.write(&mut process, &request, dialogue)
        }
        _ => exec(args, request, output, dialogue(Symbols::live())?, to_stdout),
    }
}

/// The live process with this id.
fn live(pid: u32, hold: Hold) -> Result<native::Process, Fault> {
    let process = native::process(pid)?;
    match hold {
        Hold::Stop => Ok(process),
        #[cfg(windows)]
        Hold::Clone => {
            let mut process = process;
            process.hold_clone(true);
            Ok(process)
        }
    }
}

/// The system's DbgHelp for the process with this id, if that is to dump it.
#[cfg(windows)]
fn system(args: &DumpArgs, pid: u32) -> Result<Option<System>, Error> {
    if args.backend.of(true) != Backend::Dbghelp {
        return Ok(None);
    }
    System::open(&args.backend, pid, args.hold == Hold::Clone).map(Some)
}

/// A stream of the user's own: `TYPE=FILE`.
fn user_stream(text: &str) -> Result<(u32, PathBuf), String> {
    let refusal = || format!("expected TYPE=FILE, as in 0x10001=notes.txt, found \"{text}\"");
    let (number, file) = text.split_once('=').ok_or_else(refusal)?;
    let stream_type = match number.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    Ok((stream_type.map_err(|_| refusal())?, file.into()))
}

/// Starts the program, dumps it when its time has come, and ends it.
fn exec(
    args: &DumpArgs,
    request: Request,
    output: Output,
    dialogue: Dialogue<'_>,
    to_stdout: bool,
) -> Result<Report, Error> {
    // Standard output carries the dump or the result, and nothing else.
    let stderr = io::stderr();
    let elsewhere = (to_stdout || args.json).then(|| borrow(&stderr));
    let (name, arguments) = args.command.split_first().expect("required by --exec");
    let mut program = Spawned::start(name, arguments, elsewhere)?;
    let request = match program.wait(Duration::from_millis(args.after))? {
        Outcome::Elapsed => request,
        Outcome::Dying { .. } => match program.exception() {
            Some(exception) => request.exception(exception),
            None => request,
        },
        Outcome::Exited(how) => {
            let operation = format!("dump {}", Path::new(name).display());
            return Err(Fault::new(
                FaultKind::Gone,
                operation,
                format!("it ended before its time ({how})"),
            )
            .advise("give a shorter --after")
            .into());
        }
    };
    #[cfg(windows)]
    program.hold_clone(args.hold == Hold::Clone);
    #[cfg(windows)]
    let report = match system(args, program.process_id()) {
        Ok(Some(mut system)) => output.write(&mut system, &request, dialogue),
        Ok(None) => output.write(&mut program, &request, dialogue),
        Err(error) => Err(error),
    };
    #[cfg(not(windows))]
    let report = output.write(&mut program, &request, dialogue);
    if let Err(fault) = program.kill() {
        tracing::debug!(%fault, "the program could not be followed to its end");
    }
    report
}

/// Standard error as the system knows it.
fn borrow(stderr: &io::Stderr) -> Borrowed<'_> {
    #[cfg(unix)]
    return stderr.as_fd();
    #[cfg(windows)]
    return stderr.as_handle();
}

/// Where the dump goes.
enum Output {
    File(FileSink),
    Stdout,
}

impl Output {
    fn open(path: &Path, to_stdout: bool, force: bool) -> Result<Self, Error> {
        if !to_stdout {
            return FileSink::create(path, force).map(Self::File);
        }
        if io::stdout().is_terminal() {
            return Err(Error::InvalidRequest(
                "a dump is not for terminals; redirect standard output".to_owned(),
            ));
        }
        Ok(Self::Stdout)
    }

    fn write(
        self,
        writer: &mut dyn Writer,
        request: &Request,
        dialogue: Dialogue<'_>,
    ) -> Result<Report, Error> {
        match self {
            Self::File(mut file) => {
                let report = dialogue.dump(writer, request, &mut file)?;
                file.publish()?;
                Ok(report)
            }
            Self::Stdout => {
                let mut stdout = StreamSink::new(io::BufWriter::with_capacity(1 << 16, io::stdout().lock()));
                dialogue.dump(writer, request, &mut stdout)
            }
        }
    }
}
