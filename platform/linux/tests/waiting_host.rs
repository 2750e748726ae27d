//! What these tests would catch: a program whose waits for a child end early, or that gets signals,
//! because another of its threads dumps that child; a helper process that is refused and not
//! replaced, or that outlives its capture.

#[path = "support/refusal.rs"]
#[allow(dead_code, reason = "no test file uses all of it")]
mod refusal;
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dumpwright_linux::LinuxProcess;
use dumpwright_target::{Direct, FaultKind, Need, Severity, Target};
use support::{Victim, build};

/// Ends with code 7 when its input ends.
const CHILD: &str = r#"
static void *spin(void *unused) { for (;;) sched_yield(); }
int main(void) {
    pthread_t thread;
    for (int i = 0; i < 3; ++i) pthread_create(&thread, 0, spin, 0);
    printf("ready\n"); fflush(stdout);
    while (getchar() != EOF) {}
    return 7;
}
"#;

/// The number of captures.
fn captures() -> u32 {
    std::env::var("DUMPWRIGHT_TEST_CAPTURES").map_or(500, |number| number.parse().expect("a number"))
}

/// The child whose signals are counted: other tests in this process have children too.
static CHILD_ID: AtomicU32 = AtomicU32::new(0);
static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: the kernel passes a valid pointer, and SIGCHLD has a process id.
    let pid = unsafe { (*info).si_pid() };
    if pid.cast_unsigned() == CHILD_ID.load(Ordering::Relaxed) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the id of the process or thread that traces `pid`.
fn tracer_of(pid: u32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.expect("is there").trim().parse().expect("a number")
}

#[test]
fn a_wait_for_a_child_ends_only_with_the_child() {
    let mut child = Command::new(build("waited_for", CHILD))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let pid = child.id();
    let input = child.stdin.take();
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("it prints a line");
    CHILD_ID.store(pid, Ordering::Relaxed);
    let handler = count as extern "C" fn(_, _, _);
    // SAFETY: the handler only accesses atomic integers and its argument. Zeros are valid values
    // of all members of the structure.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(
            libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()),
            0
        );
    }
    let waiter = std::thread::spawn(move || child.wait());
    // The waiter is in waitpid, or will be while the child is dumped.
    let mut process = LinuxProcess::open(pid).expect("may be examined");
    for number in 0..captures() {
        let mut frozen = process.freeze(&Need::default()).expect("stops");
        for id in frozen.thread_ids().expect("listed") {
            assert!(frozen.thread(id, &mut Direct).expect("known").context.is_some());
        }
        let helper = format!("/proc/{}", tracer_of(pid));
        assert!(std::path::Path::new(&helper).exists());
        assert_eq!(frozen.thaw().tracer, Some("helper"));
        assert!(
            !std::path::Path::new(&helper).exists(),
            "nothing of the helper is left"
        );
        assert!(
            !waiter.is_finished(),
            "capture {number}: the wait has ended early"
        );
    }
    assert_eq!(SIGNALS.load(Ordering::Relaxed), 0, "SIGCHLD for stops");
    drop(input);
    let status = waiter.join().expect("no panic").expect("it was waited for");
    assert_eq!(status.code(), Some(7));
    assert_eq!(SIGNALS.load(Ordering::Relaxed), 1, "the handler works");
}

#[test]
fn a_thread_traces_where_a_helper_may_not_attach() {
    let mut victim = Victim::start("refused", CHILD);
    assert_eq!(victim.line(), "ready");
    let pid = victim.pid();
    // The filter applies only to the thread that installs it.
    let capture = std::thread::spawn(move || {
        let supervisor = refusal::refuse_tracing_by_other_processes();
        let mut process = LinuxProcess::open(pid).expect("may be examined");
        let mut frozen = process.freeze(&Need::default()).expect("stops");
        assert_eq!(frozen.thread_ids().expect("listed").len(), 4);
        for id in frozen.thread_ids().expect("listed") {
            assert!(frozen.thread(id, &mut Direct).expect("known").context.is_some());
        }
        assert_eq!(frozen.thaw().tracer, Some("in-process"));
        supervisor
    });
    let counts = capture.join().expect("passes").join().expect("no panic");
    assert!(counts.refused > 0 && counts.permitted > 0, "{counts:?}");
    assert_eq!(victim.finish().code(), Some(7));
}

/// If a helper is killed, the target runs on, and whoever dumps it learns of that.
#[test]
fn the_end_of_a_helper_is_noticed() {
    let mut victim = Victim::start("helper_killed", CHILD);
    assert_eq!(victim.line(), "ready");
    let mut process = LinuxProcess::open(victim.pid()).expect("may be examined");
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    let helper = tracer_of(victim.pid());
    assert!(helper != 0 && helper.cast_unsigned() != std::process::id());
    let second = LinuxProcess::open(victim.pid()).expect_err("it has a tracer");
    assert_eq!(second.kind, FaultKind::AlreadyTraced);
    let named = format!(
        "process {helper} (dumpwright, which dumps it for process {})",
        std::process::id()
    );
    assert!(second.reason.contains(&named), "{second}");
    // SAFETY: kill takes two numbers. The helper is a child of this process.
    assert_eq!(unsafe { libc::kill(helper, libc::SIGKILL) }, 0);
    victim.until_untraced();
    let diagnostics = frozen.diagnostics();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert_eq!(diagnostics[0].severity, Severity::Missing);
    assert!(diagnostics[0].reason.contains("was killed"), "{diagnostics:?}");
    assert!(frozen.diagnostics().is_empty(), "it is reported once");
    frozen.thaw();
    drop(process.freeze(&Need::default()).expect("stops again"));
    assert_eq!(victim.finish().code(), Some(7));
}
