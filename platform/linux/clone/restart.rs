//! System calls that a stop has ended with EINTR.
//!
//! The kernel resumes most calls that a stop has interrupted: it leaves an internal error number in
//! `rax` (-512 to -516), and repeats the call when the thread continues. Some calls return EINTR
//! instead (signal(7), "Interruption of system calls and library functions by stop signals"). A
//! program without signal handlers may never have seen this error.
//!
//! While the thread is still stopped in the place where the kernel looks for signals, EINTR can be
//! replaced by `ERESTARTNOHAND`. The kernel then repeats the call, unless it runs a signal handler
//! first: in that case, the call returns EINTR, as it should. The call has done nothing yet,
//! because calls that have transferred something return how much. A timeout that is relative begins
//! anew.

use dumpwright_target::Fault;
use libc::user_regs_struct;

use crate::freeze::{StopKind, StoppedThread};
use crate::proc_dir::ProcDir;
use crate::ptrace::Batch;
use crate::tracer::Tracer;

/// `ERESTARTNOHAND` (`include/linux/errno.h`), as a system call returns it.
pub(crate) const RESTART: u64 = (-514_i64).cast_unsigned();

/// EINTR, as a system call returns it.
const INTERRUPTED: u64 = (-(libc::EINTR as i64)).cast_unsigned();

/// Calls that end with EINTR whenever the thread is stopped. The number of `epoll_pwait2` is not in
/// the `libc` crate.
const ALWAYS: [libc::c_long; 8] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    441,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
    libc::SYS_io_uring_enter,
];

/// Calls whose first argument is a socket, and that end with EINTR if the socket has a timeout
/// (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
const OF_SOCKETS: [libc::c_long; 9] = [
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
];

/// The same, if their first argument is a socket.
const OF_DESCRIPTORS: [libc::c_long; 4] =
    [libc::SYS_read, libc::SYS_readv, libc::SYS_write, libc::SYS_writev];

/// Whether the call that a thread was stopped in has ended with EINTR, and can be repeated.
/// `is_socket` is asked about a descriptor of the target.
pub(crate) fn is_to_repeat(number: u64, result: u64, first: u64, is_socket: impl Fn(u64) -> bool) -> bool {
    let number = number.cast_signed();
    result == INTERRUPTED
        && (ALWAYS.contains(&number)
            || OF_SOCKETS.contains(&number)
            || OF_DESCRIPTORS.contains(&number) && is_socket(first))
}

fn is_socket(dir: &ProcDir, descriptor: u64) -> bool {
    let link = std::fs::read_link(dir.path("fd").join(descriptor.to_string()));
    link.is_ok_and(|link| link.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
}

/// Changes the registers of a thread so that the kernel repeats a call that ended with EINTR.
/// Returns whether it does.
pub(super) fn repeat(registers: &mut user_regs_struct, dir: &ProcDir) -> bool {
    let user_regs_struct {
        orig_rax, rax, rdi, ..
    } = *registers;
    let repeats = is_to_repeat(orig_rax, rax, rdi, |descriptor| is_socket(dir, descriptor));
    if repeats {
        registers.rax = RESTART;
    }
    repeats
}

/// Makes the kernel repeat the calls of these threads that ended with EINTR. `except` is a thread
/// that was dealt with before. Returns how many calls there are.
///
/// # Errors
/// The tracer has ended.
pub(super) fn repeat_all(
    tracer: &Tracer<'_>,
    threads: &[StoppedThread],
    except: u32,
    dir: &ProcDir,
) -> Result<usize, Fault> {
    let returned = |held: &&StoppedThread| {
        let registers = held.registers.as_ref();
        registers.is_some_and(|registers| registers.amd64.rax == INTERRUPTED)
    };
    // A thread in the stop before the delivery of a signal may be about to run its handler.
    let asked = threads
        .iter()
        .filter(|held| held.stop == StopKind::Asked && held.tid != except);
    let ids: Vec<u32> = asked.filter(returned).map(|held| held.tid).collect();
    // SAFETY: the structure consists of integers, for which zeros are valid values.
    let mut registers = vec![unsafe { std::mem::zeroed::<user_regs_struct>() }; ids.len()];
    let mut batch = Batch::new();
    for (tid, into) in ids.iter().zip(&mut registers) {
        batch.general_registers(*tid, into);
    }
    let results = tracer.perform(batch)?;
    let mut batch = Batch::new();
    for ((tid, read), registers) in ids.iter().zip(results.iter()).zip(&mut registers) {
        if read.is_ok() && repeat(registers, dir) {
            batch.set_user_word(*tid, std::mem::offset_of!(libc::user, regs.rax), registers.rax);
        }
    }
    Ok(tracer.perform(batch)?.iter().filter(Result::is_ok).count())
}

/// What these tests would catch: a call that is repeated although it has not failed, or may have
/// done something. `tests/live` has the calls themselves.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_have_done_nothing_are_repeated() {
        let repeats = |number: i64, result: i64, is_socket| {
            is_to_repeat(number.cast_unsigned(), result.cast_unsigned(), 5, |descriptor| {
                assert_eq!(descriptor, 5);
                is_socket
            })
        };
        let interrupted = -i64::from(libc::EINTR);
        assert!(repeats(libc::SYS_epoll_wait, interrupted, false));
        assert!(!repeats(libc::SYS_epoll_wait, 0, false), "it has returned");
        assert!(
            !repeats(libc::SYS_epoll_wait, -514, false),
            "the kernel repeats it"
        );
        assert!(!repeats(-1, interrupted, true), "not in a call");
        assert!(repeats(libc::SYS_read, interrupted, true));
        assert!(!repeats(libc::SYS_read, interrupted, false), "not a socket");
        assert!(
            !repeats(libc::SYS_close, interrupted, true),
            "the descriptor is closed"
        );
    }
}
