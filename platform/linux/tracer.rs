//! The thread that traces.
//!
//! The kernel lets only the thread that attached to another one speak to it, and lets go of everything a
//! thread traces when that thread ends. So every `ptrace` call of a capture happens on one thread that
//! belongs to the capture: the caller may move its guard wherever it likes, and whatever happens
//! (early return, panic, a thread of the target that never came to its stop) the end of this thread releases
//! the target.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind};
use nix::sys::signal::SigSet;

type Request = Box<dyn FnOnce() + Send>;

/// A thread that does one request after the other until it is dropped.
#[derive(Debug)]
pub(crate) struct Tracer {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Tracer {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("dumpwright".into()).spawn(move || {
            // Handlers of the host program must not run here: they would interrupt the capture.
            let _ = SigSet::all().thread_block();
            // Naps while waiting for stops are 20 us; the default slack would add 50 to each.
            let _ = nix::sys::prctl::set_timerslack(1);
            let _ = tell.send(nix::unistd::gettid().as_raw());
            for request in inbox {
                request();
            }
        })?;
        let tid = told.recv().map_err(io::Error::other)?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            tid,
        })
    }

    /// Has the thread do `work` and waits for what comes out.
    ///
    /// # Errors
    /// The thread has panicked, in this request or an earlier one; the target has been released.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, result) = mpsc::channel();
        let request: Request = Box::new(move || {
            // Nobody listens any more only if the asking thread has died.
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

/// Ends the thread, and returns when the kernel has released what it traced.
impl Drop for Tracer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported by `run` already.
            let _ = thread.join();
        }
        // `join` returns while the kernel still takes the thread down, before it lets go of the traced
        // ones (seen on Linux 6.18). The thread's entry in /proc vanishes after that.
        let entry = format!("/proc/self/task/{}", self.tid);
        let patience = Instant::now();
        while Path::new(&entry).exists() && patience.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// What these tests would catch: requests that run on differing threads, a panic that hangs or kills
/// the caller, and a tracer that is still there after its end.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_runs_on_the_same_thread_and_it_is_gone_afterwards() {
        let tracer = Tracer::start().expect("a thread");
        let ask = || tracer.run(|| nix::unistd::gettid().as_raw()).expect("an answer");
        let tid = ask();
        assert_eq!(ask(), tid);
        assert_ne!(tid, nix::unistd::gettid().as_raw());
        drop(tracer);
        assert!(!Path::new(&format!("/proc/self/task/{tid}")).exists());
    }

    #[test]
    fn a_panic_becomes_a_fault() {
        let tracer = Tracer::start().expect("a thread");
        let result: Result<(), Fault> = tracer.run(|| panic!("as the test wants"));
        assert_eq!(result.expect_err("it panicked").kind, FaultKind::System);
        assert!(tracer.run(|| ()).is_err());
    }
}
