//! A crash handler: the crashing process hands its signal over to a server, which dumps it.
//!
//! * `on_signal.rs` is the signal handler. It runs in the crashed process, so it neither allocates
//!   nor takes a lock.
//! * `connection.rs` is the server's side. A server is started by [`install`], before any crash.
//! * `record.rs` has the messages between the two.
//! * `annotations.rs` is the memory for texts that the program adds to its dump.
//! * `signal_stack.rs` gives threads an alternate stack, without which a stack overflow cannot be
//!   handled.
//! * `raw.rs` makes system calls without the C library.
//!
//! **The server is not a child.** A program that waits for all its children must not wait for the
//! server. So the process that is started forks once more and ends, and the server is adopted by
//! `init`, or by another process that adopts orphans. If that is the program itself, as in a
//! container where it is process 1, its waits for any child can report the server.
//!
//! **The server ends with the program.** It waits for its socket and for the end of the program's
//! pidfd. A forked child of the program keeps the socket open, but has no server: the handler
//! compares the process id.

mod annotations;
mod connection;
mod on_signal;
mod raw;
mod record;
mod signal_stack;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dumpwright_target::{Fault, FaultKind};
use nix::sys::signal::{SigSet, SigmaskHow};

pub use self::annotations::{AnnotationError, annotate, remove_annotation};
pub use self::connection::{CrashConnection, CrashReport};
pub use self::signal_stack::SignalStack;

use self::on_signal::{HANDLER, Handover};
use self::record::{Reply, ReplyKind};

/// How long the server may take to start. It reads at most a policy file.
const START: Duration = Duration::from_secs(20);

/// A crash handler that is to be installed.
#[derive(Debug, Clone)]
pub struct CrashHandler {
    /// The server's program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// A variable in its environment, and the value.
    pub variable: Option<(&'static str, &'static str)>,
    /// How long a crashed process waits for its dump.
    pub limit: Duration,
    /// Whether the handler writes to standard error where the dump is, or why there is none.
    pub announces: bool,
}

/// Only one thread installs at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Starts the server and installs the handler in this process. The server of an earlier call ends.
///
/// # Errors
/// The server cannot be started, or it refuses its arguments, or the system refuses the handler.
/// Nothing is installed then, and an earlier handler stays as it was.
pub fn install(handler: &CrashHandler) -> Result<(), Fault> {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let (socket, server) = start(handler)?;
    let failed = |error: io::Error| fault(FaultKind::System, error.to_string());
    let stack = SignalStack::unless_present().map_err(failed)?;
    let (device, inode) = identity(&socket).map_err(failed)?;
    HANDLER.arm(&Handover {
        socket: socket.into_raw_fd(),
        device,
        inode,
        process: std::process::id().cast_signed(),
        tracer: if is_restricted() { server } else { 0 },
        limit: handler.limit,
        announces: handler.announces,
    });
    on_signal::install().map_err(failed)?;
    // This thread has it until it ends.
    std::mem::forget(stack);
    Ok(())
}

fn fault(kind: FaultKind, reason: impl Into<String>) -> Fault {
    Fault::new(kind, "install the crash handler", reason)
}

/// Whether this program was started with privileges that its user does not have (set-user-ID or
/// capabilities of its file), so that the user's environment is not to be trusted.
#[must_use]
pub fn is_privileged() -> bool {
    // SAFETY: getauxval takes a number and returns one.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether Yama lets only ancestors of a process trace it, unless the process names its tracer.
fn is_restricted() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.is_ok_and(|scope| scope.trim() == "1")
}

/// Starts the server, and waits until it is ready. Returns the socket to it, and its process id.
fn start(handler: &CrashHandler) -> Result<(OwnedFd, i32), Fault> {
    let system = |error: io::Error| fault(FaultKind::System, error.to_string());
    let (ours, theirs) = pair().map_err(system)?;
    let mut command = Command::new(&handler.program);
    command
        .args(&handler.arguments)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A folder that is in use cannot be unmounted.
        .current_dir("/")
        // Signals of a terminal end the program, and only then its server.
        .process_group(0);
    if let Some((name, value)) = handler.variable {
        command.env(name, value);
    }
    let before = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .map_err(|errno| system(errno.into()))?;
    let started = command.spawn();
    // Restoring a valid mask does not fail.
    let _ = before.thread_set_mask();
    let name = handler.program.display();
    let mut child = started.map_err(|error| {
        let advice = "name another program, or install dumpwright's command line";
        fault(
            FaultKind::System,
            format!("cannot start the server {name}: {error}"),
        )
        .advise(advice)
    })?;
    // The command has the server's end of the socket. Without this, its end would not be noticed.
    drop(command);
    let reply = receive(&ours, START);
    if !matches!(reply, Ok(Some(_))) {
        // It fails if it has ended.
        let _ = child.kill();
    }
    forget(child);
    let refused = |reason: String| fault(FaultKind::System, reason);
    match reply.map_err(system)? {
        Some(Reply {
            kind: ReplyKind::Ready,
            server,
            ..
        }) => Ok((ours, server)),
        Some(Reply { text, .. }) if !text.is_empty() => Err(refused(text)),
        Some(_) => Err(refused(format!(
            "the server {name} gave another answer than expected"
        ))),
        None => Err(refused(format!(
            "the program {name} ended, or did not answer within {} s; it is not a crash server",
            START.as_secs()
        ))),
    }
}

/// Waits for the end of the process that has started the server.
fn forget(mut child: Child) {
    // It fails if the program ignores SIGCHLD, or if another thread has waited for the process.
    let _ = child.wait();
}

/// Creates a pair of connected sockets that keep the boundaries of messages.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut both = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the call writes two descriptors into the array.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, both.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: they have just been opened, and nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(both[0]), OwnedFd::from_raw_fd(both[1])) })
}

/// Returns the numbers of device and inode by which a socket is recognised.
fn identity(socket: &OwnedFd) -> io::Result<(u64, u64)> {
    let found = nix::sys::stat::fstat(socket)?;
    Ok((found.st_dev, found.st_ino))
}

/// Receives a reply. Returns `None` if the other end is closed, if none comes in time, or if it
/// cannot be understood.
fn receive(socket: &OwnedFd, limit: Duration) -> io::Result<Option<Reply>> {
    let mut bytes = [0; Reply::SIZE];
    if !wait_readable(socket, limit)? {
        return Ok(None);
    }
    let received = raw::receive(socket.as_raw_fd(), &mut bytes);
    Ok(received.ok().and_then(|length| Reply::parse(&bytes[..length])))
}

/// Waits until a socket is readable or closed. Returns false if that takes too long.
fn wait_readable(socket: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let end = std::time::Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let mut watched = libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the call reads and writes one structure.
        match unsafe { libc::poll(&raw mut watched, 1, timeout) } {
            0 => return Ok(false),
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
