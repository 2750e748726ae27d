//! `dumpwright transcript`: shows and compares recorded dialogues.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use dumpwright::protocol::Transcript;

use super::{FAILED, print};

#[derive(Debug, Args)]
pub(super) struct TranscriptArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the dialogue, one line for each call of the callback
    Show {
        /// The transcript, a file of JSON lines
        file: PathBuf,
    },
    /// Print the first difference between two dialogues
    ///
    /// The exit status is 0 if the dialogues are equal, and 1 if they differ.
    Diff {
        /// The first transcript
        a: PathBuf,

        /// The second transcript
        b: PathBuf,

        /// Compare only the calls, not the answers and the results
        #[arg(long)]
        calls: bool,
    },
}

/// Prints what the arguments select.
///
/// # Errors
///
/// A transcript cannot be read, or standard output cannot be written to.
pub(super) fn run(args: &TranscriptArgs) -> Result<ExitCode, Box<dyn Error>> {
    let (text, status) = match &args.action {
        Action::Show { file } => (format!("{}\n", load(file)?), ExitCode::SUCCESS),
        Action::Diff { a, b, calls } => {
            let (first, second) = (load(a)?, load(b)?);
            let difference = match calls {
                true => first.question_difference(&second),
                false => first.difference(&second),
            };
            match difference {
                Some(difference) => (format!("{difference}\n"), ExitCode::from(FAILED)),
                None => {
                    let calls = first.entries.len();
                    (
                        format!("the dialogues are equal ({calls} calls)\n"),
                        ExitCode::SUCCESS,
                    )
                }
            }
        }
    };
    super::show::quiet_on_broken_pipe(print::output(&print::lines(&text)))?;
    Ok(status)
}

fn load(file: &Path) -> Result<Transcript, Box<dyn Error>> {
    Ok(Transcript::load(file)?)
}
