//! Targets that are stopped already, pending signals, and how long a dump stops its target.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::capture::Capture;
use crate::support::dumper::dumpwright;
use crate::support::proc::{self, signal, states, until};
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};

const NOTHING: [&str; 0] = [];

/// A thread that was detached returns to its stop when it is scheduled, and runs none of its own
/// code.
fn until_stopped(pid: u32) {
    until("all threads are in a job-control stop", || {
        states(pid).iter().all(|state| *state == 'T')
    });
}

#[test]
fn a_stopped_process_stays_stopped_and_goes_on_when_told_to() {
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &NOTHING);
    let truth: ThreadsTruth = victim.truth();
    for types in ["normal", "with-full-memory", "normal"] {
        signal(victim.pid(), libc::SIGSTOP);
        until_stopped(victim.pid());
        for _ in 0..3 {
            let capture = Capture::of(victim.pid(), types);
            for thread in capture.dump.threads().unwrap() {
                assert_eq!(thread.suspend_count, 1, "it had been stopped before us");
                assert!(thread.registers().is_some());
            }
            let pattern = truth.pattern("stack");
            assert_eq!(
                capture.memory("stack", pattern.address, pattern.length),
                pattern.bytes()
            );
            until_stopped(victim.pid());
        }
        signal(victim.pid(), libc::SIGCONT);
        victim.ping();
        proc::assert_released(victim.pid());
        let capture = Capture::of(victim.pid(), "normal");
        assert!(
            capture
                .dump
                .threads()
                .unwrap()
                .iter()
                .all(|thread| thread.suspend_count == 0)
        );
    }
}

#[test]
fn pending_signals_stay_pending_and_arrive_as_they_were_sent() {
    let mut victim = Victim::start(&victim::live("pending"), &NOTHING);
    // Without SigQ, which counts all of the user's processes.
    let masks =
        |pid| ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"].map(|field| proc::status(pid, field));
    let before = masks(victim.pid());
    for _ in 0..20 {
        Capture::of(victim.pid(), "normal");
        assert_eq!(masks(victim.pid()), before);
    }
    victim.ping();
    let (told, status) = victim.finish();
    assert!(status.success());
    // The same for a victim that was not dumped.
    let (untouched, _) = Victim::start(&victim::live("pending"), &NOTHING).finish();
    assert_eq!(told, untouched);
    assert_eq!(told.len(), 12, "{told:?}");
}

/// A dump of all memory goes into a pipe that is not read for a while.
#[test]
fn a_pause_in_the_result_is_as_long_as_the_stop() {
    const LONG: Duration = Duration::from_millis(200);
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &["8"]);
    let mut command = dumpwright();
    command
        .args(["dump", "--json", "--type", "with-full-memory", "--pid"])
        .args([&victim.pid().to_string(), "-o", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut dumper = command.spawn().unwrap();
    let mut output = dumper.stdout.take().unwrap();
    output.read_exact(&mut [0]).unwrap();
    until("the stop is seen", || victim.longest_stop() > LONG);
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    let told = dumper.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&told.stderr).unwrap();
    let pause = Duration::from_micros(result["pause_us"].as_u64().unwrap());
    victim.ping();
    let seen = victim.longest_stop();
    assert!(pause >= seen && seen > LONG, "{pause:?} {seen:?}");
}
