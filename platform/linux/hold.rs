//! A stopped process, and the guard that releases it.

use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind, Memory};

use crate::clone::{self, CloneRefusal, ClonedProcess, Preparation};
use crate::crashed::CrashedThreads;
use crate::debuggee::Debuggee;
use crate::freeze::{self, StoppedThread, TargetThreads};
use crate::oneself::{CaughtSelf, OwnClone};
use crate::proc_dir::{ProcDir, system_fault};
use crate::ptrace::Batch;
use crate::regions::Mapping;
use crate::tracer::{self, Early, Tracer};

/// The threads of a stopped process. Dropping it releases those that we have stopped.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    held: Held<'a>,
    tracer: &'static str,
}

#[derive(Debug)]
enum Held<'a> {
    /// We have stopped the threads.
    Stopped {
        threads: TargetThreads,
        tracer: Tracer<'a>,
        since: Instant,
    },
    /// The threads run, and a clone is read instead. The list of threads is from the stop.
    Cloned {
        threads: TargetThreads,
        tracer: Tracer<'a>,
        clone: ClonedProcess,
        pause: Duration,
    },
    /// It is this process, whose threads run, and a clone is read instead. The list of threads is
    /// from the stop.
    Own {
        pid: u32,
        threads: Vec<StoppedThread>,
        clone: OwnClone,
        pause: Duration,
    },
    Others(HeldByOthers),
    Released,
}

/// Threads that somebody else has stopped, and that are not to be resumed here.
#[derive(Debug)]
pub(crate) enum HeldByOthers {
    /// The caller has stopped the threads, and continues them.
    Debuggee(Debuggee),
    /// A signal has killed the process, and the kernel keeps it until its core has been read.
    Kernel(CrashedThreads),
}

impl HeldByOthers {
    /// Removes the registers beyond x87 and SSE.
    pub(crate) fn without_extended(self) -> Self {
        match self {
            Self::Debuggee(debuggee) => Self::Debuggee(debuggee.without_extended()),
            Self::Kernel(threads) => Self::Kernel(threads.without_extended()),
        }
    }

    /// Why no clone can be made.
    pub(crate) fn reason_against_clone(&self) -> &'static str {
        match self {
            Self::Debuggee(_) => "its debugger has stopped it",
            Self::Kernel(_) => "a signal has killed it",
        }
    }
}

/// A process that we have attached to, and whose threads run.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    threads: TargetThreads,
    pub(crate) tracer: Tracer<'a>,
}

impl<'a> Attached<'a> {
    /// Whether the process was running when we attached, and was not started by us.
    pub(crate) fn is_guest(&self) -> bool {
        self.threads.is_guest()
    }

    /// Attaches to the threads without stopping them.
    ///
    /// If the system does not permit it to a helper process, a thread of this process tries it.
    /// Yama is such a case: with a `ptrace_scope` of 1, a parent may trace its children, and the
    /// helper is not their parent.
    ///
    /// # Errors
    /// We are not permitted to trace the process, or it has ended.
    pub(crate) fn attach(mut tracer: Tracer<'a>, mut threads: TargetThreads) -> Result<Self, Fault> {
        let refused = match threads.attach(&tracer) {
            Ok(_) => return Ok(Self { threads, tracer }),
            Err(fault) => fault,
        };
        if refused.kind != FaultKind::NotPermitted || !matches!(tracer, Tracer::Helper(_)) {
            return Err(refused);
        }
        tracing::debug!(%refused, "the helper process may not attach, tracing by a thread");
        // The end of the helper releases the threads that it has attached to.
        drop(tracer);
        tracer = Tracer::start_thread().map_err(|error| system_fault("start a tracing thread", &error))?;
        threads.forget();
        threads.attach(&tracer)?;
        Ok(Self { threads, tracer })
    }
}

impl<'a> Hold<'a> {
    /// Stops the threads.
    ///
    /// # Errors
    /// Not all threads could be stopped. Those that were stopped have been released.
    pub(crate) fn new(attached: Attached<'a>) -> Result<Self, Fault> {
        let Attached { mut threads, tracer } = attached;
        if let Err(fault) = threads.hold(&tracer) {
            let early = tracer.watch().early();
            threads.release(&tracer);
            tracer.watch().end_pause();
            return Err(early.map_or(fault, |early| too_early(threads.process_id(), early)));
        }
        let since = threads.first_interrupt().unwrap_or_else(Instant::now);
        Ok(Self {
            tracer: tracer.name(),
            held: Held::Stopped {
                threads,
                tracer,
                since,
            },
        })
    }

    /// Holds a process that somebody else has stopped.
    pub(crate) fn of_others(others: HeldByOthers) -> Self {
        let tracer = match &others {
            HeldByOthers::Debuggee(_) => "caller",
            HeldByOthers::Kernel(_) => "kernel",
        };
        Self {
            held: Held::Others(others),
            tracer,
        }
    }

    /// Holds this process by a clone of it.
    pub(crate) fn of_self(pid: u32, caught: CaughtSelf) -> Self {
        Self {
            held: Held::Own {
                pid,
                threads: caught.threads,
                clone: caught.clone,
                pause: caught.pause,
            },
            tracer: "helper",
        }
    }

    /// Makes a clone of the process and releases the process. Returns the clone, or the reason why
    /// the process is still stopped. The clone exists for `max_clone` at most.
    ///
    /// # Errors
    /// The process runs, and there is no clone.
    pub(crate) fn clone_and_release(
        &mut self,
        preparation: &Preparation,
        dir: &ProcDir,
        mappings: &[Mapping],
        memory: &mut dyn Memory,
        max_clone: Option<Duration>,
    ) -> Result<Result<ClonedProcess, CloneRefusal>, Fault> {
        let (mut threads, tracer, since) = match std::mem::replace(&mut self.held, Held::Released) {
            Held::Stopped {
                threads,
                tracer: tracer @ Tracer::Helper(_),
                since,
            } => (threads, tracer, since),
            other => {
                self.held = other;
                return Ok(Err(CloneRefusal(
                    "the system refuses a helper process that could trace the clone".to_owned(),
                )));
            }
        };
        let watch = tracer.watch();
        let limit = watch.lift_limit();
        let takes = Duration::from_micros(preparation.microseconds());
        let left = limit.map(|(limit, _)| limit.saturating_sub(since.elapsed()));
        let is_late = left.is_some_and(|left| takes > left);
        let made = if is_late {
            Ok(Err(CloneRefusal(
                "it would take longer than the pause limit allows".to_owned(),
            )))
        } else {
            clone::make(preparation, &tracer, &mut threads, dir, mappings, memory, left)
        };
        let clone = match made {
            Ok(Ok(clone)) => clone,
            Err(fault) => {
                // What the tracer holds continues through its frames.
                drop(tracer);
                watch.end_pause();
                return Err(fault);
            }
            Ok(Err(refusal)) => {
                watch.restore_limit(limit);
                self.held = Held::Stopped {
                    threads,
                    tracer,
                    since,
                };
                return Ok(Err(refusal));
            }
        };
        threads.release(&tracer);
        if matches!(&tracer, Tracer::Helper(helper) if helper.has_ended()) {
            // The clone has ended with it.
            return Err(tracer::helper_killed());
        }
        let pause = watch.end_pause().unwrap_or(since.elapsed());
        watch.limit_clone(max_clone);
        let no_time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut wakes_helper = Batch::new();
        wakes_helper.nap(&no_time);
        tracer.perform(wakes_helper)?;
        self.held = Held::Cloned {
            threads,
            tracer,
            clone,
            pause,
        };
        Ok(Ok(clone))
    }

    /// How the process is held, as in `Holding::hold`.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.held {
            Held::Cloned { .. } | Held::Own { .. } => "clone",
            _ => "stop",
        }
    }

    /// The signal masks of the threads, in the order of [`threads`](Self::threads). `None` for one
    /// that cannot be read.
    pub(crate) fn signal_masks(&self) -> Result<Vec<Option<u64>>, Fault> {
        match &self.held {
            Held::Stopped { threads, tracer, .. } => threads.signal_masks(tracer),
            _ => Ok(Vec::new()),
        }
    }

    /// What traces the process, as in `Holding::tracer`.
    pub(crate) fn tracer(&self) -> &'static str {
        self.tracer
    }

    /// Whether the threads run because the helper process was killed.
    pub(crate) fn has_failed(&self) -> bool {
        match &self.held {
            Held::Stopped {
                tracer: Tracer::Helper(helper),
                ..
            } => helper.has_ended() && helper.watch().early().is_none(),
            _ => false,
        }
    }

    /// The threads: the leader first, then the others by ascending id.
    pub(crate) fn threads(&self) -> &[StoppedThread] {
        match &self.held {
            Held::Stopped { threads, .. } | Held::Cloned { threads, .. } => threads.held(),
            Held::Own { threads, .. } => threads,
            Held::Others(HeldByOthers::Debuggee(debuggee)) => debuggee.threads(),
            Held::Others(HeldByOthers::Kernel(crashed)) => crashed.threads(),
            Held::Released => &[],
        }
    }

    /// Finds the thread with this id.
    pub(crate) fn thread(&self, tid: u32) -> Option<&StoppedThread> {
        match &self.held {
            Held::Stopped { threads, .. } | Held::Cloned { threads, .. } => threads.find(tid),
            Held::Own { pid, threads, .. } => freeze::find(threads, *pid, tid),
            Held::Others(HeldByOthers::Debuggee(debuggee)) => debuggee.find(tid),
            Held::Others(HeldByOthers::Kernel(crashed)) => crashed.find(tid),
            Held::Released => None,
        }
    }

    /// Releases all threads. Returns the length of the pause: from the first interrupt to the
    /// release of the last thread. It is zero for threads that somebody else has stopped.
    pub(crate) fn release(&mut self) -> Duration {
        let (mut threads, tracer, since) = match std::mem::replace(&mut self.held, Held::Released) {
            Held::Stopped {
                threads,
                tracer,
                since,
            } => (threads, tracer, since),
            Held::Cloned {
                tracer, clone, pause, ..
            } => {
                clone.end(&tracer);
                return pause;
            }
            Held::Own { clone, pause, .. } => {
                drop(clone);
                return pause;
            }
            Held::Others(_) | Held::Released => return Duration::ZERO,
        };
        let watch = tracer.watch();
        if threads.release(&tracer) {
            return watch.end_pause().unwrap_or(since.elapsed());
        }
        // Threads that could not be released individually are released when the tracer ends. In
        // that case, drop it before reading the clock.
        drop(tracer);
        watch.end_pause().unwrap_or(since.elapsed())
    }
}

/// The fault of a capture whose target was resumed before it had been examined at all.
pub(crate) fn too_early(pid: u32, early: Early) -> Fault {
    let fault = Fault::new(
        FaultKind::NotStopped,
        format!("stop process {pid}"),
        format!("{early} before its threads and memory map were known, and it was resumed"),
    );
    match early {
        Early::Limit(_) => fault.advise("use a longer limit"),
        _ => fault,
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.release();
    }
}
