//! Policies on the command line: `--policy`, `--max-size`, `--redact`, `--for-upload`, and
//! `policy check`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dumpwright::read::Dump;

use crate::attempt::{Folder, Outcome, assert_says, dump, dump_of, plain, refusal, threads};
use crate::support::dumper::dumpwright;
use crate::support::victim::{self, Victim};

/// A text in the environment and in the memory of a victim.
const SECRET: &str = "correct-horse-battery-staple";

fn write(folder: &Folder, name: &str, text: &str, mode: u32) -> PathBuf {
    let file = folder.file(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn holds(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).unwrap();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    has(text.as_bytes()) || has(&wide)
}

/// A victim that has the secret as an argument.
fn with_secret() -> Victim {
    Victim::start(&victim::live("plain"), &[SECRET])
}

#[test]
fn secrets_are_not_in_the_bytes() {
    let mut victim = with_secret();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(dump_of(&victim, &file).args(["--type", "full"])).expect(0);
    assert!(holds(&file, SECRET), "the dump without a policy has it");
    let secrets = write(&folder, "secrets.txt", &format!("# a comment\n{SECRET}\n"), 0o600);
    let outcome = Outcome::of(
        dump_of(&victim, &file)
            .args(["--type", "full", "--force", "--redact"])
            .arg(&secrets),
    )
    .expect(0);
    assert!(!holds(&file, SECRET) && !holds(&file, &SECRET[..14]));
    let text = String::from_utf8(outcome.stdout).unwrap();
    assert_says(&text, &["complete dump", "note: process: redacted: "]);
    assert!(!text.contains("redacted: 0 places"), "{text}");
    assert!(!text.contains(SECRET) && !outcome.stderr.contains(SECRET));
    // The policy file finds the file of secrets beside itself.
    let policy = write(
        &folder,
        "p.toml",
        "type = \"full\"\n[redact]\nsecrets = \"secrets.txt\"\n",
        0o644,
    );
    Outcome::of(dump_of(&victim, &file).args(["--force", "--policy"]).arg(&policy)).expect(0);
    assert!(!holds(&file, SECRET));
    // It may stay unnamed: the arguments of the process are known.
    let policy = write(
        &folder,
        "q.toml",
        "type = \"full\"\n[redact]\ncommand-line = true\nenvironment = true",
        0o644,
    );
    Outcome::of(dump_of(&victim, &file).args(["--force", "--policy"]).arg(&policy)).expect(0);
    assert!(!holds(&file, SECRET));
    victim.ping();
}

#[test]
fn a_file_of_secrets_is_for_its_owner_alone() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    let secrets = write(&folder, "secrets.txt", SECRET, 0o640);
    let pid = victim.pid().to_string();
    let arguments = [
        "--pid",
        &pid,
        "-o",
        file.to_str().unwrap(),
        "--redact",
        secrets.to_str().unwrap(),
    ];
    let reason = refusal(&arguments);
    assert_says(
        &reason,
        &["secrets.txt", "others than its owner", "0640", "chmod 600"],
    );
    write(&folder, "secrets.txt", "abc", 0o600);
    let reason = refusal(&arguments);
    assert_says(&reason, &["secrets.txt: line 1", "at least 4 bytes"]);
    assert!(!file.exists() && !reason.contains("abc"));
}

#[test]
fn a_size_is_kept_and_what_was_dropped_is_listed() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    let outcome =
        Outcome::of(dump_of(&victim, &file).args(["--type", "full", "--max-size", "64KiB", "--json"]))
            .expect(0);
    let result = outcome.json();
    assert!(result["memory_bytes"].as_u64().unwrap() <= 64 << 10, "{result}");
    let left_out = result["left_out"].as_array().unwrap();
    assert!(
        left_out
            .iter()
            .any(|loss| loss["reason"] == "dropped to stay within the size limit"),
        "{result}"
    );
    for wrong in ["64MB", "", "-1", "many"] {
        let outcome = Outcome::of(dump_of(&victim, &file).arg(format!("--max-size={wrong}"))).expect(2);
        assert_says(&outcome.stderr, &["is not a size", "64MiB"]);
    }
}

#[test]
fn a_dump_for_upload_is_small_and_names_no_folders() {
    let victim = threads();
    let folder = Folder::new();
    let file = folder.file("dump");
    let outcome = Outcome::of(dump_of(&victim, &file).args(["--for-upload", "--json"])).expect(0);
    assert!(outcome.json()["memory_bytes"].as_u64().unwrap() <= 8 << 20);
    let dump = Dump::open(&file).unwrap();
    let names = dump
        .modules()
        .unwrap()
        .into_iter()
        .map(|module| module.name.unwrap());
    assert!(
        names.clone().all(|name| !name.contains('/')),
        "{:?}",
        names.collect::<Vec<_>>()
    );
    Outcome::of(dump_of(&victim, &file).args(["--for-upload", "--max-size", "8K", "--force"])).expect(0);
    let dump = Dump::open(&file).unwrap();
    let memory: u64 = dump.memory_ranges().unwrap().iter().map(|range| range.size).sum();
    assert!(memory <= 8 << 10, "{memory}");
}

/// The names are those that the victim gives to its threads.
#[test]
fn threads_are_left_out_by_their_names() {
    let victim = threads();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(&mut dump_of(&victim, &file)).expect(0);
    let all = Dump::open(&file).unwrap().threads().unwrap();
    let name = all.last().unwrap().name.clone().expect("a name");
    let policy = write(
        &folder,
        "p.toml",
        &format!("[threads]\nexcept = [\"{name}\"]\n"),
        0o644,
    );
    let outcome = Outcome::of(
        dump_of(&victim, &file)
            .args(["--force", "--json", "--policy"])
            .arg(&policy),
    )
    .expect(0);
    let left: Vec<_> = Dump::open(&file).unwrap().threads().unwrap();
    assert!(left.iter().all(|thread| thread.name.as_ref() != Some(&name)));
    let expected = all.iter().filter(|thread| thread.name.as_ref() != Some(&name));
    assert_eq!(left.len(), expected.count());
    assert_eq!(outcome.json()["threads"], left.len());
    assert!(!left.is_empty());
}

#[test]
fn a_policy_in_words() {
    let folder = Folder::new();
    write(&folder, "secrets.txt", SECRET, 0o600);
    let text = "preset = \"first-look\"\nmax-size = \"64MiB\"\nacceptable-losses = [\"memory\"]\n\
                [threads]\nexcept = [\"sampler-*\"]\n[redact]\nsecrets = \"secrets.txt\"\n";
    let policy = write(&folder, "p.toml", text, 0o644);
    let outcome = Outcome::of(dumpwright().args(["policy", "check"]).arg(&policy)).expect(0);
    let words = String::from_utf8(outcome.stdout).unwrap();
    assert_says(
        &words,
        &[
            "preset first-look",
            "lacks threads named \"sampler-*\"",
            "256 bytes before",
            "one secret",
            "at most 64 MiB",
            "lacks memory",
        ],
    );
    assert!(!words.contains(SECRET));
    let policy = write(&folder, "wrong.toml", "[threads]\nexept = []\n", 0o644);
    for arguments in [
        &["policy", "check"][..],
        &["dump", "--pid", "1", "-o", "x", "--policy"],
    ] {
        let outcome = Outcome::of(
            dumpwright()
                .args(arguments)
                .arg(&policy)
                .current_dir(folder.path()),
        )
        .expect(1);
        assert_says(
            &outcome.stderr,
            &[
                "wrong.toml:2:1",
                "unknown key \"exept\"",
                "did you mean \"except\"?",
                "2 | exept = []",
            ],
        );
    }
    assert!(!folder.file("x").exists());
}

#[test]
fn a_policy_excludes_other_answers() {
    let folder = Folder::new();
    let policy = write(&folder, "p.toml", "", 0o644);
    for option in ["--script", "--playback"] {
        let outcome = Outcome::of(
            dump()
                .args(["--pid", "1", "-o", "x", option, "y", "--policy"])
                .arg(&policy),
        )
        .expect(2);
        assert_says(&outcome.stderr, &["cannot be used with", "--policy"]);
    }
}
