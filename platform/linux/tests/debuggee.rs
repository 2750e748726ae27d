//! What these tests would catch: a debugger that cannot dump its own debuggee, or whose stops and
//! notifications are changed by the dump; a debuggee that is read while it runs.

mod support;

use dumpwright_linux::{LinuxProcess, is_debuggee};
use dumpwright_target::{Direct, FaultKind, Need, Severity, Target};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use support::Victim;

/// Counts in two threads, and handles SIGUSR1 with a count of its own.
const VICTIM: &str = r#"
static volatile uint64_t counters[3];
static void handler(int signal) { ++counters[2]; }
static void *count(void *at) {
    for (;;) { ++*(volatile uint64_t *)at; if (*(volatile uint64_t *)at % 1024 == 0) sched_yield(); }
}
int main(void) {
    pthread_t thread[2];
    signal(SIGUSR1, handler);
    for (int i = 0; i < 2; ++i) pthread_create(thread + i, 0, count, (void *)(counters + i));
    for (int i = 0; i < 2; ++i) while (!counters[i]) sched_yield();
    printf("%p\n", (void *)counters); fflush(stdout);
    while (getchar() != EOF) {}
    return 3;
}
"#;

fn thread_ids(victim: &Victim) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", victim.pid())).expect("it lives");
    let names = tasks.map(|task| task.expect("readable").file_name());
    names
        .map(|name| {
            Pid::from_raw(
                name.to_str()
                    .and_then(|name| name.parse().ok())
                    .expect("a number"),
            )
        })
        .collect()
}

fn wait(tid: Pid) -> WaitStatus {
    waitpid(tid, Some(WaitPidFlag::__WALL)).expect("this thread traces it")
}

/// Attaches to all threads and waits until they are stopped.
fn attach(victim: &Victim) -> Vec<Pid> {
    let tids = thread_ids(victim);
    for tid in &tids {
        ptrace::seize(*tid, ptrace::Options::empty()).expect("may be traced");
        ptrace::interrupt(*tid).expect("is traced");
        assert!(matches!(wait(*tid), WaitStatus::PtraceEvent(..)), "{tid}");
    }
    tids
}

/// Dumps the victim and returns the value of its counter in the dump.
fn capture(process: &mut LinuxProcess, threads: usize, counter: u64, extended_state: bool) -> u64 {
    let need = Need {
        extended_state,
        ..Need::default()
    };
    let mut frozen = process.freeze(&need).expect("its debugger may");
    let ids = frozen.thread_ids().expect("listed");
    assert_eq!(ids.len(), threads);
    for id in ids {
        let thread = frozen.thread(id, &mut Direct).expect("known");
        assert!(thread.context.is_some() && thread.stack.is_some());
    }
    let missing = |severity| severity >= Severity::Missing;
    assert!(!frozen.diagnostics().iter().any(|known| missing(known.severity)));
    let mut bytes = [0; 8];
    assert_eq!(frozen.read(counter, &mut bytes), Ok(8));
    let holding = frozen.thaw();
    assert_eq!((holding.tracer, holding.pause.is_zero()), (Some("caller"), true));
    u64::from_le_bytes(bytes)
}

#[test]
fn a_debugger_dumps_its_debuggee_and_goes_on_with_it() {
    let mut victim = Victim::start("debuggee", VICTIM);
    let counters = victim.numbers()[0];
    assert!(!is_debuggee(victim.pid()));
    let tids = attach(&victim);
    assert!(is_debuggee(victim.pid()));
    // The first thread is stopped by a signal that its debugger has not waited for yet.
    let leader = Pid::from_raw(victim.pid().cast_signed());
    ptrace::cont(leader, None).expect("is stopped");
    kill(leader, Signal::SIGUSR1).expect("it lives");
    victim.until_state('t');
    let mut process = LinuxProcess::open(victim.pid()).expect("its debugger may");
    for round in 0..20 {
        let before = victim.word(counters);
        assert_eq!(
            capture(&mut process, tids.len(), counters, round % 2 == 0),
            before
        );
    }
    // Another thread of the debugger can dump it once, because the registers have been read.
    let (pid, count) = (victim.pid(), tids.len());
    let mut process = LinuxProcess::open(pid).expect("its debugger may");
    let here = victim.word(counters);
    let there = std::thread::spawn(move || {
        let first = capture(&mut process, count, counters, true);
        let second = process.freeze(&Need::default()).map(drop).expect_err("only once");
        (first, second)
    });
    let (first, second) = there.join().expect("passes");
    assert_eq!((first, second.kind), (here, FaultKind::AlreadyTraced));
    // All is as it was: the notification is there, and the signal can be delivered.
    assert_eq!(wait(leader), WaitStatus::Stopped(leader, Signal::SIGUSR1));
    ptrace::detach(leader, Signal::SIGUSR1).expect("is stopped");
    for tid in tids.iter().filter(|tid| **tid != leader) {
        ptrace::detach(*tid, None).expect("is stopped");
    }
    while victim.word(counters + 16) != 1 {
        std::thread::yield_now();
    }
    victim.until_counted(counters);
    assert_eq!(victim.finish().code(), Some(3));
}

#[test]
fn a_debuggee_must_be_stopped_and_dumped_by_its_tracer() {
    let mut victim = Victim::start("debuggee2", VICTIM);
    victim.numbers();
    let tids = attach(&victim);
    let pid = victim.pid();
    let elsewhere = std::thread::spawn(move || LinuxProcess::open(pid).expect_err("not by its tracer"));
    let fault = elsewhere.join().expect("no panic");
    assert_eq!(fault.kind, FaultKind::AlreadyTraced);
    assert!(
        fault
            .advice
            .as_deref()
            .is_some_and(|advice| advice.contains("on the thread that attached to it")),
        "{fault}"
    );
    let mut stopped = LinuxProcess::open(pid).expect("its debugger may");
    let running = *tids.last().expect("several");
    ptrace::cont(running, None).expect("is stopped");
    let told = format!("its thread {running} is not stopped");
    for fault in [
        LinuxProcess::open(pid).expect_err("it runs"),
        stopped.freeze(&Need::default()).map(drop).expect_err("it runs"),
    ] {
        assert_eq!(fault.kind, FaultKind::NotStopped);
        assert!(fault.reason.contains(&told), "{fault}");
    }
    // A thread without tracer.
    ptrace::interrupt(running).expect("is traced");
    wait(running);
    ptrace::detach(running, None).expect("is stopped");
    let fault = LinuxProcess::open(pid).expect_err("it runs");
    assert!(fault.reason.contains("not traced"), "{fault}");
    for tid in &tids[..tids.len() - 1] {
        ptrace::detach(*tid, None).expect("is stopped");
    }
    let mut process = LinuxProcess::open(pid).expect("nobody traces it");
    assert_eq!(
        process.freeze(&Need::default()).expect("stops").thaw().tracer,
        Some("helper")
    );
}
