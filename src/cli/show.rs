//! `dumpwright show`: what a dump contains.

mod json;
mod text;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dumpwright::read::{Dump, ReadError};

/// Show what a dump contains
///
/// Streams, system, process, threads with their registers, modules with the ids of their symbols, memory, exception,
/// handles, and what the writer says it could not get. Parts of a damaged dump that can't be read are named.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The dump to show
    pub file: PathBuf,

    /// Print one JSON object instead of text
    ///
    /// Addresses and flags are strings ("0x7f…"), since many JSON readers round large numbers.
    #[arg(long)]
    pub json: bool,

    /// List every range of captured memory, and every region of the address space
    #[arg(long)]
    pub memory: bool,
}

/// Prints the contents of the file on standard output.
///
/// # Errors
///
/// The file can't be opened, or is no minidump at all.
pub fn run(args: &ShowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let dump = open(&args.file)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json {
        writeln!(out, "{:#}", json::object(&dump, &args.file.to_string_lossy()))
    } else {
        text::print(&mut out, &dump, &args.file.display().to_string(), args.memory)
    };
    quiet_on_broken_pipe(printed.and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

/// Opens a dump; the error names the file.
pub(super) fn open(path: &Path) -> Result<Dump, Box<dyn Error>> {
    Dump::open(path).map_err(|error| match error {
        ReadError::Open { .. } => error.into(),
        _ => format!("{}: {error}", path.display()).into(),
    })
}

/// A reader that has seen enough (`| head`) is no failure of ours.
pub(super) fn quiet_on_broken_pipe(printed: io::Result<()>) -> Result<(), Box<dyn Error>> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("cannot write to standard output: {error}").into()),
        Ok(()) => Ok(()),
    }
}

/// What a part of the dump came to: its value, or what is to be said about its absence.
fn part<T: Default, E: std::fmt::Display>(problems: &mut Vec<String>, read: Result<T, E>) -> T {
    read.unwrap_or_else(|error| {
        problems.push(error.to_string());
        T::default()
    })
}
