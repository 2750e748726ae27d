//! A timeout for `waitpid`, which has none of its own.
//!
//! A signal could interrupt `waitpid`, but it would need a handler, and handlers belong to the host
//! program. Instead, the waiting thread starts one more child, which ends after the given time.
//! `waitpid` reports that end like the end of any other child.

use std::mem::offset_of;
use std::time::Duration;

use libc::{c_int, c_long};
use nix::errno::Errno;

const PAGE: usize = 4096;

/// The part of a page that is left for the stack, in words.
const STACK_WORDS: usize = (PAGE - size_of::<libc::timespec>()) / 8;

/// The memory of the child: one page.
#[repr(C, align(4096))]
struct ScratchPage {
    /// The child's stack, which nothing is written to: the child's instructions use registers only,
    /// and it receives no signal. It is there as a precaution, so that the stack pointer of the
    /// child does not point into any other stack.
    stack: [u64; STACK_WORDS],
    /// The time for which the child sleeps.
    time: libc::timespec,
}

// The stack ends where `time` begins. The ABI requires a multiple of 16.
const _: () = assert!(size_of::<ScratchPage>() == PAGE && offset_of!(ScratchPage, time) % 16 == 0);

/// A child process that sleeps and then ends. It must be used only on the thread that started it.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `None` once the child has been waited for, because its id may then belong to another
    /// process.
    pid: Option<u32>,
    /// Allocated as a `Box`. The child shares our memory; it has no copy of it.
    page: *mut ScratchPage,
}

impl Clock {
    /// Starts a child that ends after this time. It sends no signal when it ends, and only waits
    /// with `__WALL` report it.
    pub(crate) fn start(after: Duration) -> Result<Self, Errno> {
        Self::sleeping(libc::timespec {
            tv_sec: c_long::try_from(after.as_secs()).unwrap_or(c_long::MAX),
            tv_nsec: c_long::from(after.subsec_nanos()),
        })
    }

    fn sleeping(time: libc::timespec) -> Result<Self, Errno> {
        let page = Box::into_raw(Box::new(ScratchPage {
            stack: [0; STACK_WORDS],
            time,
        }));
        let mut clock = Self { pid: None, page };
        // The child inherits the signal mask of this thread.
        let before = swap_signal_mask(u64::MAX)?;
        // SAFETY: the page lives until `drop` has waited for the child's end, and nobody writes to
        // it. All signals are blocked.
        let pid = unsafe { start_child(page) };
        let restored = swap_signal_mask(before);
        clock.pid = Some(pid?);
        restored.map(|_| clock)
    }

    /// Whether `pid`, which a wait has reported as ended, is this child.
    pub(crate) fn was(&mut self, pid: u32) -> bool {
        let is_own = self.pid == Some(pid);
        if is_own {
            self.pid = None;
        }
        is_own
    }
}

/// Sets the mask of blocked signals of this thread, one bit for each signal. Returns the old mask.
///
/// It uses the system call directly, because pthread_sigmask(3) leaves out two signals that the C
/// library uses itself.
pub(crate) fn swap_signal_mask(blocked: u64) -> Result<u64, Errno> {
    let mut before = 0_u64;
    // SAFETY: both pointers refer to local integers of the size that is passed. The call reads one
    // and writes the other.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const blocked,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    Errno::result(result).map(|_| before)
}

/// Starts a child that sleeps for the time in `page` and then ends. Returns its process id.
///
/// The child shares our memory, including the thread-local data of this thread, such as `errno`. So
/// it runs nothing but the instructions below: four system calls. The C library's `clone` is not
/// usable: it would call a Rust function, and before version 2.25 it wrote to the thread-local data
/// itself.
///
/// # Safety
/// `page` must live until the child has ended, and nobody may write to it. All signals must be
/// blocked on this thread.
unsafe fn start_child(page: *mut ScratchPage) -> Result<u32, Errno> {
    const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES;
    let time = page.wrapping_byte_add(offset_of!(ScratchPage, time));
    let result: i64;
    // SAFETY: in this thread, the only effect is that of clone(2), whose flags tell it to write
    // nothing to our memory. The kernel changes `rax`, `rcx` and `r11`, which are declared. The
    // child has a copy of our registers, except `rax` (0) and `rsp` (the end of `stack`). It never
    // leaves this block: `exit` does not return, and `ud2` follows it. It writes no memory, and the
    // kernel only reads `time`, which the caller keeps alive. It handles no signal, because it has
    // inherited a mask that blocks all of them, so the kernel pushes nothing onto its stack either.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            // The child. It is killed if this thread ends. If the process was killed before that
            // was set, the child has another parent, and ends at once.
            "mov eax, {prctl}",
            "mov edi, {set_death_signal}",
            "mov esi, {kill}",
            "syscall",
            "mov eax, {getppid}",
            "syscall",
            "cmp eax, r8d",
            "jne 3f",
            "mov eax, {nanosleep}",
            "mov rdi, r9",
            "xor esi, esi",
            "syscall",
            "3:",
            "mov eax, {exit}",
            "xor edi, edi",
            "syscall",
            "ud2",
            "2:",
            prctl = const libc::SYS_prctl,
            set_death_signal = const libc::PR_SET_PDEATHSIG,
            kill = const libc::SIGKILL,
            getppid = const libc::SYS_getppid,
            nanosleep = const libc::SYS_nanosleep,
            exit = const libc::SYS_exit,
            inlateout("rax") libc::SYS_clone => result,
            in("rdi") i64::from(FLAGS),
            in("rsi") time,
            // The flags request no thread ids and no thread-local storage, so the kernel ignores
            // these three.
            in("rdx") 0_i64,
            in("r10") 0_i64,
            in("r8") u64::from(std::process::id()),
            in("r9") time,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // The kernel returns an error as its negated number.
    u32::try_from(result).map_err(|_| Errno::from_raw(i32::try_from(-result).unwrap_or(0)))
}

/// Ends the child before its page is freed.
impl Drop for Clock {
    fn drop(&mut self) {
        const OURS: c_int = libc::__WALL | libc::__WNOTHREAD;
        if let Some(pid) = self.pid.map(u32::cast_signed) {
            // SAFETY: kill takes only numbers. The process is our child and has not been waited
            // for, so the id still belongs to it.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            loop {
                // SAFETY: waitpid takes numbers, and a null pointer because no status is wanted.
                let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), OURS) };
                // A signal to the host program may interrupt the wait.
                if Errno::result(result) != Err(Errno::EINTR) {
                    break;
                }
            }
        }
        // SAFETY: the page came from a Box in `sleeping` and is freed only here. The child has
        // ended, or it was never started.
        drop(unsafe { Box::from_raw(self.page) });
    }
}

/// What these tests would catch: a child that ends too early, never ends or is not reaped, and one
/// that writes to our memory.
#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn wait(pid: i32, options: c_int) -> i32 {
        // SAFETY: the pointer is null, because no status is wanted.
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
        let mut clock = Clock::start(Duration::from_millis(30)).expect("a child");
        assert!(!clock.was(std::process::id()));
        let pid = clock.pid.expect("runs").cast_signed();
        assert!(clock.was(wait(pid, 0).cast_unsigned()));
        assert!(before.elapsed() >= Duration::from_millis(30));
        assert_eq!(
            clock.pid, None,
            "nobody kills the process that gets this number next"
        );
    }

    #[test]
    fn a_clock_that_is_dropped_leaves_nothing() {
        let clock = Clock::start(Duration::MAX).expect("a child");
        let pid = clock.pid.expect("runs").cast_signed();
        assert_eq!(wait(pid, libc::WNOHANG), 0, "it runs");
        drop(clock);
        assert_eq!(wait(pid, libc::WNOHANG), -1);
        assert_eq!(Errno::last(), Errno::ECHILD);
    }

    /// The child shares this thread's `errno`, which the C library sets when a system call fails.
    #[test]
    fn a_child_whose_sleep_fails_writes_nothing_of_ours() {
        const NOT_AN_ERROR: i32 = 4321;
        // The kernel rejects this time with EINVAL.
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000_000,
        };
        Errno::set_raw(NOT_AN_ERROR);
        let clock = Clock::sleeping(time).expect("a child");
        let pid = clock.pid.expect("runs").cast_signed();
        assert_eq!(wait(pid, 0), pid, "it has ended by itself");
        assert_eq!(Errno::last_raw(), NOT_AN_ERROR);
        // SAFETY: the page belongs to the clock, and the child has ended.
        assert_eq!(unsafe { (*clock.page).stack }, [0; STACK_WORDS]);
    }

    #[test]
    fn the_signal_mask_is_as_before() {
        let before = swap_signal_mask(1 << (libc::SIGUSR1 - 1)).expect("sets it");
        let clock = Clock::start(Duration::MAX).expect("a child");
        let status = std::fs::read(format!("/proc/{}/status", clock.pid.expect("runs"))).expect("readable");
        let blocked = crate::proc_dir::field(&status, "SigBlk").expect("has a line for it");
        // SIGKILL and SIGSTOP cannot be blocked.
        let all = !(1_u64 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
        assert_eq!(u64::from_str_radix(&blocked, 16), Ok(all));
        drop(clock);
        assert_eq!(swap_signal_mask(before), Ok(1 << (libc::SIGUSR1 - 1)));
    }
}
