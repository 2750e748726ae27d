//! `core-handler serve`: cores that the kernel sends to a socket (`@` in `core_pattern`, Linux
//! 6.16).
//!
//! The kernel connects for each crash and sends the core, as it would write it to a pipe. Each
//! connection becomes the standard input of a handler of its own, which does the same as one that
//! the kernel has started.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use dumpwright::native;

use super::journal::Journal;
use super::settings::check;

/// The number of handlers that run at a time.
const MOST: usize = 16;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Listen on this socket, as core_pattern names it after @
    #[arg(value_name = "SOCKET")]
    socket: PathBuf,

    /// Options of core-handler, such as --dir or --type
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Handles crashes until the process is killed.
pub(super) fn run(args: &ServeArgs) -> Result<(), String> {
    check(&args.options, None)?;
    let listener = listen(&args.socket).map_err(|error| format!("{}: {error}", args.socket.display()))?;
    let running = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener
            .accept()
            .map_err(|error| format!("waiting for a crash: {error}"))?;
        if running.load(Ordering::Relaxed) >= MOST {
            // The kernel then writes no core, as with core_pipe_limit.
            Journal::open(None).say(&format!(
                "a process crashed, and there is no dump: {MOST} handlers run already"
            ));
            continue;
        }
        running.fetch_add(1, Ordering::Relaxed);
        let (running, options) = (Arc::clone(&running), args.options.clone());
        std::thread::spawn(move || {
            if let Err(error) = handle(stream, &options) {
                Journal::open(None).say(&format!("a process crashed, and there is no dump: {error}"));
            }
            running.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Starts to listen. A socket that an earlier server has left is replaced.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another server listens on it",
            ));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Only the kernel and root connect.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Runs a handler for a connection.
fn handle(stream: UnixStream, options: &[String]) -> io::Result<()> {
    // The kernel connects in the name of the crashed process.
    let pid = native::peer_of(&stream)?;
    let mut handler = Command::new("/proc/self/exe")
        .arg("core-handler")
        .args(options)
        .arg(format!("P={pid}"))
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(stream))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    handler.wait()?;
    Ok(())
}
