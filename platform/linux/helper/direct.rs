//! A helper that the calling thread starts, and waits for, itself. It stops the other threads of
//! its own process ([`oneself`](crate::oneself)).
//!
//! In that time, the calling thread must not wait for anything that another thread may hold: it
//! allocates nothing and takes no lock. So there is no thread that watches this helper, and
//! [`DirectHelper::perform`] uses memory that was prepared. The deadline that was set when the stop
//! began is the only one.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_int;
use nix::errno::Errno;

use super::{
    HelperEnded, HelperPage, begin_work, list_work, quit, start_blocked, state, wait_for, wait_for_change,
};
use crate::ptrace::Call;
use crate::tracer::Watch;

/// A helper process of the calling thread. Dropping it ends the process, and returns when what it
/// traced was released.
#[derive(Debug)]
pub(crate) struct DirectHelper {
    /// Allocated as a `Box`. The pointer also keeps the type on its thread, whose child the helper
    /// is.
    page: *mut HelperPage,
    pid: i32,
    /// Its timer has to live as long as the helper.
    watch: Arc<Watch>,
}

/// A clone of this process that was just started.
#[derive(Debug)]
pub(crate) struct StartedClone {
    pub(crate) pid: i32,
    /// Its process descriptor. -1 if the kernel has none (before Linux 5.2).
    pub(crate) pidfd: RawFd,
}

impl DirectHelper {
    /// Starts the helper.
    ///
    /// # Errors
    /// The system does not permit a new process.
    pub(crate) fn start(watch: Arc<Watch>) -> Result<Self, Errno> {
        let page = HelperPage::allocate(&watch);
        match start_blocked(page) {
            Ok(pid) => Ok(Self { page, pid, watch }),
            Err(errno) => {
                // SAFETY: the page came from a Box, and no helper was started.
                drop(unsafe { Box::from_raw(page) });
                Err(errno)
            }
        }
    }

    /// Its process id, in the pid namespace of this process.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the helper has ended before its time. This is known before the threads that it has
    /// stopped run.
    pub(crate) fn has_ended(&self) -> bool {
        // SAFETY: the page lives until `drop`.
        let state = unsafe { &(*self.page).shared.state };
        state.load(Ordering::Acquire) == state::ENDED
    }

    /// Makes these calls in the helper. Allocates and frees nothing.
    ///
    /// # Errors
    /// The helper has ended. Those of the calls that it has not made will never be made.
    pub(crate) fn perform(&self, calls: &mut [Call]) -> Result<(), HelperEnded> {
        // SAFETY: the page lives until `drop`, and the type is not `Sync`, so no other thread makes
        // requests.
        let (state, begun) = unsafe { begin_work(self.page, calls) };
        begun?;
        loop {
            match state.load(Ordering::Acquire) {
                state::WORK => wait_for_change(state, state::WORK),
                state::ENDED => return Err(HelperEnded),
                _ => return Ok(()),
            }
        }
    }

    /// Makes these calls in the helper, as [`perform`](Self::perform) does, and then starts a
    /// copy-on-write clone of this process. The calls may stop the calling thread, and read its
    /// registers: these fit the memory of the clone, because the thread does nothing in between.
    ///
    /// The clone has no exit signal, no descriptors and no threads. It executes system calls only:
    /// it waits until `until` (of `CLOCK_MONOTONIC`), and ends. It ends earlier if the calling
    /// thread does. The caller has to wait for it.
    ///
    /// # Errors
    /// The outer result: the helper has ended. The inner one: the system permits no clone.
    pub(crate) fn perform_and_clone(
        &self,
        calls: &mut [Call],
        until: &libc::timespec,
    ) -> Result<Result<StartedClone, Errno>, HelperEnded> {
        // SAFETY: as in `perform`.
        let state = unsafe { list_work(self.page, calls) };
        let mut pidfd = -1;
        // The kernel returns an error as its negated number.
        Ok(match i32::try_from(work_and_clone(state, until, &mut pidfd)) {
            Ok(pid) if pid > 0 => Ok(StartedClone { pid, pidfd }),
            Ok(error) if error < 0 => Err(Errno::from_raw(-error)),
            _ => return Err(HelperEnded),
        })
    }
}

/// Ends the helper before its page is freed.
impl Drop for DirectHelper {
    fn drop(&mut self) {
        // SAFETY: the page lives, and only atomic accesses are made through this reference.
        quit(unsafe { &(*self.page).shared.state });
        // The kernel reports the end of a process after it has released what the process traced.
        if wait_for(self.pid, 0) == Some(true) {
            // SAFETY: the page came from a Box in `start`. The helper has ended.
            drop(unsafe { Box::from_raw(self.page) });
        } else {
            // The helper may still use the timer, like the page.
            std::mem::forget(Arc::clone(&self.watch));
        }
    }
}

/// Lets the helper make the listed calls, waits until it has made them, and starts a clone of this
/// process. Returns its process id, a negated error number, or 0 if the helper has ended.
///
/// One block of instructions does all of this. The helper may stop this thread as soon as it may
/// work, and the registers that it reads belong to the same frame as the memory of the clone.
#[inline(never)]
fn work_and_clone(state: &AtomicU32, until: &libc::timespec, pidfd: &mut RawFd) -> i64 {
    // Not CLONE_FS: the program's execve of a program with set-user-id would not change the user.
    // CLONE_FILES: the table of descriptors need not be copied. The clone gets an empty one.
    const FLAGS: c_int = libc::CLONE_FILES | libc::CLONE_PIDFD;
    let result: i64;
    // SAFETY: in this thread, the block changes `state`, an atomic integer, and waits for its next
    // change by futex(2); then the only effects are those of clone(2), which stores a descriptor in
    // `pidfd`. The kernel changes `rax`, `rcx` and `r11`, which are declared, and the block changes
    // the registers of arguments, which are declared as well.
    //
    // The clone has copies of our registers and of our memory, so it affects nothing of ours. It
    // never leaves this block: `exit` does not return, and `ud2` follows it. It handles no signal,
    // because the callers have blocked all of them. It uses no stack, and no memory but its copy of
    // `until`, which the kernel reads.
    unsafe {
        std::arch::asm!(
            "mov eax, {idle}",
            "mov edx, {work}",
            "lock cmpxchg dword ptr [r12], edx",
            "mov edx, eax",
            "jne 3f",
            "mov eax, {futex}",
            "mov rdi, r12",
            "mov esi, {futex_wake}",
            "mov edx, 1",
            "syscall",
            "2:",
            "mov edx, dword ptr [r12]",
            "cmp edx, {work}",
            "jne 3f",
            "mov eax, {futex}",
            "mov rdi, r12",
            "mov esi, {futex_wait}",
            // No time limit.
            "xor r10d, r10d",
            "syscall",
            "jmp 2b",
            "3:",
            "xor eax, eax",
            "cmp edx, {ended}",
            "je 9f",
            "mov eax, {clone}",
            "mov edi, {flags}",
            // On the same stack, of which the clone has a copy.
            "xor esi, esi",
            "mov rdx, r9",
            "xor r10d, r10d",
            "xor r8d, r8d",
            "syscall",
            "test rax, rax",
            "jnz 9f",
            // The clone. It is killed if this thread ends.
            "mov eax, {prctl}",
            "mov edi, {set_death_signal}",
            "mov esi, {kill}",
            "syscall",
            // Unless this thread has ended already: then it has no priority.
            "mov eax, {getpriority}",
            "xor edi, edi",
            "mov esi, r15d",
            "syscall",
            "test rax, rax",
            "js 6f",
            // Leave the process group, so that signals to the group do not end the clone.
            "mov eax, {setpgid}",
            "xor edi, edi",
            "xor esi, esi",
            "syscall",
            "mov eax, {close_range}",
            "xor edi, edi",
            "mov esi, -1",
            "mov edx, {unshare}",
            "syscall",
            "5:",
            "mov eax, {clock_nanosleep}",
            "mov edi, {monotonic}",
            "mov esi, {absolute}",
            "mov rdx, r14",
            "xor r10d, r10d",
            "syscall",
            "cmp rax, -{interrupted}",
            "je 5b",
            "6:",
            "mov eax, {exit}",
            "xor edi, edi",
            "syscall",
            "ud2",
            "9:",
            idle = const state::IDLE,
            work = const state::WORK,
            ended = const state::ENDED,
            futex = const libc::SYS_futex,
            futex_wait = const libc::FUTEX_WAIT,
            futex_wake = const libc::FUTEX_WAKE,
            clone = const libc::SYS_clone,
            flags = const FLAGS,
            prctl = const libc::SYS_prctl,
            set_death_signal = const libc::PR_SET_PDEATHSIG,
            kill = const libc::SIGKILL,
            getpriority = const libc::SYS_getpriority,
            setpgid = const libc::SYS_setpgid,
            close_range = const libc::SYS_close_range,
            unshare = const libc::CLOSE_RANGE_UNSHARE,
            clock_nanosleep = const libc::SYS_clock_nanosleep,
            monotonic = const libc::CLOCK_MONOTONIC,
            absolute = const libc::TIMER_ABSTIME,
            interrupted = const libc::EINTR,
            exit = const libc::SYS_exit,
            lateout("rax") result,
            lateout("rcx") _,
            lateout("r11") _,
            lateout("rdi") _,
            lateout("rsi") _,
            lateout("rdx") _,
            lateout("r10") _,
            lateout("r8") _,
            in("r9") std::ptr::from_mut(pidfd),
            in("r12") state.as_ptr(),
            in("r14") std::ptr::from_ref(until),
            in("r15") i64::from(nix::unistd::gettid().as_raw()),
            options(nostack),
        );
    }
    result
}
