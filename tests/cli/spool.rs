//! Dumps in a spool: `dump --spool` and `spool`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::attempt::{Folder, Outcome, assert_says, dump, json, refusal};
use crate::support::dumper::dumpwright;
use crate::support::{proc, repository};

fn case() -> PathBuf {
    repository().join("testdata/cases/plain")
}

/// `dumpwright dump --spool FOLDER --json` for a scenario.
fn dump_into(spool: &Path) -> Command {
    let mut command = dump();
    command.arg("--scenario").arg(case().join("scenario.toml"));
    command.arg("--spool").arg(spool).arg("--json");
    command
}

/// Runs `dumpwright spool WORD FOLDER`, which must end with this status.
fn spool(status: i32, word: &str, folder: &Path, more: &[&str]) -> Outcome {
    let mut command = dumpwright();
    command.args(["spool", word]).arg(folder).args(more);
    Outcome::of(&mut command).expect(status)
}

/// The object that `spool WORD FOLDER --json` prints.
fn listed(status: i32, word: &str, folder: &Path) -> Value {
    serde_json::from_slice(&spool(status, word, folder, &["--json"]).stdout).unwrap()
}

/// A spool with these settings.
fn with_settings(text: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.file("spool.toml"), text).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn dumps_are_added_listed_checked_and_removed() {
    let folder = Folder::new();
    let spooled = folder.file("spool");
    let result = Outcome::of(dump_into(&spooled).args(["--comment", "nightly", "--name", "%e.dmp"]));
    let result = result.expect(0).json();
    let mode = fs::metadata(&spooled).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the folder was created for its owner");
    assert_eq!(result["spool"]["outcome"], "kept");
    let file = PathBuf::from(result["file"].as_str().unwrap());
    let golden = fs::read(case().join("dump.dmp")).unwrap();
    assert!(
        fs::read(&file).unwrap() != golden,
        "the comment is in the dump as well"
    );
    Outcome::of(dump_into(&spooled).args(["--compress", "zstd"])).expect(0);

    let list = listed(0, "ls", &spooled);
    let dumps = list["dumps"].as_array().unwrap();
    assert_eq!(dumps.len(), 2);
    let first = dumps.iter().find(|dump| dump["path"] == result["file"]).unwrap();
    assert_eq!(first["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(first["annotations"]["comment"], "nightly");
    assert_eq!(first["annotations"]["status"], "complete");
    // What the scenario says.
    assert_eq!(first["pid"], result["process_id"]);
    let other = dumps.iter().find(|dump| dump["path"] != result["file"]).unwrap();
    let other = other["name"].as_str().unwrap();
    assert!(other.ends_with(".dmp.zst"), "{other}");

    let text = String::from_utf8(spool(0, "ls", &spooled, &[]).stdout).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_says(&text, &[other, first["name"].as_str().unwrap(), "2 dumps"]);
    let name = first["name"].as_str().unwrap();
    let number = &name[name.len() - 12..name.len() - 4];
    let shown = String::from_utf8(spool(0, "show", &spooled, &[number]).stdout).unwrap();
    assert_says(&shown, &["comment: nightly", "xxh3: ", "Threads"]);
    assert_eq!(listed(0, "show", &spooled)["name"], *other, "the newest");

    assert_eq!(listed(0, "verify", &spooled)["ok"], true);
    // A byte of the dump is changed, and the record of the other one lost.
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let record = spooled.join(format!("{other}.json"));
    let before = fs::read_to_string(&record).unwrap();
    fs::remove_file(&record).unwrap();
    let found = String::from_utf8(spool(1, "verify", &spooled, &[]).stdout).unwrap();
    assert_says(
        &found,
        &["its checksum is not the recorded one", "its record is missing"],
    );
    let text = String::from_utf8(spool(0, "ls", &spooled, &[]).stdout).unwrap();
    assert_says(&text, &["its record is missing"]);
    spool(0, "verify", &spooled, &[other, "--rebuild"]);
    let after: Value = serde_json::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
    let before: Value = serde_json::from_str(&before).unwrap();
    for key in ["process", "pid", "reason", "signature", "bytes", "xxh3"] {
        assert_eq!(after[key], before[key], "{key}");
    }

    spool(0, "rm", &spooled, &[number]);
    assert!(!file.exists());
    assert_says(&spool(1, "rm", &spooled, &[number]).stderr, &["no dump", number]);
    spool(0, "rm", &spooled, &["--all"]);
    assert_eq!(names(&spooled), [".spool-counters.json", ".spool-lock"][1..]);
    assert_says(&spool(1, "show", &spooled, &[]).stderr, &["no dumps"]);
}

#[test]
fn old_dumps_make_room() {
    let folder = with_settings("keep-count = 2\nkeep-free = 0");
    let results: Vec<_> = (0..3)
        .map(|_| Outcome::of(&mut dump_into(folder.path())).expect(0).json())
        .collect();
    assert_eq!(results[0]["spool"]["removed"], Value::Array(Vec::new()));
    let first = Path::new(results[0]["file"].as_str().unwrap())
        .file_name()
        .unwrap();
    assert_eq!(results[2]["spool"]["removed"][0], first.to_str().unwrap());
    let golden = fs::read(case().join("dump.dmp")).unwrap();
    for (result, is_there) in results.iter().zip([false, true, true]) {
        let bytes = fs::read(result["file"].as_str().unwrap());
        assert_eq!(bytes.is_ok_and(|bytes| bytes == golden), is_there);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let folder = with_settings("keep-bytes = 9279\nkeep-free = 0");
    let arguments = |folder: &Path| {
        let scenario = case().join("scenario.toml");
        [
            "--scenario".to_owned(),
            scenario.display().to_string(),
            "--spool".to_owned(),
            folder.display().to_string(),
        ]
    };
    let left = [".spool-lock", "spool.toml"];
    // The dump has 9280 bytes.
    let reason = refusal(&arguments(folder.path()));
    assert_says(
        &reason,
        &["no room for a dump of 9280 bytes", "keep-bytes = 9279"],
    );
    folder.assert_holds(&left);
    fs::write(folder.file("spool.toml"), "keep-bytes = 9280\nkeep-free = 0").unwrap();
    Outcome::of(&mut dump_into(folder.path())).expect(0);
    fs::write(folder.file("spool.toml"), "keep-free = \"100000TiB\"").unwrap();
    let before = names(folder.path());
    let reason = refusal(&arguments(folder.path()));
    assert_says(&reason, &["no room", "keep-free"]);
    assert_eq!(names(folder.path()), before);
    fs::write(folder.file("spool.toml"), "keep-free = 0\nmax-rate = \"1/d\"").unwrap();
    Outcome::of(&mut dump_into(folder.path())).expect(0);
    let reason = refusal(&arguments(folder.path()));
    assert_says(&reason, &["max-rate = \"1/d\""]);
    // Mistakes in the settings, and a folder of everybody.
    fs::write(folder.file("spool.toml"), "keep-cuont = 1").unwrap();
    let outcome = Outcome::of(&mut dump_into(folder.path())).expect(1);
    assert_says(
        &outcome.stderr,
        &["spool.toml:1:1", "did you mean \"keep-count\"?"],
    );
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let reason = refusal(&arguments(folder.path()));
    assert_says(&reason, &["other users may write to it"]);
    // Two places.
    let outcome = Outcome::of(dump_into(folder.path()).args(["-o", "file"])).expect(2);
    assert_says(&outcome.stderr, &["--spool", "--output"]);
}

/// The stacks are real: the same crash has the same frames, and another one others.
#[test]
fn the_same_crash_is_only_counted() {
    let folder = with_settings("keep-free = 0");
    let crash = |signal: &str| {
        let mut command = dump();
        command
            .args(["--exec", "--after", "never", "--json", "--spool"])
            .arg(folder.path());
        command.args(["--", "sh", "-c", &format!("kill -{signal} $$")]);
        Outcome::of(&mut command).expect(0).json()
    };
    let first = crash("SEGV");
    assert_eq!(first["spool"]["outcome"], "kept");
    let signature = first["spool"]["signature"].as_str().expect("a signature");
    // `show` prints the same frames.
    let mut show = dumpwright();
    let shown = Outcome::of(show.args(["show", "--json"]).arg(first["file"].as_str().unwrap()));
    let shown: Value = serde_json::from_slice(&shown.expect(0).stdout).unwrap();
    let frames = shown["exception"]["frames"].as_array().unwrap().iter().take(5);
    let frames: Vec<_> = frames
        .map(|frame| {
            let module = frame["module"].as_str().unwrap();
            format!(" {module}+{:#x}", frame["module_offset"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(signature, format!("SIGSEGV{}", frames.concat()));

    for seen in 2..4 {
        let again = crash("SEGV");
        assert_eq!(again["spool"]["outcome"], "counted");
        assert_eq!(again["spool"]["seen"], seen);
        assert_eq!(again["file"], first["file"]);
    }
    let other = crash("FPE");
    assert_eq!(other["spool"]["outcome"], "kept");
    let list = listed(0, "ls", folder.path());
    let seen: Vec<_> = list["dumps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dump| &dump["seen"])
        .collect();
    assert_eq!(seen, [3, 1]);
    assert_eq!(list["dumps"][0]["process"], "dash");
    assert_says(list["dumps"][0]["reason"].as_str().unwrap(), &["SIGSEGV"]);
}

/// The limit for file sizes stands for a disk that is full: some of the file is written.
#[test]
fn a_failed_write_leaves_nothing_in_the_spool() {
    let folder = with_settings("keep-free = 0");
    let kept = Outcome::of(&mut dump_into(folder.path())).expect(0).json();
    let before = names(folder.path());
    let script = "ulimit -f 8; exec \"$0\" dump --json --scenario \"$1\" --spool \"$2\"";
    let outcome = Outcome::of(
        Command::new("bash")
            .args(["-c", script])
            .arg(dumpwright().get_program())
            .arg(case().join("scenario.toml"))
            .arg(folder.path()),
    );
    assert_says(
        outcome.expect(1).json()["error"].as_str().unwrap(),
        &["File too large"],
    );
    assert_eq!(names(folder.path()), before);
    assert!(Path::new(kept["file"].as_str().unwrap()).exists());
    assert_eq!(listed(0, "verify", folder.path())["ok"], true);
}

/// A file system of 256 KiB in a mount namespace that ends with the shell. Other files fill it
/// meanwhile, and are removed again.
#[test]
fn the_floor_of_free_space_holds_on_a_small_disk() {
    if !proc::is_root() {
        // Only root can mount; the tests of the crate have a floor that cannot be reached.
        return;
    }
    let folder = Folder::new();
    let script = "mount -t tmpfs -o size=256k,mode=700 tmpfs \"$2\" || exit 99
        echo 'keep-free = \"64KiB\"' > \"$2\"/spool.toml
        for number in $(seq 12); do
            test $number = 9 && head -c 150000 /dev/zero > \"$2\"/filler
            test $number = 10 && rm \"$2\"/filler
            \"$0\" dump --json --scenario \"$1\" --spool \"$2\" 2> /dev/null
            echo free $(df --output=avail -B1 \"$2\" | tail -n 1) >&2
        done
        ls -A \"$2\" >&2
        \"$0\" spool verify \"$2\" >&2 || exit 98";
    let outcome = Outcome::of(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(dumpwright().get_program())
            .arg(case().join("scenario.toml"))
            .arg(folder.path()),
    );
    assert!(
        outcome.status.code() != Some(99),
        "this test mounts a file system in a namespace of its own and needs the right to (CAP_SYS_ADMIN): {outcome:?}"
    );
    let outcome = outcome.expect(0);
    let objects = String::from_utf8(outcome.stdout).unwrap();
    let objects: Vec<_> = objects
        .split_inclusive('\n')
        .map(|line| json(line.as_bytes()))
        .collect();
    let removed = |object: &Value| object["spool"]["removed"].as_array().map(Vec::len);
    let is_refused = |object: &Value| object["status"] == "failed";
    let refused: Vec<_> = objects
        .iter()
        .enumerate()
        .filter(|(_, object)| is_refused(object))
        .collect();
    // The filler alone leaves less than the floor, so old dumps stay.
    assert!(matches!(refused[..], [(8, _)]), "{objects:?}");
    assert_says(refused[0].1["error"].as_str().unwrap(), &["no room", "keep-free"]);
    assert!(
        objects.iter().any(|object| removed(object) > Some(0)),
        "{objects:?}"
    );
    let lines = outcome.stderr.lines();
    let free: Vec<u64> = lines
        .clone()
        .filter_map(|line| line.strip_prefix("free ")?.parse().ok())
        .collect();
    assert_eq!(free.len(), 12);
    for (number, free) in free.iter().enumerate() {
        assert!(number == 8 || *free >= 64 << 10, "{number}: {free}");
    }
    let left = |word: &str| lines.clone().any(|line| line.starts_with(word));
    assert!(
        !left(".spool-reserved") && !left(".spool-new"),
        "{}",
        outcome.stderr
    );
    let kept: usize = objects
        .iter()
        .filter(|object| object["spool"]["outcome"] == "kept")
        .count();
    let gone: usize = objects.iter().filter_map(removed).sum();
    let whole = lines.clone().filter(|line| line.ends_with(": ok")).count();
    assert_eq!(whole, kept - gone);
}
