//! `dumpwright crash-server`: dumps the program that has started it when that program crashes.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dumpwright::DumpType;
use dumpwright::crash::{ServerSettings, serve};

use super::dump;

#[derive(Debug, Args)]
pub(super) struct CrashServerArgs {
    /// The process id of the program
    #[arg(long, value_name = "PID", value_parser = dump::pid)]
    client: u32,

    /// Write the dump into this folder
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,

    /// Name the file of the dump by this pattern, as with dump --name
    // The server checks it, and tells the program.
    #[arg(long, value_name = "PATTERN", default_value = "%e.%p.%t.dmp")]
    name: String,

    /// Select what the dump contains, as with dump --type
    #[arg(long = "type", value_name = "LIST", default_value = "normal", value_parser = DumpType::parse)]
    dump_type: DumpType,

    /// Follow the policy in this file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Waits for the crash.
///
/// # Errors
/// The program did not start this process, the arguments are invalid, or there is no dump.
pub(super) fn run(args: &CrashServerArgs) -> Result<ExitCode, Box<dyn Error>> {
    serve(&ServerSettings {
        client: args.client,
        folder: args.dir.clone(),
        name: args.name.clone(),
        dump_type: args.dump_type,
        policy: args.policy.clone(),
    })?;
    Ok(ExitCode::SUCCESS)
}
