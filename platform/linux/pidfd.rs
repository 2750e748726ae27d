//! References to processes that stay valid when a process id is used again (pidfd_open(2)).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use dumpwright_target::Fault;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::proc_dir::system_fault;

/// Sends signals to one process, and to no other that gets its id later.
///
/// It needs Linux 5.3.
#[derive(Debug)]
pub struct Signaller {
    pid: u32,
    process: OwnedFd,
}

impl Signaller {
    /// Opens the process with this id.
    ///
    /// # Errors
    /// There is no such process, or the system has no such references.
    pub fn open(pid: u32) -> Result<Self, Fault> {
        let process = open(pid);
        let process = process.map_err(|errno| system_fault(format!("open process {pid}"), &errno.into()))?;
        Ok(Self { pid, process })
    }

    /// Sends the signal with this number.
    ///
    /// # Errors
    /// The process has ended, or the system does not permit it.
    pub fn send(&self, signal: i32) -> Result<(), Fault> {
        let process = self.process.as_raw_fd();
        // SAFETY: the arguments are numbers and a null pointer, which stands for the facts that
        // kill(2) would send with the signal.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process,
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        let operation = || format!("send signal {signal} to process {}", self.pid);
        Errno::result(result)
            .map(drop)
            .map_err(|errno| system_fault(operation(), &errno.into()))
    }
}

/// Opens a reference to a process.
pub(crate) fn open(pid: u32) -> nix::Result<OwnedFd> {
    // SAFETY: the arguments are numbers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call has returned a new descriptor, which belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the process has ended, so that at most a zombie is left of it.
pub(crate) fn has_ended(process: &OwnedFd) -> nix::Result<bool> {
    let mut asked = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut asked, PollTimeout::ZERO).map(|ready| ready > 0)
}
