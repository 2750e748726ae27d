//! `dumpwright record`: describes a live process as a scenario.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use dumpwright::sim::{Scenario, describe};
use dumpwright::{Sink, native};

use super::case::SCENARIO;
use super::{backend, print};

#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// The id of the process
    #[arg(value_name = "PID")]
    pid: u32,

    /// The folder of the case; it is created if it does not exist
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,

    /// Also record what is on the stacks: up to 16 KiB of each, and 2 MiB of all
    ///
    /// Without this option, all memory is zero in the scenario. It still has the names of threads
    /// and files, and the general registers.
    #[arg(long)]
    stacks: bool,

    /// Replace an existing scenario
    #[arg(long)]
    force: bool,
}

/// Writes the scenario.
///
/// # Errors
///
/// The process cannot be read, or the file cannot be written.
pub(super) fn run(args: &RecordArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = &args.output;
    if !folder.is_dir() {
        std::fs::create_dir(folder)
            .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    // Names and registers are as private as a dump.
    let mut file = backend::create_file(&folder.join(SCENARIO), args.force)?;
    let text = describe(&mut native::process(args.pid)?, args.stacks)?;
    Scenario::parse(&text, SCENARIO)
        .map_err(|error| format!("process {} cannot be described as a scenario: {error}", args.pid))?;
    file.append(0, text.as_bytes()).and_then(|()| file.finish())?;
    file.publish()?;
    print::output(&print::lines(&format!(
        "{}: process {}\nrun it: dumpwright rehearse {}\n",
        folder.join(SCENARIO).display(),
        args.pid,
        folder.display(),
    )))?;
    Ok(ExitCode::SUCCESS)
}
