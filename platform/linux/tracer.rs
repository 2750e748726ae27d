//! What makes the ptrace calls of a capture.
//!
//! The kernel accepts ptrace requests for a thread only from the thread that attached to it, and
//! when a tracer ends, the kernel releases everything that it traced. So the tracer of a capture
//! belongs to the capture, and ends with it. The caller may move its guard to any thread. The end
//! of the tracer always releases the target: after an early return, after a panic, and if a thread
//! of the target never stopped.
//!
//! The tracer is a [helper process](crate::helper) where possible. A [`TracingThread`] of this
//! process takes its place where the system refuses the helper, and traces the programs that we
//! start ourselves.
//!
//! The tracer also watches the capture. It ends, which releases the target, when the pause reaches
//! its limit, when a read or a write does not return, and when the dumping process is stopped. If
//! the target was cloned, the tracer ends, and the clone with it, when the clone reaches its limit
//! ([`Watch`]).

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind, clone_limit_passed, pause_limit_passed};

use crate::helper::{Helper, prepare_thread};
use crate::ptrace::{Batch, Results, make_all};

/// The name of tracing threads and helper processes.
pub(crate) const NAME: &str = "dumpwright";
/// The same, for the kernel.
pub(crate) const NAME_OF_HELPER: &CStr = c"dumpwright";

/// The tracer of a capture.
#[derive(Debug)]
pub(crate) enum Tracer<'a> {
    /// A helper process, started for the capture.
    Helper(Helper),
    /// A thread, started for the capture.
    Thread(TracingThread),
    /// The tracing thread of a program that we started.
    Spawned(&'a TracingThread),
}

impl Tracer<'_> {
    /// Starts a helper process, or a thread if the system does not permit a process.
    ///
    /// # Errors
    /// The system permits neither.
    pub(crate) fn start() -> io::Result<Self> {
        match Helper::start() {
            Ok(helper) => Ok(Self::Helper(helper)),
            Err(error) => {
                tracing::debug!(%error, "cannot start a helper process, tracing by a thread");
                Self::start_thread()
            }
        }
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(crate) fn start_thread() -> io::Result<Self> {
        TracingThread::start().map(Self::Thread)
    }

    /// Makes the requests of a batch.
    ///
    /// # Errors
    /// The tracer has ended, so the target has been released.
    pub(crate) fn perform(&self, batch: Batch<'_>) -> Result<Results, Fault> {
        let by_thread = |thread: &TracingThread, batch: Batch<'_>| {
            batch.perform_by(|mut calls| {
                thread.run(move || {
                    make_all(&mut calls);
                    calls
                })
            })
        };
        match self {
            Self::Helper(helper) => batch
                .perform_by(|calls| helper.perform(calls))
                .map_err(|_| helper_killed()),
            Self::Thread(thread) => by_thread(thread, batch),
            Self::Spawned(thread) => by_thread(thread, batch),
        }
    }

    /// The time limits that the tracer enforces.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        match self {
            Self::Helper(helper) => helper.watch(),
            Self::Thread(thread) => thread.watch(),
            Self::Spawned(thread) => thread.watch(),
        }
    }

    /// The name of this kind of tracer in results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Helper(_) => "helper",
            Self::Thread(_) | Self::Spawned(_) => "in-process",
        }
    }
}

/// The fault of a capture whose helper process has ended before its time.
pub(crate) fn helper_killed() -> Fault {
    Fault::new(
        FaultKind::System,
        "trace the process",
        "the helper process that traces it was killed",
    )
}

/// How long a read, or a write of the output, may take while the target is stopped. Also, how long
/// the dumping process itself may be stopped.
///
/// Files that may have to wait for a server are not read at all. What remains are reads of memory
/// whose page the kernel has dropped since it was found to be resident, and disks that fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often the tracing thread looks whether something has taken too long.
pub(crate) const LOOKS: Duration = Duration::from_secs(1);

/// Why the target was resumed, or its clone ended, before the end of the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// A read did not return.
    Read,
    /// The output took no bytes.
    Output,
    /// The pause had reached this limit.
    Limit(Duration),
    /// The dumping process was stopped.
    Stopped,
    /// The clone had existed for this long.
    Clone(Duration),
}

impl Early {
    /// What has happened to the target, in words that follow "so".
    pub(crate) fn consequence(self) -> &'static str {
        match self {
            Self::Clone(_) => "its clone was ended",
            _ => "it was resumed",
        }
    }

    /// Why nothing is read any more, in words that follow "so".
    pub(crate) fn since(self) -> &'static str {
        match self {
            Self::Clone(_) => "the clone of the process was ended",
            _ => "the process was resumed; it has changed since",
        }
    }
}

impl fmt::Display for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("a read did not return for 10 s"),
            Self::Output => f.write_str("the output took no bytes for 10 s"),
            Self::Limit(limit) => f.write_str(&pause_limit_passed(*limit)),
            Self::Stopped => f.write_str("the dumping process itself was stopped for 10 s"),
            Self::Clone(limit) => f.write_str(&clone_limit_passed(*limit)),
        }
    }
}

/// The time limits of a capture. The tracer enforces them: it ends, which releases the target.
///
/// [`Timer`] is the part that a helper process needs. A helper enforces the limit of the pause and
/// notices that this process is stopped. The thread that started the helper notices a read or a
/// write that does not return. A tracing thread does all of this except the second.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    timer: Timer,
    state: Mutex<WatchState>,
}

/// When a helper process ends by itself. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub(crate) struct Timer {
    /// A deadline is only ever moved to a later time, except before the pause, after an injection
    /// of system calls, and when a clone gets a limit. A helper that waits for an earlier one looks
    /// again at that time.
    pub(crate) deadline: AtomicU64,
    /// Set by the helper when it ends because the deadline has passed. This precedes the release
    /// of the target: a read of memory that has returned before it was set shows the stopped
    /// target.
    pub(crate) has_expired: AtomicU32,
}

/// The deadline of a helper without a deadline.
const NEVER: u64 = u64::MAX;

impl Default for Timer {
    fn default() -> Self {
        Self {
            deadline: AtomicU64::new(NEVER),
            has_expired: AtomicU32::new(0),
        }
    }
}

#[derive(Debug, Default)]
struct WatchState {
    /// When the current read began.
    reads_since: Option<Instant>,
    /// When the current write of the output began.
    writes_since: Option<Instant>,
    /// The pause, while there is one.
    pause: Option<Pause>,
    /// Whether the pause has ended because a clone is read.
    cloned: bool,
    /// The longest time for which the clone may exist, and when it ends.
    clone_limit: Option<(Duration, u64)>,
    /// Why and when the target was released early, or the clone ended.
    early: Option<(Early, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: u64,
    /// The longest duration, and when it ends.
    limit: Option<(Duration, u64)>,
}

impl Pause {
    /// When a helper has to end unless it hears from this process.
    fn deadline(&self) -> u64 {
        let limit = self.limit.map_or(NEVER, |(_, end)| end);
        limit.min(after(now(), PATIENCE))
    }
}

/// The time of `CLOCK_MONOTONIC` in nanoseconds.
fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| after(0, time.into()))
}

fn after(time: u64, duration: Duration) -> u64 {
    time.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(NEVER))
}

impl Watch {
    /// The part that a helper process looks at.
    pub(crate) fn timer(&self) -> &Timer {
        &self.timer
    }

    /// The pause begins, and may last for this time.
    pub(crate) fn begin_pause(&self, limit: Option<Duration>) {
        let mut state = self.state();
        let since = now();
        let pause = Pause {
            since,
            limit: limit.map(|limit| (limit, after(since, limit))),
        };
        state.pause = Some(pause);
        state.early = None;
        self.timer.deadline.store(pause.deadline(), Ordering::Release);
    }

    /// The pause has ended. If the target was released early, returns how long the pause was.
    pub(crate) fn end_pause(&self) -> Option<Duration> {
        self.early();
        let mut state = self.state();
        let pause = state.pause.take()?;
        let (_, end) = state.early?;
        Some(Duration::from_nanos(end.saturating_sub(pause.since)))
    }

    /// Lifts the limit of the pause, and returns it. Injected system calls must not be cut off.
    pub(crate) fn lift_limit(&self) -> Option<(Duration, u64)> {
        let mut state = self.state();
        let pause = state.pause.as_mut()?;
        let limit = pause.limit.take();
        self.timer.deadline.store(pause.deadline(), Ordering::Release);
        limit
    }

    /// Restores the limit that [`lift_limit`](Self::lift_limit) has returned.
    pub(crate) fn restore_limit(&self, limit: Option<(Duration, u64)>) {
        if let Some(pause) = self.state().pause.as_mut() {
            pause.limit = limit;
        }
    }

    /// After the end of the pause, the tracer goes on, because it traces a clone. It ends when the
    /// clone has existed for this long. There are no other limits. A helper has to be woken, so
    /// that it waits for the new deadline.
    pub(crate) fn limit_clone(&self, limit: Option<Duration>) {
        let mut state = self.state();
        state.cloned = true;
        state.clone_limit = limit.map(|limit| (limit, after(now(), limit)));
        let deadline = state.clone_limit.map_or(NEVER, |(_, end)| end);
        self.timer.deadline.store(deadline, Ordering::Release);
    }

    /// Runs something that may wait for a file system.
    pub(crate) fn over<T>(&self, read: impl FnOnce() -> T) -> T {
        let before = self.state().reads_since.replace(Instant::now());
        let result = read();
        self.state().reads_since = before;
        result
    }

    /// Notes that the dumper begins or ends to wait for its output.
    pub(crate) fn waits_for_output(&self, waits: bool) {
        self.state().writes_since = waits.then(Instant::now);
    }

    /// Why the target was released early, if it was. At the limit of the pause, the release may be
    /// yet to come: on a busy machine, the tracer is late.
    pub(crate) fn early(&self) -> Option<Early> {
        let has_expired = self.timer.has_expired.load(Ordering::Acquire) != 0;
        let mut state = self.state();
        if state.early.is_none() {
            let limit = state.pause.and_then(|pause| pause.limit);
            state.early = match (limit, state.clone_limit) {
                (Some((limit, end)), _) if now() >= end => Some((Early::Limit(limit), end)),
                (_, Some((limit, end))) if now() >= end => Some((Early::Clone(limit), end)),
                _ if has_expired => {
                    let deadline = self.timer.deadline.load(Ordering::Relaxed);
                    Some((Early::Stopped, deadline))
                }
                _ => None,
            };
        }
        state.early.map(|(early, _)| early)
    }

    /// How long the tracing thread may sleep.
    pub(crate) fn nap(&self) -> Duration {
        let limit = self.state().pause.and_then(|pause| pause.limit);
        let left = limit.map(|(_, end)| Duration::from_nanos(end.saturating_sub(now())));
        left.map_or(LOOKS, |left| left.min(LOOKS))
    }

    /// Whether the pause has reached its limit, or something takes longer than `patience`. If so,
    /// notes that the target is released. If not, lets a helper go on.
    pub(crate) fn gives_up(&self, patience: Duration) -> bool {
        let mut state = self.state();
        if state.early.is_some() {
            return true;
        }
        if state.cloned {
            // The helper enforces the limit of a clone.
            return false;
        }
        let is_stuck = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= patience);
        let limit = state.pause.and_then(|pause| pause.limit);
        let early = match limit {
            Some((limit, end)) if now() >= end => Early::Limit(limit),
            _ if is_stuck(state.reads_since) => Early::Read,
            _ if is_stuck(state.writes_since) => Early::Output,
            _ => {
                if let Some(pause) = state.pause {
                    self.timer.deadline.store(pause.deadline(), Ordering::Release);
                }
                return false;
            }
        };
        tracing::debug!(%early, "the process is released");
        state.early = Some((early, now()));
        true
    }

    fn state(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type TracerRequest = Box<dyn FnOnce() + Send>;

/// A thread that runs requests one after the other until it is dropped.
#[derive(Debug)]
pub(crate) struct TracingThread {
    requests: Option<Sender<TracerRequest>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
    watch: Arc<Watch>,
}

impl TracingThread {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        Self::with_patience(PATIENCE)
    }

    /// Starts the thread for a program that ends with its tracer, so that it must not be released.
    pub(crate) fn start_patient() -> io::Result<Self> {
        Self::with_patience(Duration::MAX)
    }

    fn with_patience(patience: Duration) -> io::Result<Self> {
        let watch = Arc::new(Watch::default());
        let watched = Arc::clone(&watch);
        let (requests, inbox) = mpsc::channel::<TracerRequest>();
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name(NAME.into()).spawn(move || {
            prepare_thread();
            let _ = tell.send(nix::unistd::gettid().as_raw());
            loop {
                match inbox.recv_timeout(watched.nap().min(patience)) {
                    // The end of the thread releases the target. The caller learns why from the
                    // watch.
                    Ok(_) if watched.gives_up(patience) => return,
                    Ok(request) => request(),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) if watched.gives_up(patience) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })?;
        let tid = told.recv().map_err(io::Error::other)?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            tid,
            watch,
        })
    }

    /// What the thread watches.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Runs `work` on the thread and returns its result.
    ///
    /// # Errors
    /// The thread has panicked, in this request or an earlier one. The target has been released.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, result) = mpsc::channel();
        let request: TracerRequest = Box::new(move || {
            // Sending fails only if the calling thread has died.
            let _ = answer.send(work());
        });
        self.requests
            .as_ref()
            .and_then(|requests| requests.send(request).ok())
            .and_then(|()| result.recv().ok())
            .ok_or_else(|| {
                Fault::new(
                    FaultKind::System,
                    "trace the process",
                    "the tracing thread has panicked",
                )
            })
    }
}

/// Ends the thread, and waits until the kernel has released what it traced.
impl Drop for TracingThread {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // `run` has already reported a panic.
            let _ = thread.join();
        }
        // `join` may return while the kernel is still tearing the thread down and has not released
        // the traced threads (observed on Linux 6.18). The thread's entry in /proc disappears after
        // their release.
        let entry = format!("/proc/self/task/{}", self.tid);
        let patience = Instant::now();
        while Path::new(&entry).exists() && patience.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// What these tests would catch: requests that run on different threads, a panic that hangs or
/// kills the caller, and a tracer that still exists after its end.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_runs_on_the_same_thread_and_it_is_gone_afterwards() {
        let tracer = TracingThread::start().expect("a thread");
        let ask = || tracer.run(|| nix::unistd::gettid().as_raw()).expect("an answer");
        let tid = ask();
        assert_eq!(ask(), tid);
        assert_ne!(tid, nix::unistd::gettid().as_raw());
        drop(tracer);
        assert!(!Path::new(&format!("/proc/self/task/{tid}")).exists());
    }

    #[test]
    fn a_read_that_does_not_return_ends_the_thread() {
        let tracer = TracingThread::with_patience(Duration::from_millis(1)).expect("a thread");
        let (watch, tid) = (tracer.watch(), tracer.tid);
        assert_eq!(watch.early(), None);
        watch.over(|| {
            while Path::new(&format!("/proc/self/task/{tid}")).exists() {
                thread::yield_now();
            }
        });
        assert_eq!(watch.early(), Some(Early::Read));
        assert!(tracer.run(|| ()).is_err());
    }

    #[test]
    fn a_panic_becomes_a_fault() {
        let tracer = TracingThread::start().expect("a thread");
        let result: Result<(), Fault> = tracer.run(|| panic!("as the test wants"));
        assert_eq!(result.expect_err("it panicked").kind, FaultKind::System);
        assert!(tracer.run(|| ()).is_err());
    }
}
