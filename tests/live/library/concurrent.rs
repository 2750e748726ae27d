//! Host programs with their own threads.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use dumpwright::target::FaultKind;
use dumpwright::{Ask, DumpType, Error, Hresult, Request, native};

use super::captures::complete;
use crate::support::proc;
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};

const NOTHING: [&str; 0] = [];

fn threads() -> (Victim, ThreadsTruth) {
    let victim = Victim::start(&victim::c("threads", Frames::Pointers), &NOTHING);
    let truth = victim.truth();
    (victim, truth)
}

/// Waits for any child, as a shell or a service manager does, until there are none.
fn reap(options: i32, stops: &AtomicU64) {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local integer, which the call writes.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, options) };
        if pid < 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
            return;
        }
        if libc::WIFSTOPPED(status) {
            stops.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// In a separate process, because waiting for any child also reaps the children of all other tests.
#[test]
fn captures_beside_threads_that_wait_for_any_child() {
    const AS_CHILD: &str = "DUMPWRIGHT_TEST_REAPING_HOST";
    const NAME: &str = "library::concurrent::captures_beside_threads_that_wait_for_any_child";
    // Compiled before the reapers can reap the compiler.
    let program = victim::c("threads", Frames::Pointers);
    if std::env::var_os(AS_CHILD).is_none() {
        let mut host = Command::new(std::env::current_exe().unwrap());
        host.args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(AS_CHILD, "1");
        let output = host.output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let mut victim = Victim::start(&program, &NOTHING);
    let truth: ThreadsTruth = victim.truth();
    let stops = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for options in [0, libc::__WALL | libc::WUNTRACED | libc::WCONTINUED] {
            let stops = &stops;
            scope.spawn(move || reap(options, stops));
        }
        for number in 0..200 {
            let captured = complete(truth.pid, &Request::new(DumpType::NORMAL), None);
            let threads = captured.dump.threads().unwrap();
            assert_eq!(threads.len(), truth.threads.len(), "capture {number}");
            assert!(threads.iter().all(|thread| thread.registers().is_some()));
            victim.ping();
        }
        // The reapers reap the victim as well.
        drop(victim);
    });
    assert_eq!(
        stops.load(Ordering::Relaxed),
        0,
        "a helper process traces the victim"
    );
}

#[test]
fn several_targets_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut victim, truth) = threads();
                for number in 0..20 {
                    let dump_type = if number % 4 == 0 {
                        DumpType::WITH_FULL_MEMORY
                    } else {
                        DumpType::NORMAL
                    };
                    let captured = complete(truth.pid, &Request::new(dump_type), None);
                    assert_eq!(
                        captured.dump.misc_info().unwrap().unwrap().process_id,
                        Some(truth.pid)
                    );
                    let ids: Vec<u32> = captured
                        .dump
                        .threads()
                        .unwrap()
                        .iter()
                        .map(|thread| thread.id)
                        .collect();
                    assert_eq!(ids, proc::task_ids(truth.pid));
                    let pattern = truth.pattern("stack");
                    let bytes = captured.dump.memory(pattern.address, pattern.length).unwrap();
                    assert_eq!(bytes, Some(pattern.bytes()));
                    victim.ping();
                }
            });
        }
    });
}

/// A process has at most one tracer. The second one's error names the first: here, a helper of this
/// process.
#[test]
fn one_target_twice_at_once() {
    let (mut victim, truth) = threads();
    let mut refused = 0;
    let mut callback = |ask: Ask<'_>| {
        if let Ask::IncludeModule { .. } = ask {
            let fault = native::process(truth.pid).expect_err("it is held");
            assert_eq!(fault.kind, FaultKind::AlreadyTraced);
            let own = format!("(dumpwright, which dumps it for process {})", std::process::id());
            assert!(fault.reason.contains(&own), "{fault}");
            assert_eq!(Error::from(fault).hresult(), Hresult::ACCESS_DENIED);
            refused += 1;
        }
        true
    };
    complete(truth.pid, &Request::new(DumpType::NORMAL), Some(&mut callback));
    assert!(refused > 0);
    victim.ping();
}
