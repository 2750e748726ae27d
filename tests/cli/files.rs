//! What may be lost between the dump and its file: volumes that lack something, errors that come
//! late, limits, standard streams that are closed or full, names that are too long, dumpers that
//! are killed, and inputs that are no files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::attempt::{Folder, Outcome, assert_says, dump, dump_of, plain, refusal, threads};
use crate::support::child::KilledOnDrop;
use crate::support::dumper::dumpwright;
use crate::support::proc::{self, until};
use crate::support::victim::Victim;
use crate::support::volume::Volume;
use crate::support::{dumper, run_well};

/// No process has this id: it is above the largest that Linux gives.
const NOBODY: &str = "4194999";

const SCENARIO: &str = "testdata/cases/plain/scenario.toml";

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A dump of a simulated process, which needs no victim.
fn simulated(file: &Path) -> Command {
    let mut command = dump();
    command.args(["--scenario", SCENARIO, "-o"]).arg(file);
    command
}

fn assert_unharmed(victim: &mut Victim) {
    proc::assert_released(victim.pid());
    victim.ping();
}

#[test]
fn a_volume_that_lacks_links_renames_or_permissions_gets_its_dump() {
    let mut victim = plain();
    for lacks in [
        &[][..],
        &["no-links"],
        &["no-new"],
        &["no-links", "no-new"],
        &["no-links", "no-new", "no-chmod"],
    ] {
        let Some(volume) = Volume::mount(lacks) else {
            return;
        };
        let folder = volume.path();
        let file = folder.join("dump");
        for more in [&[][..], &["--force"], &["--force", "--type", "full"]] {
            let made = Outcome::of(dump_of(&victim, &file).args(more)).expect(0);
            assert_eq!(names(&folder), ["dump"], "{lacks:?} {more:?}");
            dumper::check(&file).unwrap();
            let is_reported = made.stderr.contains("other users may read the dump");
            assert_eq!(is_reported, lacks.contains(&"no-chmod"), "{lacks:?}: {made:?}");
        }
        let before = fs::read(&file).unwrap();
        let reason = refusal(&["--pid", NOBODY, "-o", file.to_str().unwrap()]);
        assert_says(&reason, &["create", "exists", "--force"]);
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_unharmed(&mut victim);
    }
}

/// A file that appears while the dump is made is not replaced.
#[test]
fn a_name_that_is_taken_meanwhile_stays_the_other_file() {
    for lacks in [&["no-links"][..], &["no-new"], &["no-links", "no-new"]] {
        let Some(volume) = Volume::mount(lacks) else {
            return;
        };
        let file = volume.path().join("dump");
        let mut running = KilledOnDrop(waiting(&file, &[]).spawn().unwrap());
        until("the dumper waits for its program", || {
            names(&volume.path()).len() == 1
        });
        fs::write(&file, "precious").unwrap();
        finish_waiting(&mut running);
        assert_eq!(running.wait().unwrap().code(), Some(1), "{lacks:?}");
        assert_eq!(names(&volume.path()), ["dump"], "{lacks:?}");
        assert_eq!(fs::read(&file).unwrap(), b"precious", "{lacks:?}");
    }
}

/// A dumper that has begun its file and waits for a program that dies when it reads a line.
fn waiting(file: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("env");
    // A shell starts programs in the background with some signals ignored, and so do we then.
    command
        .arg("--default-signal=HUP,INT,TERM")
        .arg(dumpwright().get_program());
    command
        .args(["dump", "--exec", "--after", "1000000", "-o"])
        .arg(file);
    command.args(more);
    command.args(["--", "sh", "-c", "read line; kill -SEGV $$"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn finish_waiting(running: &mut KilledOnDrop) {
    running.stdin.take().unwrap().write_all(b"\n").unwrap();
}

#[test]
fn an_error_that_comes_late_fails_the_dump_before_its_name_appears() {
    let mut victim = plain();
    for (lack, sync) in [("bad-flush", &[][..]), ("bad-sync", &["--sync"])] {
        let Some(volume) = Volume::mount(&[lack]) else {
            return;
        };
        let file = volume.path().join("dump");
        let pid = victim.pid().to_string();
        for more in [&[][..], &["--force"]] {
            let arguments = [&["--pid", &pid, "-o", file.to_str().unwrap()], more, sync].concat();
            let reason = refusal(&arguments);
            assert_says(
                &reason,
                &["write to", file.to_str().unwrap(), "Input/output error"],
            );
            assert!(names(&volume.path()).is_empty(), "{lack} {more:?}");
        }
        let script = "exec \"$0\" dump --scenario \"$1\" -o - \"${@:3}\" > \"$2\"";
        let outcome = Outcome::of(
            Command::new("bash")
                .args(["-c", script])
                .arg(dumpwright().get_program())
                .arg(SCENARIO)
                .arg(&file)
                .args(sync),
        )
        .expect(1);
        assert_says(&outcome.stderr, &["write to", "Input/output error"]);
        assert_unharmed(&mut victim);
    }
}

#[test]
fn names_that_are_too_long_are_refused_at_once_and_the_longest_is_not() {
    let victim = plain();
    let folder = Folder::new();
    for more in [&[][..], &["--force"]] {
        let longest = folder.file(&"n".repeat(255));
        Outcome::of(dump_of(&victim, &longest).args(more)).expect(0);
        // Nobody looks for the process before that.
        let name = folder.file(&"n".repeat(256));
        let arguments = [&["--pid", NOBODY, "-o", name.to_str().unwrap()], more].concat();
        let reason = refusal(&arguments);
        assert_says(&reason, &["create", "File name too long"]);
    }
    folder.assert_holds(&[&"n".repeat(255)]);
    let Some(volume) = Volume::mount(&[]) else {
        return;
    };
    let name = volume.path().join("n".repeat(256));
    let reason = refusal(&["--pid", NOBODY, "-o", name.to_str().unwrap()]);
    assert_says(&reason, &["create", "File name too long"]);
    let reason = refusal(&[
        "--pid",
        NOBODY,
        "-o",
        &format!("{}/new/", folder.path().display()),
    ]);
    assert_says(&reason, &["create", "no such folder"]);
}

/// Runs the program in a shell that redirects its streams.
fn redirected(words: &str, redirection: &str) -> Outcome {
    let script = format!("\"$0\" {words} {redirection}");
    Outcome::of(
        Command::new("bash")
            .args(["-c", &script])
            .arg(dumpwright().get_program()),
    )
}

#[test]
fn a_dump_to_a_closed_standard_output_is_an_error() {
    let words = format!("dump --pid {NOBODY} -o -");
    let outcome = redirected(&words, ">&-").expect(1);
    assert_says(&outcome.stderr, &["standard output is closed"]);
    let outcome = redirected(&words, "1</dev/null").expect(1);
    assert_says(&outcome.stderr, &["not open for writing"]);
    let words = format!("dump --scenario {SCENARIO} -o -");
    redirected(&words, ">/dev/null").expect(0);
    redirected(&words, "2>&- <&- | cat > /dev/null").expect(0);
}

#[test]
fn a_dump_is_not_appended_to_what_is_there() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let words = format!("dump --scenario {SCENARIO} -o -");
    let to_file = format!(">> '{}'", file.display());
    redirected(&words, &to_file).expect(0);
    dumper::check(&file).unwrap();
    let len = fs::metadata(&file).unwrap().len();
    let outcome = redirected(&format!("dump --pid {NOBODY} -o -"), &to_file).expect(1);
    assert_says(&outcome.stderr, &["standard output", "appending", ">>"]);
    assert_eq!(fs::metadata(&file).unwrap().len(), len);
}

/// The reader of the pipe has gone before the program starts.
fn to_closed_pipe(words: &str) -> Outcome {
    let script = format!(
        "exec 3> >(:); wait $!; \"$0\" {words} >&3 2>\"$1\"; status=$?; cat \"$1\" >&2; exit $status"
    );
    let folder = Folder::new();
    Outcome::of(
        Command::new("bash")
            .args(["-c", &script])
            .arg(dumpwright().get_program())
            .arg(folder.file("stderr")),
    )
}

#[test]
fn a_result_that_cannot_be_printed_leaves_the_dump_and_says_so() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let at = file.to_str().unwrap();
    for more in ["", "--json"] {
        let words = format!("dump --scenario {SCENARIO} --force -o {at} {more}");
        let full = redirected(&words, "> /dev/full").expect(4);
        assert_says(
            &full.stderr,
            &[at, "written", "complete", "printed", "No space left"],
        );
        let closed = to_closed_pipe(&words).expect(4);
        assert_says(
            &closed.stderr,
            &[at, "written", "complete", "printed", "Broken pipe"],
        );
        redirected(&words, "> /dev/full 2> /dev/full").expect(4);
        folder.assert_holds(&["dump"]);
        dumper::check(&file).unwrap();
        let words = format!("dump --scenario {SCENARIO} -o - {more}");
        redirected(&words, "2> /dev/full | cat > /dev/null; exit ${PIPESTATUS[0]}").expect(4);
        let failing = format!("dump --pid {NOBODY} -o {at}.no {more}");
        redirected(&failing, "> /dev/full 2> /dev/full").expect(1);
        redirected(&format!("-vvv {failing}"), "2> /dev/full > /dev/null").expect(1);
    }
    fs::write(folder.file("bad"), "no dump").unwrap();
    let bad = folder.file("bad");
    for words in [
        format!("show {at}"),
        format!("show --json {at}"),
        format!("check {at}"),
        format!("check --json {at}"),
        "--help".to_owned(),
        "dump --help".to_owned(),
        "--version".to_owned(),
    ] {
        let full = redirected(&words, "> /dev/full").expect(1);
        assert_says(&full.stderr, &["standard output", "No space left"]);
        redirected(&words, "> /dev/full 2>&1").expect(1);
        let closed = to_closed_pipe(&words).expect(0);
        assert_eq!(closed.stderr, "", "nobody wants to read it");
    }
    redirected(&format!("check {}", bad.display()), "2> /dev/full").expect(1);
    redirected("nonsense", "2> /dev/full").expect(1);
    redirected("--nonsense", "2> /dev/full").expect(2);
}

#[test]
fn a_file_beyond_the_limit_for_sizes_is_an_ordinary_error() {
    let mut victim = threads();
    let folder = Folder::new();
    let (file, output) = (folder.file("dump"), folder.file("output"));
    let run = |script: &str, more: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(dumpwright().get_program());
        command.arg(&file).arg(&output).args(more);
        Outcome::of(&mut command)
    };
    let pid = victim.pid().to_string();
    for more in [&["normal"][..], &["full"], &["full", "--force"]] {
        let script = "ulimit -f 8; exec \"$0\" dump --pid $3 -o \"$1\" --type \"${@:4}\"";
        let outcome = run(script, &[&[pid.as_str()], more].concat()).expect(1);
        assert_says(&outcome.stderr, &["write to", "File too large"]);
        let script = "ulimit -f 8; exec \"$0\" dump --pid $3 -o - --type $4 > \"$2\"";
        let outcome = run(script, &[&[pid.as_str()], more].concat()).expect(1);
        assert_says(&outcome.stderr, &["File too large"]);
        fs::remove_file(&output).unwrap();
        let script = "ulimit -f 8; exec \"$0\" dump --exec --after 1 -o \"$1\" --type full -- sleep 100";
        let outcome = run(script, &[]).expect(1);
        assert_says(&outcome.stderr, &["write to", "File too large"]);
        assert_unharmed(&mut victim);
        folder.assert_holds(&[]);
    }
    Outcome::of(&mut simulated(&file)).expect(0);
    let script = "ulimit -f 0; exec \"$0\" show \"$1\" > \"$2\"";
    assert_says(
        &run(script, &[]).expect(1).stderr,
        &["standard output", "File too large"],
    );
    // The program that is started has the signal as it would without dumpwright.
    let script =
        "\"$0\" dump --exec --after 100000 --force -o \"$1\" -- grep SigBlk /proc/self/status > \"$2\"";
    run(script, &[]).expect(1);
    let mask = fs::read_to_string(&output).unwrap();
    assert!(mask.trim_end().ends_with("0000000000000000"), "{mask}");
}

#[test]
fn a_temporary_file_of_a_dumper_that_was_killed_goes_with_the_next_dump() {
    let folder = Folder::new();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mark = &boot[..8];
    let abandoned = format!(".dumpwright-{mark}-0123456789abcdef");
    let in_use = format!(".dumpwright-{mark}-00000000deadbeef");
    let elsewhere = ".dumpwright-zzzzzzzz-0123456789abcdef";
    let old = ".dumpwright-zzzzzzzz-00000000deadbeef";
    for name in [&*abandoned, &in_use, elsewhere, old, ".dumpwright", "other"] {
        fs::write(folder.file(name), "secret").unwrap();
        fs::set_permissions(folder.file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    run_well(
        Command::new("touch")
            .args(["-d", "2 days ago"])
            .arg(folder.file(old)),
    );
    let used = File::options().write(true).open(folder.file(&in_use)).unwrap();
    lock(&used);
    Outcome::of(&mut simulated(&folder.file("dump"))).expect(0);
    folder.assert_holds(&[&in_use, elsewhere, ".dumpwright", "other", "dump"]);
    drop(used);
    Outcome::of(simulated(&folder.file("dump")).arg("--force")).expect(0);
    folder.assert_holds(&[elsewhere, ".dumpwright", "other", "dump"]);
}

/// As dumpers lock their files.
fn lock(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: all zeros is a valid flock, a structure of numbers.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as i16;
    // SAFETY: the descriptor is open, and the pointer is to a local structure.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) };
    assert_eq!(result, 0);
}

/// The child of a dumper whose arguments, each with a zero byte, start like this. Until a child
/// executes its program, it has the arguments of the dumper.
fn child_of(pid: u32, arguments: &str) -> Option<u32> {
    proc::children(pid).into_iter().find(|child| {
        let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        line.starts_with(arguments.as_bytes())
    })
}

fn guardian_of(pid: u32) -> Option<u32> {
    child_of(pid, "/proc/self/exe\0guard\0")
}

/// Waits until a dumper has started its program. The output has its temporary name by then.
fn until_the_program_runs(pid: u32) {
    until("the program has started", || child_of(pid, "sh\0").is_some());
}

/// Where the file has a temporary name, while the dumper waits for its program.
#[test]
fn a_dumper_that_is_ended_leaves_no_temporary_file() {
    let Some(volume) = Volume::mount(&["no-links"]) else {
        return;
    };
    let file = volume.path().join("dump");
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGKILL] {
        for more in [&[][..], &["--force"]] {
            let mut running = KilledOnDrop(waiting(&file, more).process_group(0).spawn().unwrap());
            let pid = running.id();
            until_the_program_runs(pid);
            let [name] = &names(&volume.path())[..] else {
                panic!("one file");
            };
            assert!(name.starts_with(".dumpwright-"), "{name}");
            assert_eq!(
                fs::metadata(volume.path().join(name)).unwrap().mode() & 0o777,
                0o600
            );
            until("there is a guardian", || guardian_of(pid).is_some());
            if number != libc::SIGKILL {
                // As a service manager does, and a terminal.
                proc::signal(guardian_of(pid).unwrap(), number);
            }
            proc::signal(pid, number);
            assert_eq!(running.wait().unwrap().signal(), Some(number));
            until("the file is removed", || names(&volume.path()).is_empty());
        }
    }
}

/// A process that the dumper has forked may keep the pipe to the guardian open.
#[test]
fn a_guardian_notices_that_its_dumper_has_ended_even_if_its_input_stays_open() {
    let folder = Folder::new();
    let file = folder.file("temporary");
    fs::write(&file, "secret").unwrap();
    let mut command = dumpwright();
    // This process is its parent, not that one.
    command.args(["guard", "--parent", NOBODY, "--"]).arg(&file);
    let mut guardian = KilledOnDrop(command.stdin(Stdio::piped()).spawn().unwrap());
    until("the file is removed", || !file.exists());
    until("the guardian ends", || guardian.try_wait().unwrap().is_some());
    assert!(guardian.stdin.is_some(), "the pipe was open all the time");
}

/// If the guardian is killed as well, one file stays, and the next dump removes it.
#[test]
fn a_dumper_killed_with_its_guardian_leaves_one_private_file() {
    let Some(volume) = Volume::mount(&["no-links"]) else {
        return;
    };
    let file = volume.path().join("dump");
    let mut running = KilledOnDrop(waiting(&file, &[]).spawn().unwrap());
    let pid = running.id();
    until_the_program_runs(pid);
    until("there is a guardian", || guardian_of(pid).is_some());
    let ended = |pid: u32| proc::Stat::of(pid).is_none_or(|stat| stat.state() == 'Z');
    let guardian = guardian_of(pid).unwrap();
    proc::signal(guardian, libc::SIGKILL);
    until("the guardian has ended", || ended(guardian));
    let children = proc::children(pid);
    proc::signal(pid, libc::SIGKILL);
    running.wait().unwrap();
    // The helper process has the file open, and its lock with it, until it ends.
    until("all children have ended", || {
        children.iter().all(|child| ended(*child))
    });
    let left = names(&volume.path());
    assert!(left.len() == 1 && left[0].starts_with(".dumpwright-"), "{left:?}");
    assert_eq!(
        fs::metadata(volume.path().join(&left[0])).unwrap().mode() & 0o777,
        0o600
    );
    Outcome::of(&mut simulated(&file)).expect(0);
    assert_eq!(names(&volume.path()), ["dump"]);
}

#[test]
fn inputs_that_are_no_regular_files_are_refused_without_being_read() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let pipe = folder.file("pipe");
    run_well(Command::new("mkfifo").arg(&pipe));
    let huge = folder.file("huge");
    File::create(&huge).unwrap().set_len((256 << 20) + 1).unwrap();
    let at = file.to_str().unwrap();
    for (input, says) in [
        (Path::new("/dev/zero"), "is not a regular file"),
        (&pipe, "is not a regular file"),
        (&huge, "is too large: the limit is 256 MiB"),
    ] {
        let input = input.to_str().unwrap();
        let stream = format!("0x10001={input}");
        for arguments in [
            &["--scenario", input][..],
            &["--scenario", SCENARIO, "--script", input],
            &["--scenario", SCENARIO, "--playback", input],
            &["--scenario", SCENARIO, "--user-stream", &stream],
        ] {
            let reason = refusal(&[arguments, &["-o", at]].concat());
            assert_says(&reason, &[input, says]);
        }
    }
    for input in [PathBuf::from("/dev/zero"), pipe, folder.path().to_owned()] {
        for command in ["show", "check"] {
            let outcome = Outcome::of(dumpwright().arg(command).arg(&input)).expect(1);
            assert_says(&outcome.stderr, &[input.to_str().unwrap(), "not a regular file"]);
        }
    }
    folder.assert_holds(&["pipe", "huge"]);
}

#[test]
fn names_of_files_do_not_command_the_terminal() {
    let folder = Folder::new();
    let file = folder.file("a\x1b]0;b\x07\u{202e}c");
    let made = Outcome::of(&mut simulated(&file)).expect(0);
    let refused = Outcome::of(&mut simulated(&file)).expect(1);
    let checked = Outcome::of(dumpwright().arg("check").arg(&file)).expect(0);
    let shown = Outcome::of(dumpwright().arg("show").arg(&file)).expect(0);
    for text in [made.stdout, refused.stderr.into(), checked.stdout, shown.stdout] {
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
        assert_says(&text, &["a\\u{1b}]0;b\\u{7}\\u{202e}c"]);
    }
}
