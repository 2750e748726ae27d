//! A process that traces on behalf of this one.
//!
//! A thread of the host program that traces a child of the host changes what the rest of the host
//! sees. A `waitpid` for that child on any other thread reports our stops, even without `WUNTRACED`
//! (`wait_consider_task` in `kernel/exit.c`). Python's `Popen.wait` and Rust's `Child::wait` then
//! take the child for dead. When another process traces the child, the host's waits see nothing.
//!
//! The helper is that process. It shares our memory and files, but runs no code of the host, of the
//! C library or of Rust: it executes the instructions in [`start_helper`], which make the system
//! calls that we list for it. So it needs neither a copy of our memory nor thread-local data of its
//! own. LeakSanitizer stops the threads of its own process in a similar way.
//!
//! The end of the helper releases everything that it traces. It ends when we ask it to, when it is
//! killed, when the thread that started it ends for whatever reason (`PR_SET_PDEATHSIG`), and when
//! its deadline passes ([`Timer`]), even if all threads of this process are stopped by then.

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};

use libc::c_int;
use nix::errno::Errno;
use nix::sys::signal::SigSet;

use crate::clock::swap_signal_mask;
use crate::ptrace::Call;
use crate::tracer::{LOOKS, PATIENCE, Timer, Watch};

mod direct;

pub(crate) use direct::{DirectHelper, StartedClone};

const PAGE: usize = 4096;

/// The values of [`SharedWords::state`].
mod state {
    /// The helper has ended. The kernel stores this (`CLONE_CHILD_CLEARTID`).
    pub(super) const ENDED: u32 = 0;
    /// The helper waits.
    pub(super) const IDLE: u32 = 1;
    /// The helper makes the listed calls.
    pub(super) const WORK: u32 = 2;
    /// The helper should end.
    pub(super) const QUIT: u32 = 3;
}

/// What we tell the helper, and it us.
#[repr(C, align(16))]
struct SharedWords {
    /// One of the values in [`state`]. Both sides wait for its change with futex(2).
    state: AtomicU32,
    /// The calls to make, and their number. Written only while the helper waits.
    calls: *mut Call,
    count: u64,
    /// When the helper ends by itself. It lives at least as long as the helper.
    timer: *const Timer,
    /// The deadline that the helper waits for. Only the helper uses it.
    until: libc::timespec,
}

/// The part of a page that is left for the stack, in words.
const STACK_WORDS: usize = (PAGE - size_of::<SharedWords>()) / 8;

/// The memory of the helper: one page.
#[repr(C, align(4096))]
struct HelperPage {
    /// The helper's stack, which nothing is written to: its instructions use registers only, and it
    /// receives no signal. It is there so that the stack pointer of the helper does not point into
    /// any other stack.
    stack: [u64; STACK_WORDS],
    shared: SharedWords,
}

// The stack ends where `shared` begins. The ABI requires a multiple of 16.
const _: () = assert!(size_of::<HelperPage>() == PAGE && offset_of!(HelperPage, shared) % 16 == 0);

impl HelperPage {
    /// Returns the page of a helper that waits, and ends at the deadline of `watch`. The watch has
    /// to live as long as the helper.
    fn allocate(watch: &Watch) -> *mut Self {
        Box::into_raw(Box::new(Self {
            stack: [0; STACK_WORDS],
            shared: SharedWords {
                state: AtomicU32::new(state::IDLE),
                calls: std::ptr::null_mut(),
                count: 0,
                timer: watch.timer(),
                until: libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
            },
        }))
    }
}

/// A pointer to a page that another thread passes to the kernel.
struct PagePointer(*mut HelperPage);

// SAFETY: the thread that receives it only computes addresses from it.
unsafe impl Send for PagePointer {}

/// A helper process. Dropping it ends the process, and returns when what it traced was released.
#[derive(Debug)]
pub(crate) struct Helper {
    /// Allocated as a `Box`. The helper shares our memory; it has no copy of it.
    page: *mut HelperPage,
    /// The thread that started the helper and waits for its end. Returns whether it has ended.
    thread: Option<JoinHandle<bool>>,
    /// Dropped to make the thread stop watching.
    watching: Option<Sender<()>>,
    watch: Arc<Watch>,
}

/// The helper has ended before its time: somebody has killed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HelperEnded;

impl Helper {
    /// Starts the helper.
    ///
    /// # Errors
    /// The system does not permit a new thread or a new process.
    pub(crate) fn start() -> std::io::Result<Self> {
        let watch = Arc::new(Watch::default());
        let page = HelperPage::allocate(&watch);
        let (tell, told) = mpsc::channel();
        let (watching, watched) = mpsc::channel();
        let reads = Arc::clone(&watch);
        let passed = PagePointer(page);
        // A thread of ours starts the helper, because the helper lives no longer than the thread
        // that started it. The calling thread may end, or execute another program, before the
        // capture is dropped. The name of the thread becomes the name of the helper.
        let thread = thread::Builder::new()
            .name(crate::tracer::NAME.into())
            .spawn(move || {
                let PagePointer(page) = { passed };
                prepare_thread();
                let started = start_blocked(page);
                let pid = started.as_ref().ok().copied();
                let _ = tell.send(started.map(drop));
                let Some(pid) = pid else {
                    return true;
                };
                while watched.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
                    if let Some(has_ended) = wait_for(pid, libc::WNOHANG) {
                        return has_ended;
                    }
                    if reads.gives_up(PATIENCE) {
                        // SAFETY: the page is not freed before this thread has ended.
                        quit(unsafe { &(*page).shared.state });
                        break;
                    }
                }
                wait_for(pid, 0).unwrap_or(false)
            });
        let helper = match thread {
            Ok(thread) => Self {
                page,
                thread: Some(thread),
                watching: Some(watching),
                watch,
            },
            Err(error) => {
                // SAFETY: the page came from a Box above, and no thread has received it.
                drop(unsafe { Box::from_raw(page) });
                return Err(error);
            }
        };
        match told.recv() {
            Ok(Ok(())) => Ok(helper),
            Ok(Err(errno)) => Err(errno.into()),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    /// The time limits of the capture. The helper ends when one of them is reached.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Whether the helper has ended before its time.
    pub(crate) fn has_ended(&self) -> bool {
        // SAFETY: the page lives until `drop`.
        let state = unsafe { &(*self.page).shared.state };
        state.load(Ordering::Relaxed) == state::ENDED
    }

    /// Makes these calls in the helper. Returns them with their results.
    ///
    /// # Errors
    /// The helper has ended. Those of the calls that it has not made will never be made.
    pub(crate) fn perform(&self, mut calls: Vec<Call>) -> Result<Vec<Call>, HelperEnded> {
        // SAFETY: the page lives until `drop`, and the type is not `Sync`, so no other thread makes
        // requests.
        let (state, begun) = unsafe { begin_work(self.page, &mut calls) };
        begun?;
        // The helper writes to `calls`, and the kernel to the memory that they refer to, until the
        // state changes. So there is no other way out of this loop.
        loop {
            match state.load(Ordering::Acquire) {
                state::WORK => wait_for_change(state, state::WORK),
                state::ENDED => return Err(HelperEnded),
                _ => return Ok(calls),
            }
        }
    }
}

/// Lets the helper make these calls. They are made when the state is no longer `WORK`; until then,
/// they belong to the helper. Returns the state.
///
/// # Safety
/// The page must live for `'p`, and only one thread may make requests.
unsafe fn begin_work<'p>(
    page: *mut HelperPage,
    calls: &mut [Call],
) -> (&'p AtomicU32, Result<(), HelperEnded>) {
    // SAFETY: guaranteed by the caller.
    let state = unsafe { list_work(page, calls) };
    let exchanged = state.compare_exchange(state::IDLE, state::WORK, Ordering::Release, Ordering::Relaxed);
    if exchanged.is_err() {
        return (state, Err(HelperEnded));
    }
    wake(state);
    (state, Ok(()))
}

/// Lists calls for the helper, which makes them when the state becomes `WORK`. Returns the state.
///
/// # Safety
/// As for [`begin_work`].
unsafe fn list_work<'p>(page: *mut HelperPage, calls: &mut [Call]) -> &'p AtomicU32 {
    // SAFETY: the helper reads these words only while the state is `WORK`. It is not: only one
    // thread sets it, and waits until the helper has changed it.
    unsafe {
        (*page).shared.calls = calls.as_mut_ptr();
        (*page).shared.count = calls.len() as u64;
    }
    // SAFETY: the caller guarantees that the page lives. Only atomic accesses are made through this
    // reference.
    unsafe { &(*page).shared.state }
}

/// Ends the helper before its page is freed.
impl Drop for Helper {
    fn drop(&mut self) {
        // SAFETY: as in `perform`.
        quit(unsafe { &(*self.page).shared.state });
        self.watching = None;
        // The kernel reports the end of a process after it has released what the process traced
        // (`exit_notify` in `kernel/exit.c`).
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Ok(true))) {
            // SAFETY: the page came from a Box in `start` and is freed only here. The helper has
            // ended, or it was never started.
            drop(unsafe { Box::from_raw(self.page) });
        } else {
            // The helper may still use the timer, like the page.
            std::mem::forget(Arc::clone(&self.watch));
        }
    }
}

/// Asks a helper that waits to end.
fn quit(state: &AtomicU32) {
    // It fails if the helper has ended.
    let _ = state.compare_exchange(state::IDLE, state::QUIT, Ordering::Release, Ordering::Relaxed);
    wake(state);
}

/// Prepares the calling thread for its own work or that of a helper that it starts.
pub(crate) fn prepare_thread() {
    // Signal handlers of the host program must not run here and interrupt the capture.
    let _ = SigSet::all().thread_block();
    // The first pause while waiting for stops is 20 us. The default timer slack would add 50 us to
    // each. A helper inherits the timer slack.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Starts the helper with all signals blocked, and returns its process id. This thread keeps its
/// own signal mask.
fn start_blocked(page: *mut HelperPage) -> Result<i32, Errno> {
    // The helper inherits the signal mask of this thread.
    let before = swap_signal_mask(u64::MAX)?;
    // SAFETY: the page lives until `wait_for` has reported the end of the helper, or for ever.
    // All signals are blocked.
    let pid = unsafe { start_helper(page) };
    // Restoring a valid mask does not fail. If it did, this thread would get no signals.
    let _ = swap_signal_mask(before);
    pid
}

/// Waits until the helper has ended, or only asks, with `WNOHANG`. Returns whether it has ended;
/// `None` if it runs.
fn wait_for(pid: i32, options: c_int) -> Option<bool> {
    // A helper has no exit signal, so only waits with `__WALL` or `__WCLONE` report it.
    // `__WNOTHREAD`: only children of this thread, which has no others. If another thread of the
    // host has reaped the helper, the call fails with ECHILD, even if the id was used again.
    const OURS: c_int = libc::__WALL | libc::__WNOTHREAD;
    loop {
        // SAFETY: waitpid takes numbers, and a null pointer because no status is wanted.
        let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), OURS | options) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            Ok(0) => return None,
            other => return Some(other.is_ok() || other == Err(Errno::ECHILD)),
        }
    }
}

/// Starts the helper process. Returns its process id.
///
/// # Safety
/// `page` must live until the helper has ended. All signals must be blocked on this thread.
unsafe fn start_helper(page: *mut HelperPage) -> Result<i32, Errno> {
    // Not CLONE_FS: while two processes share it, execve of a program with set-user-id would not
    // change the user.
    const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_CHILD_CLEARTID;
    let shared = page.wrapping_byte_add(offset_of!(HelperPage, shared));
    let result: i64;
    // SAFETY: in this thread, the only effect is that of clone(2), which stores nothing in our
    // memory before the helper ends; then it sets `state`, an atomic integer, to 0. The kernel
    // changes `rax`, `rcx` and `r11`, which are declared.
    //
    // The helper has a copy of our registers, except `rax` (0) and `rsp` (the end of `stack`). It
    // never leaves this block: `exit` does not return, and `ud2` follows it. It handles no signal,
    // because it has inherited a mask that blocks all of them. It uses no stack and no thread-local
    // data. It reads and writes only `shared` and, while `state` is `WORK`, the calls that
    // `Helper::perform` lends it until it has set `state` to `IDLE`. Each call was made by
    // `ptrace::Batch`, which passes memory that is borrowed until then. Of the timer, it reads
    // `deadline` and writes `has_expired`, which are atomic integers; `Helper` keeps the timer for
    // as long as the page.
    //
    // Plain moves are enough for these integers: on x86-64 they are atomic, loads are not reordered
    // with earlier loads, and stores not with earlier loads and stores. The division does not
    // overflow, because its upper half is 0.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            // The helper. It is killed if the thread that started it ends.
            "mov eax, {prctl}",
            "mov edi, {set_death_signal}",
            "mov esi, {kill}",
            "syscall",
            // Unless that thread has ended already: then it has no priority.
            "mov eax, {getpriority}",
            "xor edi, edi",
            "mov esi, r15d",
            "syscall",
            "test rax, rax",
            "js 6f",
            // Leave the process group, so that signals that stop the group do not stop the helper.
            "mov eax, {setpgid}",
            "xor edi, edi",
            "xor esi, esi",
            "syscall",
            // Wait for another state than `IDLE`, until the deadline.
            "3:",
            "mov edx, dword ptr [r12 + {state}]",
            "cmp edx, {work}",
            "je 4f",
            "cmp edx, {idle}",
            "jne 6f",
            "mov r13, qword ptr [r12 + {timer}]",
            "mov r14, qword ptr [r13 + {deadline}]",
            "mov rax, r14",
            "xor edx, edx",
            "mov ecx, 1000000000",
            "div rcx",
            "mov qword ptr [r12 + {until}], rax",
            "mov qword ptr [r12 + {until} + 8], rdx",
            "mov eax, {futex}",
            "lea rdi, [r12 + {state}]",
            "mov esi, {futex_wait}",
            "mov edx, {idle}",
            "lea r10, [r12 + {until}]",
            "mov r9d, {any_waker}",
            "syscall",
            "cmp rax, -{timed_out}",
            "jne 3b",
            // The deadline may have been moved in the meantime.
            "cmp r14, qword ptr [r13 + {deadline}]",
            "jne 3b",
            "mov dword ptr [r13 + {has_expired}], 1",
            "jmp 6f",
            // Make the calls: r13 is the next one, and r14 the number of those left.
            "4:",
            "mov r13, qword ptr [r12 + {calls}]",
            "mov r14, qword ptr [r12 + {count}]",
            "5:",
            "test r14, r14",
            "jz 7f",
            "mov rax, qword ptr [r13 + {number}]",
            "mov rdi, qword ptr [r13 + {arguments}]",
            "mov rsi, qword ptr [r13 + {arguments} + 8]",
            "mov rdx, qword ptr [r13 + {arguments} + 16]",
            "mov r10, qword ptr [r13 + {arguments} + 24]",
            "syscall",
            "mov qword ptr [r13 + {result}], rax",
            "add r13, {call_size}",
            "dec r14",
            "jmp 5b",
            "7:",
            "mov dword ptr [r12 + {state}], {idle}",
            "mov eax, {futex}",
            "lea rdi, [r12 + {state}]",
            "mov esi, {futex_wake}",
            "mov edx, 1",
            "syscall",
            "jmp 3b",
            "6:",
            "mov eax, {exit}",
            "xor edi, edi",
            "syscall",
            "ud2",
            "2:",
            prctl = const libc::SYS_prctl,
            set_death_signal = const libc::PR_SET_PDEATHSIG,
            kill = const libc::SIGKILL,
            getpriority = const libc::SYS_getpriority,
            futex = const libc::SYS_futex,
            setpgid = const libc::SYS_setpgid,
            // With an absolute time of CLOCK_MONOTONIC. `FUTEX_WAIT` takes a duration.
            futex_wait = const libc::FUTEX_WAIT_BITSET,
            any_waker = const libc::FUTEX_BITSET_MATCH_ANY,
            timed_out = const libc::ETIMEDOUT,
            timer = const offset_of!(SharedWords, timer),
            until = const offset_of!(SharedWords, until),
            deadline = const offset_of!(Timer, deadline),
            has_expired = const offset_of!(Timer, has_expired),
            futex_wake = const libc::FUTEX_WAKE,
            exit = const libc::SYS_exit,
            idle = const state::IDLE,
            work = const state::WORK,
            state = const offset_of!(SharedWords, state),
            calls = const offset_of!(SharedWords, calls),
            count = const offset_of!(SharedWords, count),
            number = const offset_of!(Call, number),
            arguments = const offset_of!(Call, arguments),
            result = const offset_of!(Call, result),
            call_size = const size_of::<Call>(),
            inlateout("rax") libc::SYS_clone => result,
            in("rdi") i64::from(FLAGS),
            // The end of the stack.
            in("rsi") shared,
            // No thread-local storage is requested, and no id is stored.
            in("rdx") 0_i64,
            in("r8") 0_i64,
            // What the kernel sets to 0 when the helper ends.
            in("r10") shared.wrapping_byte_add(offset_of!(SharedWords, state)),
            in("r12") shared,
            in("r15") i64::from(nix::unistd::gettid().as_raw()),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // The kernel returns an error as its negated number.
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(Errno::from_raw(i32::try_from(-result).unwrap_or(0))),
    }
}

/// Waits until somebody wakes the waiters of `word`, unless its value is not `value`.
///
/// Not a private futex: the kernel's wake at the end of the helper reaches only shared ones.
fn wait_for_change(word: &AtomicU32, value: u32) {
    let no_limit = std::ptr::null::<libc::timespec>();
    // SAFETY: the call only reads the word, which the reference keeps alive. An error (EINTR, or
    // EAGAIN for another value) means that the caller looks again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, no_limit) };
}

fn wake(word: &AtomicU32) {
    // SAFETY: the call only uses the address of the word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// What these tests would catch: calls that are made in a wrong order or by the wrong process, a
/// helper that writes to our memory, that handles our signals or survives its thread, and one whose
/// end hangs or is not noticed.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tracer::Early;

    fn call(number: libc::c_long, arguments: [u64; 4]) -> Call {
        Call {
            number,
            arguments,
            result: 0,
        }
    }

    fn perform(helper: &Helper, calls: &[Call]) -> Vec<i64> {
        let calls = helper.perform(calls.to_vec()).expect("it lives");
        calls.iter().map(|call| call.result).collect()
    }

    fn process_id(helper: &Helper) -> i64 {
        perform(helper, &[call(libc::SYS_getpid, [0; 4])])[0]
    }

    #[test]
    fn calls_are_made_in_order_by_a_child_process() {
        let helper = Helper::start().expect("a process");
        let own = i64::from(std::process::id());
        let mut first = 0_u32;
        let mut second = 0_u32;
        let store = |into: *mut u32| into.expose_provenance() as u64;
        let get_death_signal = libc::PR_GET_PDEATHSIG as u64;
        let results = perform(
            &helper,
            &[
                call(libc::SYS_getppid, [0; 4]),
                call(libc::SYS_prctl, [get_death_signal, store(&raw mut first), 0, 0]),
                call(libc::SYS_prctl, [get_death_signal, store(&raw mut second), 0, 0]),
                call(-1, [0; 4]),
                call(libc::SYS_getpid, [0; 4]),
            ],
        );
        assert_eq!(results[..4], [own, 0, 0, -i64::from(libc::ENOSYS)]);
        assert_ne!(results[4], own);
        assert_eq!(
            [first, second],
            [libc::SIGKILL as u32; 2],
            "it dies with its thread"
        );
        for _ in 0..1000 {
            assert_eq!(process_id(&helper), results[4]);
        }
    }

    #[test]
    fn it_uses_no_stack_and_no_signal_handler() {
        let helper = Helper::start().expect("a process");
        let pid = process_id(&helper);
        let status = std::fs::read(format!("/proc/{pid}/status")).expect("readable");
        let blocked = crate::proc_dir::field(&status, "SigBlk").expect("has a line for it");
        // SIGKILL and SIGSTOP cannot be blocked.
        let all = !(1_u64 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
        assert_eq!(u64::from_str_radix(&blocked, 16), Ok(all));
        assert_eq!(
            crate::proc_dir::field(&status, "Name").as_deref(),
            Some(crate::tracer::NAME)
        );
        // SAFETY: the page lives, and the helper does not write to its stack.
        assert_eq!(unsafe { (*helper.page).stack }, [0; STACK_WORDS]);
    }

    #[test]
    fn nothing_is_left_of_it() {
        let helper = Helper::start().expect("a process");
        assert!(!helper.has_ended());
        let entry = format!("/proc/{}", process_id(&helper));
        assert!(std::path::Path::new(&entry).exists());
        drop(helper);
        assert!(!std::path::Path::new(&entry).exists());
    }

    #[test]
    fn one_that_was_killed_makes_no_calls() {
        let helper = Helper::start().expect("a process");
        let pid = process_id(&helper);
        // SAFETY: kill takes two numbers. The process is our child and was not waited for.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            std::thread::yield_now();
        }
        let gone = helper
            .perform(vec![call(libc::SYS_getpid, [0; 4])])
            .expect_err("it has ended");
        assert_eq!(gone, HelperEnded);
        assert!(helper.has_ended());
    }

    #[test]
    fn it_ends_when_its_deadline_has_passed() {
        let helper = Helper::start().expect("a process");
        let entry = format!("/proc/{}", process_id(&helper));
        assert_eq!(helper.watch().early(), None);
        helper.watch().begin_pause(Some(Duration::ZERO));
        // This wakes the helper, which then looks at the deadline.
        let _ = helper.perform(vec![call(libc::SYS_getpid, [0; 4])]);
        while std::path::Path::new(&entry).exists() {
            std::thread::yield_now();
        }
        assert!(helper.has_ended());
        assert_eq!(helper.watch().early(), Some(Early::Limit(Duration::ZERO)));
        assert_eq!(helper.watch().end_pause(), Some(Duration::ZERO));
    }

    /// The helper is inside a call when it is killed.
    #[test]
    fn one_that_is_killed_at_work_does_not_hang() {
        let helper = Helper::start().expect("a process");
        let pid = process_id(&helper);
        let killer = std::thread::spawn(move || {
            let path = format!("/proc/{pid}/syscall");
            let pauses = format!("{} ", libc::SYS_pause);
            while !std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&pauses)) {
                std::thread::yield_now();
            }
            // SAFETY: kill takes two numbers. The process is our child and was not waited for.
            assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
        });
        let ended = helper
            .perform(vec![call(libc::SYS_pause, [0; 4])])
            .expect_err("it is killed");
        assert_eq!(ended, HelperEnded);
        killer.join().expect("no panic");
    }
}
