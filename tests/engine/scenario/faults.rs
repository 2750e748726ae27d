//! The effect of each kind of fault.

use std::time::Duration;

use dumpwright::read::LossReason;
use dumpwright::target::{Direct, FaultKind, Need, Target};

use super::*;

fn fault(kind: &str, rest: &str) -> SimProcess {
    parse(&with(&format!("[[fault]]\nkind = \"{kind}\"\n{rest}\n")))
}

#[test]
fn unreadable_pages_are_known_beforehand_or_found_out() {
    let (report, bytes) = dumped(
        &mut fault("unreadable", "at = \"heap+0x2000\"\nsize = 0x1000"),
        HEAP_DUMP,
    );
    assert_eq!(
        missing(&report),
        [(page(HEAP + 0x2000), "said to be unreadable".to_owned())]
    );
    let dump = Dump::from_bytes(bytes).unwrap();
    assert!(dump.has_memory(HEAP, 0x2000).unwrap() && dump.has_memory(HEAP + 0x3000, 0x5000).unwrap());

    // The whole heap is read once, which fails; then the page is read once more by itself.
    let late = |read: u64| {
        dumped(
            &mut fault("unreadable-from", &format!("at = \"heap\"\nread = {read}")),
            HEAP_DUMP,
        )
        .0
    };
    let whole = Subject::Memory(AddressRange::at(HEAP, 0x8000).unwrap());
    let lost: Vec<_> = missing(&late(1))
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    assert_eq!(lost, [whole]);
    assert_eq!(missing(&late(2)), [], "one read is enough");

    let until = |read: u64| {
        dumped(
            &mut fault(
                "unreadable-until",
                &format!("at = \"heap+0x1000\"\nsize = 0x1000\nread = {read}"),
            ),
            HEAP_DUMP,
        )
        .0
    };
    assert_eq!(missing(&until(2)), [], "the second read of the page succeeds");
    let lost: Vec<_> = missing(&until(100))
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    assert_eq!(lost, [page(HEAP + 0x1000)]);
}

#[test]
fn deferred_memory_that_fails_is_marked() {
    let (report, bytes) = dumped(
        &mut fault("unreadable-from", "at = \"heap+0x2000\"\nsize = 0x1000"),
        FULL,
    );
    assert_eq!(missing(&report)[0].0, page(HEAP + 0x2000));
    assert_eq!(
        Dump::from_bytes(bytes).unwrap().lost(HEAP, 0x8000).unwrap().len(),
        1
    );
}

#[test]
fn short_reads_lose_nothing() {
    let (report, bytes) = dumped(&mut fault("short-read", "at = \"heap\"\nmost = 100"), HEAP_DUMP);
    assert!(report.is_complete());
    assert!(
        bytes == dumped(&mut parse(&with("")), HEAP_DUMP).1,
        "the same dump as with long reads"
    );
}

#[test]
fn slow_reads_count_as_time_held_and_cost_none() {
    let (report, _) = dumped(
        &mut fault("slow-read", "at = \"heap\"\ndelay_ms = 3600_000"),
        HEAP_DUMP,
    );
    assert_eq!(report.holding.pause.as_secs(), 3600);
    let (report, _) = dumped(
        &mut fault("slow-read", "at = \"heap\"\ndelay_ms = 1\nsleep = true"),
        HEAP_DUMP,
    );
    assert!(report.elapsed.as_millis() >= 1);
}

/// The second half of the heap takes longer to read than the process may be suspended.
#[test]
fn what_is_not_read_within_the_pause_limit_is_lost() {
    let slow = "at = \"heap+0x4000\"\nsize = 0x1000\ndelay_ms = 500";
    let limited = |dump_type, limit| {
        let request = Request::new(DumpType::from_bits_retain(dump_type))
            .time(1)
            .max_pause(Duration::from_millis(limit));
        let mut bytes = Vec::new();
        let report = dump(&mut fault("slow-read", slow), &request, None, &mut bytes).unwrap();
        (report, bytes)
    };
    let (report, within) = limited(FULL, 501);
    assert!(report.is_complete(), "{report:?}");
    assert!(within == limited(FULL, 3_600_000).1);

    let (report, bytes) = limited(FULL, 500);
    assert_eq!(report.holding.pause, Duration::from_millis(500));
    assert!(!report.is_complete());
    let reason = "not read, because the pause limit of 500 ms had passed; filled with 0xDD";
    assert!(report.missing().all(|lost| lost.reason == reason), "{report:?}");
    let dump_bytes = bytes.clone();
    let dump = Dump::from_bytes(bytes).unwrap();
    let losses = dump.lost(HEAP, 0x8000).unwrap();
    assert!(!losses.is_empty() && losses.iter().all(|loss| loss.reason == LossReason::TargetResumed));
    let range = dump
        .memory_ranges()
        .unwrap()
        .into_iter()
        .find(|range| range.address == HEAP)
        .unwrap();
    let last = (range.file_offset + 0x7FFF) as usize;
    assert_eq!(dump_bytes[last], 0xDD);

    let (report, _) = limited(HEAP_DUMP, 500);
    assert!(
        !report.is_complete(),
        "memory that is read before the layout is lost as well"
    );
}

/// A process may have far more memory than it uses, and untouched pages cannot be told apart once
/// it was resumed.
#[test]
fn a_resumed_process_does_not_fill_the_disk() {
    const MEBIBYTE: u64 = 1 << 20;
    const LARGE: u64 = 0x20_0000_0000;
    let large = format!(
        "[[memory]]\nbase = {LARGE}\nsize = {}\ncontent = \"counting\"\n",
        128 * MEBIBYTE
    );
    let slow = "[[fault]]\nkind = \"slow-read\"\nat = \"heap\"\ndelay_ms = 500\n";
    let request = Request::new(DumpType::from_bits_retain(FULL)).max_pause(Duration::from_millis(500));
    let mut bytes = Vec::new();
    let report = dump(
        &mut parse(&with(&format!("{large}{slow}"))),
        &request,
        None,
        &mut bytes,
    )
    .unwrap();
    assert!(!report.is_complete());
    let dump = Dump::from_bytes(bytes.clone()).unwrap();
    let range = dump
        .memory_ranges()
        .unwrap()
        .into_iter()
        .find(|range| range.address == LARGE);
    let file_offset = range.unwrap().file_offset;
    let byte = |at: u64| bytes[(file_offset + at) as usize];
    assert_eq!([MEBIBYTE, 63 * MEBIBYTE].map(byte), [0xDD; 2]);
    assert_eq!([65 * MEBIBYTE, 128 * MEBIBYTE - 1].map(byte), [0; 2]);
    let lost = dump.lost(LARGE, 128 * MEBIBYTE).unwrap();
    assert_eq!(lost.iter().map(|loss| loss.length).sum::<u64>(), 128 * MEBIBYTE);
}

#[test]
fn threads_vanish_or_stay_without_registers() {
    let other = "[[thread]]\nid = 8\nregisters = { rip = 1, rsp = \"stack+0x2000\" }\n";
    let process = |kind| {
        parse(&with(&format!(
            "{other}[[fault]]\nkind = \"{kind}\"\nthread = 8\n"
        )))
    };
    let (report, bytes) = dumped(&mut process("thread-vanishes"), 0);
    assert_eq!(
        missing(&report),
        [(
            Subject::Thread(8),
            "cannot examine thread 8: it has ended".to_owned()
        )]
    );
    assert_eq!(Dump::from_bytes(bytes).unwrap().threads().unwrap().len(), 1);
    let (report, bytes) = dumped(&mut process("thread-refuses-suspension"), 0);
    assert_eq!(missing(&report)[0].0, Subject::Thread(8));
    let threads = Dump::from_bytes(bytes).unwrap().threads().unwrap();
    assert_eq!(
        (threads[1].id, threads[1].context.is_none(), threads[1].stack.size),
        (8, true, 0)
    );
}

#[test]
fn broken_records_cost_the_record_or_the_module() {
    let (report, bytes) = dumped(&mut fault("broken-module-record", "module = \"program\""), 0);
    assert_eq!(missing(&report)[0].0, Subject::Module(0x40_0000));
    assert_eq!(Dump::from_bytes(bytes).unwrap().modules().unwrap().len(), 0);
    for record in ["codeview", "misc", "version"] {
        let rest = format!("module = \"program\"\nrecord = \"{record}\"");
        let (report, bytes) = dumped(&mut fault("broken-module-record", &rest), 0);
        assert_eq!(missing(&report)[0].0, Subject::Module(0x40_0000), "{record}");
        let modules = Dump::from_bytes(bytes).unwrap().modules().unwrap();
        assert_eq!(
            (modules.len(), modules[0].code_view.is_some()),
            (1, record != "codeview")
        );
    }
}

#[test]
fn regions_change_when_they_have_been_listed() {
    let listed = |process: &mut SimProcess| {
        let mut still = process.freeze(&Need::default()).unwrap();
        let mut list = || {
            let regions = still.regions(&mut Direct).unwrap().into_iter();
            let heap = regions.filter(|region| region.range.start() == HEAP);
            heap.map(|region| (region.range.len(), region.protect))
                .collect::<Vec<_>>()
        };
        [list(), list(), list()]
    };
    let whole = vec![(0x8000, 4)];
    let gone = listed(&mut fault("region-changes", "at = \"heap\"\ngone = true"));
    assert_eq!(gone, [whole.clone(), vec![], vec![]]);
    let smaller = listed(&mut fault(
        "region-changes",
        "at = \"heap\"\nlistings = 2\nnew_size = 0x1000",
    ));
    assert_eq!(smaller, [whole.clone(), whole.clone(), vec![(0x1000, 4)]]);
    let guarded = listed(&mut fault("region-changes", "at = \"heap\"\nprotect = \"---\""));
    assert_eq!(guarded, [whole, vec![(0x8000, 1)], vec![(0x8000, 1)]]);

    // The engine has seen the heap in the map, and finds less of it.
    let (_, bytes) = dumped(
        &mut fault("region-changes", "at = \"heap\"\nnew_size = 0x1000"),
        FULL,
    );
    let dump = Dump::from_bytes(bytes).unwrap();
    assert!(dump.has_memory(HEAP, 0x1000).unwrap() && !dump.has_memory(HEAP + 0x1000, 1).unwrap());
}

#[test]
fn questions_fail_with_the_reason_that_is_said() {
    for (question, stream) in [
        ("system", "SystemInfo"),
        ("process", "MiscInfo"),
        ("modules", "ModuleList"),
        ("regions", "MemoryInfoList"),
        ("handles", "HandleData"),
        ("unloaded-modules", "UnloadedModuleList"),
    ] {
        let rest = format!("question = \"{question}\"\nreason = \"not-permitted\"");
        let (report, _) = dumped(&mut fault("question-fails", &rest), 0x824);
        let missing = missing(&report);
        assert_eq!(missing[0].0, Subject::Stream(stream));
        assert!(missing[0].1.ends_with("permission denied"), "{missing:?}");
    }
    let threads = "question = \"threads\"\nreason = \"gone\"";
    let error = try_dump(&mut fault("question-fails", threads), 0, None).unwrap_err();
    assert_eq!(error.to_string(), "cannot list the threads: it has ended");
}

#[test]
fn a_process_that_cannot_be_held_gives_no_dump() {
    for (reason, kind) in [
        ("no-such-process", FaultKind::NoSuchProcess),
        ("kernel-thread", FaultKind::KernelThread),
        ("zombie", FaultKind::Zombie),
        ("not-permitted", FaultKind::NotPermitted),
        ("already-traced", FaultKind::AlreadyTraced),
        ("own-process", FaultKind::OwnProcess),
        ("unsupported", FaultKind::Unsupported),
        ("gone", FaultKind::Gone),
        ("unreadable", FaultKind::Unreadable),
        ("not-stopped", FaultKind::NotStopped),
        ("malformed", FaultKind::Malformed),
        ("system", FaultKind::System),
    ] {
        let mut process = fault("freeze-fails", &format!("reason = \"{reason}\""));
        match try_dump(&mut process, 0, None) {
            Err(Error::Target(fault)) => assert_eq!(fault.kind, kind),
            other => panic!("{other:?}"),
        }
    }
}
