//! Secrets in the environment and the arguments are not in a dump that did not request them.

use std::process::Command;

use dumpwright::read::stream_type;

use crate::capture::Capture;
use crate::support::dumper::dumpwright;
use crate::support::proc::Stat;
use crate::support::run;
use crate::support::victim::{self, Victim};

const SECRET: &str = "TOKEN-6f1c-in-the-environment";
const ARGUMENT: &str = "PASSWORD-93ab-on-the-command-line";
/// proc_pid_stat(5): the initial stack pointer of the program, from the kernel.
const STARTSTACK: usize = 28;

fn victim() -> Victim {
    Victim::start_command(
        Command::new(victim::live("plain"))
            .arg(ARGUMENT)
            .env("SECRET", SECRET)
            .env("ANOTHER", SECRET),
    )
}

/// Searches as a user would.
fn grep(capture: &Capture, text: &str) -> bool {
    run(Command::new("grep").args(["-aq", text]).arg(capture.path()))
        .status
        .success()
}

#[test]
fn a_normal_dump_has_neither_environment_nor_arguments() {
    let mut victim = victim();
    for types in [
        "normal",
        "with-handle-data,with-thread-info,with-full-memory-info",
        "mini",
    ] {
        let capture = Capture::of(victim.pid(), types);
        for secret in [SECRET, ARGUMENT] {
            assert!(
                capture.dump.contains_nowhere(secret.as_bytes()).unwrap(),
                "{types}: {secret}"
            );
            assert!(!grep(&capture, secret), "{types}: {secret}");
            let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert!(
                capture.dump.contains_nowhere(&wide).unwrap(),
                "{types}: {secret} in UTF-16"
            );
        }
    }
    victim.ping();
}

#[test]
fn the_stack_reaches_the_start_of_the_program_all_the_same() {
    let victim = victim();
    let stat = Stat::of(victim.pid()).unwrap();
    let start = stat.number(STARTSTACK);
    let capture = Capture::of(victim.pid(), "normal");
    let thread = capture.thread(victim.pid());
    assert!(thread.stack.start <= start && start < thread.stack.end().unwrap());
    // The initial contents from the kernel: argc, argv, environment pointers, auxiliary vector.
    let argc = capture.memory("argc", start, 8);
    assert_eq!(argc, 2_u64.to_le_bytes());
    let pointers = capture.memory("argv", start + 8, 16);
    let words: Vec<u64> = pointers
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(words[0], stat.number(48), "argv[0] is where the arguments begin");
    assert_eq!(
        capture.dump.memory(words[0], 1).unwrap(),
        None,
        "but they are not there"
    );

    // Below it, `_start` has called into the C library: a return address after the entry point.
    let auxv = capture
        .dump
        .stream_bytes(stream_type::LINUX_AUXV)
        .unwrap()
        .unwrap();
    const AT_ENTRY: u64 = 9;
    let mut pairs = auxv.chunks_exact(16).map(|pair| {
        (
            u64::from_le_bytes(pair[..8].try_into().unwrap()),
            u64::from_le_bytes(pair[8..].try_into().unwrap()),
        )
    });
    let entry = pairs
        .find(|(kind, _)| *kind == AT_ENTRY)
        .expect("an entry point")
        .1;
    let frame = capture.memory("the frame of _start", start - 64, 64);
    let returns_into_start = frame
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .any(|word| (entry + 1..entry + 0x40).contains(&word));
    assert!(returns_into_start, "entry {entry:#x}: {frame:x?}");
}

#[test]
fn who_asks_for_the_environment_gets_it() {
    let mut victim = victim();
    for types in ["with-process-thread-data", "0x100"] {
        let capture = Capture::of(victim.pid(), types);
        let environment = capture.dump.text(stream_type::LINUX_ENVIRON).unwrap().unwrap();
        assert!(
            environment
                .split('\0')
                .any(|variable| variable == format!("SECRET={SECRET}"))
        );
        let arguments = capture.dump.text(stream_type::LINUX_CMD_LINE).unwrap().unwrap();
        assert!(arguments.split('\0').any(|argument| argument == ARGUMENT));
        assert!(grep(&capture, SECRET) && grep(&capture, ARGUMENT));
        // They are on the stack as well.
        let stat = Stat::of(victim.pid()).unwrap();
        let (start, end) = (stat.number(50), stat.number(51));
        let strings = capture.memory("the environment strings", start, end - start);
        assert_eq!(String::from_utf8_lossy(&strings), environment);
    }
    victim.ping();
}

fn assert_without_secrets(dump: &std::path::Path, what: &str) {
    let bytes = std::fs::read(dump).unwrap();
    for secret in [SECRET, ARGUMENT] {
        let found = bytes
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        assert_eq!(found, None, "{what}: {secret}");
    }
}

#[test]
fn strings_that_were_moved_are_in_no_normal_dump_either() {
    for moved in ["a", "e", "ae", "top"] {
        let mut victim = Victim::start_command(
            Command::new(victim::live("moved"))
                .args([moved, ARGUMENT])
                .env("SECRET", SECRET),
        );
        let capture = Capture::of(victim.pid(), "normal");
        assert_without_secrets(&capture.path(), moved);
        // The program's own frames are there.
        let start = Stat::of(victim.pid()).unwrap().number(STARTSTACK);
        capture.memory("what the program started with", start, 8);
        victim.ping();
    }
}

/// Makes opening the files of `/proc/PID` that tell where the strings are fail, from each use on.
#[test]
fn when_it_is_not_known_where_the_strings_are_they_are_left_out_and_the_loss_is_told() {
    /// More often than a capture opens any of them.
    const USES: usize = 12;
    let mut victim = victim();
    let pid = victim.pid();
    let folder = tempfile::tempdir().unwrap();
    let stat = [
        format!("/proc/{pid}/stat"),
        format!("/proc/{pid}/task/{pid}/stat"),
    ];
    let auxv = [format!("/proc/{pid}/task/{pid}/auxv")];
    for hidden in [&stat[..], &auxv[..], &[&stat[..], &auxv[..]].concat()] {
        let mut is_told = false;
        for first in 1..=USES {
            let dump = folder.path().join("dump");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null"]);
            for path in hidden {
                command.args(["-P", path]);
            }
            command
                .arg("-e")
                .arg(format!("inject=openat:error=EMFILE:when={first}+"));
            command.arg(dumpwright().get_program());
            command.args(["dump", "--json", "--force", "--pid", &pid.to_string(), "-o"]);
            let output = run(command.arg(&dump));
            if output.status.code() == Some(1) {
                continue;
            }
            assert_without_secrets(&dump, &format!("{hidden:?} from {first} on"));
            let told = String::from_utf8_lossy(&output.stdout).contains("environment");
            assert!(!told || output.status.code() == Some(3), "{output:?}");
            is_told |= told;
        }
        assert!(is_told, "{hidden:?}");
    }
    victim.ping();
}
