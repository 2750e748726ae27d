//! `dumpwright guard`: the guardian of a temporary file. `dumpwright dump` starts it.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

/// The number of milliseconds between two looks at the parent.
const INTERVAL: u16 = 200;

/// Wait for the end of standard input or of the parent, and remove temporary files
///
/// Nothing is removed if standard input contains a byte.
#[derive(Debug, clap::Args)]
pub struct GuardArgs {
    /// The process id of the parent
    #[arg(long, value_name = "PID")]
    parent: Option<i32>,

    /// A file that is removed only if it is empty
    #[arg(long, value_name = "FILE")]
    if_empty: Option<OsString>,

    /// The files
    #[arg(last = true, value_name = "FILE")]
    files: Vec<OsString>,
}

/// Waits and removes the files.
///
/// # Errors
/// If standard input cannot be read.
pub fn run(args: &GuardArgs) -> Result<ExitCode, Box<dyn Error>> {
    if !is_abandoned(args)? {
        return Ok(ExitCode::SUCCESS);
    }
    let empty = args.if_empty.iter().filter(|file| is_empty(file.as_ref()));
    for file in args.files.iter().chain(empty) {
        // In most cases the file does not exist any more.
        drop(fs::remove_file(file));
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for a byte on standard input, for its end, or for the end of the parent. Returns false in
/// the first case.
///
/// The end of standard input alone is not enough. A process that the dumper has forked, and that
/// survives it, keeps the pipe open.
fn is_abandoned(args: &GuardArgs) -> io::Result<bool> {
    let mut input = io::stdin().lock();
    let is_orphan = || {
        args.parent
            .is_some_and(|parent| nix::unistd::getppid().as_raw() != parent)
    };
    loop {
        let is_ready = {
            let mut watched = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, INTERVAL) {
                Err(Errno::EINTR) => false,
                ready => ready? > 0,
            }
        };
        if is_ready {
            return Ok(input.read(&mut [0])? == 0);
        }
        if is_orphan() {
            return Ok(true);
        }
    }
}

fn is_empty(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() == 0)
}
