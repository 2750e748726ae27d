//! What these tests would catch: a target that stays stopped beyond the limit of its pause; facts
//! and memory that are read from it when it runs again; signals that are lost when the limit
//! passes.

#[path = "support/counting.rs"]
mod counting;
#[path = "support/refusal.rs"]
#[allow(dead_code, reason = "no test file uses all of it")]
mod refusal;
mod support;

use std::time::Duration;

use counting::{COUNTERS, SIGNALS, queue};
use dumpwright_linux::LinuxProcess;
use dumpwright_target::{AddressRange, Content, Direct, Extent, FaultKind, Need, Severity, Subject, Target};
use support::Victim;

fn limited(limit: Duration) -> Need {
    Need {
        max_pause: Some(limit),
        handles: true,
        ..Need::default()
    }
}

/// Stops the victim with a pause limit, and checks what is left of it after the limit has passed.
fn outlive_limit(pid: u32, base: u64, until_it_runs: impl Fn(), tracer: &str) {
    let mut process = LinuxProcess::open(pid).expect("may be examined");
    let mut limit = Duration::from_millis(50);
    // A machine that is too busy to stop the threads within the limit gets more time.
    while let Err(fault) = process.freeze(&limited(limit)).map(drop) {
        assert_eq!(fault.kind, FaultKind::NotStopped, "{fault}");
        limit *= 2;
    }
    limit *= 10;
    let mut frozen = process.freeze(&limited(limit)).expect("stops as before");
    // The guard exists, and the threads run.
    until_it_runs();
    let reason = format!("the pause limit of {} ms had passed", limit.as_millis());
    assert_eq!(frozen.resumed_early(), Some(reason.clone()));
    let later = format!("{reason}, so the process was resumed; it has changed since");
    let refused = frozen.read(base, &mut [0; 8]).expect_err("it has changed");
    assert_eq!(refused.reason, later);
    let range = AddressRange::at(base, 4096).expect("not at the end");
    let survey = frozen.survey(range);
    assert!(
        matches!(
            survey[..],
            [Extent {
                content: Content::Unreadable(_),
                ..
            }]
        ),
        "{survey:?}"
    );
    let faults = [
        frozen.process().map(drop),
        frozen.vm_counters().map(drop),
        frozen.handles().map(drop),
    ];
    for fault in faults {
        assert_eq!(fault.expect_err("it has changed").reason, later);
    }
    // The registers were read when the threads stopped, and the names before.
    for id in frozen.thread_ids().expect("listed") {
        let thread = frozen.thread(id, &mut Direct).expect("known");
        assert!(thread.context.is_some() && thread.stack.is_some() && thread.name.is_some());
    }
    let missing = frozen.diagnostics();
    let of_process = missing.iter().find(|missing| missing.subject == Subject::Process);
    let of_process = of_process.expect("reported");
    assert_eq!(of_process.severity, Severity::Missing);
    assert!(of_process.reason.starts_with(&reason), "{of_process}");
    let holding = frozen.thaw();
    assert!(holding.pause >= limit);
    assert_eq!(holding.tracer, Some(tracer));
}

#[test]
fn a_pause_ends_at_its_limit() {
    let mut victim = Victim::start("limited", COUNTERS);
    let base = victim.numbers()[0];
    let until_it_runs = || (0..5).for_each(|thread| victim.until_counted(base + thread * 64));
    outlive_limit(victim.pid(), base, until_it_runs, "helper");
    victim.until_untraced();
    assert!(victim.finish().success());
}

#[test]
fn a_pause_ends_at_its_limit_without_a_helper() {
    let mut victim = Victim::start("limited2", COUNTERS);
    let base = victim.numbers()[0];
    // The filter applies only to the thread that installs it.
    let victim = std::thread::spawn(move || {
        refusal::refuse_processes();
        let until_it_runs = || (0..5).for_each(|thread| victim.until_counted(base + thread * 64));
        outlive_limit(victim.pid(), base, until_it_runs, "in-process");
        victim
    });
    let mut victim = victim.join().expect("passes");
    victim.until_untraced();
    assert!(victim.finish().success());
}

/// A signal that arrives during the pause is not lost, and a job-control stop is kept.
#[test]
fn threads_that_are_resumed_at_the_limit_go_on_as_before() {
    let mut victim = Victim::start("limited3", SIGNALS);
    let told = victim.numbers();
    let pid = victim.pid();
    let mut sent = 0;
    while sent < 20 {
        let mut process = LinuxProcess::open(pid).expect("may be examined");
        let Ok(frozen) = process.freeze(&limited(Duration::from_millis(50))) else {
            continue;
        };
        queue(pid, told[0], sent);
        sent += 1;
        while frozen.resumed_early().is_none() {
            std::thread::yield_now();
        }
        drop(frozen);
        victim.until_untraced();
    }
    while victim.word(told[1]) < 20 {
        std::thread::yield_now();
    }
    victim.close();
    assert_eq!(victim.line(), "20 0");
}
