//! `dumpwright show`: shows what a dump contains.

mod bytes;
mod dialogue;
mod html;
mod json;
mod pager;
mod space;
mod text;

use std::error::Error;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::adapter::strip_str;
use dumpwright::read::{CompressedMemory, Dump, LIST_LIMIT, ReadError};

use super::{FAILED, print};

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The dump to show, or - for standard input; or a transcript
    pub file: PathBuf,

    /// The part to show; without it, a summary of at most 50 lines
    #[arg(value_enum, group = "shown")]
    pub view: Option<View>,

    /// Show this thread with its stack and registers; may be repeated
    #[arg(long, value_name = "ID", group = "shown")]
    pub thread: Vec<u32>,

    /// Show only what was dumped, the exception, and what is missing
    #[arg(long, group = "shown")]
    pub brief: bool,

    /// Show everything that the file has, in the order of the format
    ///
    /// No other file is read, so there are no stack traces.
    #[arg(long, group = "shown")]
    pub all: bool,

    /// Print one JSON object instead of text
    ///
    /// Addresses, registers and flags are strings ("0x7f…"), because many JSON readers round large
    /// numbers. docs/json.md describes the object.
    #[arg(long, group = "shown")]
    pub json: bool,

    /// Show the memory at this address
    ///
    /// The address may have a length in bytes (0x7f1000:64) or an end (0x7f1000-0x7f1040); without
    /// them, 256 bytes are shown. Bytes that the dump does not have are shown as ??.
    #[arg(long, value_name = "ADDRESS[:LENGTH]", group = "shown", value_parser = bytes::address)]
    pub address: Option<bytes::ShownRange>,

    /// Search the captured memory for a text (in UTF-8 and in UTF-16) or for bytes (hex:7f454c46)
    ///
    /// Each place is printed with what it belongs to. The exit status is 1 if there is none.
    #[arg(long, value_name = "TEXT|hex:BYTES", group = "shown")]
    pub search: Option<String>,

    /// Write a stream or captured memory into the file of --out
    ///
    /// A stream is named by its name or its type (ModuleListStream, 4), and memory by its range
    /// (0x7f1000:64, or 0x7f1000-0x7f1040).
    #[arg(long, value_name = "STREAM|RANGE", group = "shown", requires = "out", value_parser = bytes::export)]
    pub export: Option<bytes::Export>,

    /// The file that --export writes, or - for standard output
    #[arg(long, value_name = "FILE", requires = "export")]
    pub out: Option<PathBuf>,

    /// Write a page for a browser into this file, or - for standard output
    ///
    /// The page shows the address space as a picture, and everything else that people look for. It
    /// is one file, which needs no network and loads nothing. It has no memory of the process but
    /// registers, names and addresses, and only its owner can read it.
    #[arg(long, value_name = "OUT", group = "shown")]
    pub html: Option<PathBuf>,

    /// Replace an existing file of --html or --out
    #[arg(long)]
    pub force: bool,

    /// The transcript of the dump's dialogue with the callback, as dump --transcript writes it
    ///
    /// Shows the dialogue and what each answer does. With --html, the page shows it, and which
    /// memory the callback added.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["thread", "brief", "all", "json", "address", "search", "export"]
    )]
    pub transcript: Option<PathBuf>,

    /// Do not use a pager
    ///
    /// On a terminal, text is shown by the program that the environment variable PAGER names, or
    /// by less.
    #[arg(long)]
    pub no_pager: bool,

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
    /// The calls of the callback and what the answers do, from a transcript
    Dialogue,
}

/// Prints the contents of the dump on standard output.
///
/// # Errors
///
/// The file cannot be opened, it is not a minidump, it has no such thread, or the output cannot be
/// written to.
pub fn run(args: &ShowArgs) -> Result<ExitCode, Box<dyn Error>> {
    if args.html.is_none() && (args.view == Some(View::Dialogue) || args.transcript.is_some()) {
        return show_dialogue(args);
    }
    let dump = match open(&args.file) {
        Err(_) if args.view.is_none() && dialogue::is_transcript(&args.file) => return show_dialogue(args),
        opened => opened?,
    };
    let file = args.file.display().to_string();
    if args.json {
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = json::print(&mut out, &dump, &args.file.to_string_lossy(), &args.binaries);
        quiet_on_broken_pipe(printed.and_then(|()| out.flush()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = text::ShownDump::new(&dump, &file, &args.binaries);
    if let Some(page) = &args.html {
        return write_page(&mut shown, args, page);
    }
    if let (Some(export), Some(out)) = (&args.export, &args.out) {
        let size = bytes::write(&dump, export, out, args.force)?;
        if out.as_os_str() != "-" {
            let text = format!("{}: {size} bytes\n", out.display());
            quiet_on_broken_pipe(print::output(&text))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for id in &args.thread {
        if !shown.has_thread(*id) {
            return Err(
                format!("{file} has no thread {id}; \"show {file} threads\" lists the threads").into(),
            );
        }
    }
    let mut out = BufWriter::new(pager::TextOutput::new(!args.no_pager));
    let mut is_found = true;
    let printed = match args.view {
        _ if args.all => text::all(&mut out, &dump, &file),
        _ if !args.thread.is_empty() => shown.threads(&mut out, &args.thread),
        _ if args.address.is_some() || args.search.is_some() => {
            let printed = match (args.address, &args.search) {
                (Some(range), _) => bytes::print(&mut out, &dump, range),
                (None, Some(wanted)) => {
                    bytes::search(&mut out, &mut shown, wanted).map(|found| is_found = found)
                }
                (None, None) => Ok(()),
            };
            written(printed)?
        }
        Some(view) => shown.view(&mut out, view),
        None => shown.summary(&mut out, args.brief),
    };
    end(out, printed)?;
    Ok(match is_found {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FAILED),
    })
}

/// Separates errors of the output from others.
fn written(printed: Result<(), Box<dyn Error>>) -> Result<io::Result<()>, Box<dyn Error>> {
    match printed {
        Ok(()) => Ok(Ok(())),
        Err(error) => error.downcast::<io::Error>().map(|error| Err(*error)),
    }
}

/// Ends the output of text.
fn end(out: BufWriter<pager::TextOutput>, printed: io::Result<()>) -> Result<(), Box<dyn Error>> {
    match out.into_inner() {
        Ok(out) => out.finish(printed),
        Err(error) => {
            let (error, out) = error.into_parts();
            out.into_parts().0.finish(printed.and(Err(error)))
        }
    }
}

/// Prints the dialogue of a transcript.
fn show_dialogue(args: &ShowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let file = args.transcript.as_ref().unwrap_or(&args.file);
    if args.transcript.is_none() && file.as_os_str() != "-" && !dialogue::is_transcript(file) {
        // This is an error if the file cannot be read or is something else.
        open(file)?;
        return Err(format!(
            "{} is a dump, and a dump does not have the dialogue; name the transcript with --transcript",
            file.display()
        )
        .into());
    }
    let transcript = dialogue::load(file)?;
    let mut out = BufWriter::new(pager::TextOutput::new(!args.no_pager));
    let printed = dialogue::print(&mut out, &transcript);
    end(out, printed)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page and prints its size.
fn write_page(
    shown: &mut text::ShownDump<'_>,
    args: &ShowArgs,
    page: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let transcript = args.transcript.as_deref().map(dialogue::load).transpose()?;
    if let Some(size) = html::write(shown, transcript.as_ref(), page, args.force)? {
        let text = format!("{}: page, {}\n", page.display(), indicatif::HumanBytes(size));
        quiet_on_broken_pipe(print::output(&text))?;
    }
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
