//! `dumpwright watch`, and its short form `dump --exec`: processes that cross a limit, programs
//! that crash, and programs that do not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use std::os::unix::process::ExitStatusExt;

use dumpwright::read::Dump;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::attempt::{Folder, Outcome, assert_says};
use crate::json;
use crate::support::child::{KilledOnDrop, Talking};
use crate::support::dumper::{self, dumpwright};
use crate::support::victim;
use crate::support::{copy_program, proc, repository};

/// The victim that uses what a test wants.
struct Greedy(Talking);

impl Greedy {
    fn start() -> Greedy {
        Greedy(Talking::start(&mut Command::new(victim::live("greedy"))))
    }

    fn does(&mut self, what: &str) {
        self.0.tell(&format!("{what}\n"));
        assert_eq!(self.0.line().as_deref(), Some("done"), "{what}");
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }
}

/// A running `dumpwright watch` with a folder for its dumps and a file for its events.
struct Watch {
    folder: Folder,
    child: KilledOnDrop,
}

impl Watch {
    fn start(arguments: &[&str]) -> Watch {
        let folder = Folder::new();
        let mut command = watch_into(&folder);
        command.args(arguments).stdin(Stdio::null());
        let child = KilledOnDrop(command.spawn().unwrap());
        Watch { folder, child }
    }

    fn of(victim: &Greedy, arguments: &[&str]) -> Watch {
        let pid = victim.pid().to_string();
        let watch = Watch::start(&[&["--pid", &pid][..], arguments].concat());
        watch.event("watching", |_| true);
        watch
    }

    fn events(&self) -> Vec<Value> {
        events_in(&self.folder)
    }

    /// Waits for an event of this kind.
    fn event(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        proc::until(&format!("event {kind}"), || {
            let events = self.events().into_iter();
            found = events
                .filter(|event| event["event"] == kind)
                .find(|event| is_it(event));
            found.is_some()
        });
        found.expect("there is one")
    }

    /// Waits for a dump because of this metric.
    fn dumped_for(&self, metric: &str) -> Value {
        self.event("dumped", |event| metrics(event).contains(&metric.to_owned()))
    }

    fn tell(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// `dumpwright watch` with the folder for dumps `dumps` and the file for events `events`.
fn watch_into(folder: &Folder) -> Command {
    fs::create_dir(folder.file("dumps")).unwrap();
    let mut command = dumpwright();
    command
        .args(["watch", "--dir"])
        .arg(folder.file("dumps"))
        .arg("--events")
        .arg(folder.file("events"));
    command
}

fn events_in(folder: &Folder) -> Vec<Value> {
    let text = fs::read_to_string(folder.file("events")).unwrap_or_default();
    // The last line may not be whole yet.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn dumps_in(folder: &Folder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.file("dumps")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What was exceeded.
fn metrics(event: &Value) -> Vec<String> {
    let findings = event["reason"]["findings"].as_array().expect("a list");
    let names = findings.iter().map(|finding| finding["metric"].as_str());
    names.map(|name| name.expect("a name").to_owned()).collect()
}

/// Opens the dump of an event. It must be one of this process, with the reason in it.
fn dump_of(event: &Value, pid: u32) -> Dump {
    let file = event["dump"]["file"].as_str().expect("a path");
    dumper::check(Path::new(file)).unwrap();
    let dump = Dump::open(Path::new(file)).unwrap();
    assert_eq!(dump.misc_info().unwrap().unwrap().process_id, Some(pid));
    let reason = event["reason"]["text"].as_str().expect("a text");
    let comments = dump.comments().unwrap();
    assert_eq!(comments, [format!("dumpwright watch: {reason}")]);
    dump
}

/// Each limit is crossed while all others nearly are, and only that one leads to a dump.
#[test]
#[ignore = "had another order of dumps once in 12 runs; the cause is not known yet"]
fn what_crosses_a_limit_is_dumped_and_what_nearly_does_is_not() {
    let mut victim = Greedy::start();
    // Its answer shows that it has been loaded, which opens other files.
    victim.does("threads 3");
    let fds = fs::read_dir(format!("/proc/{}/fd", victim.pid()))
        .unwrap()
        .count();
    let (near, limit) = (fds + 5, (fds + 6).to_string());
    let watch = Watch::of(
        &victim,
        &[
            "--interval",
            "30ms",
            "--cool-down",
            "1ms",
            "--max-dumps",
            "100000",
            "--cpu",
            "5",
            "--threads",
            "5,7",
            "--fds",
            &limit,
            "--rss",
            "100MiB",
            "--memory",
            "200MiB",
        ],
    );
    victim.does(&format!("fds {}", near - fds));
    victim.does("memory 90");
    // From here on, each dump shows that the others were measured.
    victim.does("busy");
    let event = watch.dumped_for("cpu");
    let busy = &event["reason"]["findings"][0];
    assert_eq!(
        (&busy["limit"], &busy["relation"]),
        (&5.into(), &"at-least".into())
    );
    victim.does("idle");
    victim.does("fds 1");
    watch.dumped_for("fds");
    // Now 5, one below the next limit.
    victim.does("threads 1");
    watch.dumped_for("threads");
    victim.does("memory 15");
    watch.dumped_for("rss");
    victim.does("memory 120");
    watch.dumped_for("memory");
    victim.does("threads 2");
    watch.event("dumped", |event| event["reason"]["findings"][0]["limit"] == 7);
    watch.tell(Signal::SIGTERM);
    let mut watch = watch;
    assert_eq!(watch.wait().code(), Some(0));
    // CPU time may have been exceeded by the work on other orders, too, in which case it is dumped
    // for both or before them.
    let dumped: Vec<_> = watch
        .events()
        .into_iter()
        .filter(|event| event["event"] == "dumped")
        .collect();
    let mut order = Vec::new();
    for event in &dumped {
        dump_of(event, victim.pid());
        order.extend(metrics(event).into_iter().filter(|metric| metric != "cpu"));
    }
    assert_eq!(order, ["fds", "threads", "rss", "memory", "threads"]);
    // It was neither stopped for good nor is it traced.
    victim.0.tell("traced\n");
    assert_eq!(victim.0.line().as_deref(), Some("0"));
}

#[test]
fn a_condition_below_a_limit_a_schedule_and_a_number_of_dumps() {
    let mut victim = Greedy::start();
    let mut watch = Watch::of(
        &victim,
        &["--interval", "20ms", "--every", "30ms", "--max-dumps", "3"],
    );
    assert_eq!(watch.wait().code(), Some(0), "it ends after these dumps");
    assert_eq!(dumps_in(&watch.folder).len(), 3);
    let event = watch.event("dumped", |event| event["reason"]["kind"] == "schedule");
    dump_of(&event, victim.pid());

    let arguments = ["--cpu-below", "90", "--interval", "100ms", "-n", "1"];
    let mut watch = Watch::of(&victim, &arguments);
    assert_eq!(watch.wait().code(), Some(0));
    assert_eq!(metrics(&watch.dumped_for("cpu")), ["cpu"]);

    // All limits at the same time.
    victim.does("threads 1");
    let watch = Watch::of(
        &victim,
        &[
            "--all",
            "--threads",
            "2",
            "--memory",
            "100MiB",
            "--memory-below",
            "300M",
            "--interval",
            "20ms",
        ],
    );
    victim.does("memory 110");
    let event = watch.dumped_for("memory");
    assert_eq!(metrics(&event), ["memory", "memory", "threads"]);
}

#[test]
fn a_heartbeat_that_stops_leads_to_a_dump() {
    let mut victim = Greedy::start();
    let folder = Folder::new();
    let beat = folder.file(&format!("beat.{}", victim.pid()));
    victim.does(&format!("beat {}", beat.display()));
    let pattern = folder.file("beat.%p");
    let arguments = [
        "--heartbeat",
        pattern.to_str().unwrap(),
        "--heartbeat-timeout",
        "50ms",
        "--interval",
        "10ms",
        "-n",
        "1",
    ];
    let mut watch = Watch::of(&victim, &arguments);
    assert_eq!(watch.wait().code(), Some(0));
    dump_of(&watch.dumped_for("heartbeat"), victim.pid());
}

#[test]
fn processes_are_found_by_their_name_when_they_start() {
    let folder = Folder::new();
    let name = format!("greedy-of-{}", std::process::id());
    let program = folder.file(&name);
    copy_program(&victim::live("greedy"), &program);
    let mut first = Greedy(Talking::start(&mut Command::new(&program)));
    let watch = Watch::start(&["--name", &name, "--threads", "3", "--interval", "20ms"]);
    watch.event("watching", |event| event["process_id"] == first.pid());
    let mut second = Greedy(Talking::start(&mut Command::new(&program)));
    watch.event("watching", |event| event["process_id"] == second.pid());
    second.does("threads 2");
    let event = watch.dumped_for("threads");
    dump_of(&event, second.pid());
    first.does("threads 1");
    first.0.close();
    first.0.wait();
    watch.event("ended", |event| event["process_id"] == first.pid());
    assert_eq!(dumps_in(&watch.folder).len(), 1);
}

#[test]
fn a_running_process_is_dumped_when_it_crashes_and_released_when_the_watch_ends() {
    // Two of them, each traced by itself.
    let mut victims = [Greedy::start(), Greedy::start()];
    let ids = victims.each_ref().map(Greedy::pid);
    let pids = format!("{},{}", ids[0], ids[1]);
    victims[0].does("threads 3");
    let mut watch = Watch::start(&["--pid", &pids, "--crash"]);
    for pid in ids {
        watch.event("watching", |event| event["process_id"] == pid);
    }
    let own = watch.child.id().to_string();
    victims[0].0.tell("traced\n");
    assert_ne!(victims[0].0.line().as_deref(), Some("0"));
    // A thread and a child that it starts now are traced as well.
    victims[0].does("threads 1");
    victims[0].does(&format!("child {}", libc::SIGABRT));
    let event = watch.event("dumped", |event| event["reason"]["signal"] == "SIGABRT");
    let child = u32::try_from(event["process_id"].as_u64().unwrap()).unwrap();
    assert!(!ids.contains(&child), "{event}");
    dump_of(&event, child);
    // It does not crash by this one.
    victims[0].does(&format!("child {}", libc::SIGTERM));
    victims[0].0.tell(&format!("die {}\n", libc::SIGSEGV));
    let status = victims[0].0.wait();
    assert_eq!(
        status.signal(),
        Some(libc::SIGSEGV),
        "by the signal that killed it"
    );
    let event = watch.event("dumped", |event| event["process_id"] == ids[0]);
    let dump = dump_of(&event, ids[0]);
    assert_eq!(dump.threads().unwrap().len(), 5);
    let exception = dump.exception().unwrap().expect("it crashed");
    assert_eq!((exception.thread_id, exception.code), (ids[0], 11));
    let ended = watch.event("ended", |event| event["process_id"] == ids[0]);
    assert_eq!(ended["signal"], "SIGSEGV");

    watch.tell(Signal::SIGTERM);
    assert_eq!(watch.wait().code(), Some(0), "of {own}");
    victims[1].0.tell("traced\n");
    assert_eq!(victims[1].0.line().as_deref(), Some("0"));
    assert_eq!(dumps_in(&watch.folder).len(), 2);
}

/// The ways to run a program under supervision: traced, not traced, and the short form.
fn supervisors(folder: &Folder) -> Vec<(&'static str, Command)> {
    let traced = || {
        let mut command = dumpwright();
        command.args(["watch", "--dir"]).arg(folder.path());
        command
    };
    let mut both = traced();
    both.args(["--crash", "--threads", "1000", "--interval", "20ms"]);
    let mut untraced = traced();
    untraced.args(["--threads", "1000"]);
    let mut short = dumpwright();
    short.args(["dump", "-o"]).arg(folder.file("crash.dmp"));
    let mut all = vec![
        ("traced", traced()),
        ("measured and traced", both),
        ("measured", untraced),
        ("short", short),
    ];
    for (_, command) in &mut all {
        command.args(["--exec", "--"]);
    }
    all
}

#[test]
fn the_exit_status_is_that_of_the_program_and_a_healthy_one_makes_no_dump() {
    let folder = Folder::new();
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 128 + libc::SIGTERM),
        ("kill -KILL $$", 128 + libc::SIGKILL),
        ("{ sh -c 'kill -TERM $$'; } 2> /dev/null; exit 3", 3),
        // It handles what would be a crash.
        ("trap 'exit 4' SEGV; kill -SEGV $$", 4),
    ] {
        for (name, mut command) in supervisors(&folder) {
            let outcome = Outcome::of(command.args(["sh", "-c", script]));
            assert_eq!(
                outcome.status.code(),
                Some(expected),
                "{name}: {script}: {outcome:?}"
            );
            assert!(outcome.stdout.is_empty(), "{name}: {outcome:?}");
            folder.assert_holds(&[]);
        }
    }
}

#[test]
fn a_program_that_cannot_be_supervised() {
    let folder = Folder::new();
    for (name, mut command) in supervisors(&folder) {
        let outcome = Outcome::of(command.arg("/no/such/program")).expect(1);
        assert_says(&outcome.stderr, &["start /no/such/program", "No such file"]);
        folder.assert_holds(&[]);
        assert!(outcome.stdout.is_empty(), "{name}");
    }
    let outcome =
        Outcome::of(dumpwright().args(["watch", "--dir", "/no/such/folder", "--exec", "--", "true"]));
    assert_says(&outcome.expect(1).stderr, &["/no/such/folder"]);
    let own = std::process::id().to_string();
    for wrong in [
        &["--pid", &own, "--cpu", "0"][..],
        &["--pid", &own, "--for", "10"],
        &["--pid", &own, "--", "true"],
        &["--pid", &own, "--exec", "--", "true"],
        &["--exec"],
        &["--rss", "1G"],
        &["--pid", &own, "--heartbeat-timeout", "1s"],
    ] {
        Outcome::of(dumpwright().arg("watch").args(wrong)).expect(2);
    }
    // A process that does not exist.
    let outcome = Outcome::of(dumpwright().args(["watch", "--pid", "4194304", "--threads", "1"]));
    assert_says(&outcome.expect(1).stderr, &["4194304", "no process"]);
}

#[test]
fn a_server_gets_its_signals_and_its_input() {
    let folder = Folder::new();
    // A program inherits the mask of the thread that starts it.
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
    for (name, mut command) in supervisors(&folder) {
        command.arg(victim::live("greedy")).stderr(Stdio::null());
        let mut server = Greedy(Talking::start(&mut command));
        server.0.tell("blocked\n");
        assert_eq!(server.0.line().as_deref(), own, "{name}");
        server.does("handle");
        let supervisor = Pid::from_raw(server.pid().cast_signed());
        for signal in [
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGINT,
            Signal::SIGTERM,
        ] {
            kill(supervisor, signal).unwrap();
            let heard = format!("signal {:02}", signal as i32);
            assert_eq!(server.0.line(), Some(heard), "{name}");
        }
        server.0.tell("count\n");
        assert_eq!(server.0.line().as_deref(), Some("5 handled"), "{name}");
        server.0.tell("exit 5\n");
        assert_eq!(server.0.wait().code(), Some(5), "{name}");
        folder.assert_holds(&[]);
    }
}

#[test]
fn crashes_of_the_program_and_of_its_children_are_dumped_and_the_program_goes_on() {
    let folder = Folder::new();
    let events = folder.file("events");
    // Two children crash, the program goes on and crashes itself at last.
    let script = "for s in SEGV ABRT; do sh -c \"kill -$s \\$\\$\"; done; echo on; kill -BUS $$";
    let mut command = watch_into(&folder);
    let outcome = Outcome::of(command.args(["--type", "mini", "--exec", "--", "sh", "-c", script]));
    assert_eq!(outcome.status.code(), Some(128 + libc::SIGBUS), "{outcome:?}");
    assert_eq!(outcome.stdout, b"on\n");
    let all = events_in(&folder);
    let dumped: Vec<_> = all.iter().filter(|event| event["event"] == "dumped").collect();
    let signals: Vec<_> = dumped
        .iter()
        .map(|event| event["reason"]["signal"].as_str().unwrap())
        .collect();
    assert_eq!(signals, ["SIGSEGV", "SIGABRT", "SIGBUS"], "{}", events.display());
    for event in dumped {
        let pid = u32::try_from(event["process_id"].as_u64().unwrap()).unwrap();
        let dump = dump_of(event, pid);
        assert_eq!(dump.exception().unwrap().expect("it crashed").thread_id, pid);
        assert!(!dump.handles().unwrap().is_empty(), "of type mini");
    }
    let found: BTreeSet<_> = all.iter().flat_map(json::keys).collect();
    let documented = json::documented("watch", 0..1);
    // Nothing has failed.
    let others = documented
        .difference(&found)
        .map(String::as_str)
        .collect::<Vec<_>>();
    assert!(found.is_subset(&documented) && others == ["error"], "{found:?}");
    let ended = all.last().unwrap();
    assert_eq!(
        (&ended["event"], &ended["signal"]),
        (&"ended".into(), &"SIGBUS".into())
    );
}

#[test]
fn the_short_form_dumps_one_crash_into_a_file_and_all_into_a_folder() {
    let folder = Folder::new();
    let script = "sh -c 'kill -SEGV $$'; kill -ABRT $$";
    let run = |output: &Path, more: &[&str], script: &str| {
        let mut command = dumpwright();
        command.args(["dump", "--exec", "-o"]).arg(output).args(more);
        Outcome::of(command.args(["--", "sh", "-c", script]))
    };
    let file = folder.file("crash.dmp");
    let outcome = run(&file, &[], script).expect(128 + libc::SIGABRT);
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert_says(&said, &["complete dump", "exception: SIGSEGV"]);
    assert_says(&outcome.stderr, &["crashes as well (SIGABRT)", "not dumped"]);
    dumper::check(&file).unwrap();
    let dumps = folder.file("dumps");
    fs::create_dir(&dumps).unwrap();
    run(&dumps, &["--name", "%p.dmp"], script).expect(128 + libc::SIGABRT);
    assert_eq!(fs::read_dir(&dumps).unwrap().count(), 2);
    // To standard output, and as JSON.
    let outcome = run(Path::new("-"), &[], "kill -SEGV $$").expect(128 + libc::SIGSEGV);
    assert!(
        Dump::from_bytes(outcome.stdout)
            .unwrap()
            .exception()
            .unwrap()
            .is_some()
    );
    let outcome = run(&file, &["--json", "--force"], "kill -SEGV $$").expect(128 + libc::SIGSEGV);
    assert_eq!(outcome.json()["status"], "complete");
    let none = run(&folder.file("none"), &["--json"], "echo out; exit 6").expect(6);
    let object = none.json();
    assert_eq!(
        (&object["status"], &object["exit_code"]),
        (&"none".into(), &6.into())
    );
    assert_eq!(none.stderr, "out\n", "its output is not mixed with the object");
    assert!(!folder.file("none").exists());
}

/// Whatever ends dumpwright, the program goes on.
#[test]
fn a_killed_supervisor_leaves_a_healthy_program_alone() {
    let folder = Folder::new();
    for (name, mut command) in supervisors(&folder) {
        command.arg(victim::live("greedy")).stderr(Stdio::null());
        let mut program = Greedy(Talking::start(&mut command));
        program.does("threads 2");
        let supervisor = Pid::from_raw(program.pid().cast_signed());
        kill(supervisor, Signal::SIGKILL).unwrap();
        program.0.wait();
        // The kernel releases it when the last thread of its tracer has ended.
        program.does("threads 1");
        proc::until("it is not traced", || {
            program.0.tell("traced\n");
            program.0.line().as_deref() == Some("0")
        });
        program.does(&format!("child {}", libc::SIGSEGV));
        program.0.close();
        assert_eq!(program.0.line(), None, "{name}: it ends by itself");
    }
}

#[test]
fn the_first_process_of_a_container_reaps_orphans() {
    if !proc::is_root() {
        return;
    }
    let folder = Folder::new();
    // A child of a child that has ended becomes a child of the first process. The program waits
    // until it has vanished, which a zombie does not.
    let script = "test $PPID = 1 || exit 9; \
                  orphan=$(sh -c 'sh -c \"read x < $1; exit 1\" > /dev/null & echo $!' sh \"$1\"); \
                  grep -q '^PPid:.1$' /proc/$orphan/status || exit 8; echo > \"$1\"; \
                  while kill -0 $orphan; do :; done 2> /dev/null; exit 7";
    let fifo = folder.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, command) in supervisors(&folder) {
        let mut container = Command::new("unshare");
        container
            .args(["--pid", "--fork", "--mount-proc", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .args(["sh", "-c", script, "sh"])
            .arg(&fifo);
        let outcome = Outcome::of(&mut container);
        assert_eq!(outcome.status.code(), Some(7), "{name}: {outcome:?}");
    }
}

/// The terminal sends its signals to the program as well, which gets each of them once.
#[test]
#[ignore = "has waited for ever once in 12 runs; the cause is not known yet"]
fn a_program_on_a_terminal_is_interrupted_once() {
    let folder = Folder::new();
    for (name, command) in supervisors(&folder) {
        let program = victim::live("greedy");
        let words = std::iter::once(command.get_program())
            .chain(command.get_args())
            .chain(Some(program.as_os_str()));
        let words: Vec<_> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let mut script = Command::new("script");
        script
            .args(["-qec", &words.join(" "), "/dev/null"])
            .env("TERM", "dumb");
        let mut terminal = Talking::start(&mut script);
        let until = |terminal: &mut Talking, wanted: &str| {
            let mut seen = Vec::new();
            while !seen.last().is_some_and(|line: &String| line.ends_with(wanted)) {
                let line = terminal.line();
                let line = line.unwrap_or_else(|| panic!("{name}: {wanted} is not in {seen:?}"));
                seen.push(line.trim_end().to_owned());
            }
        };
        terminal.tell("handle\n");
        until(&mut terminal, "done");
        terminal.tell("\x03");
        until(&mut terminal, "signal 02");
        // A second one would be under way by the time that this one has been passed on.
        terminal.tell("fds 1\n");
        until(&mut terminal, "done");
        terminal.tell("count\n");
        until(&mut terminal, "1 handled");
        terminal.tell("exit 6\n");
        assert_eq!(terminal.wait().code(), Some(6), "{name}");
    }
}

/// The options of dumpwright that `docs/procdump.md` names exist.
#[test]
fn the_options_that_the_page_for_procdump_names_exist() {
    let page = fs::read_to_string(repository().join("docs/procdump.md")).unwrap();
    let help = |command: &str| {
        let outcome = Outcome::of(dumpwright().args([command, "--help"])).expect(0);
        String::from_utf8(outcome.stdout).unwrap()
    };
    let help = ["dump", "watch", "rehearse"].map(help).join("\n");
    let known: Vec<_> = help
        .split(|letter: char| !(letter.is_alphanumeric() || letter == '-'))
        .collect();
    let mut checked = 0;
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        let columns: Vec<_> = row.split(" | ").collect();
        assert_eq!(columns.len(), 3, "{row}");
        let judgement = columns[2];
        let has_judgement = ["same", "other", "no"]
            .iter()
            .any(|word| judgement.starts_with(word));
        assert!(has_judgement, "{row}");
        assert_eq!(
            columns[1] == "–",
            judgement.starts_with("no") || columns[0].contains("-cancel"),
            "{row}"
        );
        let quoted = columns[1].split('`').skip(1).step_by(2);
        for option in quoted
            .flat_map(str::split_whitespace)
            .filter(|word| word.starts_with('-'))
        {
            assert!(known.contains(&option), "{option} of {row}");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
