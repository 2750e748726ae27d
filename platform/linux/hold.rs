//! A stopped process, and the guard that releases it.

use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind};

use crate::debuggee::Debuggee;
use crate::freeze::{StoppedThread, TargetThreads};
use crate::proc_dir::system_fault;
use crate::tracer::{Early, Tracer};

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
    /// The caller has stopped the threads, and continues them.
    Debuggee(Debuggee),
    Released,
}

/// A process that we have attached to, and whose threads run.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    threads: TargetThreads,
    pub(crate) tracer: Tracer<'a>,
}

impl<'a> Attached<'a> {
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

    /// Holds a process that its debugger, which is our caller, has stopped.
    pub(crate) fn of_debuggee(debuggee: Debuggee) -> Self {
        Self {
            held: Held::Debuggee(debuggee),
            tracer: "caller",
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
            Held::Stopped { threads, .. } => threads.held(),
            Held::Debuggee(debuggee) => debuggee.threads(),
            Held::Released => &[],
        }
    }

    /// Finds the thread with this id.
    pub(crate) fn thread(&self, tid: u32) -> Option<&StoppedThread> {
        match &self.held {
            Held::Stopped { threads, .. } => threads.find(tid),
            Held::Debuggee(debuggee) => debuggee.find(tid),
            Held::Released => None,
        }
    }

    /// Releases all threads. Returns the length of the pause: from the first interrupt to the
    /// release of the last thread. It is zero for threads that the caller has stopped.
    pub(crate) fn release(&mut self) -> Duration {
        let Held::Stopped {
            mut threads,
            tracer,
            since,
        } = std::mem::replace(&mut self.held, Held::Released)
        else {
            return Duration::ZERO;
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
