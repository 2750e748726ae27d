//! The differences between the profiles that `DEVIATIONS.md` lists, on simulated processes.
//!
//! Would catch: a difference between the profiles that got lost, that leaked into the default
//! profile, or that DbgHelp 6.3.9600 did not show.

use std::ops::Range;

use dumpwright::callback::{AskKind, Hresult, MemoryInfo, ModuleWriteFlags, ThreadWriteFlags};
use dumpwright::read::Dump;
use dumpwright::target::protect::READWRITE;
use dumpwright::target::{Platform, RegionState, Severity, Subject};
use dumpwright::{Ask, Callback, DumpType, Error, Profile, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};

use crate::support::simulated::{CODE, HEAP, STACK, one_thread_with_stack};

const TEB: u64 = 0x20_0000_0000;

const OBSERVED: [Profile; 2] = [Profile::DbgHelp63, Profile::DbgHelp10];

/// Full memory that fails the dump if a page cannot be read.
const STRICT: [(Profile, u32); 2] = [(Profile::DbgHelp63, 0x2), (Profile::DbgHelp10, 0x200_0002)];

/// A thread whose stack has one word that points into the module, and 16 pages of heap.
fn process() -> SimProcess {
    let mut stack = vec![0; 0x4000];
    stack[0x2000..0x2008].copy_from_slice(&(CODE + 0x10).to_le_bytes());
    one_thread_with_stack(Contents::Bytes(stack)).module(CODE + 0x10_0000, 0x1000, "/opt/unused", &[0xCD; 20])
}

fn run(
    process: &mut SimProcess,
    profile: Profile,
    dump_type: u32,
    callback: &mut dyn Callback,
) -> Result<(Report, Vec<u8>), Error> {
    let request = Request::new(DumpType::from_bits_retain(dump_type))
        .profile(profile)
        .time(1);
    let mut bytes = Vec::new();
    let outcome = dump(process, &request, Some(callback), &mut bytes);
    outcome.map(|report| (report, bytes))
}

/// A callback that requests nothing.
fn no_wishes(ask: Ask<'_>) -> bool {
    match ask {
        Ask::Memory { .. } | Ask::RemoveMemory { .. } | Ask::WriteKernelMinidump { .. } => false,
        Ask::IncludeVmRegion { answer } => {
            answer.cont = true;
            true
        }
        _ => true,
    }
}

/// A callback that answers the first Memory and the first RemoveMemory.
fn ranges(add: Option<Range<u64>>, remove: Option<Range<u64>>) -> impl FnMut(Ask<'_>) -> bool {
    let (mut add, mut remove) = (add, remove);
    move |ask| {
        let (slot, range) = match ask {
            Ask::Memory { wanted } => (wanted, add.take()),
            Ask::RemoveMemory { unwanted } => (unwanted, remove.take()),
            ask => return no_wishes(ask),
        };
        if let Some(range) = &range {
            (slot.base, slot.size) = (range.start, u32::try_from(range.end - range.start).unwrap());
        }
        range.is_some()
    }
}

/// Whether the dump has the byte at `address`.
fn has(bytes: &[u8], address: u64) -> bool {
    Dump::from_bytes(bytes.to_vec())
        .unwrap()
        .memory(address, 1)
        .is_ok_and(|bytes| bytes.is_some())
}

#[test]
fn types_of_later_versions_are_unknown_to_6_3() {
    let refused = |profile, bits| {
        let outcome = run(&mut process(), profile, bits, &mut no_wishes);
        outcome.err().map(|error| error.hresult())
    };
    assert_eq!(
        refused(Profile::DbgHelp63, 0x20_0000),
        Some(Hresult::INVALID_ARGUMENT)
    );
    for profile in [Profile::Documented, Profile::DbgHelp10] {
        assert_eq!(refused(profile, 0x20_0000), None, "{profile:?}");
        assert_eq!(refused(profile, 0x400_0000), None, "{profile:?}");
    }
    for bits in [0x400_0000, 0x400_0400] {
        assert_eq!(refused(Profile::DbgHelp63, bits), Some(Hresult::INVALID_ARGUMENT));
    }
    for (name, profile) in Profile::all() {
        assert_eq!(
            refused(profile, 0x800_0000),
            Some(Hresult::INVALID_ARGUMENT),
            "{name}"
        );
    }
}

/// The recorded scenarios 01-norm-0x2002 and 01-f00000002.
#[test]
fn full_memory_with_code_segments_is_refused_late_by_6_3_only() {
    for (name, profile) in Profile::all() {
        let mut asked = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            asked.push(ask.kind());
            no_wishes(ask)
        };
        let outcome = run(&mut process(), profile, 0x2002, &mut callback);
        if profile == Profile::DbgHelp63 {
            let error = outcome.expect_err(name);
            assert_eq!(error.hresult(), Hresult::INVALID_ARGUMENT);
            assert_eq!(asked.last(), Some(&AskKind::Thread));
        } else {
            let (report, bytes) = outcome.expect(name);
            assert!(report.is_complete(), "{name}");
            let flags = Dump::from_bytes(bytes).unwrap().header().flags;
            assert_eq!(flags, 0x2_0002, "{name}");
        }
    }
}

/// The recorded scenarios 21-f00300000, 21-noignore-20000 and 21-noignore-2.
#[test]
fn dbghelp10_refuses_flags_that_contradict_each_other() {
    for dump_type in [0x30_0000, 0x202_0000] {
        for profile in [Profile::Documented, Profile::DbgHelp10] {
            let outcome = run(&mut process(), profile, dump_type, &mut no_wishes);
            let status = outcome.err().map(|error| error.hresult());
            let expected = (profile == Profile::DbgHelp10).then_some(Hresult::INVALID_ARGUMENT);
            assert_eq!(status, expected, "{profile:?} {dump_type:#x}");
        }
    }
    let mut unreadable = process().fails_when_read(HEAP, 0x1000);
    let error = run(&mut unreadable, Profile::DbgHelp10, 0x200_0002, &mut no_wishes).unwrap_err();
    assert!(error.to_string().contains("0x2000000"), "{error}");
}

#[test]
fn the_stack_flag_of_a_thread_counts_in_documented_only() {
    let without_stack = |ask: Ask<'_>| {
        if let Ask::Thread { keep, .. } = ask {
            keep.remove(ThreadWriteFlags::STACK);
            return true;
        }
        no_wishes(ask)
    };
    for (name, profile) in Profile::all() {
        let (_, bytes) = run(&mut process(), profile, 0, &mut { without_stack }).unwrap();
        assert_eq!(
            has(&bytes, STACK + 0x2000),
            profile != Profile::Documented,
            "{name}"
        );
    }
}

#[test]
fn what_is_removed_stays_where_dbghelp_adds_it_later() {
    for (name, profile) in Profile::all() {
        let window = CODE + 0x1200..CODE + 0x1300;
        let (_, bytes) = run(&mut process(), profile, 0, &mut ranges(None, Some(window))).unwrap();
        assert_eq!(
            has(&bytes, CODE + 0x1234),
            profile != Profile::Documented,
            "{name}"
        );
        let stack = STACK..STACK + 0x4000;
        let (_, bytes) = run(&mut process(), profile, 0, &mut ranges(None, Some(stack))).unwrap();
        assert!(!has(&bytes, STACK + 0x2000), "{name}");
    }
}

#[test]
fn a_cut_that_begins_before_a_range_leaves_a_bogus_head_in_dbghelp() {
    for (name, profile) in Profile::all() {
        let mut callback = ranges(
            Some(HEAP + 0x1000..HEAP + 0x2000),
            Some(HEAP + 0xf00..HEAP + 0x1100),
        );
        let (_, bytes) = run(&mut process(), profile, 0, &mut callback).unwrap();
        assert_eq!(
            has(&bytes, HEAP + 0x1080),
            profile != Profile::Documented,
            "{name}"
        );
        assert!(has(&bytes, HEAP + 0x1100), "{name}");
    }
}

#[test]
fn what_lies_behind_a_hole_is_lost_in_dbghelp() {
    for (name, profile) in Profile::all() {
        let mut process = process().unreadable(HEAP + 0x2000, 0x1000);
        let mut callback = ranges(Some(HEAP + 0x1000..HEAP + 0x4000), None);
        let (_, bytes) = run(&mut process, profile, 0, &mut callback).unwrap();
        assert!(
            has(&bytes, HEAP + 0x1000) && !has(&bytes, HEAP + 0x2000),
            "{name}"
        );
        assert_eq!(
            has(&bytes, HEAP + 0x3000),
            profile == Profile::Documented,
            "{name}"
        );
    }
}

/// Probing reads single bytes, which fail on the simulation's unreadable pages like any other read.
#[test]
fn an_unreadable_first_page_drops_the_whole_range_in_dbghelp() {
    for (name, profile) in Profile::all() {
        let mut process = process().unreadable(HEAP + 0x1000, 0x1000);
        let mut callback = ranges(Some(HEAP + 0x1000..HEAP + 0x4000), None);
        let (_, bytes) = run(&mut process, profile, 0, &mut callback).unwrap();
        assert_eq!(
            has(&bytes, HEAP + 0x3000),
            profile == Profile::Documented,
            "{name}"
        );
    }
}

#[test]
fn a_page_of_full_memory_that_fails_costs_itself_or_the_dump_or_its_region() {
    const BAD: u64 = HEAP + 0x5000;
    let process = || process().fails_when_read(BAD, 0x1000);
    let (report, bytes) = run(&mut process(), Profile::Documented, 2, &mut no_wishes).unwrap();
    assert!(!report.is_complete());
    assert!(has(&bytes, HEAP));
    for (profile, strict) in STRICT {
        let outcome = run(&mut process(), profile, strict, &mut no_wishes);
        let status = outcome.err().map(|error| error.hresult());
        assert_eq!(status, Some(Hresult::PARTIAL_COPY), "{profile:?}");
        let mut asked = 0;
        let mut callback = |ask: Ask<'_>| {
            asked += u32::from(ask.kind() == AskKind::IncludeVmRegion);
            no_wishes(ask)
        };
        let (report, bytes) = run(&mut process(), profile, 0x2_0002, &mut callback).unwrap();
        assert!(!report.is_complete());
        // First attempt: all three regions, then two of them again. Second attempt: all three,
        // twice.
        assert_eq!(asked, 3 + 2 + 6, "{profile:?}");
        assert!(
            has(&bytes, CODE) && has(&bytes, STACK) && !has(&bytes, HEAP),
            "{profile:?}"
        );
    }
}

#[test]
fn reads_that_fail_late_are_forgiven_in_documented_only() {
    let process = || process().fails_when_read(STACK + 0x3000, 0x1000);
    let (report, _) = run(&mut process(), Profile::Documented, 0, &mut no_wishes).unwrap();
    assert!(!report.is_complete());
    for profile in OBSERVED {
        // Probing reads one byte of each page, which fails on a page that fails when it is read,
        // too. The stack ends before that page.
        let (_, bytes) = run(&mut process(), profile, 0, &mut no_wishes).unwrap();
        assert!(
            has(&bytes, STACK + 0x2000) && !has(&bytes, STACK + 0x3000),
            "{profile:?}"
        );
    }
}

#[test]
fn an_output_that_has_begun_is_finished_when_reading_fails() {
    for (profile, strict) in STRICT {
        let mut finished = false;
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::IoStart { status, .. } => *status = Hresult::S_FALSE,
                Ask::IoFinish { status, .. } => {
                    finished = true;
                    *status = Hresult::S_OK;
                }
                ask => return no_wishes(ask),
            }
            true
        };
        let mut process = process().fails_when_read(HEAP, 0x1000);
        let error = run(&mut process, profile, strict, &mut callback).unwrap_err();
        assert_eq!(error.hresult(), Hresult::PARTIAL_COPY);
        assert!(finished, "{profile:?}");
    }
}

#[test]
fn the_file_handle_is_shown_and_its_absence_fails_the_dump() {
    for (name, profile) in Profile::all() {
        let mut shown = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::IoStart { handle, status } => {
                    shown.push(handle);
                    *status = Hresult::S_FALSE;
                }
                Ask::IoWriteAll { handle, status, .. } | Ask::IoFinish { handle, status } => {
                    shown.push(handle);
                    *status = Hresult::S_OK;
                }
                ask => return no_wishes(ask),
            }
            true
        };
        let request = Request::new(DumpType::NORMAL)
            .profile(profile)
            .file_handle(0x1234);
        dump(&mut process(), &request, Some(&mut callback), &mut Vec::new()).unwrap();
        assert!(
            shown.len() > 2 && shown.iter().all(|handle| *handle == 0x1234),
            "{name}: {shown:?}"
        );

        let request = request.file_handle(0);
        let error = dump(&mut process(), &request, None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.hresult(), Hresult::INVALID_HANDLE, "{name}");
    }
}

#[test]
fn modules_that_a_stack_points_into_are_marked_in_every_profile() {
    for (name, profile) in Profile::all() {
        for (dump_type, marked) in [(0, false), (0x8, true), (0x10, true)] {
            let mut shown = Vec::new();
            let mut callback = |ask: Ask<'_>| {
                if let Ask::Module { keep, .. } = &ask {
                    shown.push(keep.contains(ModuleWriteFlags::REFERENCED_BY_MEMORY));
                }
                no_wishes(ask)
            };
            run(&mut process(), profile, dump_type, &mut callback).unwrap();
            assert_eq!(shown, [marked, false], "{name} {dump_type:#x}");
        }
    }
}

#[test]
fn a_thread_without_a_stack_is_asked_about_without_the_flag() {
    let mut process = process();
    process.regions.pop();
    let mut shown = None;
    let mut callback = |ask: Ask<'_>| {
        if let Ask::Thread { keep, .. } = &ask {
            shown = Some(**keep);
        }
        no_wishes(ask)
    };
    run(&mut process, Profile::Documented, 0, &mut callback).unwrap();
    assert_eq!(shown.map(|flags| flags.bits()), Some(0x15));
}

#[test]
fn windows_thread_blocks_come_with_their_flag() {
    for (name, profile) in Profile::all() {
        for (dump_type, first, last) in [(0, false, false), (0x100, true, true), (0x10_0100, true, false)] {
            let mut process = process().memory(TEB, 0x3000, READWRITE, Contents::Fill(0));
            process.system.platform = Platform::WindowsNt;
            process.threads[0].teb = TEB;
            let (_, bytes) = run(&mut process, profile, dump_type, &mut no_wishes).unwrap();
            assert_eq!(has(&bytes, TEB), first, "{name} {dump_type:#x}");
            assert_eq!(has(&bytes, TEB + 0x1fff), last, "{name} {dump_type:#x}");
            assert!(!has(&bytes, TEB + 0x2000), "{name}");
        }
    }
}

/// The regions for which VmQuery is sent, and the effect of its failure, by type.
#[test]
fn the_address_space_is_walked_where_the_type_needs_it() {
    let walks = |profile, dump_type, fails: bool| {
        let mut walks = 0;
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::VmStart { status } => *status = Hresult::S_FALSE,
                Ask::VmQuery { offset, answer } => {
                    walks += u32::from(offset == 0);
                    if fails {
                        answer.status = Hresult::E_FAIL;
                    }
                }
                ask => return no_wishes(ask),
            }
            true
        };
        let outcome = run(&mut process(), profile, dump_type, &mut callback);
        (walks, outcome.err().map(|error| error.hresult()))
    };
    for (dump_type, in_dbghelp) in [(0, 0), (0x2, 2), (0x200, 1), (0x800, 1), (0xa00, 2), (0x802, 3)] {
        assert_eq!(
            walks(Profile::Documented, dump_type, false),
            (in_dbghelp.min(1), None),
            "{dump_type:#x}"
        );
        assert_eq!(
            walks(Profile::DbgHelp63, dump_type, false),
            (in_dbghelp, None),
            "{dump_type:#x}"
        );
    }
    // For private memory, a failure only ends the list.
    assert_eq!(walks(Profile::DbgHelp63, 0x200, true), (1, None));
    assert_eq!(walks(Profile::DbgHelp63, 0x800, true), (1, Some(Hresult::E_FAIL)));
    assert_eq!(
        walks(Profile::Documented, 0x200, true),
        (1, Some(Hresult::E_FAIL))
    );
}

/// A region that only the callback knows is offered like any other.
#[test]
fn regions_that_only_the_callback_knows_are_offered() {
    for profile in OBSERVED {
        let mut offered = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::VmStart { status } => *status = Hresult::S_FALSE,
                Ask::VmQuery { offset: 0, answer } => {
                    answer.status = Hresult::S_OK;
                    answer.region = MemoryInfo {
                        base_address: 0,
                        region_size: 0x1000,
                        state: RegionState::Commit.value(),
                        protect: READWRITE,
                        kind: 0x2_0000,
                        ..MemoryInfo::default()
                    };
                }
                Ask::VmPreRead {
                    offset: 0,
                    buffer,
                    answer,
                } => {
                    buffer.fill(0x5a);
                    answer.status = Hresult::S_OK;
                    answer.completed = u32::try_from(buffer.len()).unwrap();
                }
                ask => {
                    if let Ask::IncludeVmRegion { answer } = &ask {
                        offered.push(answer.region.base_address);
                    }
                    return no_wishes(ask);
                }
            }
            true
        };
        let (_, bytes) = run(&mut process(), profile, 2, &mut callback).unwrap();
        let all = [0, CODE, HEAP, STACK];
        assert_eq!(offered, [all, all].concat(), "{profile:?}");
        let dump = Dump::from_bytes(bytes).unwrap();
        assert_eq!(dump.memory(0x10, 2).unwrap(), Some(vec![0x5a; 2]));
    }
}

#[test]
fn the_directory_is_shaped_as_dbghelps() {
    for (name, profile) in Profile::all() {
        let mut process = process().unreadable(HEAP, 0x1000);
        process.threads[0].name = Some("worker".to_owned());
        let (_, bytes) = run(&mut process, profile, 0x200, &mut no_wishes).unwrap();
        let dump = Dump::from_bytes(bytes).unwrap();
        let types: Vec<_> = dump.directory().iter().map(|entry| entry.stream_type).collect();
        assert_eq!(
            types.contains(&24),
            profile != Profile::DbgHelp63,
            "{name}: thread names"
        );
        let is_observed = profile != Profile::Documented;
        let unused = types.iter().filter(|stream_type| **stream_type == 0).count();
        // The DbgHelp of 2026 always writes the two counters of memory, which simulated processes
        // lack.
        let spare = match profile {
            Profile::Documented => 0,
            Profile::DbgHelp63 => 2,
            _ => 4 + 2,
        };
        assert_eq!(unused, spare, "{name}");
        // Threads, modules, memory, system: the order in the recorded summaries.
        let known: Vec<_> = types.iter().filter(|kind| [3, 4, 5, 7].contains(kind)).collect();
        let expected = if is_observed { [3, 4, 5, 7] } else { [7, 3, 4, 5] };
        assert_eq!(known, expected.iter().collect::<Vec<_>>(), "{name}");

        // Operations on handles are recorded on Windows only.
        let (_, bytes) = run(&mut process, profile, 0x4, &mut no_wishes).unwrap();
        let dump = Dump::from_bytes(bytes).unwrap();
        let unused = dump
            .directory()
            .iter()
            .filter(|entry| entry.stream_type == 0)
            .count();
        assert_eq!(unused, if is_observed { spare + 1 } else { 0 }, "{name}");
    }
}

#[test]
fn dumps_of_every_profile_are_sound() {
    for (name, profile) in Profile::all() {
        for dump_type in [0, 0x800, 0x802, 0x1802, 0x241] {
            let (_, bytes) = run(&mut process(), profile, dump_type, &mut no_wishes).unwrap();
            let dump = Dump::from_bytes(bytes.clone()).unwrap();
            let violations = dumpwright::read::check(&dump).unwrap();
            assert!(violations.is_empty(), "{name} {dump_type:#x}: {violations:#?}");
            let raw = minidump::Minidump::read(bytes).unwrap();
            let threads: minidump::MinidumpThreadList<'_> = raw.get_stream().unwrap();
            assert_eq!(threads.threads.len(), 1, "{name} {dump_type:#x}");
        }
    }
}

/// DbgHelp writes what it is given (user streams of type 3 and 0x10001 were seen in one dump).
/// Readers refuse such files.
#[test]
fn user_streams_of_any_type_are_taken_by_the_observed_profiles() {
    let dumped = |profile| {
        let request = Request::new(DumpType::NORMAL)
            .profile(profile)
            .time(1)
            .user_stream(3, b"no list of threads".as_slice())
            .user_stream(0x1_0001, b"mine".as_slice())
            .user_stream(0x1_0001, b"mine as well".as_slice());
        let mut bytes = Vec::new();
        dump(&mut process(), &request, None, &mut bytes).map(|_| bytes)
    };
    for profile in OBSERVED {
        let bytes = dumped(profile).expect("nothing is checked");
        for stream in [b"no list of threads".as_slice(), b"mine as well"] {
            assert!(bytes.windows(stream.len()).any(|window| window == stream));
        }
    }
    assert!(matches!(
        dumped(Profile::Documented),
        Err(Error::InvalidRequest(_))
    ));
}

/// A page that is known to be unreadable: a guard page, or one after the end of a mapped file.
fn holed() -> SimProcess {
    process().unreadable(HEAP + 0x4000, 0x1000)
}

#[test]
fn known_holes_split_a_region_of_full_memory_in_every_profile() {
    for (name, profile) in Profile::all() {
        for dump_type in [0x2, 0x2_0002, 0x802] {
            let mut offered = Vec::new();
            let mut callback = |ask: Ask<'_>| {
                if let Ask::IncludeVmRegion { answer } = &ask {
                    offered.push((answer.region.base_address, answer.region.region_size));
                }
                no_wishes(ask)
            };
            let (report, bytes) = run(&mut holed(), profile, dump_type, &mut callback).unwrap();
            let case = format!("{name} {dump_type:#x}");
            assert!(!report.is_complete(), "{case}");
            for page in (HEAP..HEAP + 0x10000).step_by(0x1000) {
                assert_eq!(has(&bytes, page), page != HEAP + 0x4000, "{case} {page:#x}");
            }
            // As on Windows, where they are separate regions.
            let heap: Vec<_> = offered
                .iter()
                .filter(|(base, _)| *base >> 32 == HEAP >> 32)
                .collect();
            if profile != Profile::Documented {
                let parts = [(HEAP, 0x4000), (HEAP + 0x5000, 0xB000)];
                let twice: Vec<_> = parts.iter().chain(&parts).collect();
                assert_eq!(heap, twice, "{case}");
            }
            let dump = Dump::from_bytes(bytes).unwrap();
            assert!(
                dump.memory_ranges().unwrap().iter().all(|range| range.size > 0),
                "{case}"
            );
        }
    }
}

#[test]
fn known_holes_end_no_range_of_private_memory() {
    for (name, profile) in Profile::all() {
        let (_, bytes) = run(&mut holed(), profile, 0x200, &mut no_wishes).unwrap();
        for page in (HEAP..HEAP + 0x10000).step_by(0x1000) {
            assert_eq!(has(&bytes, page), page != HEAP + 0x4000, "{name} {page:#x}");
        }
    }
}

#[test]
fn the_error_about_unreadable_memory_names_what_helps() {
    let text = |mut process: SimProcess, profile, dump_type, mut callback: fn(Ask<'_>) -> bool| {
        let error = run(&mut process, profile, dump_type, &mut callback).unwrap_err();
        assert_eq!(error.hresult(), Hresult::PARTIAL_COPY);
        error.to_string()
    };
    let late = |at| {
        process().fault(dumpwright_sim::SimFault::UnreadableFrom {
            range: dumpwright::target::AddressRange::at(at, 0x1000).unwrap(),
            read: 2,
        })
    };
    let declines = |ask: Ask<'_>| !matches!(ask, Ask::ReadMemoryFailure { .. }) && no_wishes(ask);
    // The callback is never asked about full memory.
    let full = text(
        process().fails_when_read(HEAP, 0x1000),
        Profile::DbgHelp63,
        0x2,
        no_wishes,
    );
    assert!(
        full.contains("0x20000") && !full.contains("ReadMemoryFailure"),
        "{full}"
    );
    for profile in OBSERVED {
        let chosen = text(late(HEAP + 0x8000), profile, 0x200, declines);
        assert!(
            chosen.contains("ReadMemoryFailure") && !chosen.contains("0x20000"),
            "{chosen}"
        );
        let stack = text(late(STACK + 0x3000), profile, 0, no_wishes);
        assert!(
            stack.contains("documented") && !stack.contains("ReadMemoryFailure"),
            "{stack}"
        );
    }
    let no_losses = text(holed(), Profile::Documented, 0x200_0200, no_wishes);
    assert!(no_losses.contains("0x2000000"), "{no_losses}");
}

#[test]
fn asked_for_memory_that_is_not_in_the_dump_is_reported() {
    for (name, profile) in Profile::all() {
        let mut callback = ranges(Some(HEAP + 0x3000..HEAP + 0x7000), None);
        let (report, bytes) = run(&mut holed(), profile, 0, &mut callback).unwrap();
        assert!(!report.is_complete(), "{name}");
        let lost = |address| {
            let lost = report
                .diagnostics
                .iter()
                .any(|diagnostic| match diagnostic.subject {
                    Subject::Memory(range) => {
                        range.contains(address) && diagnostic.severity == Severity::Missing
                    }
                    _ => false,
                });
            assert_eq!(lost, !has(&bytes, address), "{name} {address:#x}");
            lost
        };
        // The dialogue and the dump are DbgHelp's: memory after the hole is not in the dump.
        let pages = [0x3000, 0x4000, 0x5000, 0x6000].map(|page| lost(HEAP + page));
        let behind = profile != Profile::Documented;
        assert_eq!(pages, [false, true, behind, behind], "{name}");

        // Memory that is included for another reason, or that was removed, is not a loss.
        let (add, remove) = (HEAP + 0x3000..HEAP + 0x7000, HEAP + 0x4000..HEAP + 0x8000);
        let (report, _) = run(&mut holed(), profile, 0, &mut ranges(Some(add), Some(remove))).unwrap();
        assert!(report.is_complete(), "{name}: {:?}", report.diagnostics);
    }
}

#[test]
fn ranges_that_the_callback_asks_for_where_nothing_is_are_noted() {
    for (name, profile) in Profile::all() {
        let note = |range| {
            let (report, _) = run(&mut process(), profile, 0, &mut ranges(Some(range), None)).unwrap();
            assert!(report.is_complete(), "{name}");
            let notes = report
                .diagnostics
                .iter()
                .map(|diagnostic| diagnostic.reason.clone());
            notes.into_iter().find(|reason| reason.contains("not mapped"))
        };
        assert_eq!(note(HEAP..HEAP + 0x1000), None, "{name}");
        let unmapped = note(0x1000..0x2000).expect("a note");
        assert!(
            unmapped.contains("0x1000 ") || unmapped.ends_with("0x1000"),
            "{name}: {unmapped}"
        );
        let half = note(HEAP + 0xF000..HEAP + 0x1_1000).expect("a note");
        assert!(half.contains("4096 bytes"), "{name}: {half}");
        let wraps = note(u64::MAX - 0xFFF..u64::MAX).expect("a note");
        assert!(wraps.contains("end of the address space"), "{name}: {wraps}");
    }
}

/// Dumps with a large heap besides the usual memory, and with a limit that it exceeds.
fn run_limited(
    process: &mut SimProcess,
    profile: Profile,
    dump_type: u32,
    limit: u64,
) -> Result<(Report, Vec<u8>), Error> {
    let request = Request::new(DumpType::from_bits_retain(dump_type))
        .profile(profile)
        .fetch_limit(limit)
        .time(1);
    let mut bytes = Vec::new();
    let outcome = dump(process, &request, Some(&mut no_wishes), &mut bytes);
    outcome.map(|report| (report, bytes))
}

#[test]
fn what_exceeds_the_limit_is_deferred_and_the_dump_is_the_same() {
    for profile in OBSERVED {
        for dump_type in [0x2, 0x2_0002, 0x200] {
            let (whole, all) = run_limited(&mut process(), profile, dump_type, u64::MAX).unwrap();
            for limit in [0, 0x5000, 0x1_0000] {
                let (report, bytes) = run_limited(&mut process(), profile, dump_type, limit).unwrap();
                assert!(
                    report.is_complete() && whole.is_complete(),
                    "{profile:?} {dump_type:#x}"
                );
                let (all, bytes) = (
                    Dump::from_bytes(all.clone()).unwrap(),
                    Dump::from_bytes(bytes).unwrap(),
                );
                for range in all.memory_ranges().unwrap() {
                    assert_eq!(
                        bytes.memory(range.address, range.size).unwrap(),
                        all.memory(range.address, range.size).unwrap(),
                        "{profile:?} {dump_type:#x} {limit:#x}"
                    );
                }
                assert_eq!(report.memory_bytes, whole.memory_bytes);
            }
        }
    }
}

#[test]
fn deferred_memory_that_fails_is_forgiven_where_dbghelp_forgives() {
    // The deferred read is the first that touches these pages, because full memory is not probed.
    let late = || process().fails_when_read(HEAP + 0x8000, 0x1000);
    for (profile, strict) in STRICT {
        let error = run_limited(&mut late(), profile, strict, 0).unwrap_err();
        assert_eq!(error.hresult(), Hresult::PARTIAL_COPY, "{profile:?}");
        let (report, bytes) = run_limited(&mut late(), profile, 0x2_0002, 0).unwrap();
        assert!(!report.is_complete() && has(&bytes, HEAP + 0x7000), "{profile:?}");
        assert!(!has(&bytes, HEAP + 0x8000), "{profile:?}");
    }
}

#[test]
fn stacks_are_read_whatever_the_limit_so_that_they_can_be_filtered() {
    for profile in OBSERVED {
        let secret = *b"password";
        let mut process = process().put(STACK + 0x2800, secret);
        // Stack and private memory are one block.
        let (_, bytes) = run_limited(&mut process, profile, 0x10_0200, 0).unwrap();
        assert!(has(&bytes, STACK + 0x2800), "{profile:?}");
        let dump = Dump::from_bytes(bytes).unwrap();
        assert!(dump.contains_nowhere(&secret).unwrap(), "{profile:?}");
    }
}
