//! The output of a dump: names that exist, links, names that are not regular files, and places
//! without space.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use dumpwright::read::Dump;

use crate::attempt::{
    Folder, Nobody, Outcome, assert_says, dump, dump_of, json, plain, refusal, refusal_by, threads,
};
use crate::support::child::KilledOnDrop;
use crate::support::dumper::dumpwright;
use crate::support::proc;
use crate::support::victim::{self, Victim};
use crate::support::{dumper, repository, run_well};

/// Fails to dump a victim into this file, and checks that the victim still runs.
fn refused(victim: &mut Victim, file: &Path, more: &[&str]) -> String {
    let pid = victim.pid().to_string();
    let file = file.to_str().unwrap();
    let reason = refusal(&[&["--pid", &pid, "-o", file], more].concat());
    proc::assert_released(victim.pid());
    victim.ping();
    reason
}

fn assert_is_dump_of(file: &Path, pid: u32) {
    let dump = Dump::open(file).unwrap();
    assert_eq!(dump.misc_info().unwrap().unwrap().process_id, Some(pid));
    dumper::check(file).unwrap();
}

#[test]
fn an_existing_file_is_replaced_only_if_told_so() {
    let mut victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    fs::write(&file, "precious").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let reason = refused(&mut victim, &file, &[]);
    assert_says(&reason, &["create", file.to_str().unwrap(), "exists", "--force"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");

    Outcome::of(dump_of(&victim, &file).arg("--force")).expect(0);
    folder.assert_holds(&["dump"]);
    assert_is_dump_of(&file, victim.pid());
    assert_eq!(
        fs::metadata(&file).unwrap().mode() & 0o777,
        0o600,
        "not that of the file it replaced"
    );
    victim.ping();
}

#[test]
fn whoever_has_the_old_file_open_keeps_it() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    fs::write(&file, "precious").unwrap();
    let mut old = File::open(&file).unwrap();
    Outcome::of(dump_of(&victim, &file).arg("--force")).expect(0);
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "precious", "replaced, not overwritten");
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    let mut victim = plain();
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let precious = elsewhere.file("precious");
    fs::write(&precious, "precious").unwrap();
    let link = folder.file("dump");
    for target in [
        precious.as_path(),
        &elsewhere.file("missing"),
        elsewhere.path(),
        Path::new("/dev/null"),
    ] {
        symlink(target, &link).unwrap();
        for more in [&[][..], &["--force"]] {
            let reason = refused(&mut victim, &link, more);
            assert_says(
                &reason,
                &["create", link.to_str().unwrap(), "it is a symbolic link"],
            );
        }
        folder.assert_holds(&["dump"]);
        assert_eq!(fs::read_link(&link).unwrap(), target);
        elsewhere.assert_holds(&["precious"]);
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_device_is_written_to_and_stays_one() {
    let mut victim = plain();
    for more in [&[][..], &["--force"]] {
        let outcome =
            Outcome::of(dump_of(&victim, Path::new("/dev/null")).arg("--json").args(more)).expect(0);
        assert!(outcome.json()["bytes"].as_u64() > Some(0));
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        victim.ping();
    }
}

#[test]
fn a_device_without_room() {
    let mut victim = plain();
    for more in [&[][..], &["--force"], &["--type", "with-full-memory"]] {
        let reason = refused(&mut victim, Path::new("/dev/full"), more);
        assert_says(&reason, &["write to", "/dev/full", "No space left on device"]);
    }
}

#[test]
fn a_named_pipe_gets_the_dump() {
    let mut victim = threads();
    let folder = Folder::new();
    let pipe = folder.file("pipe");
    run_well(Command::new("mkfifo").arg(&pipe));
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read(pipe).unwrap())
    };
    Outcome::of(dump_of(&victim, &pipe).args(["--type", "with-full-memory"])).expect(0);
    let received = reader.join().unwrap();
    folder.assert_holds(&["pipe"]);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let file = folder.file("received");
    fs::write(&file, received).unwrap();
    assert_is_dump_of(&file, victim.pid());
    victim.ping();
}

#[test]
fn names_that_can_be_no_file() {
    let mut victim = plain();
    let folder = Folder::new();
    let inner = folder.file("inner");
    fs::create_dir(&inner).unwrap();
    let file = folder.file("file");
    fs::write(&file, "").unwrap();
    for (name, more, system) in [
        (folder.file("missing/dump"), &[][..], "no such file or directory"),
        (
            folder.file("missing/dump"),
            &["--force"],
            "no such file or directory",
        ),
        (file.join("dump"), &[], "not a directory"),
    ] {
        let reason = refused(&mut victim, &name, more);
        assert_says(&reason, &["create", name.to_str().unwrap()]);
        assert_says(&reason.to_lowercase(), &[system]);
    }
    folder.assert_holds(&["inner", "file"]);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
}

#[test]
fn a_folder_that_may_not_be_written() {
    let nobody = Nobody::new();
    let mut victim = Victim::start_command(&mut nobody.runs(victim::live("plain")));
    let folder = Folder::new();
    let file = folder.file("dump");
    fs::write(&file, "precious").unwrap();
    // The folder can be read, but not changed; and its owner is another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let program = || {
        let mut command = nobody.runs(dumpwright().get_program());
        command.arg("dump");
        command
    };
    let pid = victim.pid().to_string();
    for (name, more) in [("new", &[][..]), ("dump", &["--force"])] {
        let output = folder.file(name);
        let reason = refusal_by(
            program,
            &[&["--pid", &pid, "-o", output.to_str().unwrap()], more].concat(),
        );
        assert_says(
            &reason,
            &["create", output.to_str().unwrap(), "Permission denied"],
        );
    }
    folder.assert_holds(&["dump"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    victim.ping();
}

/// A file system of 64 KiB in a mount namespace that ends with the shell. A dump does not fit into
/// it.
#[test]
fn a_disk_without_room() {
    if !proc::is_root() {
        // Only root can mount; the test with /dev/full above covers this case for other users.
        return;
    }
    let mut victim = threads();
    let folder = Folder::new();
    let script = "mount -t tmpfs -o size=64k tmpfs \"$1\" || exit 99
        printf precious > \"$1\"/old
        for name in new old; do
            \"$0\" dump --json --force --type with-full-memory --pid \"$2\" -o \"$1\"/$name
            test $? = 1 || exit 98
        done
        ls -A \"$1\" >&2
        cat \"$1\"/old >&2";
    let outcome = Outcome::of(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(dumpwright().get_program())
            .arg(folder.path())
            .arg(victim.pid().to_string()),
    );
    assert!(
        !outcome.stderr.contains("unshare failed") && outcome.status.code() != Some(99),
        "this test mounts a file system in a namespace of its own and needs the right to (CAP_SYS_ADMIN): {outcome:?}"
    );
    let outcome = outcome.expect(0);
    let (objects, names) = (String::from_utf8(outcome.stdout).unwrap(), outcome.stderr);
    assert_eq!(objects.lines().count(), 2);
    for line in objects.split_inclusive('\n') {
        let object = json(line.as_bytes());
        assert_eq!(object["status"], "failed");
        assert_says(object["error"].as_str().unwrap(), &["No space left on device"]);
        // HRESULT_FROM_WIN32(ERROR_DISK_FULL).
        assert_eq!(object["hresult"], "0x80070070");
    }
    let left: Vec<_> = names
        .lines()
        .filter(|line| !line.starts_with("dumpwright: "))
        .collect();
    assert_eq!(
        left,
        ["old", "precious"],
        "no new file, and the old one as it was"
    );
    proc::assert_released(victim.pid());
    victim.ping();
}

/// As in a root folder that has nothing else.
#[test]
fn a_dump_of_a_simulated_process_needs_no_proc() {
    if !proc::is_root() {
        // Only root can hide it.
        return;
    }
    let folder = Folder::new();
    let file = folder.file("plain.dmp");
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    let script = "mount -t tmpfs none /proc || exit 99; exec \"$@\"";
    let outcome = Outcome::of(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(dumpwright().get_program())
            .args(["dump", "--scenario"])
            .arg(scenario)
            .arg("-o")
            .arg(&file),
    );
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    folder.assert_holds(&["plain.dmp"]);
}

#[test]
fn nobody_else_may_read_it_whatever_the_umask() {
    let victim = plain();
    let folder = Folder::new();
    for umask in ["0", "022", "777"] {
        let file = folder.file(umask);
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask $2; exec \"$0\" dump --pid $3 -o \"$1\""])
            .arg(dumpwright().get_program())
            .arg(&file)
            .args([umask, &victim.pid().to_string()]);
        Outcome::of(&mut command).expect(0);
        assert_eq!(
            fs::metadata(&file).unwrap().mode() & 0o7777,
            0o600,
            "umask {umask}"
        );
    }
    folder.assert_holds(&["0", "022", "777"]);
}

#[test]
fn names_as_people_give_them() {
    let mut victim = plain();
    let folder = Folder::new();
    for name in [
        OsStr::new("plain"),
        OsStr::new("./-o"),
        OsStr::from_bytes(b"not UTF-8 \xff\n"),
    ] {
        let mut command = dump_of(&victim, Path::new(name));
        Outcome::of(command.current_dir(folder.path())).expect(0);
        assert_is_dump_of(&folder.path().join(name), victim.pid());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    victim.ping();
}

/// A transcript contains what a callback puts into reads, so it is protected like a dump.
#[test]
fn a_transcript_is_private_and_replaces_nothing_by_itself() {
    let folder = Folder::new();
    let (dump, transcript) = (folder.file("dump"), folder.file("dialogue"));
    let scenario = "testdata/cases/plain/scenario.toml";
    let with = |transcript: &Path| {
        let mut command = dumpwright();
        command.args(["dump", "--scenario", scenario, "-o"]).arg(&dump);
        command.arg("--transcript").arg(transcript);
        command
    };
    Outcome::of(&mut with(&transcript)).expect(0);
    let text = fs::read_to_string(&transcript).unwrap();
    assert!(text.ends_with("{\"result\":{\"status\":\"complete\",\"hresult\":\"0x00000000\"}}\n"));
    assert_eq!(fs::metadata(&transcript).unwrap().mode() & 0o777, 0o600);

    fs::remove_file(&dump).unwrap();
    fs::write(&transcript, "precious").unwrap();
    let reason = refusal_by(|| with(&transcript), &[] as &[&str]);
    assert_says(&reason, &["create", transcript.to_str().unwrap(), "--force"]);
    assert_eq!(fs::read(&transcript).unwrap(), b"precious");
    folder.assert_holds(&["dialogue"]);

    let reason = refusal_by(|| with(&dump), &["--force"]);
    assert_says(&reason, &["same name"]);
    folder.assert_holds(&["dialogue"]);
}

/// Starts `cat` with this file as its input, which it copies to its output.
fn reader(input: File) -> KilledOnDrop {
    let mut command = Command::new("cat");
    KilledOnDrop(command.stdin(input).stdout(Stdio::piped()).spawn().unwrap())
}

fn read_all(mut reader: KilledOnDrop) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A suspended target cannot read the pipe, and the dump could not go on.
#[test]
fn all_memory_of_a_process_is_not_written_to_a_pipe_that_it_reads() {
    let folder = Folder::new();
    let named = folder.file("pipe");
    run_well(Command::new("mkfifo").arg(&named));
    let (unnamed, writer) = std::io::pipe().unwrap();
    let read_named = File::options().read(true).write(true).open(&named).unwrap();
    for (input, output, writer) in [
        (File::from(OwnedFd::from(unnamed)), Path::new("-"), Some(writer)),
        (read_named, &named, None),
    ] {
        let target = reader(input);
        let pid = target.id().to_string();
        let mut command = dump();
        command.args(["--pid", &pid, "--type", "full", "-o"]).arg(output);
        command.stdout(match writer {
            Some(writer) => Stdio::from(writer),
            None => Stdio::piped(),
        });
        let mut dumper = KilledOnDrop(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut reason = String::new();
        dumper.stderr.take().unwrap().read_to_string(&mut reason).unwrap();
        assert_eq!(dumper.wait().unwrap().code(), Some(1), "{reason}");
        let what = format!("process {pid} itself has the pipe of the output open for reading (descriptor 0)");
        assert_says(
            &reason,
            &["the request is invalid", &what, "write the dump to a file"],
        );
        proc::assert_released(target.id());
    }
}

/// Such a dump is written when the target has been resumed.
#[test]
fn a_normal_dump_may_be_written_to_a_pipe_that_the_target_reads() {
    let folder = Folder::new();
    let (input, writer) = std::io::pipe().unwrap();
    let target = reader(File::from(OwnedFd::from(input)));
    let pid = target.id();
    let mut command = dump();
    command
        .args(["--pid", &pid.to_string(), "-o", "-"])
        .stdout(writer);
    let status = command.status().unwrap();
    assert_eq!(status.code(), Some(0));
    drop(command);
    let file = folder.file("dump");
    fs::write(&file, read_all(target)).unwrap();
    assert_is_dump_of(&file, pid);
}

/// A pipe that the target only writes to, and another process reads, is no obstacle.
#[test]
fn all_memory_may_be_written_to_a_pipe_that_the_target_writes_to() {
    let folder = Folder::new();
    let (input, writer) = std::io::pipe().unwrap();
    let reader = reader(File::from(OwnedFd::from(input)));
    let target = {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(writer.try_clone().unwrap());
        KilledOnDrop(command.spawn().unwrap())
    };
    let pid = target.id();
    let mut command = dump();
    command
        .args(["--pid", &pid.to_string(), "--type", "full", "-o", "-"])
        .stdout(writer);
    let mut dumper = KilledOnDrop(command.spawn().unwrap());
    drop(command);
    let collector = std::thread::spawn(move || read_all(reader));
    assert_eq!(dumper.wait().unwrap().code(), Some(0));
    // The reader ends when nobody can write any more.
    drop(target);
    let file = folder.file("dump");
    fs::write(&file, collector.join().unwrap()).unwrap();
    assert_is_dump_of(&file, pid);
}
