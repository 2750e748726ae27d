//! A limit for waits that know none.
//!
//! `waitpid` has no time-out. Signals that would interrupt it need a handler, and handlers belong to the host
//! program. So one more child of the waiting thread ends when the time has come, and the wait
//! ends with it.

use std::time::Duration;

use libc::{c_int, c_long, c_void};
use nix::errno::Errno;

/// The child makes two system calls.
const STACK_WORDS: usize = 2048;

/// What the child uses: its stack, and how long it sleeps.
#[repr(align(16))]
struct Memory {
    stack: [u64; STACK_WORDS],
    time: libc::timespec,
}

/// A child process that sleeps, then ends. Only to be used on the thread that started it.
#[derive(Debug)]
pub(crate) struct Clock {
    pid: i32,
    /// The child shares our memory instead of copying it.
    memory: *mut Memory,
}

impl Clock {
    /// Starts a clock that ends after this time. It sends no signal and is only found by waits with `__WALL`.
    pub(crate) fn start(after: Duration) -> Result<Self, Errno> {
        let memory = Box::into_raw(Box::new(Memory {
            stack: [0; STACK_WORDS],
            time: libc::timespec {
                tv_sec: c_long::try_from(after.as_secs()).unwrap_or(c_long::MAX),
                tv_nsec: c_long::from(after.subsec_nanos()),
            },
        }));
        let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES;
        // SAFETY: the child runs `sleep` on a stack of its own, which begins and ends at multiples of 16 as the ABI
        // wants. It touches only that stack and the time, which nobody else does, and both live until `drop` has
        // ended it.
        let pid = unsafe {
            let stack = (&raw mut (*memory).stack).wrapping_add(1);
            let time = &raw mut (*memory).time;
            libc::clone(sleep, stack.cast(), flags, time.cast())
        };
        let clock = Self { pid, memory };
        Errno::result(pid).map(|_| clock)
    }

    /// Whether a process that has ended is this clock.
    pub(crate) fn is(&self, pid: u32) -> bool {
        pid.cast_signed() == self.pid
    }
}

/// Bare system calls: the C library's functions would use the waiting thread's local data.
extern "C" fn sleep(time: *mut c_void) -> c_int {
    // SAFETY: the pointer is to a timespec; the calls write nothing of ours. All signals are blocked, as they are in
    // the thread that started us.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::syscall(libc::SYS_nanosleep, time, std::ptr::null_mut::<c_void>());
        libc::syscall(libc::SYS_exit, 0);
    }
    0
}

/// Ends the child; its stack must not go before.
impl Drop for Clock {
    fn drop(&mut self) {
        const OURS: c_int = libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: the waits are given numbers, and a null pointer for a status that is not wanted. The
        // process is our child or, if it was waited for already (or never started, number -1), there is
        // nothing to kill: the first wait does not return 0. Then nobody uses the memory any more, which came
        // from a Box and is freed only here.
        unsafe {
            if self.pid > 0 && libc::waitpid(self.pid, std::ptr::null_mut(), OURS | libc::WNOHANG) == 0 {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), OURS);
            }
            drop(Box::from_raw(self.memory));
        }
    }
}

/// What these tests would catch: a clock that ends early, not at all, or remains.
#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn wait(pid: i32, options: c_int) -> i32 {
        // SAFETY: a null pointer for a status that is not wanted.
        unsafe {
            libc::waitpid(
                pid,
                std::ptr::null_mut(),
                options | libc::__WALL | libc::__WNOTHREAD,
            )
        }
    }

    #[test]
    fn a_wait_ends_when_the_time_has_come() {
        let before = Instant::now();
        let clock = Clock::start(Duration::from_millis(30)).expect("a child");
        assert!(clock.is(wait(clock.pid, 0).cast_unsigned()));
        assert!(before.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_clock_that_is_dropped_leaves_nothing() {
        let clock = Clock::start(Duration::MAX).expect("a child");
        let pid = clock.pid;
        assert_eq!(wait(pid, libc::WNOHANG), 0, "it runs");
        drop(clock);
        assert_eq!(wait(pid, libc::WNOHANG), -1);
        assert_eq!(Errno::last(), Errno::ECHILD);
    }
}
