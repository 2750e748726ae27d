//! `dumpwright convert`: compresses the memory of a dump, or makes it plain again.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use dumpwright::convert::{MemoryForm, convert};

use super::backend;
use super::print;
use super::show::open;

#[derive(Debug, clap::Args)]
pub struct ConvertArgs {
    /// The dump to convert
    pub file: PathBuf,

    /// The new dump
    ///
    /// The file appears under its name only when it has been fully written.
    pub output: PathBuf,

    /// The form of the memory in the new dump
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: FormArg,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
}

/// The values of `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// As in a dump of the type with-full-memory, which most programs read
    Plain,
    /// As in a dump of the type with-memory-compressed
    Compressed,
}

/// Converts the dump and prints the result on standard output.
///
/// # Errors
///
/// The dump cannot be opened or converted, or the new one cannot be written.
pub fn run(args: &ConvertArgs) -> Result<ExitCode, Box<dyn Error>> {
    let dump = open(&args.file)?;
    let form = match args.to {
        FormArg::Plain => MemoryForm::Plain,
        FormArg::Compressed => MemoryForm::Compressed,
    };
    let mut file = backend::create_file(&args.output, args.force)?;
    let converted =
        convert(&dump, form, &mut file).map_err(|error| format!("{}: {error}", args.file.display()))?;
    file.publish()?;
    let mut text = format!(
        "{}: {} bytes, with {} bytes of memory\n",
        args.output.display(),
        converted.bytes,
        converted.memory_bytes
    );
    for note in converted.notes {
        text += &format!("  note: {note}\n");
    }
    match print::output(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
