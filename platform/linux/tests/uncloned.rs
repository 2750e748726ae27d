//! What these tests would catch: a process that is cloned, or not dumped at all, although the
//! dumper cannot clone it: it has no helper process, it is the debugger of the process, or the
//! clone would take longer than the pause may.

#[path = "support/refusal.rs"]
#[allow(dead_code, reason = "no test file uses all of it")]
mod refusal;
mod support;

use std::time::Duration;

use dumpwright_linux::{HoldMode, LinuxProcess};
use dumpwright_target::{Need, Target};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use support::Victim;

const WAITS: &str = r#"
int main(void) {
    printf("0\n"); fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

/// With much memory of its own.
const LARGE: &str = r#"
int main(void) {
    enum { SIZE = 512 << 20 };
    void *at = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(at, SIZE, MADV_NOHUGEPAGE);
    memset(at, 1, SIZE);
    printf("%p\n", at); fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

/// Stops the process, which must not be cloned for this reason. `None` if the pause limit passed
/// before.
fn stopped(process: &mut LinuxProcess, need: &Need, reason: &str) -> Option<()> {
    process.hold(HoldMode::Clone);
    let mut frozen = process.freeze(need).ok()?;
    let notes = frozen.diagnostics();
    let is_told = notes.iter().any(|note| {
        let reason = format!("it was stopped while it was read, and not cloned: {reason}");
        note.reason == reason
    });
    assert!(is_told, "{notes:?}");
    assert_eq!(frozen.thaw().hold, "stop");
    Some(())
}

#[test]
fn without_a_helper_there_is_no_clone() {
    let mut victim = Victim::start("unhelped", WAITS);
    victim.numbers();
    let pid = victim.pid();
    // The filter applies only to the thread that installs it.
    let refused = std::thread::spawn(move || {
        refusal::refuse_processes();
        let mut process = LinuxProcess::open(pid).expect("may be examined");
        let reason = "the system refuses a helper process that could trace the clone";
        stopped(&mut process, &Need::default(), reason)
    });
    refused.join().expect("passes").expect("it has no limit");
    victim.until_untraced();
    assert!(victim.finish().success());
}

#[test]
fn a_debuggee_is_not_cloned() {
    let mut victim = Victim::start("debugged", WAITS);
    victim.numbers();
    let pid = Pid::from_raw(victim.pid().cast_signed());
    ptrace::seize(pid, ptrace::Options::empty()).expect("may be traced");
    ptrace::interrupt(pid).expect("is traced");
    let stop = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("this thread traces it");
    assert!(matches!(stop, WaitStatus::PtraceEvent(..)));
    let mut process = LinuxProcess::open(victim.pid()).expect("its debugger may");
    stopped(&mut process, &Need::default(), "its debugger has stopped it").expect("it is stopped");
    ptrace::detach(pid, None).expect("is stopped");
    assert!(victim.finish().success());
}

#[test]
fn a_clone_that_takes_too_long_is_not_made() {
    let mut victim = Victim::start("large", LARGE);
    victim.numbers();
    // The kernel has to copy the entries of 131,072 pages.
    let need = Need {
        max_pause: Some(Duration::from_millis(20)),
        ..Need::default()
    };
    let mut process = LinuxProcess::open(victim.pid()).expect("may be examined");
    let reason = "it would take longer than the pause limit allows";
    // On a busy machine, the limit may pass before that is considered.
    while stopped(&mut process, &need, reason).is_none() {}
    victim.until_untraced();
    assert!(victim.finish().success());
}
