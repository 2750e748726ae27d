//! The engine on a thread of its own, C functions on the caller's.
//!
//! Two things may unwind, and must not meet. A panic of ours has to end here: on the engine's thread it does. An exception
//! that a C++ callback throws, or a panic of a callback in another Rust program, has to go on to the caller: so there
//! is nothing on the caller's thread that would catch it (`catch_unwind` ends the process when it meets somebody else's exception).
//! When it passes, the engine is told that nobody answers any more; it lets go of the target and ends, and only then the exception goes on.
//!
//! So a callback also runs on the thread that asked for the dump, as with DbgHelp, whose users rely on it (thread-local
//! variables, locks that they hold).

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Builder, JoinHandle};

use crate::last::Failure;
use dumpwright::Hresult;

/// What the engine calls to have something done on the caller's thread.
pub(crate) struct Caller {
    tasks: Sender<Task>,
    done: Receiver<()>,
}

/// Something to be done while the engine waits.
struct Task(*mut (dyn FnMut() + 'static));

// SAFETY: the engine waits in `Caller::run` while the other thread uses the pointer, so there is one user at a time;
// that what the closure has captured may be used from the other thread is what `Caller::run` demands.
unsafe impl Send for Task {}

/// What unwinds the engine when the caller's thread has gone.
struct CallerHasGone;

impl Caller {
    /// Has the caller's thread run `task`, and waits for it.
    ///
    /// # Safety
    /// What `task` uses may be used from the other thread while this one waits.
    pub unsafe fn run(&self, task: &mut dyn FnMut()) {
        let task: *mut (dyn FnMut() + '_) = task;
        // SAFETY: only the lifetime changes. The other thread is done with the pointer before this function returns or
        // unwinds: either it has said so, or it has dropped its sender, which it does when the task's frames are gone.
        let task =
            unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut (dyn FnMut() + 'static)>(task) };
        if self.tasks.send(Task(task)).is_err() || self.done.recv().is_err() {
            resume_unwind(Box::new(CallerHasGone));
        }
    }
}

/// The caller's side. Dropping it ends the conversation and waits for the engine.
struct Conversation<T> {
    done: Option<Sender<()>>,
    engine: Option<JoinHandle<T>>,
    was_panicking: bool,
}

impl<T> Conversation<T> {
    fn end(&mut self) -> Option<thread::Result<T>> {
        drop(self.done.take());
        self.engine.take().map(JoinHandle::join)
    }
}

impl<T> Drop for Conversation<T> {
    fn drop(&mut self) {
        if self.end().is_some() && thread::panicking() && !self.was_panicking {
            // Only somebody else's exception comes this way. Ours would be a defect between a question and its C function,
            // where there is hardly any code; it must not reach the caller.
            eprintln!("dumpwright: a defect while a callback was called; the process is ended");
            std::process::abort();
        }
    }
}

/// Runs `engine` on a thread of its own while this one does what it is asked to.
pub(crate) fn converse<T: Send>(
    engine: impl FnOnce(&Caller) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let (tasks, inbox) = channel::<Task>();
    let (done, answers) = channel();
    let caller = Caller { tasks, done: answers };
    let thread = Builder::new().name("dumpwright".to_owned());
    // SAFETY: the thread uses what is borrowed by `engine`, and it has ended before this function returns or
    // unwinds: `Conversation` joins it.
    let thread = unsafe { thread.spawn_unchecked(move || engine(&caller)) };
    let engine =
        thread.map_err(|error| Failure::new(OUT_OF_MEMORY, format!("cannot start a thread: {error}")))?;
    let mut conversation = Conversation {
        done: Some(done),
        engine: Some(engine),
        was_panicking: thread::panicking(),
    };
    while let Ok(Task(task)) = inbox.recv() {
        // SAFETY: whoever sent it waits in `Caller::run`, and lends it until it is told that it is done.
        unsafe { (*task)() };
        if let Some(done) = &conversation.done {
            // The engine waits for this; if it has died instead, the next task does not come.
            let _ = done.send(());
        }
    }
    let ended = conversation.end().expect("it is ended once");
    ended.unwrap_or_else(|panic| {
        Err(Failure::new(
            Hresult::E_FAIL.0,
            format!("a defect in dumpwright, please report it: {}", words(&*panic)),
        ))
    })
}

/// E_OUTOFMEMORY.
const OUT_OF_MEMORY: u32 = 0x8007_000E;

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

/// What these tests would catch: a panic of the engine that reaches the caller, tasks on the wrong thread, and an engine that goes on
/// when the caller has gone.
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn tasks_run_on_the_callers_thread() {
        let here = thread::current().id();
        let mut ran_on = None;
        let there = converse(|caller| {
            // SAFETY: thread ids may be used anywhere.
            unsafe { caller.run(&mut || ran_on = Some(thread::current().id())) };
            Ok(thread::current().id())
        });
        assert_eq!(ran_on, Some(here));
        assert_ne!(there.expect("no failure"), here);
    }

    #[test]
    fn panics_of_the_engine_are_failures() {
        let failure = converse::<()>(|_| panic!("number {}", 17)).expect_err("it panicked");
        assert_eq!(failure.code, 0x8000_4005);
        assert!(failure.message.contains("number 17"), "{}", failure.message);
    }

    #[test]
    fn the_engine_ends_before_an_exception_goes_on() {
        struct Target<'a>(&'a AtomicBool);
        impl Drop for Target<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        struct Seen;
        let let_go = AtomicBool::new(false);
        // A panic that no hook hears of stands for an exception; a C++ program throws a real one in `tests/programs.rs`. It is
        // ours, so a thread that panics already is what lets it pass.
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    struct DumpsWhilePanicking<'a>(&'a AtomicBool);
                    impl Drop for DumpsWhilePanicking<'_> {
                        fn drop(&mut self) {
                            let caught = std::panic::catch_unwind(|| {
                                converse::<()>(|caller| {
                                    let _target = Target(self.0);
                                    // SAFETY: it uses nothing.
                                    unsafe { caller.run(&mut || resume_unwind(Box::new(Seen))) };
                                    unreachable!("nobody is there to answer");
                                })
                            });
                            assert!(caught.is_err_and(|seen| seen.is::<Seen>()));
                            assert!(self.0.load(Ordering::Relaxed), "the target was let go before");
                        }
                    }
                    let _dumps = DumpsWhilePanicking(&let_go);
                    resume_unwind(Box::new(()));
                })
                .join()
        });
        assert!(outcome.is_err());
        assert!(let_go.load(Ordering::Relaxed));
    }
}
