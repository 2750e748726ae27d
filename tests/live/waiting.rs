//! System calls in which a target waits while a clone of it is made: they go on waiting.

use std::fs;
use std::process::Command;

use serde::Deserialize;

use crate::capture::Capture;
use crate::support::child::Talking;
use crate::support::proc::until;
use crate::support::{run_well, victim};

/// How often a target is dumped during one call.
const DUMPS: usize = 3;

#[derive(Deserialize)]
struct WaitingTruth {
    waiter: u32,
    call: i64,
    /// Whether the call returns by itself, after some time.
    wakes_up: bool,
}

/// A victim with a thread in a system call.
struct Waiting {
    program: Talking,
    truth: WaitingTruth,
}

impl Waiting {
    /// Starts the victim, and waits until its first or second thread waits in the call.
    fn start(call: &str, thread: &str) -> Self {
        let mut program = Talking::start(Command::new(victim::live("waiting")).args([call, thread]));
        let ready = program.line().expect("it says that it is ready");
        let truth: WaitingTruth = serde_json::from_value(victim::parse_ready(&ready)).unwrap();
        let waiting = Self { program, truth };
        until("it waits in the call", || waiting.waits());
        waiting
    }

    /// Whether it waits in the call. When the kernel goes on with a call after the time that is
    /// left, the number of the call is that of restart_syscall(2).
    fn waits(&self) -> bool {
        let WaitingTruth { waiter, call, .. } = self.truth;
        let path = format!("/proc/{}/task/{waiter}/syscall", self.program.pid());
        let text = fs::read_to_string(path).unwrap_or_default();
        let number = text.split(' ').next().and_then(|number| number.parse().ok());
        number.is_some_and(|number: i64| number == call || number == libc::SYS_restart_syscall)
    }

    /// Lets the call return. Returns what became of it.
    fn outcome(&mut self) -> String {
        if !self.truth.wakes_up {
            self.program.tell("wake\n");
        }
        self.program.line().expect("it tells")
    }
}

/// All calls of the victim that return by themselves, or all that do not.
fn calls(wake_up: bool) -> Vec<String> {
    let names = run_well(&mut Command::new(victim::live("waiting")));
    let names = names.lines().map(str::to_owned);
    let names: Vec<String> = names.filter(|name| name.ends_with("-time") == wake_up).collect();
    assert!(names.len() > 5, "{names:?}");
    names
}

fn dump(pid: u32) -> Capture {
    let capture = Capture::with(pid, &["--hold", "clone"]);
    assert_eq!(capture.result["hold"], "clone", "{}", capture.result);
    capture
}

#[test]
fn a_call_that_waits_for_an_event_goes_on_waiting() {
    for call in calls(false) {
        // The first thread executes the system calls for the clone.
        for thread in ["first", "second"] {
            let mut waiting = Waiting::start(&call, thread);
            for _ in 0..DUMPS {
                dump(waiting.program.pid());
                until(&format!("{call} {thread} waits again"), || waiting.waits());
            }
            assert_eq!(waiting.outcome(), "woken", "{call} {thread}");
        }
    }
}

#[test]
fn a_call_with_a_timeout_does_not_fail_and_lasts_long_enough() {
    for call in calls(true) {
        for thread in ["first", "second"] {
            let mut waiting = Waiting::start(&call, thread);
            dump(waiting.program.pid());
            assert_eq!(waiting.outcome(), "woken", "{call} {thread}");
        }
    }
}

/// Where the kernel stores how much time is left, dumps do not make a call last longer: it returns
/// although the next dump always begins before its time has passed.
#[test]
fn a_timeout_that_the_kernel_keeps_does_not_begin_anew() {
    for call in [
        "nanosleep-time",
        "clock_nanosleep-time",
        "poll-time",
        "futex-time",
    ] {
        let mut waiting = Waiting::start(call, "first");
        until(call, || {
            dump(waiting.program.pid());
            !waiting.waits()
        });
        assert_eq!(waiting.outcome(), "woken", "{call}");
    }
}

/// A report says what was done to the target.
#[test]
fn a_call_that_would_have_failed_is_in_the_notes() {
    let mut waiting = Waiting::start("epoll_wait", "second");
    let notes = dump(waiting.program.pid()).result["notes"].to_string();
    assert!(
        notes.contains("would have ended a system call with EINTR"),
        "{notes}"
    );
    assert_eq!(waiting.outcome(), "woken");
    let mut waiting = Waiting::start("poll", "second");
    let notes = dump(waiting.program.pid()).result["notes"].to_string();
    assert!(!notes.contains("EINTR"), "{notes}");
    assert_eq!(waiting.outcome(), "woken");
}

/// What the tests above rely on: without a clone, nothing is written into the target, and such a
/// call fails (signal(7)).
#[test]
fn a_stop_ends_some_calls() {
    let mut waiting = Waiting::start("epoll_wait", "second");
    Capture::with(waiting.program.pid(), &["--hold", "stop"]);
    assert_eq!(waiting.program.line().as_deref(), Some("Interrupted system call"));
}
