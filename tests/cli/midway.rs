//! Targets that die while they are being dumped.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use dumpwright::read::Dump;

use crate::attempt::{dump_of, json};
use crate::support::proc::{self, Stat, until};
use crate::support::victim::{self, BigTruth, Frames, Victim};

/// The dump goes into a pipe, and only its beginning is read. The dumper is therefore in the middle
/// of the memory when the target dies.
#[test]
fn what_cannot_be_had_any_more_is_never_passed_off_as_captured() {
    let victim = Victim::start(&victim::c("big", Frames::Pointers), &["32"]);
    let truth: BigTruth = victim.truth();
    let mut command = dump_of(&victim, Path::new("-"));
    command.args(["--json", "--type", "with-full-memory"]);
    let mut dumper = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = dumper.stdout.take().unwrap();
    let mut bytes = vec![0; 4096];
    stdout.read_exact(&mut bytes).unwrap();

    proc::signal(victim.pid(), libc::SIGKILL);
    until("the victim is dead", || {
        Stat::of(victim.pid()).is_none_or(|stat| "ZX".contains(stat.state()))
    });
    stdout.read_to_end(&mut bytes).unwrap();
    let output = dumper.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let object = json(stderr.as_bytes());
    assert_eq!(output.status.code(), Some(3), "partial: {object}");
    assert_eq!(object["status"], "partial");
    let told = object["missing"].to_string();
    assert!(told.contains("it ended while it was dumped"), "{told}");
    // Its pages cannot be listed any more, which is no property of the system.
    assert!(!object.to_string().contains("pagemap"), "{object}");
    assert_eq!(object["bytes"], bytes.len());

    let dump = Dump::from_bytes(bytes).unwrap();
    let mut lost = 0;
    for number in 0..truth.length / truth.page {
        let address = truth.address + number * truth.page;
        if !dump.lost(address, truth.page).unwrap().is_empty() {
            lost += 1;
        } else if let Some(page) = dump.memory(address, truth.page).unwrap() {
            assert!(
                page.starts_with(&truth.page_start(number)),
                "page {number} is neither there nor lost"
            );
        }
    }
    assert!(lost > 0, "it died before its memory was read");
}
