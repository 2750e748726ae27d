//! A process held still, and the guard that lets it go.

use std::ops::Deref;
use std::time::{Duration, Instant};

use dumpwright_target::Fault;

use crate::freeze::{Held, Threads};
use crate::tracer::Tracer;

/// The tracing thread of a capture.
#[derive(Debug)]
pub(crate) enum TracerOf<'a> {
    /// Made for the capture, and ended with it.
    Capture(Tracer),
    /// Lent by a program that was started by us.
    Spawned(&'a Tracer),
}

impl Deref for TracerOf<'_> {
    type Target = Tracer;

    fn deref(&self) -> &Tracer {
        match self {
            Self::Capture(tracer) => tracer,
            Self::Spawned(tracer) => tracer,
        }
    }
}

/// All threads of a process, standing still. Dropping it lets them run on.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    /// `None` after the release.
    held: Option<(TracerOf<'a>, Threads)>,
    since: Instant,
}

impl<'a> Hold<'a> {
    /// Brings the threads to a stop.
    ///
    /// # Errors
    /// They could not be stopped. Those that were have been let go.
    pub(crate) fn new(tracer: TracerOf<'a>, mut threads: Threads) -> Result<Self, Fault> {
        let threads = tracer.run(move || match threads.hold() {
            Ok(()) => Ok(threads),
            Err(fault) => {
                threads.release();
                Err(fault)
            }
        })??;
        let since = threads.first_interrupt().unwrap_or_else(Instant::now);
        Ok(Self {
            held: Some((tracer, threads)),
            since,
        })
    }

    /// The threads, the leader first, then ascending.
    pub(crate) fn threads(&self) -> &[Held] {
        self.held.as_ref().map_or(&[], |(_, threads)| threads.held())
    }

    /// Lets all threads run on. Returns how long they stood still: from the first that was asked to stop to the
    /// last that was let go.
    pub(crate) fn release(&mut self) -> Duration {
        if let Some((tracer, mut threads)) = self.held.take() {
            // Threads that are not let go by hand are so by the end of the tracing thread: drop it in any case
            // before the clock is read, unless all were.
            let all = tracer.run(move || threads.release()).unwrap_or(false);
            if all {
                return self.since.elapsed();
            }
            drop(tracer);
        }
        self.since.elapsed()
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.release();
    }
}
