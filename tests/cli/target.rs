//! Processes that cannot be dumped, and ids of no process.

use std::fs;
use std::process::{Command, Stdio};

use dumpwright::read::Dump;

use crate::attempt::{
    Folder, Nobody, Outcome, assert_says, dump, dump_of, open_to_all, plain, refusal, refusal_by,
};
use crate::support::dumper::dumpwright;
use crate::support::proc::{self, Stat, until};
use crate::support::victim::{self, Victim};

const NOTHING: [&str; 0] = [];

/// Fails to dump the process with this id into a new folder.
fn refused(pid: u32) -> String {
    let folder = Folder::new();
    let file = folder.file("dump");
    let reason = refusal(&["--pid", &pid.to_string(), "-o", file.to_str().unwrap()]);
    folder.assert_holds(&[]);
    reason
}

#[test]
fn a_number_without_a_process() {
    // Process ids of the kernel are below 2^22 (PID_MAX_LIMIT).
    for pid in [1 << 22, u32::MAX] {
        assert_says(
            &refused(pid),
            &[
                &format!("examine process {pid}"),
                "there is no process with this id",
            ],
        );
    }
}

#[test]
fn the_number_of_a_thread() {
    let victim = crate::attempt::threads();
    let tid = proc::task_ids(victim.pid())[1];
    assert_says(
        &refused(tid),
        &[
            &format!("examine process {tid}"),
            &format!("a thread of process {}", victim.pid()),
        ],
    );
}

#[test]
fn numbers_that_no_process_can_have_are_usage_errors() {
    let folder = Folder::new();
    let file = folder.file("dump");
    for pid in ["0", "-1", "-2147483648", "4294967296", "one", "", "1.5"] {
        for arguments in [
            vec!["--pid".to_owned(), pid.to_owned()],
            vec![format!("--pid={pid}")],
        ] {
            let outcome = Outcome::of(dump().args(&arguments).arg("-o").arg(&file)).expect(2);
            assert!(outcome.stdout.is_empty());
            assert_says(&outcome.stderr, &["--pid", pid]);
        }
    }
    assert_says(
        &Outcome::of(dump().args(["-p", "0", "-o"]).arg(&file))
            .expect(2)
            .stderr,
        &["a number above 0"],
    );
    folder.assert_holds(&[]);
}

/// Not refused: dumpwright clones itself for this.
#[test]
fn itself() {
    let folder = Folder::new();
    let outcome = Outcome::of(
        Command::new("sh")
            .args(["-c", "echo $$; exec \"$0\" dump --pid $$ -o \"$1\""])
            .arg(dumpwright().get_program())
            .arg(folder.file("dump")),
    )
    .expect(0);
    let printed = String::from_utf8(outcome.stdout).unwrap();
    let (pid, printed) = printed.split_once('\n').unwrap();
    assert_says(printed, &["complete dump", "1 thread,"]);
    let dump = Dump::open(folder.file("dump")).unwrap();
    let threads: Vec<u32> = dump.threads().unwrap().iter().map(|thread| thread.id).collect();
    assert_eq!(threads, [pid.parse::<u32>().unwrap()]);
}

#[test]
fn a_kernel_thread() {
    /// From proc_pid_stat(5), field 9.
    const PF_KTHREAD: u64 = 0x0020_0000;
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let kernel_thread = ids
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| Stat::of(pid).is_some_and(|stat| stat.number(9) & PF_KTHREAD != 0));
    // A pid namespace, as in a container, shows no kernel threads.
    let Some(pid) = kernel_thread else { return };
    assert_says(
        &refused(pid),
        &[&format!("examine process {pid}"), "kernel thread"],
    );
}

#[test]
fn a_zombie() {
    let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    until("true has ended", || {
        Stat::of(pid).expect("it is not reaped").state() == 'Z'
    });
    assert_says(
        &refused(pid),
        &[
            &format!("examine process {pid}"),
            "has ended, and its parent has not reaped it",
        ],
    );
    child.wait().unwrap();
}

#[test]
fn a_process_that_is_traced_already() {
    let mut victim = plain();
    let tracer = Victim::start(&victim::live("tracer"), &[victim.pid().to_string()]);
    let reason = refused(victim.pid());
    assert_says(
        &reason,
        &[
            &format!("attach to process {}", victim.pid()),
            &format!("traced by process {} (tracer)", tracer.pid()),
            "detach or end that debugger first",
        ],
    );
    assert_eq!(
        proc::status(victim.pid(), "TracerPid"),
        tracer.pid().to_string(),
        "it still is"
    );
    victim.ping();
    assert!(tracer.finish().1.success());
    victim.ping();
}

/// A program may have any name.
#[test]
fn the_name_of_a_tracer_does_not_command_the_terminal() {
    let mut victim = plain();
    let arguments = [victim.pid().to_string(), "\x1b]0;a\x07\nb".to_owned()];
    let tracer = Victim::start(&victim::live("tracer"), &arguments);
    assert_says(&refused(victim.pid()), &["(\\u{1b}]0;a\\u{7}\\nb)"]);
    assert!(tracer.finish().1.success());
    victim.ping();
}

/// The dumper may write to the output folder; only the process is not accessible.
fn refused_to_nobody(nobody: &Nobody, pid: u32) -> String {
    let folder = Folder::new();
    open_to_all(folder.path());
    let file = folder.file("dump");
    let program = || {
        let mut command = nobody.runs(dumpwright().get_program());
        command.arg("dump");
        command
    };
    let reason = refusal_by(
        program,
        &["--pid", &pid.to_string(), "-o", file.to_str().unwrap()],
    );
    folder.assert_holds(&[]);
    reason
}

#[test]
fn a_process_of_another_user() {
    let nobody = Nobody::new();
    let root = proc::is_root();
    let mut own = plain();
    // Process 1 belongs to root.
    let pid = if root { own.pid() } else { 1 };
    let user = if root {
        "65534".to_owned()
    } else {
        proc::status(own.pid(), "Uid")
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_says(
        &refused_to_nobody(&nobody, pid),
        &[
            &format!("attach to process {pid}"),
            "it belongs to user 0",
            &format!("this program runs as user {user} without CAP_SYS_PTRACE"),
            "run as that user, or as root",
        ],
    );
    own.ping();
}

#[test]
fn a_process_that_forbids_it() {
    let nobody = Nobody::new();
    let mut victim = Victim::start_command(&mut nobody.runs(victim::live("private")));
    assert_says(
        &refused_to_nobody(&nobody, victim.pid()),
        &[
            &format!("attach to process {}", victim.pid()),
            "marked not dumpable",
            "run as root",
        ],
    );
    victim.ping();
}

/// The counterpart: the refusals above are not caused by the user alone.
#[test]
fn an_ordinary_user_dumps_an_own_process() {
    let nobody = Nobody::new();
    let mut victim = Victim::start_command(nobody.runs(victim::live("plain")).args(NOTHING));
    let folder = Folder::new();
    open_to_all(folder.path());
    let mut command = nobody.runs(dumpwright().get_program());
    command
        .args(["dump", "--pid", &victim.pid().to_string(), "-o"])
        .arg(folder.file("dump"));
    Outcome::of(&mut command).expect(0);
    folder.assert_holds(&["dump"]);
    victim.ping();
}

/// Of another user's process, the kernel then shows the memory, but not the files that list its
/// pages and hold its auxiliary vector.
#[test]
fn the_right_to_trace_is_enough_for_the_memory() {
    if !proc::is_root() {
        return;
    }
    let nobody = Nobody::new();
    let mut victim = plain();
    let folder = Folder::new();
    open_to_all(folder.path());
    let mut command = nobody.runs_with_the_right_to_trace(dumpwright().get_program());
    let file = folder.file("dump");
    command
        .args(["dump", "--json", "--pid", &victim.pid().to_string(), "-o"])
        .arg(&file);
    let outcome = Outcome::of(&mut command).expect(3);
    let missing = outcome.json()["missing"].to_string();
    assert!(!missing.contains("memory"), "{missing}");
    assert!(missing.contains("auxiliary vector"), "{missing}");
    let dump = Dump::open(&file).unwrap();
    let thread = &dump.threads().unwrap()[0];
    assert!(thread.stack.size > 0);
    let stack = dump.memory(thread.stack.start, thread.stack.size.into());
    assert!(stack.unwrap().is_some());
    victim.ping();
}

#[test]
fn a_refusal_leaves_an_existing_file_alone() {
    let folder = Folder::new();
    let file = folder.file("dump");
    fs::write(&file, "precious").unwrap();
    let pid = (1 << 22).to_string();
    let reason = refusal(&["--force", "--pid", &pid, "-o", file.to_str().unwrap()]);
    assert_says(&reason, &["there is no process with this id"]);
    folder.assert_holds(&["dump"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let mut victim = plain();
    Outcome::of(dump_of(&victim, &file).arg("--force")).expect(0);
    victim.ping();
}

/// As language runtimes do.
#[test]
fn a_program_that_is_in_the_handler_of_its_crash() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let asking = victim::live("asking");
    let output = Command::new(asking)
        .arg(dumpwright().get_program())
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let crashed = String::from_utf8(output.stdout).unwrap();
    let crashed = crashed.lines().next().unwrap().parse().unwrap();
    let dump = Dump::open(&file).unwrap();
    let exception = dump.exception().unwrap().expect("there is one");
    assert_eq!(
        (
            exception.thread_id,
            exception.code,
            exception.flags,
            exception.address
        ),
        (crashed, 11, 1, 0x1234),
        "SIGSEGV, SEGV_MAPERR, the address that was written to"
    );
    assert_eq!(exception.parameters, [1, 0x1234]);
}
