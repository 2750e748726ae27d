//! Programs that are started to be dumped.

use std::fs;
use std::path::Path;

use dumpwright::read::Dump;

use crate::attempt::{Folder, Nobody, Outcome, assert_says, dump, json, refusal};
use crate::support::dumper::{self};
use crate::support::proc;

/// The wait ends only when the program or one of its children does.
const NEVER: &str = "never";

/// Writes to both outputs, prints its process id, then dies of a signal, which makes the dump.
const SPEAKS_AND_CRASHES: &str = "echo out $$; echo err >&2; kill -SEGV $$";

#[test]
fn a_program_that_cannot_be_started() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let text = folder.file("text");
    fs::write(&text, "no program").unwrap();
    for (program, reasons) in [
        ("/no/such/program", &["No such file or directory", "PATH"][..]),
        ("no-such-program-anywhere", &["No such file or directory", "PATH"]),
        (
            text.to_str().unwrap(),
            &["Permission denied", "may this user execute it"],
        ),
        (folder.path().to_str().unwrap(), &["Permission denied"]),
    ] {
        let reason = refusal(&["--exec", "-o", file.to_str().unwrap(), "--", program, "argument"]);
        assert_says(&reason, &[&format!("start {program}")]);
        assert_says(&reason, reasons);
        folder.assert_holds(&["text"]);
    }
}

#[test]
fn a_program_that_ends_by_itself() {
    let folder = Folder::new();
    let file = folder.file("dump");
    for (script, how) in [
        ("exit 7", "exit status: 7"),
        ("exit 0", "exit status: 0"),
        // SIGKILL cannot be intercepted for a dump.
        ("kill -KILL $$", "SIGKILL"),
        // A child that is killed, but does not crash.
        (
            "{ sh -c 'kill -TERM $$'; } 2> /dev/null; exit 3",
            "exit status: 3",
        ),
    ] {
        let arguments = [
            "--exec",
            "--after",
            NEVER,
            "-o",
            file.to_str().unwrap(),
            "--",
            "sh",
            "-c",
            script,
        ];
        let reason = refusal(&arguments);
        assert_says(&reason, &["dump sh", "it ended without a crash", how]);
        folder.assert_holds(&[]);
    }
    let reason = refusal(&[
        "--exec",
        "--after",
        "600s",
        "-o",
        file.to_str().unwrap(),
        "--",
        "true",
    ]);
    assert_says(
        &reason,
        &["ended before the time of --after", "status: 0", "shorter --after"],
    );
}

/// Each script writes the id of the process that crashes to the file `$1`.
#[test]
fn a_process_that_the_program_starts_crashes() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let id = folder.file("id");
    for script in [
        // A script that starts the program proper.
        "sh -c 'echo $$ > \"$1\"; kill -SEGV $$' sh \"$1\"; exit 0",
        // A server and its worker.
        "sh -c 'echo $$ > \"$1\"; kill -ABRT $$' sh \"$1\" & wait; exec sleep 1000",
        // A daemon, whose starter ends first.
        "sh -c 'while kill -0 $2; do :; done 2> /dev/null; echo $$ > \"$1\"; kill -SEGV $$' sh \"$1\" $$ & exit 0",
        // A child of a child.
        "(sh -c 'echo $$ > \"$1\"; kill -BUS $$' sh \"$1\"; exit 0); exit 0",
    ] {
        let result = Outcome::of(
            dump()
                .args(["--json", "--exec", "--after", NEVER, "--force", "-o"])
                .arg(&file)
                .args(["--", "sh", "-c", script, "sh"])
                .arg(&id),
        )
        .expect(0)
        .json();
        let crashed: u32 = fs::read_to_string(&id).unwrap().trim().parse().unwrap();
        assert_eq!(result["process_id"], crashed);
        assert_eq!(result["exception"]["thread_id"], crashed);
        let dump = Dump::open(&file).unwrap();
        assert_eq!(
            dump.misc_info().unwrap().unwrap().process_id,
            Some(crashed),
            "{script}"
        );
        let exception = dump.exception().unwrap().expect("it crashed");
        assert_eq!(exception.thread_id, crashed, "{script}");
        dumper::check(&file).unwrap();
    }
}

/// A process that the program has started is not killed with it.
#[test]
fn a_child_outlives_the_program_that_was_dumped() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let fifo = folder.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The child opens the pipe only after the program has ended.
    let script = "sh -c 'while kill -0 $2; do :; done 2> /dev/null; echo lives > \"$1\"' sh \"$1\" $$ > /dev/null 2>&1 & kill -SEGV $$";
    Outcome::of(
        dump()
            .args(["--exec", "--after", NEVER, "-o"])
            .arg(&file)
            .args(["--", "sh", "-c", script, "sh"])
            .arg(&fifo),
    )
    .expect(0);
    assert_eq!(fs::read_to_string(&fifo).unwrap(), "lives\n");
}

#[test]
fn an_existing_file_is_refused_before_the_program_starts() {
    let folder = Folder::new();
    let file = folder.file("dump");
    fs::write(&file, "precious").unwrap();
    let trace = folder.file("trace");
    let touch = format!("touch '{}'", trace.display());
    let reason = refusal(&["--exec", "-o", file.to_str().unwrap(), "--", "sh", "-c", &touch]);
    assert_says(&reason, &["exists", "--force"]);
    folder.assert_holds(&["dump"]);
}

/// Dumps [`SPEAKS_AND_CRASHES`] to `output`. The outcome shows where the program's own output went.
fn speak(output: &Path, more: &[&str]) -> Outcome {
    Outcome::of(
        dump()
            .args(["--exec", "--after", NEVER, "-o"])
            .arg(output)
            .args(more)
            .args(["--", "sh", "-c", SPEAKS_AND_CRASHES]),
    )
    .expect(0)
}

/// The process id that the program printed, and the remaining lines.
fn spoken(text: &str) -> (u32, Vec<&str>) {
    let (own, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("out "));
    assert_eq!(own.len(), 1, "{text}");
    (own[0][4..].parse().unwrap(), rest)
}

fn assert_crash_of(dump: &Dump, pid: u32) {
    assert_eq!(dump.misc_info().unwrap().unwrap().process_id, Some(pid));
    let exception = dump.exception().unwrap().expect("it crashed");
    assert_eq!(
        (exception.thread_id, exception.code),
        (pid, libc::SIGSEGV.unsigned_abs())
    );
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "it was ended and reaped"
    );
}

#[test]
fn its_output_is_its_own_unless_ours_is_wanted() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let outcome = speak(&file, &[]);
    let stdout = String::from_utf8(outcome.stdout).unwrap();
    let (pid, rest) = spoken(&stdout);
    assert_says(rest[0], &["complete dump"]);
    let crash = format!("  exception: SIGSEGV (SI_USER) in thread {pid} of process {pid}");
    assert_eq!(rest[1], crash);
    assert_eq!(outcome.stderr, "err\n");
    assert_crash_of(&Dump::open(&file).unwrap(), pid);
    dumper::check(&file).unwrap();
}

#[test]
fn its_output_goes_to_standard_error_when_ours_is_the_dump() {
    let outcome = speak(Path::new("-"), &[]);
    let (pid, rest) = spoken(&outcome.stderr);
    assert_eq!(rest[0], "err");
    assert_says(rest[1], &["complete dump"]);
    assert_crash_of(&Dump::from_bytes(outcome.stdout).unwrap(), pid);
}

#[test]
fn its_output_goes_to_standard_error_when_ours_is_json() {
    let folder = Folder::new();
    let outcome = speak(&folder.file("dump"), &["--json"]);
    assert_eq!(outcome.json()["status"], "complete");
    let (pid, rest) = spoken(&outcome.stderr);
    assert_eq!(rest, ["err"]);
    assert_crash_of(&Dump::open(folder.file("dump")).unwrap(), pid);

    let outcome = speak(Path::new("-"), &["--json"]);
    let (pid, rest) = spoken(&outcome.stderr);
    assert_eq!(rest[0], "err");
    assert_eq!(json(format!("{}\n", rest[1]).as_bytes())["status"], "complete");
    assert_crash_of(&Dump::from_bytes(outcome.stdout).unwrap(), pid);
}

#[test]
fn a_program_that_runs_on_is_dumped_after_the_time_and_ended() {
    let folder = Folder::new();
    for after in ["0", "20", "20ms"] {
        let file = folder.file(after);
        Outcome::of(
            dump()
                .args(["--exec", "--after", after, "-o"])
                .arg(&file)
                .args(["--", "sleep", "600"]),
        )
        .expect(0);
        let dump = Dump::open(&file).unwrap();
        assert!(
            dump.exception().unwrap().is_none(),
            "a dump on request has no exception"
        );
        let pid = dump.misc_info().unwrap().unwrap().process_id.unwrap();
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "it was ended and reaped"
        );
    }
}

/// An ordinary user can do this; nothing about it needs root.
#[test]
fn an_ordinary_user_starts_a_program() {
    if !proc::is_root() {
        return;
    }
    let nobody = Nobody::new();
    let mut command = nobody.runs(dumper::dumpwright().get_program());
    command.args([
        "dump",
        "--exec",
        "--after",
        NEVER,
        "-o",
        "-",
        "--",
        "sh",
        "-c",
        SPEAKS_AND_CRASHES,
    ]);
    let outcome = Outcome::of(&mut command).expect(0);
    let (pid, _) = spoken(&outcome.stderr);
    assert_crash_of(&Dump::from_bytes(outcome.stdout).unwrap(), pid);
}

/// For a crash, the registers of the thread that crashed matter most.
#[test]
fn a_crash_has_the_registers_beyond_sse_that_were_asked_for() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let outcome = speak(&file, &["--type", "with-avx-x-state-context", "--json"]);
    let dump = Dump::open(&file).unwrap();
    let Some(layout) = dump.misc_info().unwrap().unwrap().extended_state else {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
        let has_avx = flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "avx"));
        assert!(!has_avx, "this processor has AVX: {}", outcome.json());
        return;
    };
    let [thread] = &dump.threads().unwrap()[..] else {
        panic!("a shell has one thread")
    };
    let exception = dump.exception().unwrap().expect("it crashed");
    assert_eq!(thread.context_location.size, layout.context_size, "of the thread");
    assert_eq!(
        exception.context_location.size, layout.context_size,
        "of the exception"
    );
    assert_eq!(exception.context, thread.context);
    assert!(!outcome.json().to_string().contains("no extended contexts"));
    dumper::check(&file).unwrap();
}
