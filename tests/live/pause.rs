//! The limits on how long a dump may stop its target.
//!
//! None of the tests measures time. Each waits until the target answers, which it cannot do while
//! it is stopped, and only then lets the dump go on.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use dumpwright::callback::AskKind;
use dumpwright::read::{Dump, LossReason};
use dumpwright::target::FaultKind;
use dumpwright::{Ask, DumpType, Error, Report, Request, dump, native};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::dumper::dumpwright;
use crate::support::proc::{self, states, until};
use crate::support::victim::{self, BigTruth, Frames, Victim};
use crate::support::{child::KilledOnDrop, run, run_well};

fn big() -> Victim {
    of_mebibytes("32")
}

fn of_mebibytes(size: &str) -> Victim {
    Victim::start(&victim::c("big", Frames::Pointers), &[size])
}

/// Starts a dump of all memory into a pipe that nobody reads, in a process group of its own.
pub(crate) fn start_stalled(pid: u32, options: &[&str]) -> KilledOnDrop {
    let mut command = dumpwright();
    command
        .args(["dump", "--json", "--type", "full", "--pid", &pid.to_string()])
        .args(options)
        .args(["-o", "-"])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let dumper = KilledOnDrop(command.spawn().unwrap());
    let mut readable = libc::pollfd {
        fd: dumper.stdout.as_ref().unwrap().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the pointer refers to one local structure.
    assert_eq!(unsafe { libc::poll(&raw mut readable, 1, -1) }, 1);
    dumper
}

/// Reads the dump, which must be partial for this reason. All of its memory that is lost must be
/// filled. Returns the dump and the result.
fn partial(mut dumper: KilledOnDrop, victim: &Victim, reason: &str) -> (Dump, Value) {
    let Child { stdout, stderr, .. } = &mut *dumper;
    let (mut bytes, mut text) = (Vec::new(), String::new());
    stdout.as_mut().unwrap().read_to_end(&mut bytes).unwrap();
    stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(dumper.wait().unwrap().code(), Some(3), "{text}");
    proc::assert_released(victim.pid());
    let result: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(result["status"], "partial");
    assert_eq!(result["bytes"], bytes.len());
    let missing = result["missing"].as_array().unwrap();
    let headline = format!("{reason}, so it was resumed; what had not been read by then is missing");
    assert_eq!(missing[0]["subject"], "process");
    assert_eq!(missing[0]["reason"], headline);
    assert!(missing[1..].iter().all(|lost| {
        let lost = lost["reason"].as_str().unwrap();
        let why = format!("not read, because {reason}; filled with");
        lost == format!("{why} 0xDD") || lost == format!("{why} zeros")
    }));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("dump");
    fs::write(&file, &bytes).unwrap();
    run_well(dumpwright().args(["check", "--expect-losses"]).arg(&file));
    assert!(!run(dumpwright().arg("check").arg(&file)).status.success());
    let dump = Dump::from_bytes(bytes.clone()).unwrap();
    assert_filled(&dump, &bytes, victim);
    (dump, result)
}

/// Every page is either the target's or lost and filled, and the last one is lost.
fn assert_filled(dump: &Dump, bytes: &[u8], victim: &Victim) {
    let truth: BigTruth = victim.truth();
    assert!(
        dump.losses()
            .unwrap()
            .iter()
            .all(|loss| loss.reason == LossReason::TargetResumed)
    );
    let ranges = dump.memory_ranges().unwrap();
    // What is lost after 64 MiB has zeros, which take no space in a file. Other memory of the
    // victim, before this one, has less than 2 MiB.
    const FILLED: u64 = 62 << 20;
    let mut filled = 0;
    for number in 0..truth.length / truth.page {
        let address = truth.address + number * truth.page;
        if dump.lost(address, truth.page).unwrap().is_empty() {
            let page = dump.memory(address, truth.page).unwrap().expect("there or lost");
            assert!(page.starts_with(&truth.page_start(number)), "page {number}");
            continue;
        }
        let range = ranges
            .iter()
            .find(|range| (range.address..range.address + range.size).contains(&address))
            .expect("in the list");
        let at = (range.file_offset + (address - range.address)) as usize;
        let page = &bytes[at..at + truth.page as usize];
        let is_filled = page.iter().all(|byte| *byte == 0xDD);
        let is_zero = page.iter().all(|byte| *byte == 0);
        assert!(is_filled || is_zero && filled >= FILLED, "page {number}");
        filled += u64::from(is_filled) * truth.page;
    }
    assert!(
        !dump
            .has_memory(truth.address + truth.length - truth.page, truth.page)
            .unwrap()
    );
}

#[test]
fn a_reader_that_stalls_does_not_hold_the_target_beyond_the_limit() {
    let mut victim = big();
    let dumper = start_stalled(victim.pid(), &["--hold", "stop", "--max-pause", "2s"]);
    victim.ping();
    let (dump, result) = partial(dumper, &victim, "the pause limit of 2000 ms had passed");
    assert!(
        dump.threads()
            .unwrap()
            .iter()
            .all(|thread| thread.registers().is_some())
    );
    assert!(result["pause_us"].as_u64().unwrap() >= 2_000_000, "{result}");
}

/// Without a limit, this takes more than 10 s.
#[test]
fn after_64_mib_of_filler_the_rest_is_zero() {
    let mut victim = of_mebibytes("160");
    let dumper = start_stalled(victim.pid(), &["--hold", "stop", "--max-pause", "2s"]);
    victim.ping();
    let (_, result) = partial(dumper, &victim, "the pause limit of 2000 ms had passed");
    let lost = result["missing"].as_array().unwrap();
    assert!(
        lost.iter()
            .any(|lost| lost["reason"].as_str().unwrap().ends_with("zeros"))
    );
}

#[test]
fn a_reader_that_stalls_does_not_hold_the_target_for_ever() {
    let mut victim = big();
    let dumper = start_stalled(victim.pid(), &[]);
    victim.ping();
    let (_, result) = partial(dumper, &victim, "the output took no bytes for 10 s");
    assert!(result["pause_us"].as_u64().unwrap() >= 10_000_000, "{result}");
}

/// Stops the whole process group, as a shell does for `kill -STOP %1`, until the target answers.
fn stop_group_until(victim: &mut Victim, dumper: &KilledOnDrop) {
    let group = dumper.id().cast_signed();
    let signal = |number| {
        // SAFETY: kill takes two numbers.
        assert_eq!(unsafe { libc::kill(-group, number) }, 0);
    };
    signal(libc::SIGSTOP);
    until("the dumper is stopped", || {
        states(dumper.id()).iter().all(|state| *state == 'T')
    });
    victim.ping();
    assert!(states(dumper.id()).iter().all(|state| *state == 'T'));
    signal(libc::SIGCONT);
}

#[test]
fn a_stopped_dumper_does_not_hold_its_target_beyond_the_limit() {
    let mut victim = big();
    let dumper = start_stalled(victim.pid(), &["--hold", "stop", "--max-pause", "2s"]);
    stop_group_until(&mut victim, &dumper);
    partial(dumper, &victim, "the pause limit of 2000 ms had passed");
}

/// Without a limit, this takes 10 s.
#[test]
fn a_stopped_dumper_does_not_hold_its_target_for_ever() {
    let mut victim = big();
    let dumper = start_stalled(victim.pid(), &[]);
    stop_group_until(&mut victim, &dumper);
    let reason = "the dumping process itself was stopped for 10 s";
    partial(dumper, &victim, reason);
}

/// Dumps a victim with a callback that does not return from the first call of this type before the
/// victim has answered. Returns `None` if the limit passed earlier.
fn dump_with_slow_callback(
    dump_type: DumpType,
    kind: AskKind,
    limit: Duration,
) -> Option<(Report, Dump, u32)> {
    let mut victim = big();
    let pid = victim.pid();
    let mut blocks = true;
    let mut callback = |ask: Ask<'_>| {
        if ask.kind() == kind && std::mem::replace(&mut blocks, false) {
            victim.ping();
        }
        true
    };
    let request = Request::new(dump_type).max_pause(limit);
    let mut bytes = Vec::new();
    let mut process = native::process(pid).unwrap();
    let dumped = dump(&mut process, &request, Some(&mut callback), &mut bytes);
    proc::assert_released(pid);
    if matches!(&dumped, Err(Error::Target(fault)) if fault.kind == FaultKind::NotStopped) {
        return None;
    }
    let report = dumped.unwrap();
    assert!(!blocks, "{kind:?} was sent");
    assert!(report.holding.pause >= limit);
    Some((report, Dump::from_bytes(bytes).unwrap(), pid))
}

#[test]
fn a_callback_that_does_not_return_does_not_hold_the_target_beyond_the_limit() {
    let full = DumpType::WITH_FULL_MEMORY;
    for (dump_type, kind) in [
        (DumpType::NORMAL, AskKind::IncludeThread),
        (DumpType::NORMAL, AskKind::IncludeModule),
        (DumpType::NORMAL, AskKind::Module),
        (DumpType::NORMAL, AskKind::Thread),
        (DumpType::NORMAL, AskKind::Memory),
        (full, AskKind::Thread),
        (full, AskKind::IncludeVmRegion),
    ] {
        let mut limit = Duration::from_millis(100);
        // A machine that is too busy to stop a process within the limit gets more time.
        let (report, dump, pid) = loop {
            match dump_with_slow_callback(dump_type, kind, limit) {
                Some(partial) => break partial,
                None => limit *= 2,
            }
        };
        let missing: Vec<_> = report.missing().map(ToString::to_string).collect();
        let reason = format!(
            "process: the pause limit of {} ms had passed, so it was resumed; what had not been read by then is missing",
            limit.as_millis()
        );
        assert!(missing.contains(&reason), "{kind:?}: {missing:?}");
        // The registers were read when the thread stopped.
        let threads = dump.threads().unwrap();
        assert_eq!(threads.iter().map(|thread| thread.id).collect::<Vec<_>>(), [pid]);
        assert!(threads[0].registers().is_some(), "{kind:?}");
        // Nothing that was read afterwards is passed off as memory of that moment.
        let pointer = threads[0].registers().unwrap().rsp;
        assert!(!dump.has_memory(pointer, 8).unwrap(), "{kind:?}: {missing:?}");
    }
}

/// The limit passes while the threads are being stopped.
#[test]
fn without_any_time_there_is_no_dump() {
    let mut victim = big();
    let request = Request::new(DumpType::NORMAL).max_pause(Duration::ZERO);
    let mut process = native::process(victim.pid()).unwrap();
    let error = dump(&mut process, &request, None, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Target(_)));
    let text = format!(
        "cannot stop process {}: the pause limit of 0 ms had passed before its threads and memory map were known, and it was \
         resumed (use a longer limit)",
        victim.pid()
    );
    assert_eq!(error.to_string(), text);
    proc::assert_released(victim.pid());
    victim.ping();
}

/// A limit that is not reached changes nothing.
#[test]
fn a_dump_within_its_limit_is_complete() {
    let mut victim = big();
    let mut process = native::process(victim.pid()).unwrap();
    let request = Request::new(DumpType::WITH_FULL_MEMORY).max_pause(Duration::from_secs(3600));
    let report = dump(&mut process, &request, None, &mut Vec::new()).unwrap();
    assert!(report.is_complete(), "{report:?}");
    victim.ping();
}
