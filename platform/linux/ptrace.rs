//! The requests of ptrace(2) that `nix` does not have, or has only for signals that have a name.
//!
//! All of them are valid only on the thread that attached to `tid`; elsewhere the kernel answers ESRCH.
//! None writes registers or memory of the target.

use libc::{c_long, c_uint, c_void, pid_t};
use nix::errno::Errno;
use nix::unistd::Pid;

/// A thread id as `nix` wants it.
pub(crate) fn pid(tid: u32) -> Pid {
    Pid::from_raw(tid.cast_signed())
}

/// Attaches without stopping (`PTRACE_SEIZE`), with options as bits.
pub(crate) fn seize(tid: u32, options: i32) -> nix::Result<()> {
    nix::sys::ptrace::seize(pid(tid), nix::sys::ptrace::Options::from_bits_retain(options))
}

/// Asks for a stop (`PTRACE_INTERRUPT`).
pub(crate) fn interrupt(tid: u32) -> nix::Result<()> {
    nix::sys::ptrace::interrupt(pid(tid))
}

/// Lets go of a stopped thread and delivers `signal` to it, 0 for none (`PTRACE_DETACH`).
pub(crate) fn detach(tid: u32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_DETACH, tid, signal)
}

/// Lets a stopped thread run on, still attached, and delivers `signal` to it, 0 for none (`PTRACE_CONT`).
pub(crate) fn cont(tid: u32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_CONT, tid, signal)
}

/// Leaves a thread in its job-control stop, but lets it hear of the end of it (`PTRACE_LISTEN`).
pub(crate) fn listen(tid: u32) -> nix::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0)
}

/// Facts on the signal a thread is stopped with (`PTRACE_GETSIGINFO`); ESRCH if it is not stopped.
pub(crate) fn siginfo(tid: u32) -> nix::Result<libc::siginfo_t> {
    nix::sys::ptrace::getsiginfo(pid(tid))
}

fn request(request: c_uint, tid: u32, data: i32) -> nix::Result<()> {
    // SAFETY: these requests take a number as data and ignore the address; nothing of ours is read or
    // written. A thread that is not ours to trace makes the kernel answer ESRCH.
    let result = unsafe {
        libc::ptrace(
            request,
            tid as pid_t,
            std::ptr::null_mut::<c_void>(),
            c_long::from(data),
        )
    };
    Errno::result(result).map(drop)
}
