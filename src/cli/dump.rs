//! `dumpwright dump`: dumps a process.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dumpwright::native::sim::{Scenario, ScenarioError};
use dumpwright::native::{self, Outcome, Spawned};
use dumpwright::protocol::Symbols;
use dumpwright::target::{Fault, FaultKind};
use dumpwright::{DumpType, Error, FileSink, Profile, Report, Request, StreamSink, Target};

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
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Hold {
    /// Stopped while its facts and its memory are read
    Stop,
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
    let Hold::Stop = args.hold;
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
            let dialogue = dialogue(Symbols::live())?;
            output.write(&mut native::process(*pid)?, &request, dialogue)
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
    let elsewhere = (to_stdout || args.json).then(|| stderr.as_fd());
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
    let report = output.write(&mut program, &request, dialogue);
    if let Err(fault) = program.kill() {
        tracing::debug!(%fault, "the program could not be followed to its end");
    }
    report
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
        target: &mut dyn Target,
        request: &Request,
        dialogue: Dialogue<'_>,
    ) -> Result<Report, Error> {
        match self {
            Self::File(mut file) => {
                let report = dialogue.dump(target, request, &mut file)?;
                file.publish()?;
                Ok(report)
            }
            Self::Stdout => {
                let mut stdout = StreamSink::new(io::BufWriter::with_capacity(1 << 16, io::stdout().lock()));
                dialogue.dump(target, request, &mut stdout)
            }
        }
    }
}
