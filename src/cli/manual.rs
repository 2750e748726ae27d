//! `dumpwright completions` and `dumpwright man`: files for shells and for `man`.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use super::show::quiet_on_broken_pipe;

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for each command into this folder, instead of the first page to standard output
    folder: Option<PathBuf>,
}

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written to.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode, Box<dyn Error>> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dumpwright", &mut text);
    quiet_on_broken_pipe(io::stdout().lock().write_all(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the man page of the program, or writes all pages into a folder.
///
/// # Errors
/// The output cannot be written to.
pub fn man(args: &ManArgs) -> Result<ExitCode, Box<dyn Error>> {
    let cli = Cli::command().disable_help_subcommand(true);
    match &args.folder {
        None => {
            let mut page = Vec::new();
            Man::new(cli).render(&mut page)?;
            quiet_on_broken_pipe(io::stdout().lock().write_all(&page))?;
        }
        Some(folder) => {
            let failed = |error| format!("cannot write into {}: {error}", folder.display());
            clap_mangen::generate_to(cli, folder).map_err(failed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
