//! `dumpwright show`: shows what a dump contains.

mod json;
mod text;

use std::error::Error;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::adapter::strip_str;
use dumpwright::read::{CompressedMemory, Dump, LIST_LIMIT, ReadError};

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The dump to show, or - for standard input
    pub file: PathBuf,

    /// The part to show; without it, a summary of at most 50 lines
    #[arg(value_enum, conflicts_with_all = ["thread", "brief", "all", "json"])]
    pub view: Option<View>,

    /// Show this thread with its stack and registers; may be repeated
    #[arg(long, value_name = "ID")]
    pub thread: Vec<u32>,

    /// Show only what was dumped, the exception, and what is missing
    #[arg(long, conflicts_with_all = ["thread", "all", "json"])]
    pub brief: bool,

    /// Show everything that the file has, in the order of the format
    ///
    /// No other file is read, so there are no stack traces.
    #[arg(long, conflicts_with_all = ["thread", "json"])]
    pub all: bool,

    /// Print one JSON object instead of text
    ///
    /// Addresses, registers and flags are strings ("0x7f…"), because many JSON readers round large
    /// numbers. docs/json.md describes the object.
    #[arg(long, conflicts_with = "thread")]
    pub json: bool,

    /// Also look for the binaries of the process below this folder; may be repeated
    ///
    /// Stack traces need the binaries: programs, libraries and their debug files. They are read
    /// from where the process had them, if the same build is still there. For a dump from another
    /// machine or a container, name a copy of its root folder, or a folder that has the files.
    #[arg(long, value_name = "DIR")]
    pub binaries: Vec<PathBuf>,
}

/// The parts of a dump that can be shown by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum View {
    /// All threads with their stacks; equal stacks are shown once
    Threads,
    /// The modules with the identifiers of their files
    Modules,
    /// The captured memory, and the map of the address space
    Memory,
    /// Handles or file descriptors, and operations on them
    Handles,
    /// The exception with its stack and registers
    Exception,
    /// The header and the list of streams
    Streams,
    /// What is missing or was left out, and comments
    Losses,
}

/// Prints the contents of the dump on standard output.
///
/// # Errors
///
/// The file cannot be opened, it is not a minidump, it has no such thread, or standard output
/// cannot be written to.
pub fn run(args: &ShowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let dump = open(&args.file)?;
    let file = args.file.display().to_string();
    if args.json {
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = json::print(&mut out, &dump, &args.file.to_string_lossy(), &args.binaries);
        quiet_on_broken_pipe(printed.and_then(|()| out.flush()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    let mut shown = text::ShownDump::new(&dump, &file, &args.binaries);
    for id in &args.thread {
        if !shown.has_thread(*id) {
            return Err(
                format!("{file} has no thread {id}; \"show {file} threads\" lists the threads").into(),
            );
        }
    }
    let printed = match args.view {
        _ if args.all => text::all(&mut out, &dump, &file),
        _ if !args.thread.is_empty() => shown.threads(&mut out, &args.thread),
        Some(view) => shown.view(&mut out, view),
        None => shown.summary(&mut out, args.brief),
    };
    quiet_on_broken_pipe(printed.and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the summary of a dump that was just written.
pub(super) fn summarise(file: &Path) -> Result<(), Box<dyn Error>> {
    let dump = open(file)?;
    let name = file.display().to_string();
    let mut out = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    let printed = text::ShownDump::new(&dump, &name, &[]).summary(&mut out, false);
    quiet_on_broken_pipe(printed.and_then(|()| out.flush()))
}

/// Returns what `show --all` prints for a dump, without colours. `name` is the file's name.
pub(super) fn listing(dump: &Dump, name: &str) -> Result<String, Box<dyn Error>> {
    let mut text = Vec::new();
    text::all(&mut text, dump, name)?;
    Ok(strip_str(&String::from_utf8(text)?).to_string())
}

/// The maximum number of entries of each list that are shown.
const MOST_ENTRIES: u64 = LIST_LIMIT;

/// The maximum number of modules that are shown. No process has more objects
/// loaded.
const MOST_MODULES: u64 = 1 << 16;

/// The maximum size in bytes of a dump that is read from a pipe. All of it is kept in memory.
const LONGEST_PIPED: u64 = 2 << 30;

/// Opens a dump, or reads it from standard input if the path is `-`. The error includes the path of
/// the file.
pub(super) fn open(path: &Path) -> Result<Dump, Box<dyn Error>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let failed = |error| format!("cannot read standard input: {error}");
        let mut input = io::stdin().lock().take(LONGEST_PIPED + 1);
        input.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST_PIPED {
            return Err("standard input has more than 2 GiB; write the dump to a file first".into());
        }
        return Dump::from_bytes(bytes).map_err(|error| format!("standard input: {error}").into());
    }
    Dump::open(path).map_err(|error| match error {
        ReadError::Open { .. } => error.into(),
        _ => format!("{}: {error}", path.display()).into(),
    })
}

/// Turns a failed write to standard output into an error, except for a broken pipe: it is normal
/// that a program such as `head` closes the pipe early.
pub(super) fn quiet_on_broken_pipe(printed: io::Result<()>) -> Result<(), Box<dyn Error>> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("cannot write to standard output: {error}").into()),
        Ok(()) => Ok(()),
    }
}

/// Returns the value that was read. If reading failed, adds the error to `problems` and returns the
/// default value.
fn part<T: Default, E: std::fmt::Display>(problems: &mut Vec<String>, read: Result<T, E>) -> T {
    read.unwrap_or_else(|error| {
        problems.push(error.to_string());
        T::default()
    })
}

/// Returns the header of the compressed memory. Adds a problem if some of its bytes may be wrong.
fn compressed_memory(problems: &mut Vec<String>, dump: &Dump) -> Option<CompressedMemory> {
    let memory = part(problems, dump.compressed_memory())?;
    let buckets = part(problems, dump.iter_compressed_buckets().map(Some))?;
    let sizes = buckets.take(MOST_ENTRIES as usize).flatten();
    let sum: u64 = sizes.map(|bucket| u64::from(bucket.size)).sum();
    if memory.bytes_read < sum {
        problems.push(format!(
            "compressed memory: the writer could not read everything ({} bytes of {sum}), and did not mark what is missing; some \
             bytes may belong to another region",
            memory.bytes_read
        ));
    }
    Some(memory)
}
