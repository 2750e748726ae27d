//! Receives the signals of this process while a thread of it watches and dumps.
//!
//! The first thread waits for signals. It passes them on to the program, or ends the watch. It also
//! reaps processes whose parents have ended, if this process is the first one of a container.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use dumpwright::native::{SignalMask, Signaller};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getsid, pipe2};

use super::super::print;

/// The signals that are passed on to a program. The others are those that a process causes itself,
/// and those that cannot be received.
const PASSED_ON: [Signal; 15] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGURG,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// The signals that end a watch of processes that were running already.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// How long to wait for the end of a dump before looking again, in milliseconds.
const SOON: u16 = 20;

/// What the watching thread and the receiver of signals share.
pub(super) struct Supervision {
    /// The signals that were blocked before.
    pub(super) mask: SignalMask,
    program: Mutex<Option<(u32, Signaller)>>,
    /// Whether there is, was or will be a program that signals are passed on to.
    /// Whether this process may stop. Processes that it traces and has not started would wait.
    may_stop: bool,
    for_program: bool,
    /// The signals that have been received before the program was started.
    early: Mutex<Vec<i32>>,
    is_over: Mutex<bool>,
    changed: Condvar,
    /// Held while a process is being dumped. This process must not be stopped then.
    dumping: Mutex<()>,
}

impl Supervision {
    /// From now on, signals are passed on to this process.
    pub(super) fn pass_to(&self, pid: u32, signaller: Signaller) {
        let mut program = lock(&self.program);
        for signal in lock(&self.early).drain(..) {
            // An error means that it has ended.
            let _ = signaller.send(signal);
        }
        *program = Some((pid, signaller));
    }

    /// The program has ended.
    pub(super) fn pass_to_nobody(&self) {
        *lock(&self.program) = None;
    }

    /// Whether the watch should end.
    pub(super) fn is_over(&self) -> bool {
        *lock(&self.is_over)
    }

    /// Ends the watch.
    pub(super) fn end(&self) {
        *lock(&self.is_over) = true;
        self.changed.notify_all();
    }

    /// Waits until this time, or until the watch should end.
    pub(super) fn sleep_until(&self, time: Instant) {
        let mut is_over = lock(&self.is_over);
        loop {
            let left = time.saturating_duration_since(Instant::now());
            if *is_over || left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(is_over, left);
            is_over = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Must be held while a process is being dumped. One process is dumped at a time.
    pub(super) fn dumping(&self) -> MutexGuard<'_, ()> {
        lock(&self.dumping)
    }

    /// Takes note of a signal. Returns true if this process should stop.
    fn receive(&self, info: &siginfo) -> bool {
        let number = info.ssi_signo.cast_signed();
        let Ok(signal) = Signal::try_from(number) else {
            return false;
        };
        if signal == Signal::SIGCHLD {
            reap();
            return false;
        }
        // The kernel sends signals of the terminal to the whole foreground process group.
        let by_terminal = info.ssi_code > 0;
        if self.for_program {
            match &*lock(&self.program) {
                Some((pid, _)) if by_terminal && gets_it_anyway(*pid, signal) => {}
                Some((_, program)) => {
                    // An error means that it has ended.
                    let _ = program.send(number);
                }
                None => lock(&self.early).push(number),
            }
        } else if ENDING.contains(&signal) {
            if self.is_over() {
                // Nobody wants to wait for the end of the dump. The kernel releases its process.
                std::process::exit(128 + number);
            }
            self.end();
        }
        let is_stop = signal == Signal::SIGTSTP;
        if is_stop && !self.may_stop {
            print::complain("not stopped, because the watched processes would wait at their next signal");
        }
        is_stop && self.may_stop
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the terminal has sent the program the signal that it has sent us. It sends SIGHUP to the
/// leader of a session alone.
fn gets_it_anyway(pid: u32, signal: Signal) -> bool {
    let only_for_leader = signal == Signal::SIGHUP && getsid(None) == Ok(getpid());
    getpgid(Some(Pid::from_raw(pid.cast_signed()))) == Ok(getpgrp()) && !only_for_leader
}

/// Reaps processes without parents, which the first process of a container adopts. They become
/// children of its first thread, which has no others.
///
/// Those that are traced are left to their tracer, another thread of this process. A wait for any
/// child would consume what is reported to it, because the tracer belongs to the same process.
fn reap() {
    if std::process::id() != 1 {
        return;
    }
    let children = std::fs::read_to_string("/proc/self/task/1/children").unwrap_or_default();
    for pid in children.split_whitespace() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let is_free = status.lines().any(|line| line == "TracerPid:\t0");
        if let (true, Ok(pid)) = (is_free, pid.parse()) {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            // A process that has not ended is left as it is.
            let _ = waitpid(Pid::from_raw(pid), Some(flags));
        }
    }
}

/// Stops this process as the terminal wants, until it is continued.
fn stop() {
    let only: SigSet = [Signal::SIGTSTP].into_iter().collect();
    // It is blocked, so it takes effect when it is unblocked.
    let _ = raise(Signal::SIGTSTP);
    let _ = only.thread_unblock();
    let _ = only.thread_block();
}

/// Runs `work` on a thread of its own while this thread receives signals. With `for_program`, these
/// are all signals that can be passed on to a program. `may_stop` says whether the terminal can
/// stop this process.
///
/// # Errors
/// The system refuses to let signals be received.
pub(super) fn supervise<T: Send>(
    for_program: bool,
    may_stop: bool,
    work: impl FnOnce(&Supervision) -> T + Send,
) -> io::Result<T> {
    let mask = SignalMask::of_this_thread()?;
    let received: &[Signal] = if for_program { &PASSED_ON } else { &ENDING };
    let mut signals: SigSet = received.iter().copied().collect();
    signals.add(Signal::SIGTSTP);
    signals.add(Signal::SIGCHLD);
    let mut blocked = signals;
    // A write beyond the limit for file sizes then fails like one to a full disk. A terminal does
    // not stop this process when it writes there.
    for signal in [Signal::SIGXFSZ, Signal::SIGTTIN, Signal::SIGTTOU] {
        blocked.add(signal);
    }
    // All threads that are started from now on block them, too.
    blocked.thread_block()?;
    let inbox = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let (done, running) = pipe2(OFlag::O_CLOEXEC)?;
    let supervision = Supervision {
        mask,
        program: Mutex::new(None),
        for_program,
        may_stop,
        early: Mutex::new(Vec::new()),
        is_over: Mutex::new(false),
        changed: Condvar::new(),
        dumping: Mutex::new(()),
    };
    let supervision = &supervision;
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // It is closed when the work is done, which ends the loop below.
            let _running = running;
            work(supervision)
        });
        let mut should_stop = false;
        loop {
            let timeout = match should_stop {
                true => PollTimeout::from(SOON),
                false => PollTimeout::NONE,
            };
            let mut asked = [
                PollFd::new(inbox.as_fd(), PollFlags::POLLIN),
                PollFd::new(done.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut asked, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    print::complain(format_args!("signals are not received any more: {errno}"));
                    break;
                }
            }
            let is_done = asked[1].any().unwrap_or(false);
            while let Ok(Some(info)) = inbox.read_signal() {
                should_stop |= supervision.receive(&info);
            }
            if is_done {
                break;
            }
            if should_stop {
                match supervision.dumping.try_lock() {
                    Ok(_) | Err(TryLockError::Poisoned(_)) => {
                        stop();
                        should_stop = false;
                    }
                    // The dump comes first.
                    Err(TryLockError::WouldBlock) => {}
                }
            }
        }
        match worker.join() {
            Ok(result) => Ok(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
