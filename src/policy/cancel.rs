use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dumpwright_callback::{Ask, Callback};

/// Stops a dump on demand, from any thread.
///
/// Copies are the same token: one goes into the dump, one to whoever may stop it. The dump fails with
/// [`Error::Cancelled`](crate::Error::Cancelled) at the next Cancel question; between two of them lie at most some
/// 256 KiB of memory.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::CancelToken;
/// use dumpwright::{DumpType, Error, Request, dump};
///
/// let token = CancelToken::new();
/// let stopper = token.clone();
/// std::thread::spawn(move || stopper.cancel()).join().expect("it only cancels");
/// let outcome = dump(&mut process, &Request::new(DumpType::NORMAL), Some(&mut token.clone()), &mut Vec::new());
/// assert!(matches!(outcome, Err(Error::Cancelled)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that has not been used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the dump, and every later one that has this token.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) has been called on any copy.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Callback for CancelToken {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        if let Ask::Cancel { answer } = ask {
            // Renewed every time: the first answer without it would be the last question.
            (answer.check_cancel, answer.cancel) = (true, self.is_cancelled());
        }
        true
    }
}

/// Stops a dump that takes too long.
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
    /// When the dump under way has to be stopped; `None` if that is beyond what clocks can tell.
    end: Option<Instant>,
}

impl Deadline {
    /// So long after the first question of a dump.
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
}
