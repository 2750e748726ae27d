//! Targets that are stopped although a clone was requested: those that cannot be cloned, or might
//! be harmed by it, and those for which `--hold auto` expects no gain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::capture::Capture;
use crate::clone::{answer, assert_no_clones, cloned, start};
use crate::support::dumper::dumpwright;
use crate::support::proc::{self, signal, states, until};
use crate::support::victim::{self, Frames, Victim};
use crate::support::{run, run_well};

const CLONE: [&str; 2] = ["--hold", "clone"];
const FULL: [&str; 2] = ["--type", "full"];

/// Dumps a target that cannot be cloned. It must be stopped instead, and a note must have `reason`.
fn assert_stopped_instead(pid: u32, reason: &str) -> Capture {
    assert_stopped(Capture::with(pid, &[FULL, CLONE].concat()), pid, reason)
}

fn assert_stopped(capture: Capture, pid: u32, reason: &str) -> Capture {
    assert_eq!(capture.result["hold"], "stop", "{reason}");
    let notes = capture.result["notes"].to_string();
    assert!(notes.contains("not cloned") && notes.contains(reason), "{notes}");
    assert_no_clones(pid);
    capture
}

#[test]
fn a_target_that_may_be_harmed_is_stopped_instead() {
    for (what, reason) in [
        ("filter", "a filter decides about its system calls (seccomp)"),
        ("adopts", "it adopts the orphans of its children"),
        ("kept", "it keeps 17 MiB of memory from its children"),
        ("namespace", "another pid namespace"),
        ("faults", "another program handles its page faults (userfaultfd)"),
        ("huge", "it has private huge pages of hugetlbfs"),
        (
            "intercepts",
            "it intercepts its system calls (PR_SET_SYSCALL_USER_DISPATCH)",
        ),
        ("elsewhere", "none of its threads is on a stack with room"),
    ] {
        if what == "namespace" && !proc::is_root() {
            continue;
        }
        let (mut program, truth) = cloned(what);
        let capture = assert_stopped_instead(program.pid(), reason);
        for pattern in &truth.memory {
            let bytes = capture.memory(&pattern.name, pattern.address, pattern.length);
            assert!(bytes == pattern.bytes(), "{what}: {}", pattern.name);
        }
        assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
    }
}

#[test]
fn so_is_the_first_process_of_a_pid_namespace() {
    if !proc::is_root() {
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child"])
        .arg(victim::live("cloned"));
    let (mut unshare, _) = start(command, "plain");
    let first = proc::children(unshare.pid())[0];
    assert_stopped_instead(first, "it is the first process of its pid namespace");
    assert_eq!(answer(&mut unshare, "children"), "0 notifications, no child");
}

#[test]
fn so_is_a_32_bit_process() {
    let mut victim = Victim::start(&victim::narrow("big", Frames::Pointers), &["8"]);
    assert_stopped_instead(victim.pid(), "it is a 32-bit process");
    victim.ping();
}

#[test]
fn so_is_one_with_a_thread_that_does_not_stop() {
    let victim = Victim::start(&victim::live("vforked"), &[] as &[&str]);
    until("it waits for its child", || states(victim.pid()) == ['D']);
    // The thread has no registers, so the dump is partial.
    let folder = tempfile::tempdir().unwrap();
    let result = crate::capture::dump(victim.pid(), "normal", &CLONE, &folder.path().join("dump"));
    assert_eq!(result["hold"], "stop");
    let notes = result["notes"].to_string();
    assert!(notes.contains("one of its threads did not stop"), "{notes}");
    let (lines, status) = victim.finish();
    assert_eq!((lines, status.success()), (vec!["went on".to_owned()], true));
}

#[test]
fn so_is_a_program_that_was_started_for_the_dump() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    let mut command = dumpwright();
    command
        .args(["dump", "--json", "--exec", "--after", "1"])
        .args(CLONE)
        .arg("-o")
        .arg(&path);
    // It does not end by itself. It is killed after the dump.
    let output = run(command.args(["--", "sleep", "3600"]));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["hold"], "stop");
    let notes = result["notes"].to_string();
    assert!(
        notes.contains("a program that was started in order to be dumped is not cloned"),
        "{notes}"
    );
}

#[test]
fn so_is_one_that_may_start_no_process() {
    if !proc::is_root() {
        return;
    }
    // A user without other processes. The program must be in a directory that this user can read.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let copy = folder.path().join("cloned");
    crate::support::copy_program(&victim::live("cloned"), &copy);
    run_well(Command::new("chmod").args(["-R", "a+rx"]).arg(folder.path()));
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "61234", "--regid", "61234", "--clear-groups"])
        .args(["prlimit", "--nproc=1:1"])
        .arg(copy);
    let (mut program, _) = start(command, "plain");
    assert_stopped_instead(program.pid(), "the system allows no more processes (EAGAIN)");
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
}

#[test]
fn so_is_one_that_a_signal_has_stopped() {
    let (mut program, _) = cloned("plain");
    let all_stopped = |pid| states(pid).iter().all(|state| *state == 'T');
    signal(program.pid(), libc::SIGSTOP);
    until("it has stopped", || all_stopped(program.pid()));
    assert_stopped_instead(program.pid(), "a signal had stopped it");
    until("it is stopped again", || all_stopped(program.pid()));
    signal(program.pid(), libc::SIGCONT);
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
}

/// A cgroup with one process in it. The process leaves it when this is dropped.
struct Group {
    root: PathBuf,
    path: PathBuf,
    pid: u32,
}

impl Group {
    /// Sets `control` of a new group in the hierarchy at `root`, and moves the process there.
    /// `None` if there is no such hierarchy, or we may not change it.
    fn around(pid: u32, root: &str, control: &str, value: &str) -> Option<Self> {
        let root = PathBuf::from(root);
        // A directory without this file is not a cgroup. It may contain the mounts of version 1.
        fs::metadata(root.join("cgroup.procs")).ok()?;
        let path = root.join(format!("dumpwright-clone-{pid}"));
        fs::create_dir(&path).ok()?;
        let group = Self { root, path, pid };
        group.set("cgroup.procs", &pid.to_string())?;
        group.set(control, value)?;
        Some(group)
    }

    fn set(&self, control: &str, value: &str) -> Option<()> {
        fs::write(self.path.join(control), value).ok()
    }

    fn says(&self, file: &str, line: &str) -> bool {
        fs::read_to_string(self.path.join(file)).is_ok_and(|text| text.lines().any(|found| found == line))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let left = fs::write(self.root.join("cgroup.procs"), self.pid.to_string());
        if left.is_ok() || !Path::new(&format!("/proc/{}", self.pid)).exists() {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

const VERSION_2: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

#[test]
fn so_is_one_whose_cgroup_is_frozen() {
    let (mut program, _) = cloned("plain");
    let pid = program.pid();
    let group = VERSION_2
        .iter()
        .find_map(|root| Group::around(pid, root, "cgroup.freeze", "1"));
    let Some(group) = group else {
        eprintln!("cgroups cannot be changed here: nothing was tested");
        return;
    };
    until("it is frozen", || group.says("cgroup.events", "frozen 1"));
    assert_stopped_instead(pid, "its cgroup is frozen");
    assert!(group.says("cgroup.events", "frozen 1"));
    group.set("cgroup.freeze", "0").unwrap();
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
}

#[test]
fn so_is_one_whose_cgroup_has_no_memory_left() {
    const MEBIBYTES: &str = "64";
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &[MEBIBYTES]);
    let pid = victim.pid();
    // Memory stays with the group in which it was used first. So what the process has does not
    // count, and less than a quarter of that is allowed.
    let group = Group::around(pid, "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "12M")
        .or_else(|| Group::around(pid, VERSION_2[1], "memory.max", "12M"));
    let Some(group) = group else {
        eprintln!("memory cgroups cannot be changed here: nothing was tested");
        return;
    };
    let reason = "its cgroup allows too little memory for what it may write while the clone exists";
    assert_stopped_instead(pid, reason);
    victim.ping();
    // With room for what it may write, it is cloned.
    group
        .set("memory.limit_in_bytes", "64M")
        .or_else(|| group.set("memory.max", "64M"))
        .unwrap();
    let capture = Capture::with(pid, &[FULL, CLONE].concat());
    assert_eq!(capture.result["hold"], "clone", "{}", capture.result);
    victim.ping();
}

fn big() -> Victim {
    Victim::start(&victim::c("big", Frames::Pointers), &["64"])
}

fn auto(pid: u32, options: &[&str]) -> Capture {
    Capture::with(pid, &[options, &["--hold", "auto"]].concat())
}

#[test]
fn auto_clones_where_that_pays() {
    let mut victim = big();
    for types in ["full", "with-private-read-write-memory"] {
        let capture = auto(victim.pid(), &["--type", types]);
        assert_eq!(capture.result["hold"], "clone", "{}", capture.result);
        let notes = capture.result["notes"].to_string();
        assert!(
            notes.contains("it was cloned, because a stop would have taken about"),
            "{notes}"
        );
    }
    assert_no_clones(victim.pid());
    victim.ping();
}

#[test]
fn auto_stops_where_a_clone_gains_little() {
    let mut victim = big();
    let only_stacks = "only stacks and small parts of its memory are read";
    assert_stopped(auto(victim.pid(), &[]), victim.pid(), only_stacks);
    victim.ping();
    let (mut program, _) = cloned("plain");
    let small = auto(program.pid(), &FULL);
    assert_stopped(small, program.pid(), "that takes about");
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
}

#[test]
fn auto_stops_a_target_with_locked_memory() {
    if !proc::is_root() {
        return;
    }
    let (mut program, _) = cloned("locked");
    let capture = auto(program.pid(), &FULL);
    assert_stopped(capture, program.pid(), "it has locked memory (mlock)");
    assert_eq!(answer(&mut program, "children"), "0 notifications, no child");
    let capture = Capture::with(program.pid(), &[FULL, CLONE].concat());
    assert_eq!(capture.result["hold"], "clone", "it is possible");
}

#[test]
fn with_a_pause_limit_auto_is_the_default() {
    let mut victim = big();
    let held = |options: &[&str]| {
        let capture = Capture::with(victim.pid(), &[&FULL[..], options].concat());
        capture.result["hold"].clone()
    };
    assert_eq!(held(&["--max-pause", "3600s"]), "clone");
    assert_eq!(held(&["--max-pause", "3600s", "--hold", "stop"]), "stop");
    assert_eq!(held(&[]), "stop");
    victim.ping();
}

#[test]
fn a_long_stop_is_announced() {
    const MEBIBYTES: &str = "512";
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &[MEBIBYTES]);
    let told = |options: &[&str]| {
        let mut command = dumpwright();
        command.args(["dump", "-o", "/dev/null", "--pid", &victim.pid().to_string()]);
        let output = run(command.args(options));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = told(&FULL);
    let beginning = format!(
        "dumpwright: process {} will be stopped for about 0.1 s while 51",
        victim.pid()
    );
    assert!(text.starts_with(&beginning), "{text}");
    assert!(text.contains("(with --hold clone for about 0.1 s)"), "{text}");
    assert_eq!(told(&["--type", "normal"]), "");
    assert_eq!(told(&[FULL, CLONE].concat()), "");
    assert_eq!(told(&["--type", "full", "--json"]), "");
    victim.ping();
}
