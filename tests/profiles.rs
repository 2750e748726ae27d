//! What the profiles make different, on simulated processes, one test a row of `DEVIATIONS.md`.
//!
//! Would catch: a difference between the profiles that got lost, that leaked into the default profile, or that is not the
//! one that DbgHelp 6.3.9600 showed.

use std::ops::Range;

use dumpwright::callback::{AskKind, Hresult, MemoryInfo, ModuleWriteFlags, ThreadWriteFlags};
use dumpwright::read::Dump;
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::target::{Platform, RegionState};
use dumpwright::{Ask, Callback, DumpType, Error, Profile, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};

const STACK: u64 = 0x7fff_0000_0000;
const CODE: u64 = 0x40_0000;
const HEAP: u64 = 0x10_0000_0000;
const TEB: u64 = 0x20_0000_0000;

const OBSERVED: [Profile; 2] = [Profile::DbgHelp63, Profile::DbgHelp10];

/// A thread whose stack has one word that points into the module, 16 pages of heap.
fn process() -> SimProcess {
    let mut stack = vec![0; 0x4000];
    stack[0x2000..0x2008].copy_from_slice(&(CODE + 0x10).to_le_bytes());
    SimProcess::new(1000)
        .thread(7, STACK + 0x1000, CODE + 0x1234)
        .module(CODE, 0x8000, "/opt/program", &[0xAB; 20])
        .module(CODE + 0x10_0000, 0x1000, "/opt/unused", &[0xCD; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
        .memory(HEAP, 0x10000, READWRITE, Contents::Counting)
        .memory(STACK, 0x4000, READWRITE, Contents::Bytes(stack))
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

/// A callback without wishes.
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

/// A callback that answers the first Memory and the first RemoveMemory question.
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
    }
    for (name, profile) in Profile::all() {
        assert_eq!(
            refused(profile, 0x400_0000),
            Some(Hresult::INVALID_ARGUMENT),
            "{name}"
        );
    }
}

#[test]
fn full_memory_with_code_segments_is_refused_before_or_behind_the_questions() {
    for (name, profile) in Profile::all() {
        let mut asked = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            asked.push(ask.kind());
            no_wishes(ask)
        };
        let error = run(&mut process(), profile, 0x2002, &mut callback).unwrap_err();
        assert_eq!(error.hresult(), Hresult::INVALID_ARGUMENT, "{name}");
        let last = if profile == Profile::Documented {
            AskKind::IoStart
        } else {
            AskKind::Thread
        };
        assert_eq!(asked.last(), Some(&last), "{name}");
    }
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

/// Probing reads single bytes, at which the simulation's unreadable pages fail like at any other.
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
    let process = || process().treacherous(BAD, 0x1000);
    let (report, bytes) = run(&mut process(), Profile::Documented, 2, &mut no_wishes).unwrap();
    assert!(!report.is_complete());
    assert!(has(&bytes, HEAP));
    for profile in OBSERVED {
        let error = run(&mut process(), profile, 2, &mut no_wishes).unwrap_err();
        assert_eq!(error.hresult(), Hresult::PARTIAL_COPY, "{profile:?}");
        let mut asked = 0;
        let mut callback = |ask: Ask<'_>| {
            asked += u32::from(ask.kind() == AskKind::IncludeVmRegion);
            no_wishes(ask)
        };
        let (report, bytes) = run(&mut process(), profile, 0x2_0002, &mut callback).unwrap();
        assert!(!report.is_complete());
        // First attempt: all three regions, then two of them again; second attempt: all three twice.
        assert_eq!(asked, 3 + 2 + 6, "{profile:?}");
        assert!(
            has(&bytes, CODE) && has(&bytes, STACK) && !has(&bytes, HEAP),
            "{profile:?}"
        );
    }
}

#[test]
fn reads_that_fail_late_are_forgiven_in_documented_only() {
    let process = || process().treacherous(STACK + 0x3000, 0x1000);
    let (report, _) = run(&mut process(), Profile::Documented, 0, &mut no_wishes).unwrap();
    assert!(!report.is_complete());
    for profile in OBSERVED {
        // Probing reads one byte of each page, at which a treacherous page fails too: the stack ends before it.
        let (_, bytes) = run(&mut process(), profile, 0, &mut no_wishes).unwrap();
        assert!(
            has(&bytes, STACK + 0x2000) && !has(&bytes, STACK + 0x3000),
            "{profile:?}"
        );
    }
}

#[test]
fn an_output_that_has_begun_is_finished_when_reading_fails() {
    for profile in OBSERVED {
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
        let mut process = process().treacherous(HEAP, 0x1000);
        let error = run(&mut process, profile, 2, &mut callback).unwrap_err();
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

/// The regions that VmQuery is asked about, and what its failure does, by type.
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
    // For private memory a failure only ends the list.
    assert_eq!(walks(Profile::DbgHelp63, 0x200, true), (1, None));
    assert_eq!(walks(Profile::DbgHelp63, 0x800, true), (1, Some(Hresult::E_FAIL)));
    assert_eq!(
        walks(Profile::Documented, 0x200, true),
        (1, Some(Hresult::E_FAIL))
    );
}

/// A callback's own region is asked about like any other.
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
        assert_eq!(unused, if is_observed { 2 } else { 0 }, "{name}");
        // Threads, modules, memory, system: as the recorded summaries have them.
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
        assert_eq!(unused, if is_observed { 3 } else { 0 }, "{name}");
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

/// DbgHelp writes what it is given (user streams of type 3 and 0x10001 were seen in one dump); readers refuse such files.
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
