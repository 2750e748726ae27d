//! Stops all threads of a process and resumes them later.
//!
//! 1. Seize every thread in `/proc/PID/task`. Seizing does not stop a thread. The options are 0:
//!    with `PTRACE_O_TRACECLONE`, a thread caught inside `clone3` would report the clone instead of
//!    the requested stop.
//! 2. Interrupt all new threads in one burst, then wait for their stops.
//! 3. List the threads again until the list has no new ones. A stopped thread creates no threads.
//!
//! The code does *not* use `wait` to learn whether a thread has stopped, because any other thread
//! of the host program that calls `waitpid(-1)` may take the notification away. It calls
//! `PTRACE_GETSIGINFO` for each thread instead, which succeeds only while the thread is stopped.
//!
//! This has another advantage. When a thread is stopped while a signal is being delivered to it,
//! the kernel keeps the signal until somebody has waited for that stop. So the signal is delivered
//! even if the dumper is killed (observed on Linux 6.18).
//!
//! All requests are made by the [tracer](crate::tracer), as few batches of them as possible: with a
//! helper process, each batch costs two changes of process. They write nothing into the target.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind, XStateLayout};
use nix::errno::Errno;

use crate::attach;
use crate::proc_dir::{ProcDir, ThreadStat, system_fault};
use crate::ptrace::{Batch, SignalInfo};
use crate::registers::Registers;
use crate::tracer::Tracer;
use crate::xstate;

/// How long to wait for threads in uninterruptible sleep, counted from the last stop.
///
/// Such a thread may never stop: the parent of a `vfork`, or a thread that waits for a dead network
/// file system. The pending interrupt keeps it from running user code.
pub(crate) const UNINTERRUPTIBLE_PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait for all other threads, counted from the last stop.
///
/// They stop as soon as they get a processor, which a real-time thread or a CPU quota may delay.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The maximum number of times that the threads are listed.
///
/// A process that does nothing but create threads needed no more than 4 (observed on Linux 6.18).
pub(crate) const PASSES: usize = 100;

/// The first and the longest pause between two checks of threads that have not stopped yet.
pub(crate) const NAPS: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));

/// The state of a thread that is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopKind {
    /// It has not stopped yet. It was interrupted or will be.
    Pending,
    /// It is in uninterruptible sleep and did not stop in time.
    Stuck,
    /// It stopped because of our interrupt.
    Asked,
    /// It is in a job-control stop, and returns to it when released.
    Group,
    /// It was stopped during the delivery of this signal, which it receives when released.
    Signal(i32),
    /// It reports a clone or an execve. Only threads of [`Tie::Parent`] do so.
    Event,
    /// It is not stopped: it is a kernel worker thread, which runs no code of the process.
    Kernel,
}

impl StopKind {
    /// Returns the stop that has this `siginfo_t`.
    ///
    /// The kernel distinguishes ptrace stops from signals by the same test (in `PTRACE_LISTEN`).
    pub(crate) fn of(info: &SignalInfo, tie: Tie) -> Self {
        match info.code >> 8 {
            libc::PTRACE_EVENT_STOP if info.signo == libc::SIGTRAP => Self::Asked,
            libc::PTRACE_EVENT_STOP => Self::Group,
            1..libc::PTRACE_EVENT_STOP if tie == Tie::Parent => Self::Event,
            _ => Self::Signal(info.signo),
        }
    }

    /// Whether the thread is stopped, so that its registers can be read.
    pub(crate) fn is_stop(self) -> bool {
        !matches!(self, Self::Pending | Self::Stuck | Self::Kernel)
    }
}

/// A thread that we are attached to, or a kernel worker thread of the process.
#[derive(Debug, Clone)]
pub(crate) struct StoppedThread {
    pub(crate) tid: u32,
    pub(crate) stop: StopKind,
    /// Its registers. `None` before [`TargetThreads::hold`], and for a thread that did not stop. A
    /// kernel worker thread has [`Registers::none`].
    pub(crate) registers: Option<Registers>,
    /// Why the registers of a thread that did stop could not be read.
    pub(crate) unread: Option<Errno>,
    /// Its `stat` before it was stopped, or `None` if that could not be read.
    pub(crate) stat: Option<ThreadStat>,
}

impl StoppedThread {
    /// Returns the description of a thread that was just listed and is not stopped yet.
    pub(crate) fn found(dir: &ProcDir, tid: u32) -> Self {
        let stat = dir.thread_stat(tid).ok();
        let is_of_kernel = stat.as_ref().is_some_and(|stat| is_of_the_kernel(dir, tid, stat));
        let (stop, registers) = match is_of_kernel {
            true => (StopKind::Kernel, Some(Registers::none())),
            false => (StopKind::Pending, None),
        };
        Self {
            tid,
            stop,
            registers,
            unread: None,
            stat,
        }
    }
}

/// How we came to trace the threads, which decides what happens when they are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// We attached for this capture only. A release detaches.
    Guest,
    /// We started the process and trace its new threads automatically. A release continues them.
    Parent,
}

/// The threads of one process.
#[derive(Debug)]
pub(crate) struct TargetThreads {
    dir: ProcDir,
    tie: Tie,
    held: Vec<StoppedThread>,
    /// The thread that stays stopped when the others are released, and its registers, which were
    /// read before.
    kept: Option<(u32, Box<Registers>)>,
    /// The layout of the registers to read beyond x87 and SSE.
    extended: Option<XStateLayout>,
    first_interrupt: Option<Instant>,
    max_pause: Option<Duration>,
}

impl TargetThreads {
    /// Returns an empty list of threads for the process in `dir`.
    pub(crate) fn new(dir: ProcDir, tie: Tie) -> Self {
        Self {
            dir,
            tie,
            held: Vec::new(),
            kept: None,
            extended: None,
            first_interrupt: None,
            max_pause: None,
        }
    }

    /// Sets the longest duration of the pause.
    pub(crate) fn max_pause(mut self, limit: Option<Duration>) -> Self {
        self.max_pause = limit;
        self
    }

    /// Excludes a thread from the release. Its registers were read in the same stop, and replace
    /// those that cannot be read again.
    ///
    /// This is for a thread of a program that we started, which a signal is about to kill.
    pub(crate) fn keeping(mut self, thread: Option<(u32, Box<Registers>)>) -> Self {
        self.kept = thread;
        self
    }

    /// Sets the layout of the registers to read beyond x87 and SSE.
    pub(crate) fn extended(mut self, layout: Option<XStateLayout>) -> Self {
        self.extended = layout;
        self
    }

    /// Whether we attached for this capture only.
    pub(crate) fn is_guest(&self) -> bool {
        self.tie == Tie::Guest
    }

    /// The id of the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.dir.pid
    }

    /// The threads: the leader first, then the others by ascending id.
    pub(crate) fn held(&self) -> &[StoppedThread] {
        &self.held
    }

    /// Finds the thread with this id by binary search. Valid only after [`hold`](Self::hold), which
    /// sorts the threads.
    pub(crate) fn find(&self, tid: u32) -> Option<&StoppedThread> {
        find(&self.held, self.dir.pid, tid)
    }

    /// Forgets all threads, because another tracer begins anew.
    pub(crate) fn forget(&mut self) {
        self.held.clear();
    }

    /// The time at which the first thread was interrupted, which is the start of the pause.
    pub(crate) fn first_interrupt(&self) -> Option<Instant> {
        self.first_interrupt
    }

    /// Attaches to all threads that are not known yet, without stopping them. Returns whether there
    /// were any.
    ///
    /// A thread that was listed but has ended since counts as new. If a thread ends while the
    /// kernel lists it, the list stops there (`next_tid` in `fs/proc/base.c`), so other threads may
    /// be missing from it.
    ///
    /// # Errors
    /// We are not permitted to trace the process, or it has ended.
    pub(crate) fn attach(&mut self, tracer: &Tracer<'_>) -> Result<bool, Fault> {
        let listed = self
            .dir
            .thread_ids()
            .map_err(|error| system_fault(self.operation(), &error))?;
        let known: HashSet<u32> = self.held.iter().map(|held| held.tid).collect();
        let (of_kernel, others): (Vec<StoppedThread>, Vec<StoppedThread>) = listed
            .into_iter()
            .filter(|tid| !known.contains(tid))
            .map(|tid| StoppedThread::found(&self.dir, tid))
            .partition(|thread| thread.stop == StopKind::Kernel);
        let mut unknown = !of_kernel.is_empty();
        self.held.extend(of_kernel);
        let ids: Vec<u32> = others.iter().map(|thread| thread.tid).collect();
        for (thread, seized) in others.into_iter().zip(self.seize(tracer, &ids)?) {
            let tid = thread.tid;
            match seized {
                Ok(()) => {
                    unknown = true;
                    self.held.push(thread);
                }
                Err(Errno::ESRCH) => unknown = true,
                // A zombie cannot be traced. Zombies that stay in the list do not count as new: the
                // leader, and threads that we already trace.
                Err(_) if self.has_ended(tid) => unknown |= self.dir.thread_stat(tid).is_err(),
                Err(errno) => return Err(attach::refusal(&self.dir, tid, errno)),
            }
        }
        if self.held.is_empty() {
            return Err(Fault::new(FaultKind::Gone, self.operation(), "it has ended"));
        }
        Ok(unknown)
    }

    /// Stops all threads and reads their registers.
    ///
    /// # Errors
    /// The process ended, a thread did not stop in time, or the process creates threads faster than
    /// they can be stopped.
    pub(crate) fn hold(&mut self, tracer: &Tracer<'_>) -> Result<(), Fault> {
        for pass in 0..PASSES {
            let unknown = self.attach(tracer)?;
            if pass > 0 && !unknown && self.still_holding(tracer)? {
                tracing::debug!(
                    pid = self.dir.pid,
                    threads = self.held.len(),
                    pass,
                    "all threads have stopped"
                );
                let leader = self.dir.pid;
                self.held.sort_unstable_by_key(|held| order(leader, held.tid));
                return self.read_registers(tracer);
            }
            self.interrupt_and_collect(tracer)?;
        }
        Err(Fault::new(
            FaultKind::NotStopped,
            self.operation(),
            format!("it still had new threads after {PASSES} attempts to stop them all"),
        ))
    }

    fn read_registers(&mut self, tracer: &Tracer<'_>) -> Result<(), Fault> {
        let mut stopped: Vec<&mut StoppedThread> =
            self.held.iter_mut().filter(|held| held.stop.is_stop()).collect();
        let ids: Vec<u32> = stopped.iter().map(|held| held.tid).collect();
        let read = Registers::read_all(&ids, self.extended.as_ref(), |batch| tracer.perform(batch))?;
        let is_extended = self.extended.is_some();
        for (held, read) in stopped.iter_mut().zip(read) {
            let kept = self.kept.as_ref().filter(|(tid, _)| *tid == held.tid);
            let read = match (read, kept) {
                (Ok(registers), Some((_, earlier))) => Ok(registers.completed_from(earlier)),
                (Err(errno), Some((_, earlier))) if is_extended => Ok(earlier.without_extended(errno)),
                (Err(_), Some((_, earlier))) => Ok(Registers::clone(earlier)),
                (read, None) => read,
            };
            match read {
                Ok(registers) => held.registers = Some(registers),
                Err(errno) => held.unread = Some(errno),
            }
        }
        Ok(())
    }

    /// Reads the signal masks of the threads, in the order of the list. `None` for one that cannot
    /// be read.
    ///
    /// # Errors
    /// The tracer has ended.
    pub(crate) fn signal_masks(&self, tracer: &Tracer<'_>) -> Result<Vec<Option<u64>>, Fault> {
        let mut masks = vec![0; self.held.len()];
        let mut batch = Batch::new();
        for (held, mask) in self.held.iter().zip(&mut masks) {
            batch.signal_mask(held.tid, mask);
        }
        let results = tracer.perform(batch)?;
        let read = results.iter().zip(masks);
        Ok(read.map(|(result, mask)| result.ok().map(|()| mask)).collect())
    }

    /// Notes that the thread is now in another stop, in which it was left by the
    /// [injection](crate::clone) of system calls.
    pub(crate) fn now_in(&mut self, tid: u32, stop: StopKind) {
        if let Some(held) = self.held.iter_mut().find(|held| held.tid == tid) {
            held.stop = stop;
        }
    }

    /// Releases all threads, which then continue as if they had not been stopped. They stay in the
    /// list.
    ///
    /// Returns whether all of them were released. A thread that has not stopped cannot be detached
    /// from; the kernel releases it when the tracer ends.
    pub(crate) fn release(&mut self, tracer: &Tracer<'_>) -> bool {
        let tie = self.tie;
        let kept = self.kept.as_ref().map(|(tid, _)| *tid);
        let mut held: Vec<&mut StoppedThread> = self
            .held
            .iter_mut()
            .filter(|held| Some(held.tid) != kept && held.stop != StopKind::Kernel)
            .collect();
        // Some may have stopped in the meantime, during the delivery of a signal.
        let mut running: Vec<&mut &mut StoppedThread> =
            held.iter_mut().filter(|held| !held.stop.is_stop()).collect();
        let ids: Vec<u32> = running.iter().map(|held| held.tid).collect();
        for (held, stop) in running
            .iter_mut()
            .zip(stops(tracer, tie, &ids).unwrap_or_default())
        {
            held.stop = stop.unwrap_or(held.stop);
        }
        let mut batch = Batch::new();
        for held in &held {
            match (tie, held.stop) {
                (Tie::Guest, StopKind::Signal(signal)) => batch.detach(held.tid, signal),
                (Tie::Guest, _) => batch.detach(held.tid, 0),
                (Tie::Parent, StopKind::Signal(signal)) => batch.cont(held.tid, signal),
                (Tie::Parent, StopKind::Group) => batch.listen(held.tid),
                (Tie::Parent, _) => batch.cont(held.tid, 0),
            }
        }
        let Ok(results) = tracer.perform(batch) else {
            return false;
        };
        let mut all = true;
        for (held, result) in held.iter().zip(results.iter()) {
            if let Err(error) = result {
                tracing::debug!(tid = held.tid, %error, "could not be released");
                all = false;
            }
        }
        all
    }

    /// Attaches to these threads. Returns a result for each.
    fn seize(&self, tracer: &Tracer<'_>, tids: &[u32]) -> Result<Vec<nix::Result<()>>, Fault> {
        if self.tie == Tie::Parent {
            // They are traced from their start. They stay listed after their end until they are
            // reaped.
            let traced = |tid: &u32| match self.has_ended(*tid) {
                true => Err(Errno::EPERM),
                false => Ok(()),
            };
            return Ok(tids.iter().map(traced).collect());
        }
        let mut batch = Batch::new();
        for tid in tids {
            batch.seize(*tid);
        }
        Ok(tracer.perform(batch)?.iter().collect())
    }

    /// Interrupts all pending threads, and waits until none is pending.
    fn interrupt_and_collect(&mut self, tracer: &Tracer<'_>) -> Result<(), Fault> {
        if self.first_interrupt.is_none() {
            self.first_interrupt = Some(Instant::now());
            tracer.watch().begin_pause(self.max_pause);
        }
        let tie = self.tie;
        let mut batch = Batch::new();
        // ESRCH: the thread has ended. `give_up_on` notices that.
        for held in self.held.iter().filter(|held| held.stop == StopKind::Pending) {
            batch.interrupt(held.tid);
        }
        let mut last_stop = Instant::now();
        let mut nap = Duration::ZERO;
        loop {
            let mut waiting: Vec<&mut StoppedThread> = self
                .held
                .iter_mut()
                .filter(|held| matches!(held.stop, StopKind::Pending | StopKind::Stuck))
                .collect();
            let ids: Vec<u32> = waiting.iter().map(|held| held.tid).collect();
            let stops = stops_after(tracer, tie, batch, nap, &ids)?;
            batch = Batch::new();
            let mut pending = false;
            for (held, stop) in waiting.iter_mut().zip(stops) {
                match stop {
                    // Let the thread pass this event. The interrupt must be repeated, because any
                    // stop cancels an earlier interrupt (`ptrace_stop` in `kernel/signal.c`).
                    // Without it, a thread that creates threads all the time was not stopped in 7
                    // of 120 attempts on a busy machine.
                    Some(StopKind::Event) => {
                        batch.interrupt(held.tid);
                        batch.cont(held.tid, 0);
                        pending = true;
                    }
                    Some(stop) => {
                        held.stop = stop;
                        last_stop = Instant::now();
                    }
                    None => pending |= held.stop == StopKind::Pending,
                }
            }
            if !pending {
                return Ok(());
            }
            if nap == NAPS.1 {
                self.give_up_on(last_stop.elapsed())?;
            }
            nap = (nap * 2).clamp(NAPS.0, NAPS.1);
        }
    }

    /// Removes pending threads that have ended, and gives up on those that cannot stop.
    ///
    /// # Errors
    /// A thread that is not in uninterruptible sleep did not stop within [`PATIENCE`].
    fn give_up_on(&mut self, waited: Duration) -> Result<(), Fault> {
        let dir = self.dir.clone();
        let operation = self.operation();
        self.drop_ended(|held| held.stop == StopKind::Pending);
        for held in self.held.iter_mut().filter(|held| held.stop == StopKind::Pending) {
            let uninterruptible = dir.thread_stat(held.tid).is_ok_and(|stat| stat.state == 'D');
            if uninterruptible && waited > UNINTERRUPTIBLE_PATIENCE {
                tracing::debug!(tid = held.tid, "in uninterruptible sleep, continuing without it");
                held.stop = StopKind::Stuck;
            } else if waited > PATIENCE {
                return Err(Fault::new(
                    FaultKind::NotStopped,
                    operation,
                    format!("thread {} did not stop within {} s", held.tid, PATIENCE.as_secs()),
                )
                .advise("is the machine, or the process's cgroup, short of processor time?"));
            }
        }
        Ok(())
    }

    /// Whether every thread that had stopped is still stopped, and none has ended.
    ///
    /// Two things end any stop: SIGKILL, and an execve by a thread that was not stopped yet.
    fn still_holding(&mut self, tracer: &Tracer<'_>) -> Result<bool, Fault> {
        let before = self.held.len();
        let mut stopped: Vec<&mut StoppedThread> =
            self.held.iter_mut().filter(|held| held.stop.is_stop()).collect();
        let ids: Vec<u32> = stopped.iter().map(|held| held.tid).collect();
        for (held, stop) in stopped.iter_mut().zip(stops(tracer, self.tie, &ids)?) {
            if stop.is_none() {
                held.stop = StopKind::Pending;
            }
        }
        self.drop_ended(|held| held.stop == StopKind::Pending);
        Ok(before == self.held.len() && self.held.iter().all(|held| held.stop != StopKind::Pending))
    }

    fn drop_ended(&mut self, which: impl Fn(&StoppedThread) -> bool) {
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

/// Whether the thread is a worker of `io_uring`, which must not be stopped.
///
/// Stopping a worker interrupts the request that it waits in. Unlike a system call, the request
/// is not restarted: when the worker of an `openat` of a FIFO was stopped, the request ended
/// with -512, an error number that is internal to the kernel (observed on Linux 6.18). Workers
/// have no registers and no stack in the process.
fn is_of_the_kernel(dir: &ProcDir, tid: u32, stat: &ThreadStat) -> bool {
    /// From `linux/sched.h`, since Linux 5.12.
    const PF_IO_WORKER: u64 = 0x10;
    tid != dir.pid && stat.flags & PF_IO_WORKER != 0
}

/// Returns the stops that these threads are in; `None` for a thread that is not stopped.
fn stops(tracer: &Tracer<'_>, tie: Tie, tids: &[u32]) -> Result<Vec<Option<StopKind>>, Fault> {
    stops_after(tracer, tie, Batch::new(), Duration::ZERO, tids)
}

/// The same, after the requests of `first` and a pause.
fn stops_after(
    tracer: &Tracer<'_>,
    tie: Tie,
    first: Batch<'_>,
    nap: Duration,
    tids: &[u32],
) -> Result<Vec<Option<StopKind>>, Fault> {
    let nap = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::c_long::from(nap.subsec_nanos()),
    };
    let mut infos = vec![SignalInfo::EMPTY; tids.len()];
    let mut batch = first;
    if nap.tv_nsec > 0 {
        batch.nap(&nap);
    }
    let skipped = batch.len();
    for (tid, info) in tids.iter().zip(&mut infos) {
        batch.siginfo(*tid, info);
    }
    let results = tracer.perform(batch)?;
    let known = results.iter().skip(skipped).zip(&infos);
    Ok(known
        .map(|(result, info)| result.ok().map(|()| StopKind::of(info, tie)))
        .collect())
}

/// Removes the registers beyond x87 and SSE.
pub(crate) fn remove_extended(threads: &mut [StoppedThread]) {
    for registers in threads.iter_mut().filter_map(|held| held.registers.as_mut()) {
        registers.amd64.xstate = None;
        registers.lost.retain(|lost| lost.group != xstate::GROUP);
    }
}

/// Finds the thread with this id in a list that is sorted by [`order`].
pub(crate) fn find(held: &[StoppedThread], leader: u32, tid: u32) -> Option<&StoppedThread> {
    let wanted = order(leader, tid);
    let at = held.binary_search_by(|held| order(leader, held.tid).cmp(&wanted));
    Some(&held[at.ok()?])
}

/// The sort key of threads: the leader first, then ascending ids.
pub(crate) fn order(leader: u32, tid: u32) -> (bool, u32) {
    #[cfg(test)]
    tests::COMPARED.set(tests::COMPARED.get() + 1);
    (tid != leader, tid)
}

pub(crate) fn has_ended(dir: &ProcDir, tid: u32) -> bool {
    match dir.thread_stat(tid) {
        Ok(stat) => stat.has_ended(),
        // Other errors, such as a lack of file descriptors, say nothing about the thread.
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    }
}

/// What these tests would catch: a lookup that compares with every thread, or that misses one.
#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use dumpwright_target::Cpu;

    use super::*;

    thread_local! {
        /// The number of calls of [`order`] on this thread.
        pub(super) static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn finding_each_of_many_threads_takes_few_comparisons() {
        const THREADS: u32 = 1 << 16;
        const LEADER: u32 = 100_001;
        let dir = ProcDir {
            pid: LEADER,
            task: LEADER,
            cpu: Cpu::Amd64,
        };
        let mut threads = TargetThreads::new(dir, Tie::Guest);
        // Ids wrap around, so the leader's need not be the lowest.
        let others = (0..THREADS).map(|number| 2 * number).filter(|tid| *tid != LEADER);
        threads
            .held
            .extend([LEADER].into_iter().chain(others).map(|tid| StoppedThread {
                unread: None,
                stat: None,
                tid,
                stop: StopKind::Asked,
                registers: None,
            }));
        COMPARED.set(0);
        for at in 0..threads.held.len() {
            let tid = threads.held[at].tid;
            assert_eq!(threads.find(tid).map(|held| held.tid), Some(tid));
        }
        // Each lookup computes the key of the wanted thread once, and halves the list 17 times.
        let lookups = threads.held.len() as u64;
        assert!(COMPARED.get() <= 20 * lookups, "{}", COMPARED.get());
        assert!(threads.find(1).is_none());
        assert!(threads.find(u32::MAX).is_none());
    }
}
