//! Processes that are named by id or by name alone, and files that are named by a pattern.
//!
//! The shapes of names are those that `docs` promise: `NAME.PID.TIME.dmp`.

use std::fs;
use std::path::PathBuf;

use dumpwright::read::Dump;

use crate::attempt::{Folder, Outcome, assert_says, dump, plain};
use crate::support::dumper::dumpwright;
use crate::support::victim::{self, Victim};
use crate::support::{copy_program, run_well};

const NOTHING: [&str; 0] = [];

/// Victims that run a program of their own name.
pub struct Named {
    _folder: Folder,
    pub name: String,
    victims: Vec<Victim>,
}

impl Named {
    /// No other process of this machine has the name, which is longer than the kernel's 15 bytes.
    pub fn start(what: &str, count: usize) -> Named {
        let folder = Folder::new();
        let name = format!("victim-{what}-of-{}", std::process::id());
        let program = folder.file(&name);
        copy_program(&victim::live("plain"), &program);
        let victims = (0..count).map(|_| Victim::start(&program, &NOTHING)).collect();
        Named {
            _folder: folder,
            name,
            victims,
        }
    }

    pub fn ids(&self) -> Vec<u32> {
        self.victims.iter().map(Victim::pid).collect()
    }
}

/// The files in a folder, sorted.
fn files(folder: &Folder) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn id_in(file: &PathBuf) -> Option<u32> {
    Dump::open(file).unwrap().misc_info().unwrap().unwrap().process_id
}

#[test]
fn a_process_id_alone_is_dumped_and_summarised() {
    let mut victim = plain();
    let folder = Folder::new();
    let pid = victim.pid().to_string();
    let outcome = Outcome::of(dumpwright().arg(&pid).current_dir(folder.path())).expect(0);
    victim.ping();
    let files = files(&folder);
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(id_in(&files[0]), Some(victim.pid()));
    let name = files[0].file_name().unwrap().to_str().unwrap();
    // plain.4711.20261130-153000.dmp
    let time = name
        .strip_prefix(&format!("plain.{pid}."))
        .and_then(|rest| rest.strip_suffix(".dmp"));
    let shape: String = time
        .expect(name)
        .chars()
        .map(|letter| if letter.is_ascii_digit() { '9' } else { letter })
        .collect();
    assert_eq!(shape, "99999999-999999", "{name}");
    let text = String::from_utf8(outcome.stdout).unwrap();
    let title = format!("minidump of plain (process {pid})");
    assert_says(
        &text,
        &[
            name,
            "complete dump (normal)",
            &title,
            "Threads (1)",
            "main in plain",
        ],
    );
}

#[test]
fn a_process_is_found_by_its_name() {
    let named = Named::start("alone", 1);
    let folder = Folder::new();
    let folder_argument = format!("{}/", folder.path().display());
    // Options may come first.
    for arguments in [
        [named.name.as_str(), "-o", &folder_argument],
        ["-o", &folder_argument, &named.name],
    ] {
        let mut command = dumpwright();
        Outcome::of(command.args(arguments).args(["--force", "--name", "%e-%p%%"])).expect(0);
        let expected = folder.file(&format!("{}-{}%", named.name, named.ids()[0]));
        assert_eq!(files(&folder), [expected]);
    }
    assert_eq!(id_in(&files(&folder)[0]), Some(named.ids()[0]));
}

#[test]
fn several_processes_of_one_name_are_listed() {
    let named = Named::start("twin", 2);
    let folder = Folder::new();
    let outcome = Outcome::of(dump().arg(&named.name).current_dir(folder.path())).expect(1);
    let [first, second] = named.ids()[..] else {
        panic!("two victims")
    };
    let lines = [format!("{first}  "), format!("{second}  ")];
    assert_says(
        &outcome.stderr,
        &["2 processes have the name", &lines[0], &lines[1], "the id of one"],
    );
    folder.assert_holds(&[]);
}

#[test]
fn several_processes_are_dumped_in_one_call() {
    let named = Named::start("pair", 2);
    let ids = named.ids();
    let texts: Vec<String> = ids.iter().map(u32::to_string).collect();
    let folder = Folder::new();
    let into = folder.path().to_str().unwrap();
    // One id twice is one dump.
    let arguments = [
        &texts[0], &texts[1], &texts[0], "--json", "--name", "%p", "-o", into,
    ];
    let outcome = Outcome::of(dump().args(arguments)).expect(0);
    folder.assert_holds(&[&texts[0], &texts[1]]);
    let lines = String::from_utf8(outcome.stdout).unwrap();
    let found = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["process_id"].clone());
    assert_eq!(found.collect::<Vec<_>>(), ids);
    // They do not fit into one file.
    let file = folder.file("one");
    let refused = Outcome::of(dump().args(&texts).arg("-o").arg(&file)).expect(2);
    assert_says(&refused.stderr, &["2 processes", "-o is one file"]);
    assert!(!file.exists());
    // One that is not there does not keep the others from being dumped.
    let outcome =
        Outcome::of(dump().args(["4194304", &texts[0], "--force", "--name", "%p", "-o", into])).expect(1);
    assert_says(&outcome.stderr, &["there is no process with this id"]);
    assert_says(&String::from_utf8(outcome.stdout).unwrap(), &["complete dump"]);
}

#[test]
fn names_that_nobody_has() {
    let folder = Folder::new();
    for (arguments, says) in [
        (&["no-such-program-anywhere"][..], "no process has the name"),
        (&["shwo", "x.dmp"], "did you mean the command \"show\"?"),
        (&["dump", "no-such-program-anywhere"], "no process has the name"),
    ] {
        let outcome = Outcome::of(dumpwright().args(arguments).current_dir(folder.path())).expect(1);
        assert_says(&outcome.stderr, &[says]);
        assert!(outcome.stdout.is_empty());
    }
    folder.assert_holds(&[]);
}

/// `show` and `dump` have the same statuses, and each help states them.
#[test]
fn every_help_states_the_exit_statuses() {
    let statuses = |arguments: &[&str]| {
        let help = run_well(dumpwright().args(arguments));
        let (_, list) = help.split_once("Exit status:\n").expect("a list of statuses");
        list.to_owned()
    };
    let all = statuses(&["--help"]);
    for command in ["dump", "show", "check", "explain", "diff"] {
        assert_eq!(statuses(&[command, "--help"]), all, "{command}");
    }
    assert_eq!(statuses(&["policy", "check", "--help"]), all);
    for status in 0..=4 {
        assert!(all.contains(&format!("  {status}  ")), "{all}");
    }
}

#[test]
fn colours_are_for_terminals_and_on_request() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(dump().arg(victim.pid().to_string()).arg("-o").arg(&file)).expect(0);
    let shown = |arguments: &[&str]| {
        Outcome::of(dumpwright().arg("show").arg(&file).args(arguments))
            .expect(0)
            .stdout
    };
    assert!(!shown(&[]).contains(&0x1b));
    assert!(!shown(&["--color", "never"]).contains(&0x1b));
    assert!(shown(&["--color", "always"]).contains(&0x1b));
    let verbose = Outcome::of(
        dump()
            .arg(victim.pid().to_string())
            .args(["-vv", "--force", "-o"])
            .arg(&file),
    )
    .expect(0);
    assert!(!verbose.stderr.contains('\x1b'), "{verbose:?}");
    assert_says(&verbose.stderr, &["dumping process", "writing"]);
    assert!(
        !verbose.stderr.contains("goblin"),
        "nothing of libraries: {verbose:?}"
    );
}

#[test]
fn shells_and_man_take_what_is_made_for_them() {
    let folder = Folder::new();
    let completions = folder.file("dumpwright.bash");
    fs::write(&completions, run_well(dumpwright().args(["completions", "bash"]))).unwrap();
    // It knows the names of the presets only as text, but all options.
    let ask = format!(
        "source '{}'; COMP_WORDS=(dumpwright show --bri); COMP_CWORD=2; \
         _dumpwright dumpwright --bri show; echo \"${{COMPREPLY[@]}}\"",
        completions.display()
    );
    let answer = run_well(std::process::Command::new("bash").args(["--norc", "-c", &ask]));
    assert_eq!(answer, "--brief\n");
    run_well(dumpwright().arg("man").arg(folder.path()));
    for page in [
        "dumpwright.1",
        "dumpwright-dump.1",
        "dumpwright-show.1",
        "dumpwright-check.1",
        "dumpwright-explain.1",
        "dumpwright-diff.1",
        "dumpwright-policy-check.1",
    ] {
        let text = fs::read_to_string(folder.file(page)).unwrap();
        assert!(
            text.contains(".TH dumpwright") && text.contains("Exit status"),
            "{page}: {text}"
        );
    }
    assert!(!folder.file("dumpwright-guard.1").exists());
}

/// Two dumps of a process in one second have different names.
#[test]
fn dumps_in_one_second_do_not_take_each_others_names() {
    let victim = plain();
    let folder = Folder::new();
    let dumps = 4;
    for _ in 0..dumps {
        let mut command = dumpwright();
        command.current_dir(folder.path()).arg(victim.pid().to_string());
        Outcome::of(&mut command).expect(0);
    }
    let found = files(&folder);
    assert_eq!(found.len(), dumps, "{found:?}");
    assert!(found.iter().all(|file| id_in(file) == Some(victim.pid())));
    // A name without the time is that of one file.
    let named = |status| {
        let mut command = dumpwright();
        command.current_dir(folder.path()).arg(victim.pid().to_string());
        Outcome::of(command.args(["--name", "%p.dmp"])).expect(status)
    };
    named(0);
    assert_says(&named(1).stderr, &["--force"]);
}
