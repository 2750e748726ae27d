use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dumpwright_callback::{Ask, Callback, ProcessAsked};

/// Cancels a dump on demand, from any thread.
///
/// All clones are the same token: give one to the dump, and one to the code that may cancel it. The
/// dump fails with [`Error::Cancelled`](crate::Error::Cancelled) at its next Cancel call. At most
/// about 256 KiB of memory are read between two of these calls.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::CancelToken;
/// use dumpwright::{DumpType, Error, Request, dump};
///
/// let token = CancelToken::new();
/// let stopper = token.clone();
/// std::thread::spawn(move || stopper.cancel()).join().expect("it only cancels");
/// let request = Request::new(DumpType::NORMAL);
/// let outcome = dump(&mut process, &request, Some(&mut token.clone()), &mut Vec::new());
/// assert!(matches!(outcome, Err(Error::Cancelled)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Creates a token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the current dump and every later dump that uses this token.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) has been called on any clone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Callback for CancelToken {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        if let Ask::Cancel { answer } = ask {
            // Set in every answer: after an answer without it, the writer no longer sends Cancel.
            (answer.check_cancel, answer.cancel) = (true, self.is_cancelled());
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

/// Cancels a dump that takes too long.
///
/// The time is checked at each Cancel call, as for a [`CancelToken`]. The dump fails with
/// [`Error::Cancelled`](crate::Error::Cancelled).
///
/// ```
/// use std::time::Duration;
/// use dumpwright::policy::Deadline;
///
/// let mut half_a_minute = Deadline::after(Duration::from_secs(30));
/// # let _ = &mut half_a_minute;
/// ```
#[derive(Debug, Clone)]
pub struct Deadline {
    allowed: Duration,
    /// When the current dump is to be cancelled; `None` if the time is too far in the future for an
    /// [`Instant`].
    end: Option<Instant>,
}

impl Deadline {
    /// Cancels a dump when this time has passed since its first callback call.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        Self { allowed, end: None }
    }
}

impl Callback for Deadline {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => self.end = Instant::now().checked_add(self.allowed),
            Ask::Cancel { answer } => {
                answer.check_cancel = true;
                answer.cancel = self.end.is_some_and(|end| Instant::now() >= end);
            }
            _ => {}
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
