//! `dumpwright show`: shows what a dump contains.

mod json;
mod text;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dumpwright::read::{CompressedMemory, Dump, LIST_LIMIT, ReadError};

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The dump to show
    pub file: PathBuf,

    /// Print one JSON object instead of text
    ///
    /// Addresses, registers and flags are strings ("0x7f…"), because many JSON readers round large
    /// numbers. docs/json.md describes the object.
    #[arg(long)]
    pub json: bool,

    /// List every range of captured memory and every region of the address space
    ///
    /// By default, only their numbers and the total size of the captured memory are printed. The
    /// JSON object always lists them.
    #[arg(long)]
    pub memory: bool,
}

/// Prints the contents of the dump on standard output.
///
/// # Errors
///
/// The file cannot be opened, it is not a minidump, or standard output cannot be written to.
pub fn run(args: &ShowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let dump = open(&args.file)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json {
        json::print(&mut out, &dump, &args.file.to_string_lossy())
    } else {
        text::print(&mut out, &dump, &args.file.display().to_string(), args.memory)
    };
    quiet_on_broken_pipe(printed.and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

/// The maximum number of entries of each list that are shown.
const MOST_ENTRIES: u64 = LIST_LIMIT;

/// The maximum number of modules that are shown. No process has more objects
/// loaded.
const MOST_MODULES: u64 = 1 << 16;

/// Opens a dump. The error includes the path of the file.
pub(super) fn open(path: &Path) -> Result<Dump, Box<dyn Error>> {
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
