//! The server's side: it waits for the crash of one process, its client.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use dumpwright_target::{Exception, Fault, FaultKind};
use nix::sys::signal::SigSet;

use super::raw;
use super::record::{self, CRASH_SIZE, Reply, ReplyKind};

/// How many messages that are none a client may send.
const PATIENCE: u32 = 16;

/// The connection of a server to its client.
#[derive(Debug)]
pub struct CrashConnection {
    client: u32,
    socket: OwnedFd,
    /// It is readable when the client has ended. Linux 5.3 has such descriptors.
    end: Option<OwnedFd>,
}

/// What a client reports about its crash.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashReport {
    /// The process that has crashed.
    pub process_id: u32,
    /// The signal, its thread and the registers at that moment.
    pub exception: Exception,
    /// The texts that the program has set: keys and values.
    pub annotations: Vec<(String, String)>,
}

impl CrashConnection {
    /// Becomes the server of the process with this id, which has started this process. Standard
    /// input is the socket.
    ///
    /// The calling process must have no other threads. All descriptors but the standard ones are
    /// closed, and the process continues as an orphan with another id.
    ///
    /// # Errors
    /// This process was not started by a crash handler, or the client has ended already.
    pub fn accept(client: u32) -> Result<Self, Fault> {
        let operation = format!("serve process {client}");
        let refused = |reason: &str| Fault::new(FaultKind::System, operation.clone(), reason);
        let system = |error: io::Error| refused(&error.to_string());
        close_inherited();
        let socket = io::stdin().as_fd().try_clone_to_owned().map_err(system)?;
        if !keeps_boundaries(&socket) {
            let reason = "standard input is not the socket of a crash handler; programs start this server by \
                          themselves when they install one";
            return Err(refused(reason));
        }
        let end = descriptor_of(client);
        // As long as its parent has the id, the descriptor is that of the parent.
        if nix::unistd::getppid().as_raw().cast_unsigned() != client {
            return Err(Fault::new(FaultKind::Gone, operation, "it has ended"));
        }
        become_orphan().map_err(system)?;
        // A program that ignores the signal passes this on.
        // SAFETY: the default action is no handler of this process.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        // Only SIGKILL ends the server before its client.
        let _ = SigSet::all().thread_block();
        Ok(Self { client, socket, end })
    }

    /// Tells the client that the server is ready.
    ///
    /// # Errors
    /// The client has ended.
    pub fn ready(&self) -> Result<(), Fault> {
        self.send(ReplyKind::Ready, "")
    }

    /// Tells the client why the server cannot serve it.
    pub fn refuse(&self, reason: &str) {
        // If the client has ended, nobody wants to know.
        let _ = self.send(ReplyKind::Refused, reason);
    }

    /// Tells the client that the dump is there, or why there is none. The client then dies.
    pub fn answer(&self, text: &str) {
        // The client may not have waited for it.
        let _ = self.send(ReplyKind::Done, text);
    }

    fn send(&self, kind: ReplyKind, text: &str) -> Result<(), Fault> {
        let reply = Reply {
            kind,
            server: std::process::id().cast_signed(),
            text: text.to_owned(),
        };
        let bytes = reply.to_bytes();
        let piece = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: the bytes live until the call has returned.
        let sent = unsafe { raw::send(self.socket.as_raw_fd(), &[piece]) };
        sent.map(drop).map_err(|error| {
            let error = io::Error::from_raw_os_error(error.0);
            let operation = format!("answer process {}", self.client);
            Fault::new(FaultKind::Gone, operation, error.to_string())
        })
    }

    /// Waits for a crash of the client. Returns `None` if the client ends without one.
    ///
    /// # Errors
    /// The system refuses to wait.
    pub fn wait(&self) -> Result<Option<CrashReport>, Fault> {
        let mut message = vec![0; CRASH_SIZE + 1];
        for _ in 0..PATIENCE {
            if !self.wait_for_message()? {
                return Ok(None);
            }
            let received = raw::receive(self.socket.as_raw_fd(), &mut message);
            // The other end is closed, by the end of the client or by its program.
            let Some(length) = received.ok().filter(|length| *length > 0) else {
                return Ok(None);
            };
            if let Some((exception, annotations)) = record::parse(&message[..length]) {
                return Ok(Some(CrashReport {
                    process_id: self.client,
                    exception,
                    annotations,
                }));
            }
            tracing::debug!(client = self.client, length, "this is not a report of a crash");
        }
        Ok(None)
    }

    /// Waits until there is a message, or the socket is closed. Returns false if the client has
    /// ended.
    fn wait_for_message(&self) -> Result<bool, Fault> {
        let watch = |descriptor: Option<&OwnedFd>| libc::pollfd {
            fd: descriptor.map_or(-1, AsRawFd::as_raw_fd),
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            let mut watched = [watch(Some(&self.socket)), watch(self.end.as_ref())];
            // SAFETY: the call reads and writes two structures.
            match unsafe { libc::poll(watched.as_mut_ptr(), 2, -1) } {
                1.. => return Ok(watched[0].revents != 0),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        let operation = format!("wait for process {}", self.client);
                        return Err(Fault::new(FaultKind::System, operation, error.to_string()));
                    }
                }
            }
        }
    }
}

/// Closes all descriptors but the standard ones. The program's files must not stay open because of
/// the server: a reader of a pipe waits for its end.
fn close_inherited() {
    // SAFETY: the caller has no open files yet. Linux 5.9 has the call.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } == 0 {
        return;
    }
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<libc::c_int> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: as above. The list has one descriptor that is closed already.
        unsafe { libc::close(descriptor) };
    }
}

/// Whether the descriptor is a socket that keeps the boundaries of messages.
fn keeps_boundaries(socket: &OwnedFd) -> bool {
    let mut kind: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    let into = (&raw mut kind).cast();
    // SAFETY: the call writes at most `size` bytes, an integer.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            into,
            &raw mut size,
        )
    };
    asked == 0 && kind == libc::SOCK_SEQPACKET
}

/// Returns a descriptor of a process, if the system has such descriptors.
fn descriptor_of(process: u32) -> Option<OwnedFd> {
    // SAFETY: the call takes two numbers. The descriptor is closed in programs that are started.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    let opened = i32::try_from(opened).ok().filter(|opened| *opened >= 0)?;
    // SAFETY: it has just been opened, and nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Continues in a forked process, whose parent ends at once.
fn become_orphan() -> io::Result<()> {
    // SAFETY: there is one thread, so the child has all of this process. The parent leaves without
    // running anything that is registered for its end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: the call takes nothing. The server is no process of the program's terminal.
            unsafe { libc::setsid() };
            Ok(())
        }
        _ => {
            // SAFETY: the call ends this process.
            unsafe { libc::_exit(0) }
        }
    }
}

/// What these tests would catch: a server that waits for ever, or that fails because of what a
/// client sends.
#[cfg(test)]
mod tests {
    use super::super::record::CrashHead;
    use super::*;

    fn connected() -> (OwnedFd, CrashConnection) {
        let (client, socket) = super::super::pair().expect("sockets");
        let server = CrashConnection {
            client: std::process::id(),
            socket,
            end: None,
        };
        (client, server)
    }

    fn send(socket: &OwnedFd, bytes: &[u8]) {
        let piece = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: the bytes outlive the call.
        unsafe { raw::send(socket.as_raw_fd(), &[piece]) }.expect("the other end is open");
    }

    #[test]
    fn other_messages_are_ignored() {
        let (client, server) = connected();
        let mut crash = vec![0; CRASH_SIZE];
        crash[..8].copy_from_slice(b"dwcrash1");
        crash[8] = 5;
        crash[CrashHead::SIZE] = 6;
        for other in [
            &b"x"[..],
            &crash[1..],
            &[0xff; 4096],
            &[&crash[..], b"more"].concat(),
        ] {
            send(&client, other);
        }
        send(&client, &crash);
        let report = server.wait().expect("it can wait").expect("a crash");
        assert_eq!((report.exception.thread_id, report.exception.code), (5, 6));
        server.answer("there");
        let mut bytes = [0; Reply::SIZE];
        let length = raw::receive(client.as_raw_fd(), &mut bytes).expect("an answer");
        assert!(record::is_reply(&bytes[..length], ReplyKind::Done));
        assert_eq!(record::reply_text(&bytes[..length]), b"there");
    }

    #[test]
    fn a_client_without_sense_is_left() {
        let (client, server) = connected();
        for _ in 0..PATIENCE {
            send(&client, b"x");
        }
        assert_eq!(server.wait().expect("it can wait"), None);
    }

    #[test]
    fn the_end_of_the_client_is_the_end() {
        let (client, server) = connected();
        drop(client);
        assert_eq!(server.wait().expect("it can wait"), None);
        server.answer("nobody reads this");

        // The socket stays open in a forked child.
        let (_client, mut server) = connected();
        let mut ends = std::process::Command::new("true").spawn().expect("it starts");
        server.end = descriptor_of(ends.id());
        assert!(server.end.is_some(), "the kernel has such descriptors");
        assert_eq!(server.wait().expect("it can wait"), None);
        ends.wait().expect("it is a child");
    }
}
