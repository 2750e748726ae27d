//! What this test would catch: a capture that waits for notices which another thread of the program has taken away.
//!
//! Alone in its file, because that other thread takes away everything of all children of the process.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dumpwright_linux::LinuxProcess;
use dumpwright_target::{Gravity, Need, Target};
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
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// Takes what is said of any child, until it is enough.
fn reap() {
    while !ENOUGH.load(Ordering::Relaxed) {
        let mut status = 0;
        // SAFETY: the pointer is to a local integer, which the call writes.
        let pid = unsafe {
            libc::waitpid(
                -1,
                &raw mut status,
                libc::WNOHANG | libc::WUNTRACED | libc::__WALL,
            )
        };
        if pid > 0 && libc::WIFSTOPPED(status) {
            STOPS_TAKEN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn captures_succeed_beside_a_thread_that_waits_for_any_child() {
    // Before that thread is there: it would take away the end of the compiler.
    let mut victim = Victim::start("reaped", VICTIM);
    let counter = victim.numbers()[0];
    let reaper = std::thread::spawn(reap);
    let mut process = LinuxProcess::open(victim.pid()).expect("may be examined");
    for capture in 0..200 {
        let mut frozen = process
            .freeze(&Need::default())
            .unwrap_or_else(|fault| panic!("capture {capture}: {fault}"));
        for id in frozen.thread_ids().expect("listed") {
            assert!(frozen.thread(id).expect("known").context.is_some());
        }
        assert!(
            frozen
                .remarks()
                .iter()
                .all(|remark| remark.gravity < Gravity::Missing)
        );
        drop(frozen);
        victim.until_counted(counter);
    }
    ENOUGH.store(true, Ordering::Relaxed);
    reaper.join().expect("no panic");
    assert!(
        STOPS_TAKEN.load(Ordering::Relaxed) > 0,
        "the test has tested nothing"
    );
    assert_eq!(
        victim.finish().code(),
        Some(6),
        "nobody but the host learns of its end"
    );
}
