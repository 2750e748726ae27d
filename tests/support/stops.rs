//! Watches how long a victim is stopped by a tracer.
//!
//! This does not rely on what a dumper says about itself. It is also the limit for tests whose
//! dumper hangs: a victim that is stopped for too long is killed, so its dumper fails and the test,
//! too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::proc::{Stat, signal};

/// How often the victim's state is read. Shorter stops may be missed.
const LOOKS: Duration = Duration::from_millis(5);

/// Longer stops than this are considered to last forever. No test depends on the speed of a
/// program.
const LIMIT: Duration = Duration::from_secs(120);

/// The stops of a process, watched by a thread until this is dropped.
#[derive(Debug)]
pub struct Stops {
    pid: u32,
    longest: Arc<AtomicU64>,
    /// Its end ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stops {
    /// Watches the first thread of a process, which must be a child that is not reaped before this
    /// is dropped.
    pub fn of(pid: u32) -> Self {
        let longest = Arc::<AtomicU64>::default();
        let (end, ends) = channel::<()>();
        let seen = Arc::clone(&longest);
        let thread = std::thread::spawn(move || {
            let mut since = None;
            while ends.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
                let before = Instant::now();
                let is_stopped = Stat::of(pid).is_some_and(|stat| stat.state() == 't');
                if !is_stopped {
                    since = None;
                    continue;
                }
                // From after the first look to before this one, so not longer than it was.
                let stopped = before.saturating_duration_since(*since.get_or_insert_with(Instant::now));
                seen.fetch_max(stopped.as_micros() as u64, Ordering::Relaxed);
                if stopped > LIMIT {
                    eprintln!("process {pid} has been stopped for {LIMIT:?}, and is killed");
                    signal(pid, libc::SIGKILL);
                    return;
                }
            }
        });
        Self {
            pid,
            longest,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Returns how long the longest stop lasted at least.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }
}

impl Drop for Stops {
    fn drop(&mut self) {
        self.end = None;
        let watched = self.thread.take().map(JoinHandle::join);
        // Shown for tests that fail.
        eprintln!("the longest stop of process {}: {:?}", self.pid, self.longest());
        assert!(
            !matches!(watched, Some(Err(_))) || std::thread::panicking(),
            "the watching thread panicked"
        );
    }
}
