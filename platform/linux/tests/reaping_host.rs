//! What this test would catch: a capture whose stops are reported to a thread of the program that
//! waits for any child; a capture that waits for notifications which such a thread has taken away,
//! or for the end of a helper process that such a thread has reaped.
//!
//! The test has its own file, because the other thread takes away the notifications of all children
//! of the process.

#[path = "support/refusal.rs"]
#[allow(dead_code, reason = "no test file uses all of it")]
mod refusal;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dumpwright_linux::LinuxProcess;
use dumpwright_target::{Direct, Need, Severity, Target};
use support::Victim;

const VICTIM: &str = r#"
static volatile uint64_t counter;
static void *count(void *unused) { for (;;) { ++counter; if (counter % 1024 == 0) sched_yield(); } }
int main(void) {
    pthread_t thread;
    for (int i = 0; i < 4; ++i) pthread_create(&thread, 0, count, 0);
    printf("%p\n", (void *)&counter); fflush(stdout);
    while (getchar() != EOF) {}
    return 6;
}
"#;

static STOPS_TAKEN: AtomicU32 = AtomicU32::new(0);
static ENDS_TAKEN: AtomicU32 = AtomicU32::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// Waits for any child, until `ENOUGH` is set.
fn reap() {
    while !ENOUGH.load(Ordering::Relaxed) {
        let mut status = 0;
        // SAFETY: the call writes only to the local integer that the pointer refers to.
        let pid = unsafe {
            libc::waitpid(
                -1,
                &raw mut status,
                libc::WNOHANG | libc::WUNTRACED | libc::__WALL,
            )
        };
        if pid > 0 {
            let taken = if libc::WIFSTOPPED(status) {
                &STOPS_TAKEN
            } else {
                &ENDS_TAKEN
            };
            taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes 200 captures, each by `tracer`.
fn capture(victim: &Victim, counter: u64, tracer: &str) {
    let mut process = LinuxProcess::open(victim.pid()).expect("may be examined");
    for capture in 0..200 {
        let mut frozen = process
            .freeze(&Need::default())
            .unwrap_or_else(|fault| panic!("capture {capture}: {fault}"));
        for id in frozen.thread_ids().expect("listed") {
            assert!(frozen.thread(id, &mut Direct).expect("known").context.is_some());
        }
        assert!(
            frozen
                .diagnostics()
                .iter()
                .all(|diagnostic| diagnostic.severity < Severity::Missing)
        );
        assert_eq!(frozen.thaw().tracer, Some(tracer));
        victim.until_counted(counter);
    }
}

#[test]
fn captures_succeed_beside_a_thread_that_waits_for_any_child() {
    // The victim is compiled before the other thread starts, which would reap the compiler.
    let mut victim = Victim::start("reaped", VICTIM);
    let counter = victim.numbers()[0];
    let reaper = std::thread::spawn(reap);
    capture(&victim, counter, "helper");
    assert_eq!(STOPS_TAKEN.load(Ordering::Relaxed), 0, "the host sees no stop");
    assert!(
        ENDS_TAKEN.load(Ordering::Relaxed) > 0,
        "it has reaped helpers; otherwise the test has tested nothing"
    );
    // The filter applies only to the thread that installs it.
    let refused = std::thread::spawn(move || {
        refusal::refuse_processes();
        capture(&victim, counter, "in-process");
        victim
    });
    victim = refused.join().expect("passes");
    assert!(
        STOPS_TAKEN.load(Ordering::Relaxed) > 0,
        "without a helper, the host sees stops; otherwise the test has tested nothing"
    );
    ENOUGH.store(true, Ordering::Relaxed);
    reaper.join().expect("no panic");
    assert_eq!(
        victim.finish().code(),
        Some(6),
        "only the host is notified of its end"
    );
}
