//! Runs the engine on a thread of its own, and C functions on the caller's thread.
//!
//! Two kinds of unwinding must be kept apart:
//!
//! * A panic of this library must not reach the caller. On the engine's thread it ends with the
//!   thread; on the caller's thread `contain` catches it.
//! * An exception that a C++ callback throws, or a panic of a callback in another Rust program,
//!   must continue to the caller. `catch_unwind` ends the process when a foreign exception reaches
//!   it. So a task, which calls a C function and does nothing else, runs outside of `catch_unwind`.
//!
//! When an exception passes through, the `Conversation` is dropped. That closes the channel on
//! which the engine waits for answers. The engine unwinds, resumes the target and ends. Only then
//! does the exception continue.
//!
//! A callback therefore runs on the thread that requested the dump, as with DbgHelp. Users of
//! DbgHelp rely on that (thread-local variables, locks that they hold).

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Builder, JoinHandle};

use crate::boundary::{contain, defect};
use crate::last::Failure;

/// The engine's side: runs tasks on the caller's thread.
pub(crate) struct Caller {
    tasks: Sender<Task>,
    done: Receiver<()>,
}

/// A closure that calls a C function while the engine waits.
struct Task(*mut (dyn FnMut() + 'static));

// SAFETY: the engine waits in `Caller::run` while the other thread uses the pointer, so only one
// thread uses it at a time. `Caller::run` requires that what the closure has captured may be used
// from the other thread.
unsafe impl Send for Task {}

/// The payload that unwinds the engine when an exception has left the caller's frame.
struct CallerHasGone;

impl Caller {
    /// Runs `task` on the caller's thread and waits until it has returned. A task must only call a
    /// C function, because nothing on that thread would catch a panic of this library.
    ///
    /// # Safety
    /// What `task` uses may be used from the other thread while this one waits.
    pub unsafe fn run(&self, task: &mut dyn FnMut()) {
        let task: *mut (dyn FnMut() + '_) = task;
        // SAFETY: only the lifetime changes. The other thread no longer uses the pointer when this
        // function returns or unwinds: either it has sent `done`, or it has dropped its sender,
        // which happens after the task's frames are gone.
        let task =
            unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut (dyn FnMut() + 'static)>(task) };
        if self.tasks.send(Task(task)).is_err() || self.done.recv().is_err() {
            resume_unwind(Box::new(CallerHasGone));
        }
    }
}

/// The caller's side. Dropping it closes the channels and waits until the engine has ended.
struct Conversation<T> {
    done: Option<Sender<()>>,
    engine: Option<JoinHandle<Result<T, Failure>>>,
    was_panicking: bool,
}

impl<T> Conversation<T> {
    fn end(&mut self) -> Option<thread::Result<Result<T, Failure>>> {
        drop(self.done.take());
        self.engine.take().map(JoinHandle::join)
    }
}

impl<T> Drop for Conversation<T> {
    fn drop(&mut self) {
        if self.end().is_some() && thread::panicking() && !self.was_panicking {
            // A foreign exception does not count as panicking here. So this is a panic of this
            // library, between receiving a task and calling its C function, where there is hardly
            // any code. It must not reach the caller.
            // `eprintln!` panics when standard error is full.
            let text = b"dumpwright: a defect in dumpwright while it called a callback; ending the process\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text);
            std::process::abort();
        }
    }
}

/// Runs `engine` on a thread of its own, and its tasks on this thread.
pub(crate) fn converse<T: Send>(
    engine: impl FnOnce(&Caller) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let (mut conversation, inbox) = contain(|| begin(engine))?;
    while let Some(Task(task)) = contain(|| Ok(inbox.recv().ok()))? {
        // SAFETY: the sender waits in `Caller::run`, and lends the closure until it receives
        // `done`.
        unsafe { (*task)() };
        contain(|| {
            if let Some(done) = &conversation.done {
                // The engine waits for this. If it has ended instead, the next `recv` fails.
                let _ = done.send(());
            }
            Ok(())
        })?;
    }
    contain(|| {
        let ended = conversation.end().expect("it has not been ended before");
        ended.unwrap_or_else(|panic| Err(defect(&*panic)))
    })
}

/// Starts the engine's thread. Its tasks arrive at the returned receiver.
fn begin<'e, T: Send + 'e>(
    engine: impl FnOnce(&Caller) -> Result<T, Failure> + Send + 'e,
) -> Result<(Conversation<T>, Receiver<Task>), Failure> {
    let (tasks, inbox) = channel();
    let (done, answers) = channel();
    let caller = Caller { tasks, done: answers };
    let thread = Builder::new().name("dumpwright".to_owned());
    // SAFETY: the thread uses what `engine` borrows. It has ended when `converse` returns or
    // unwinds, because the `Conversation` joins it, even if something panics below in this
    // function.
    let thread = unsafe { thread.spawn_unchecked(move || engine(&caller)) };
    let engine = thread.map_err(|error| {
        Failure::new(
            OUT_OF_MEMORY,
            format!("cannot start the thread that writes the dump: {error}"),
        )
    })?;
    let conversation = Conversation {
        done: Some(done),
        engine: Some(engine),
        was_panicking: thread::panicking(),
    };
    Ok((conversation, inbox))
}

/// E_OUTOFMEMORY.
const OUT_OF_MEMORY: u32 = 0x8007_000E;

/// These tests would catch: a panic of the engine that reaches the caller, tasks on the wrong
/// thread, an engine that continues after an exception has left the caller.
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn tasks_run_on_the_callers_thread() {
        let here = thread::current().id();
        let mut ran_on = None;
        let there = converse(|caller| {
            // SAFETY: thread ids may be used on any thread.
            unsafe { caller.run(&mut || ran_on = Some(thread::current().id())) };
            Ok(thread::current().id())
        });
        assert_eq!(ran_on, Some(here));
        assert_ne!(there.expect("no failure"), here);
    }

    #[test]
    fn panics_of_the_engine_are_failures() {
        let failure = converse::<()>(|_| panic!("number {}", 17)).expect_err("it panicked");
        assert_eq!(failure.code, 0x8000_FFFF);
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
        // `resume_unwind`, which calls no panic hook, stands for an exception. (A C++ program
        // throws a real one in `tests/programs.rs`.) The `Conversation` takes it for a panic of
        // this library and would abort, unless the thread was panicking before. So this thread is.
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    struct DumpsWhilePanicking<'a>(&'a AtomicBool);
                    impl Drop for DumpsWhilePanicking<'_> {
                        fn drop(&mut self) {
                            let caught = std::panic::catch_unwind(|| {
                                converse::<()>(|caller| {
                                    let _target = Target(self.0);
                                    // SAFETY: the closure uses nothing.
                                    unsafe { caller.run(&mut || resume_unwind(Box::new(Seen))) };
                                    unreachable!("the caller's thread has unwound");
                                })
                            });
                            assert!(caught.is_err_and(|seen| seen.is::<Seen>()));
                            assert!(self.0.load(Ordering::Relaxed), "the target was dropped before");
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
