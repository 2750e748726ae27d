//! Bringing all threads of a process to a stop, and letting them go.
//!
//! 1. Seize every thread in `/proc/PID/task`. That does not stop it. The options are 0: with `TRACECLONE`
//!    a thread caught inside `clone3` would report the clone instead of the stop asked for.
//! 2. Ask every new thread to stop, in one burst; then collect the stops.
//! 3. List again, until a listing brings nothing new: a stopped thread creates no threads.
//!
//! Whether a thread has stopped is *not* learnt from `wait`: any other thread of a host program that
//! calls `waitpid(-1)` may take our notifications away. Instead each thread is asked for the facts of its
//! stop, which the kernel has only while there is one. That has a second use: a signal caught on
//! its way to the thread is kept by the kernel as long as no one has waited for that stop, so that
//! it is delivered even if the dumper is killed (observed on Linux 6.18).
//!
//! Everything here runs on the [tracing thread](crate::tracer). Nothing is written into the target.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind, XStateLayout};
use nix::errno::Errno;

use crate::attach;
use crate::proc_dir::{ProcDir, system_fault};
use crate::ptrace;
use crate::registers::Registers;

/// How long threads in uninterruptible sleep are waited for, counted from the last stop. Such a thread
/// (the parent of a `vfork`, one that waits for a dead network file system) may never stop; the
/// pending request keeps it from running user code.
const UNINTERRUPTIBLE_PATIENCE: Duration = Duration::from_millis(100);

/// How long all others are waited for. They stop as soon as a processor takes them up, which a real-time
/// hog or a processor quota may delay.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many listings may bring something new. Even a process that does nothing but make threads
/// needed no more than 4 (observed on Linux 6.18).
const PASSES: usize = 100;

/// First and longest nap between two looks at threads that have not stopped yet.
const NAPS: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));

/// How a thread is being held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It was asked to stop, or will be, and has not stopped yet.
    Pending,
    /// It did not stop in time: it is in uninterruptible sleep.
    Stuck,
    /// It stopped because we asked.
    Asked,
    /// It was (or came) to a job-control stop, and goes back there when let go.
    Group,
    /// It was caught with this signal on its way, which is delivered when it is let go.
    Signal(i32),
    /// It reports an event of its own: a clone or an execve, only where that was asked for.
    Event,
    /// It is not held: a thread of the kernel's making, which runs none of the process' code.
    Kernel,
}

impl Stop {
    /// The stop that `tid` is in now, if it is in one.
    ///
    /// The kernel itself tells its stops from signals by the same test (`PTRACE_LISTEN`).
    pub(crate) fn of(tid: u32, tie: Tie) -> Option<Self> {
        let info = ptrace::siginfo(tid).ok()?;
        Some(match info.si_code >> 8 {
            libc::PTRACE_EVENT_STOP if info.si_signo == libc::SIGTRAP => Self::Asked,
            libc::PTRACE_EVENT_STOP => Self::Group,
            1..libc::PTRACE_EVENT_STOP if tie == Tie::Parent => Self::Event,
            _ => Self::Signal(info.si_signo),
        })
    }

    /// Whether the thread stands still and can be asked for its registers.
    pub(crate) fn is_stop(self) -> bool {
        !matches!(self, Self::Pending | Self::Stuck | Self::Kernel)
    }
}

/// A thread we are attached to.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) tid: u32,
    pub(crate) stop: Stop,
    /// Its registers; only after [`Threads::hold`], and only if it stopped or cannot have any.
    pub(crate) registers: Option<Registers>,
}

/// Who attached to the threads, and so what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// We attach for the capture only, and detach after it.
    Guest,
    /// They were started by us and report new threads by themselves.
    Parent,
}

/// The threads of one process.
#[derive(Debug)]
pub(crate) struct Threads {
    dir: ProcDir,
    tie: Tie,
    held: Vec<Held>,
    /// A thread that stays in its stop when the others are let go.
    kept: Option<u32>,
    /// What is read of registers beyond x87 and SSE.
    extended: Option<XStateLayout>,
    first_interrupt: Option<Instant>,
}

impl Threads {
    /// None of the threads yet.
    pub(crate) fn new(dir: ProcDir, tie: Tie) -> Self {
        Self {
            dir,
            tie,
            held: Vec::new(),
            kept: None,
            extended: None,
            first_interrupt: None,
        }
    }

    /// The same, but one thread is not let go at the end: one of our own program, about to die of a signal.
    pub(crate) fn keeping(mut self, tid: Option<u32>) -> Self {
        self.kept = tid;
        self
    }

    /// The same, with registers beyond x87 and SSE.
    pub(crate) fn extended(mut self, layout: Option<XStateLayout>) -> Self {
        self.extended = layout;
        self
    }

    /// The threads, the leader first, then ascending.
    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// When the pause began: with the first thread that was asked to stop.
    pub(crate) fn first_interrupt(&self) -> Option<Instant> {
        self.first_interrupt
    }

    /// Attaches to all threads that are not yet known. Stops none. Says whether the listing brought any.
    ///
    /// One that was listed and is gone counts, too: if a thread ends while the kernel lists it, the list ends
    /// there (`next_tid` in `fs/proc/base.c`), and others may be missing.
    ///
    /// # Errors
    /// We may not trace the process, or it has ended.
    pub(crate) fn attach(&mut self) -> Result<bool, Fault> {
        let listed = self
            .dir
            .thread_ids()
            .map_err(|error| system_fault(self.operation(), &error))?;
        let known: HashSet<u32> = self.held.iter().map(|held| held.tid).collect();
        let mut unknown = false;
        for tid in listed.into_iter().filter(|tid| !known.contains(tid)) {
            if self.is_of_the_kernel(tid) {
                unknown = true;
                self.held.push(Held {
                    tid,
                    stop: Stop::Kernel,
                    registers: Some(Registers::none()),
                });
                continue;
            }
            match self.seize(tid) {
                Ok(()) => {
                    unknown = true;
                    self.held.push(Held {
                        tid,
                        stop: Stop::Pending,
                        registers: None,
                    });
                }
                Err(Errno::ESRCH) => unknown = true,
                // Zombies may not be traced. The first thread, and those that we trace already, stay ones.
                Err(_) if self.has_ended(tid) => unknown |= self.dir.thread_stat(tid).is_err(),
                Err(errno) => return Err(attach::refusal(&self.dir, tid, errno)),
            }
        }
        if self.held.is_empty() {
            return Err(Fault::new(FaultKind::Gone, self.operation(), "it has ended"));
        }
        Ok(unknown)
    }

    /// Brings all threads to a stop and reads their registers.
    ///
    /// # Errors
    /// The process ended, or makes threads faster than they can be stopped.
    pub(crate) fn hold(&mut self) -> Result<(), Fault> {
        for pass in 0..PASSES {
            let unknown = self.attach()?;
            if pass > 0 && !unknown && self.still_holding() {
                tracing::debug!(
                    pid = self.dir.pid,
                    threads = self.held.len(),
                    pass,
                    "all threads stand still"
                );
                self.held
                    .sort_unstable_by_key(|held| (held.tid != self.dir.pid, held.tid));
                let extended = self.extended.as_ref();
                for held in self.held.iter_mut().filter(|held| held.stop.is_stop()) {
                    held.registers = Registers::read(held.tid, extended);
                }
                return Ok(());
            }
            self.interrupt();
            self.collect()?;
        }
        Err(Fault::new(
            FaultKind::NotStopped,
            self.operation(),
            format!("it still had new threads after {PASSES} rounds of stopping them"),
        ))
    }

    /// Lets all threads run on, as they would have. Returns whether none is left to the end of this
    /// thread: one that has not stopped cannot be detached from.
    pub(crate) fn release(&mut self) -> bool {
        let tie = self.tie;
        let mut all = true;
        let kept = self.kept;
        for held in std::mem::take(&mut self.held)
            .into_iter()
            .filter(|held| Some(held.tid) != kept && held.stop != Stop::Kernel)
        {
            // It may have stopped since, with a signal on its way.
            let stop = if held.stop.is_stop() {
                Some(held.stop)
            } else {
                Stop::of(held.tid, tie)
            };
            let result = match (tie, stop) {
                (Tie::Guest, Some(Stop::Signal(signal))) => ptrace::detach(held.tid, signal),
                (Tie::Guest, _) => ptrace::detach(held.tid, 0),
                (Tie::Parent, Some(Stop::Signal(signal))) => ptrace::cont(held.tid, signal),
                (Tie::Parent, Some(Stop::Group)) => ptrace::listen(held.tid),
                (Tie::Parent, _) => ptrace::cont(held.tid, 0),
            };
            if let Err(error) = result {
                tracing::debug!(tid = held.tid, %error, "not let go by hand");
                all = false;
            }
        }
        all
    }

    /// Whether the thread is a worker of `io_uring`, which must not be disturbed.
    ///
    /// To stop one interrupts the request that it waits in, which cannot be restarted as a system call would be: an
    /// `openat` of a FIFO ended with the result -512, a number of the kernel's own, when its worker was stopped (seen on
    /// Linux 6.18). Such threads have no registers and no stack in the process, and are no one's children to report.
    fn is_of_the_kernel(&self, tid: u32) -> bool {
        /// `linux/sched.h`, since Linux 5.12.
        const PF_IO_WORKER: u64 = 0x10;
        tid != self.dir.pid
            && self
                .dir
                .thread_stat(tid)
                .is_ok_and(|stat| stat.flags & PF_IO_WORKER != 0)
    }

    fn seize(&self, tid: u32) -> nix::Result<()> {
        match self.tie {
            Tie::Guest => ptrace::seize(tid, 0),
            // Attached since it exists, and listed after its end until its parent takes note.
            Tie::Parent if self.has_ended(tid) => Err(Errno::EPERM),
            Tie::Parent => Ok(()),
        }
    }

    /// Asks all threads that have not been asked yet.
    fn interrupt(&mut self) {
        self.first_interrupt.get_or_insert_with(Instant::now);
        for held in self.held.iter().filter(|held| held.stop == Stop::Pending) {
            // ESRCH: it has ended, which `collect` finds out.
            let _ = ptrace::interrupt(held.tid);
        }
    }

    /// Waits until no thread is pending.
    fn collect(&mut self) -> Result<(), Fault> {
        let tie = self.tie;
        let mut last_stop = Instant::now();
        let mut nap = NAPS.0;
        loop {
            let mut pending = false;
            for held in &mut self.held {
                if held.stop.is_stop() {
                    continue;
                }
                match Stop::of(held.tid, tie) {
                    // Ours to pass over. Our request to stop is made again, because a stop of any kind takes back the one
                    // that was made before it (`ptrace_stop` in `kernel/signal.c`): a thread that makes threads all the
                    // time ran on, in 7 of 120 attempts on a busy machine.
                    Some(Stop::Event) => {
                        let _ = ptrace::interrupt(held.tid);
                        let _ = ptrace::cont(held.tid, 0);
                        pending = true;
                    }
                    Some(stop) => {
                        held.stop = stop;
                        last_stop = Instant::now();
                    }
                    None => pending |= held.stop == Stop::Pending,
                }
            }
            if !pending {
                return Ok(());
            }
            if nap == NAPS.1 {
                self.give_up_on(last_stop.elapsed())?;
            }
            thread::sleep(nap);
            nap = NAPS.1.min(nap * 2);
        }
    }

    /// Drops pending threads that have ended, and gives up on those that can't stop.
    fn give_up_on(&mut self, waited: Duration) -> Result<(), Fault> {
        let dir = self.dir.clone();
        let operation = self.operation();
        self.drop_ended(|held| held.stop == Stop::Pending);
        for held in self.held.iter_mut().filter(|held| held.stop == Stop::Pending) {
            let uninterruptible = dir.thread_stat(held.tid).is_ok_and(|stat| stat.state == 'D');
            if uninterruptible && waited > UNINTERRUPTIBLE_PATIENCE {
                tracing::debug!(tid = held.tid, "in uninterruptible sleep, going on without it");
                held.stop = Stop::Stuck;
            } else if waited > PATIENCE {
                return Err(Fault::new(
                    FaultKind::NotStopped,
                    operation,
                    format!("thread {} did not stop within {} s", held.tid, PATIENCE.as_secs()),
                )
                .advise("is the machine, or the process' cgroup, short of processor time?"));
            }
        }
        Ok(())
    }

    /// Whether every thread that had stopped still does. SIGKILL, and the execve of a thread that we had
    /// not stopped yet, get threads out of any stop.
    fn still_holding(&mut self) -> bool {
        let before = self.held.len();
        for held in self.held.iter_mut().filter(|held| held.stop.is_stop()) {
            if ptrace::siginfo(held.tid).is_err() {
                held.stop = Stop::Pending;
            }
        }
        self.drop_ended(|held| held.stop == Stop::Pending);
        before == self.held.len() && self.held.iter().all(|held| held.stop != Stop::Pending)
    }

    fn drop_ended(&mut self, which: impl Fn(&Held) -> bool) {
        let dir = self.dir.clone();
        self.held
            .retain(|held| !(which(held) && has_ended(&dir, held.tid)));
    }

    fn has_ended(&self, tid: u32) -> bool {
        has_ended(&self.dir, tid)
    }

    fn operation(&self) -> String {
        format!("stop process {}", self.dir.pid)
    }
}

fn has_ended(dir: &ProcDir, tid: u32) -> bool {
    match dir.thread_stat(tid) {
        Ok(stat) => stat.has_ended(),
        // Any other error (out of file descriptors) says nothing about the thread.
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    }
}
