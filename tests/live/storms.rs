//! Difficult targets: threads, signals and stops as fast as possible.

use std::collections::BTreeMap;
use std::process::Command;

use dumpwright::read::Dump;

use crate::capture::complete;
use crate::support::dumper::dumpwright;
use crate::support::proc;
use crate::support::victim::{self, Frames, Victim};

const CAPTURES: usize = 200;

/// Dumps a victim many times. Each dump must be complete, and the victim must be released each
/// time.
fn capture_often(victim: &Victim) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    for number in 0..CAPTURES {
        let mut command: Command = dumpwright();
        command
            .args([
                "dump",
                "--json",
                "--force",
                "--pid",
                &victim.pid().to_string(),
                "-o",
            ])
            .arg(&file);
        let result = complete(&mut command);
        proc::assert_released(victim.pid());
        let threads = Dump::open(&file).unwrap().threads().unwrap();
        assert_eq!(result["threads"], threads.len());
        for thread in threads {
            assert!(
                thread.registers().is_some(),
                "capture {number}: thread {} has no registers",
                thread.id
            );
            assert!(
                thread.stack.size > 0,
                "capture {number}: thread {} has no stack",
                thread.id
            );
        }
    }
}

/// The totals that the victim prints at its end, `DONE name=number …`, and the lines before it.
fn account(victim: Victim) -> (BTreeMap<String, u64>, Vec<String>) {
    let (mut lines, status) = victim.finish();
    assert!(status.success(), "{status}");
    let last = lines.pop().expect("an account");
    let account = last.strip_prefix("DONE ").unwrap_or_else(|| panic!("{last}"));
    let account = account.split(' ').map(|entry| {
        let (name, number) = entry.split_once('=').expect("name=number");
        (name.to_owned(), number.parse().expect("a number"))
    });
    (account.collect(), lines)
}

/// 1 + 2 + … + `count`.
fn sum(count: u64) -> u64 {
    count * (count + 1) / 2
}

#[test]
fn threads_that_come_and_go_as_fast_as_they_can() {
    let victim = Victim::start(&victim::c("churn", Frames::Pointers), &["4"]);
    capture_often(&victim);
    let (account, progress) = account(victim);
    let created = account["created"];
    assert_eq!(account["ended"], created, "every thread has run");
    assert_eq!(account["sum"], sum(created), "once");
    let expected: Vec<String> = (1..=created / 1000)
        .map(|k| format!("progress {}", k * 1000))
        .collect();
    assert_eq!(progress, expected, "its output is what it would have been");
}

#[test]
fn a_storm_of_signals() {
    let victim = Victim::start(&victim::c("storm", Frames::Pointers), &["signals"]);
    capture_often(&victim);
    assert_no_signal_lost(victim);
}

#[test]
fn a_storm_of_stops_and_continues() {
    let victim = Victim::start(&victim::c("storm", Frames::Pointers), &["stops"]);
    capture_often(&victim);
    let account = assert_no_signal_lost(victim);
    assert!(account["stops"] > 0);
}

pub fn assert_no_signal_lost(victim: Victim) -> BTreeMap<String, u64> {
    let (account, before) = account(victim);
    assert_eq!(before, [""; 0], "its output is what it would have been");
    assert!(account["queued"] > 0 && account["directed"] > 0);
    assert_eq!(account["handled"], account["queued"]);
    assert_eq!(account["sum"], sum(account["queued"]), "each once");
    assert_eq!(account["answered"], account["directed"]);
    account
}
