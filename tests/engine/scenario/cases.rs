//! The dumps of whole cases, as readers see them.

use std::process::Command;

use dumpwright::read::{CheckOptions, Level, check_with};
use minidump::{
    Minidump, MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpModuleList, MinidumpSystemInfo,
    MinidumpThreadList, MinidumpThreadNames, MinidumpUnloadedModuleList, Module,
};

use super::*;

#[test]
fn whole_cases_give_complete_dumps_that_readers_accept_and_the_same_ones_again() {
    for name in ["linux-two-threads", "windows-five-threads"] {
        for dump_type in [0, 0x1005, 0x4_1A25, 0x6_1826, 0x0004_1B65] {
            let (report, bytes) = dumped(&mut Scenario::load(case(name)).unwrap(), dump_type);
            assert_eq!(missing(&report), [], "{name} {dump_type:#x}");
            let again = dumped(&mut Scenario::load(case(name)).unwrap(), dump_type).1;
            assert!(bytes == again, "{name} {dump_type:#x} differs the second time");

            let minidump = Minidump::read(bytes.as_slice()).unwrap();
            let threads: MinidumpThreadList<'_> = minidump.get_stream().unwrap();
            let memory = minidump.get_memory().unwrap();
            for thread in &threads.threads {
                assert!(
                    thread.stack_memory(&memory).is_some(),
                    "{name} {dump_type:#x} {}",
                    thread.raw.thread_id
                );
            }
            minidump.get_stream::<MinidumpSystemInfo>().unwrap();
            minidump.get_stream::<MinidumpMiscInfo>().unwrap();
            minidump.get_stream::<MinidumpModuleList>().unwrap();

            let violations = check_with(&Dump::from_bytes(bytes).unwrap(), CheckOptions::default()).unwrap();
            let errors: Vec<_> = violations
                .iter()
                .filter(|found| found.severity == Level::Error)
                .collect();
            assert!(errors.is_empty(), "{name} {dump_type:#x}: {errors:#?}");
        }
    }
}

#[test]
fn a_windows_process_looks_like_one_to_other_readers() {
    let mut process = Scenario::load(case("windows-five-threads")).unwrap();
    let (_, bytes) = dumped(&mut process, 0x4_1A25);
    let minidump = Minidump::read(bytes.as_slice()).unwrap();
    let system: MinidumpSystemInfo = minidump.get_stream().unwrap();
    assert_eq!(system.os, minidump::system_info::Os::Windows);
    assert_eq!(system.cpu, minidump::system_info::Cpu::X86_64);
    assert_eq!((system.raw.major_version, system.raw.build_number), (10, 19045));

    let modules: MinidumpModuleList = minidump.get_stream().unwrap();
    let ntdll = modules.module_at_address(0x7ff8_1000_d664).unwrap();
    assert_eq!(ntdll.code_file(), r"C:\Windows\System32\ntdll.dll");
    assert_eq!(
        ntdll.debug_identifier().unwrap().breakpad().to_string(),
        "0AC3F1D25566778899AABBCCDDEEFF003"
    );
    assert_eq!(ntdll.debug_file().as_deref(), Some("ntdll.pdb"));
    assert_eq!(
        ntdll.code_identifier().unwrap().as_str(),
        "63f14e2b1e000",
        "time stamp and size"
    );
    assert_eq!(ntdll.version().as_deref(), Some("10.0.19041.3636"));

    let threads: MinidumpThreadList<'_> = minidump.get_stream().unwrap();
    let names: MinidumpThreadNames = minidump.get_stream().unwrap();
    let named: Vec<_> = threads
        .threads
        .iter()
        .map(|thread| names.get_name(thread.raw.thread_id))
        .collect();
    assert_eq!(
        named,
        ["main", "rest 1", "waiting", "recursion", "rest 2"].map(|name| Some(name.into()))
    );
    let misc: MinidumpMiscInfo = minidump.get_stream().unwrap();
    let context = threads.threads[3].context(&system, Some(&misc)).unwrap();
    assert_eq!(
        (context.get_instruction_pointer(), context.get_stack_pointer()),
        (0x1_4000_1480, 0x1d_5928)
    );
    // A stack reaches to the end that the thread's own block gives.
    let memory = minidump.get_memory().unwrap();
    let stack = threads.threads[3].stack_memory(&memory).unwrap();
    let teb = memory.memory_at_address(threads.threads[3].raw.teb).unwrap();
    let base: u64 = teb.get_memory_at_address(threads.threads[3].raw.teb + 8).unwrap();
    assert_eq!(stack.base_address() + stack.size(), base);

    let unloaded: MinidumpUnloadedModuleList = minidump.get_stream().unwrap();
    let gone: Vec<_> = unloaded
        .iter()
        .map(|module| (module.name.as_str(), module.base_address()))
        .collect();
    assert_eq!(gone, [("version.dll", 0x7ff8_0e00_0000)]);
    let map: MinidumpMemoryInfoList<'_> = minidump.get_stream().unwrap();
    let states: Vec<_> = map
        .iter()
        .filter(|info| (0x66_0000..0x67_0000).contains(&info.raw.base_address))
        .map(|info| {
            (
                info.raw.base_address,
                info.raw.region_size,
                info.raw.state,
                info.raw.protection,
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            (0x66_0000, 0x1000, 0x2000, 0),
            (0x66_1000, 0x1000, 0x1000, 4),
            (0x66_2000, 0xe000, 0x2000, 0)
        ],
        "a committed page in a reservation"
    );
}

#[test]
fn a_linux_process_has_its_own_streams_and_keeps_its_secrets() {
    let secret = b"a secret of the environment";
    let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    let load = || Scenario::load(case("linux-two-threads")).unwrap();
    let (_, plain) = dumped(&mut load(), 0);
    assert!(!has(&plain, secret), "neither on the stack nor as a stream");
    let (report, shown) = dumped(&mut load(), 0x100);
    assert!(has(&shown, secret));
    assert!(report.is_complete());

    let dump = Dump::from_bytes(plain).unwrap();
    assert_eq!(
        dump.text(0x4767_0004).unwrap().as_deref(),
        Some("Name:\tclock\nPid:\t4711\nThreads:\t2\n")
    );
    assert_eq!(dump.text(0x4767_0006).unwrap(), None, "no command line");
    assert_eq!(dump.stream_bytes(0x4767_0008).unwrap().unwrap().len(), 48, "auxv");
    let links = dump.dso_debug().unwrap().unwrap();
    assert_eq!((links.brk, links.link_map.len()), (0x7f00_0000_1500, 2));
    assert_eq!(
        links.link_map[1].name.as_deref(),
        Some("/usr/lib/x86_64-linux-gnu/libclock.so.1")
    );
    // The stack of the signal handler, and the interrupted one.
    let ranges: Vec<_> = dump
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address, range.size))
        .collect();
    assert!(ranges.contains(&(0x7f00_1000_3800, 0x800)), "{ranges:x?}");
    assert!(ranges.contains(&(0x7f00_2002_0000, 0x1000)), "{ranges:x?}");

    let key = b"the key that no dump shows";
    assert!(!has(&dumped(&mut load(), 0x802).1, key));
    let mut bytes = Vec::new();
    let all = Request::new(DumpType::from_bits_retain(0x802)).include_dont_dump(true);
    dumpwright::dump(&mut load(), &all, None, &mut bytes).unwrap();
    assert!(has(&bytes, key));
}

/// The cost of every fault of the case, in a full dump and in one of private memory.
#[test]
fn every_fault_costs_itself_and_is_said() {
    let load = || Scenario::load(case("every-fault")).unwrap();
    let (report, bytes) = dumped(&mut load(), HEAP_DUMP | 0x4);
    let subjects: Vec<_> = missing(&report).into_iter().map(|(subject, _)| subject).collect();
    for expected in [
        Subject::Module(0x7000_0000_0000),
        Subject::Module(0x7000_0001_0000),
        Subject::Thread(51),
        Subject::Thread(52),
        Subject::Stream("HandleData"),
        page(0x7fff_0000_2000),
        page(0x10_0000_4000),
    ] {
        assert!(
            subjects.contains(&expected),
            "{expected} is not said to be missing: {subjects:?}"
        );
    }
    assert_eq!(subjects.len(), 7, "{subjects:?}");
    let dump = Dump::from_bytes(bytes).unwrap();
    assert_eq!(
        dump.threads()
            .unwrap()
            .iter()
            .map(|thread| thread.id)
            .collect::<Vec<_>>(),
        [50, 52]
    );
    assert!(
        dump.has_memory(0x10_0000_8000, 0x1000).unwrap(),
        "what fails once is read again"
    );
    let violations = check_with(&dump, CheckOptions::default()).unwrap();
    assert!(
        violations.iter().all(|found| found.severity != Level::Error),
        "{violations:#?}"
    );

    let error = try_dump(&mut Scenario::load(case("refused")).unwrap(), 0, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot suspend process 1000: another debugger traces it"
    );
}

#[test]
fn the_command_line_dumps_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    let run = |scenario: &PathBuf, output: &str| {
        let output = folder.path().join(output);
        let status = Command::new(env!("CARGO_BIN_EXE_dumpwright"))
            .args(["dump", "--json", "--type", "mini", "--scenario"])
            .arg(scenario)
            .arg("-o")
            .arg(&output)
            .output()
            .unwrap();
        (status, std::fs::read(output).ok())
    };
    let (first, bytes) = run(&case("windows-five-threads"), "one.dmp");
    assert_eq!(
        first.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let result: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(
        (&result["threads"], &result["hold"]),
        (&5.into(), &"simulated".into())
    );
    let expected = dumped(&mut Scenario::load(case("windows-five-threads")).unwrap(), 0x1005).1;
    assert!(
        bytes.unwrap() == expected,
        "the same bytes as through the library"
    );

    let (partial, bytes) = run(&case("every-fault"), "two.dmp");
    assert_eq!((partial.status.code(), bytes.is_some()), (Some(3), true));
    let wrong = folder.path().join("wrong.toml");
    std::fs::write(&wrong, "[system]\nplatfrom = \"linux\"\n").unwrap();
    let (refused, bytes) = run(&wrong, "three.dmp");
    assert_eq!((refused.status.code(), bytes), (Some(1), None));
    let said =
        String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(
        said.contains("wrong.toml:2:1: a system has no key") && said.contains("platform"),
        "{said}"
    );
}
