//! Policies on the command line: the options of `dump` and `explain`, and `dumpwright policy`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use dumpwright::Error;
use dumpwright::policy::{PolicyFile, Size};

use super::dump::CONTENTS;
use super::show::quiet_on_broken_pipe;

/// The end of the help of `dumpwright policy check`.
pub(super) const EXAMPLES: &str = "\
Examples:
  Check a policy, and see what it does:
      dumpwright policy check small.toml
  See how large a dump with this policy would be:
      dumpwright explain server --policy small.toml";

#[derive(Debug, Args)]
#[group(id = "policies", multiple = true)]
#[command(next_help_heading = CONTENTS)]
pub(super) struct PolicyArgs {
    /// Follow the policy in this file
    ///
    /// A policy says which threads, modules and memory are in the dump, what is overwritten, how
    /// large it may be, and how long it may take. What it says is combined with the other options.
    /// docs/policies.md describes the format, and docs/recipes.md has examples.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Limit the memory in the dump
    ///
    /// SIZE is a number of bytes, or a number with a unit, as in 64MiB or 4G. Stacks are kept
    /// first, then memory that a policy adds, then small regions before large ones. The result
    /// lists what was dropped. Threads and modules add about 1.3 KiB and 0.3 KiB each to the size
    /// of the dump.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<Size>,

    /// Overwrite the secrets in this file, wherever they are in the dump
    ///
    /// The file has one secret on each line: a text, or hex: followed by the digits of bytes. Empty
    /// lines and lines that begin with # are ignored. Only the owner may have access to the file
    /// (chmod 600). Texts in /proc streams and in names of handles are not overwritten.
    #[arg(long, value_name = "FILE")]
    redact: Option<PathBuf>,

    /// Make a small dump that can be uploaded
    ///
    /// It has the threads with their stacks, the memory around the addresses in registers, and
    /// modules without their folders, with at most 8 MiB of memory or that of --max-size. This is
    /// the preset for-upload; it replaces that of --policy. Stacks may have private data; see
    /// --redact, and the preset stack-traces.
    #[arg(long)]
    for_upload: bool,
}

impl PolicyArgs {
    /// The files that the options name.
    #[cfg(target_os = "linux")]
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.policy.iter().chain(&self.redact)
    }

    /// Returns the policy that the options describe, or `None` if there are none.
    pub(super) fn load(&self) -> Result<Option<PolicyFile>, Error> {
        let is_empty =
            self.policy.is_none() && self.max_size.is_none() && self.redact.is_none() && !self.for_upload;
        if is_empty {
            return Ok(None);
        }
        let mut policy = match &self.policy {
            Some(file) => PolicyFile::load(file).map_err(Error::Policy)?,
            None => PolicyFile::new(),
        };
        if self.for_upload {
            policy = policy.preset("for-upload").map_err(Error::InvalidRequest)?;
        }
        if let Some(limit) = self.max_size {
            policy = policy.max_size(limit);
        }
        if let Some(file) = &self.redact {
            policy = policy.secrets(file).map_err(Error::Policy)?;
        }
        Ok(Some(policy))
    }
}

/// The subcommands of `dumpwright policy`.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy file, and say what it does
    ///
    /// Prints what a dump with this policy has and lacks, and what limits it. The file of secrets
    /// is read as well; the secrets are not printed.
    #[command(after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_STATUS))]
    Check {
        /// The policy file
        file: PathBuf,
    },
}

/// Prints what a policy does.
///
/// # Errors
/// The policy has a mistake, or standard output cannot be written to.
pub(super) fn run(command: &PolicyCommand) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let PolicyCommand::Check { file } = command;
    let policy = PolicyFile::load(file)?;
    let mut out = io::stdout().lock();
    let mut print = || {
        for line in policy.describe() {
            writeln!(out, "{}", super::print::printable(&line))?;
        }
        out.flush()
    };
    quiet_on_broken_pipe(print())?;
    Ok(ExitCode::SUCCESS)
}
