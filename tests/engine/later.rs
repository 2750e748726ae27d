//! What the DbgHelp of January 2026 does that 6.3.9600 does not: the profile `dbghelp10` follows
//! it, and `documented` takes over what helps readers. Simulated processes show what the recordings
//! in
//! `testdata/oracle/10.0.29507`, which are compared in `conformance.rs`, do not show.
//!
//! Would catch: a dump without the data that the kernel shares with Windows processes, or with it
//! where the profile or the system does not have it; a MiscInfo of another generation; a module
//! without its flags; a thread that keeps its stack although its block is damaged; a caller's
//! stream in another place.

use dumpwright::read::Dump;
use dumpwright::target::protect::{READONLY, READWRITE};
use dumpwright::target::{Platform, VirtualSize};
use dumpwright::{Ask, DumpType, Profile, Request, dump};
use dumpwright_sim::{Contents, SimProcess};

use crate::support::simulated::{CODE, STACK, one_thread};

const SHARED_DATA: u64 = 0x7FFE_0000;
/// The size of the data in `KUSER_SHARED_DATA` that is dumped.
const SHARED: u64 = 0xAA0;
const TEB: u64 = 0x20_0000_0000;

fn windows_process() -> SimProcess {
    let mut process = one_thread()
        .memory(SHARED_DATA, 0x1000, READONLY, Contents::Fill(0x5D))
        .memory(TEB, 0x2000, READWRITE, Contents::Fill(0));
    process.system.platform = Platform::WindowsNt;
    process.threads[0].teb = TEB;
    process.modules[0].dll_characteristics = 0x4160;
    process
}

fn dumped(mut process: SimProcess, request: &Request) -> Dump {
    let mut bytes = Vec::new();
    let report = dump(&mut process, &request.clone().time(1), None, &mut bytes).expect("a dump");
    assert!(report.is_complete(), "{:?}", report.diagnostics);
    Dump::from_bytes(bytes).expect("a dump")
}

fn request(profile: Profile, dump_type: u32) -> Request {
    Request::new(DumpType::from_bits_retain(dump_type)).profile(profile)
}

/// How many bytes from the start of the shared data the dump has.
fn shared_bytes(dump: &Dump) -> u64 {
    let ranges = dump.memory_ranges().unwrap();
    let found = ranges.iter().find(|range| range.address == SHARED_DATA);
    found.map_or(0, |range| range.size)
}

#[test]
fn windows_dumps_have_the_data_that_the_kernel_shares_with_every_process() {
    for (name, profile) in Profile::all() {
        for dump_type in [0, 0x400, 0x100, 0x8] {
            let dump = dumped(windows_process(), &request(profile, dump_type));
            let expected = if profile == Profile::DbgHelp63 { 0 } else { SHARED };
            assert_eq!(shared_bytes(&dump), expected, "{name} {dump_type:#x}");
        }
        // Other systems may have anything at this address.
        let mut linux = windows_process();
        linux.system.platform = Platform::Linux;
        let dump = dumped(linux, &request(profile, 0));
        assert_eq!(shared_bytes(&dump), 0, "{name}");
        // A process that has nothing there misses nothing.
        let mut without = windows_process();
        without
            .regions
            .retain(|(region, _)| region.range.start() != SHARED_DATA);
        let dump = dumped(without, &request(profile, 0));
        assert_eq!(shared_bytes(&dump), 0, "{name}");
    }
}

/// The callback can remove the shared data, like other memory.
#[test]
fn shared_data_can_be_removed() {
    for profile in [Profile::Documented, Profile::DbgHelp10] {
        let mut removed = false;
        let mut callback = |ask: Ask<'_>| match ask {
            Ask::RemoveMemory { unwanted } => {
                (unwanted.base, unwanted.size) = (SHARED_DATA, 0x1000);
                !std::mem::replace(&mut removed, true)
            }
            Ask::Memory { .. } | Ask::WriteKernelMinidump { .. } => false,
            _ => true,
        };
        let mut bytes = Vec::new();
        let request = request(profile, 0);
        dump(&mut windows_process(), &request, Some(&mut callback), &mut bytes).expect("a dump");
        assert_eq!(shared_bytes(&Dump::from_bytes(bytes).unwrap()), 0, "{profile:?}");
    }
}

#[test]
fn later_profiles_write_the_fifth_misc_info_and_all_the_flags_of_modules() {
    for (name, profile) in Profile::all() {
        let dump = dumped(windows_process(), &request(profile, 0));
        let misc = dump.misc_info().unwrap().expect("it is always there");
        let size = match profile {
            Profile::DbgHelp63 => 832,
            _ => 1364,
        };
        assert_eq!(misc.size_of_info, size, "{name}");
        assert_eq!(misc.extended_state, None, "{name}: no context is extended");
        assert_eq!(dump.modules().unwrap()[0].dll_characteristics, 0x4160, "{name}");
    }
}

/// The recorded scenario 08-late-teb-ok: a part of the thread's block cannot be read that only the
/// DbgHelp of 2026 needs.
#[test]
fn a_damaged_thread_block_costs_the_stack_in_dbghelp10() {
    for (name, profile) in Profile::all() {
        let mut process = windows_process().fails_when_read(TEB + 0x1000, 0x1000);
        let mut bytes = Vec::new();
        dump(&mut process, &request(profile, 0).time(1), None, &mut bytes).expect("a dump");
        let dump = Dump::from_bytes(bytes).unwrap();
        let has_stack = dump.memory(STACK + 0x2000, 1).unwrap().is_some();
        assert_eq!(has_stack, profile != Profile::DbgHelp10, "{name}");
        assert_eq!(dump.threads().unwrap()[0].teb, TEB, "{name}");
    }
}

/// The recorded scenarios 23-user-empty and 23-user-three.
#[test]
fn user_streams_are_packed_and_empty_ones_leave_an_unused_entry_in_dbghelp10() {
    let streams = |profile| {
        let mut process = windows_process();
        process.system_memory = Some(dumpwright::target::SystemMemory::default());
        process.vm_counters = Some(dumpwright::target::VmCounters {
            virtual_size: Some(VirtualSize::default()),
            ..Default::default()
        });
        let request = request(profile, 0)
            .user_stream(0x1_0000, vec![1; 5])
            .user_stream(0x1_0001, Vec::new())
            .user_stream(0x1_0002, vec![2; 8]);
        dumped(process, &request).directory().to_vec()
    };
    let listed = streams(Profile::DbgHelp10);
    let types: Vec<_> = listed.iter().map(|entry| entry.stream_type).collect();
    let own = [3, 4, 5, 7, 15, 21, 22];
    let expected = [&own[..], &[0x1_0000, 0x1_0002], &[0; 5]].concat();
    assert_eq!(types, expected);
    let [first, second] = [7, 8].map(|index| listed[index]);
    assert_eq!((first.size, second.size), (5, 8));
    assert_eq!(second.rva, first.rva + 5);
    for profile in [Profile::Documented, Profile::DbgHelp63] {
        let listed = streams(profile);
        let empty = listed.iter().find(|entry| entry.stream_type == 0x1_0001);
        assert_eq!(empty.map(|entry| entry.size), Some(0), "{profile:?}");
    }
}

/// Reads of thread blocks are shown where the recordings show them (11-vm-live), before the next
/// thread is asked about.
#[test]
fn the_dbghelp_profiles_show_the_reads_of_thread_blocks() {
    for (profile, expected) in [
        (Profile::DbgHelp63, vec![(TEB, 0x60)]),
        (Profile::DbgHelp10, vec![(TEB, 0x60), (TEB + 0x1788, 8)]),
    ] {
        let (mut reads, mut has_module) = (Vec::new(), false);
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::VmStart { status } => *status = dumpwright::callback::Hresult::S_FALSE,
                Ask::IncludeModule { base: CODE, .. } => has_module = true,
                Ask::VmPreRead { offset, buffer, .. } if !has_module && offset >= TEB => {
                    reads.push((offset, buffer.len()));
                }
                Ask::Memory { .. } | Ask::RemoveMemory { .. } | Ask::WriteKernelMinidump { .. } => {
                    return false;
                }
                _ => {}
            }
            true
        };
        let request = request(profile, 0);
        dump(
            &mut windows_process(),
            &request,
            Some(&mut callback),
            &mut Vec::new(),
        )
        .expect("a dump");
        assert_eq!(reads, expected, "{profile:?}");
    }
}
