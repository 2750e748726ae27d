//! Scenarios: what their keys put into a dump, what their faults do to it, and what is said about mistakes.
//!
//! Would catch: a key without effect or with a wrong one, a fault that the engine does not meet or that costs more than
//! itself, a dump of a simulated Windows or Linux process that readers refuse, a scenario that gives other bytes
//! the next time, a mistake that is told at the wrong place or not at all, a text that makes the parser panic.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use dumpwright::callback::Hresult;
use dumpwright::read::{CheckOptions, CodeView, Dump, Platform, Severity, check_with};
use dumpwright::target::{AddressRange, FaultKind, Need, Subject, Target};
use dumpwright::{Ask, Callback, DumpType, Error, Report, Request, dump};
use dumpwright_sim::{Scenario, ScenarioError, SimProcess};
use minidump::{
    Minidump, MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpModuleList, MinidumpSystemInfo,
    MinidumpThreadList, MinidumpThreadNames, MinidumpUnloadedModuleList, Module,
};
use proptest::prelude::*;

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/cases")
        .join(name)
        .join("scenario.toml")
}

fn parse(text: &str) -> SimProcess {
    Scenario::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn mistake(text: &str) -> ScenarioError {
    Scenario::parse(text, "test.toml").expect_err(text)
}

fn try_dump(
    process: &mut SimProcess,
    dump_type: u32,
    callback: Option<&mut dyn Callback>,
) -> Result<(Report, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let request = Request::new(DumpType::from_bits_retain(dump_type));
    let report = dump(process, &request, callback, &mut bytes)?;
    Ok((report, bytes))
}

fn dumped(process: &mut SimProcess, dump_type: u32) -> (Report, Vec<u8>) {
    try_dump(process, dump_type, None).expect("a dump")
}

/// The dump of a text, as our reader sees it.
fn read(text: &str, dump_type: u32) -> Dump {
    Dump::from_bytes(dumped(&mut parse(text), dump_type).1).expect("a minidump")
}

fn missing(report: &Report) -> Vec<(Subject, String)> {
    report
        .missing()
        .map(|remark| (remark.subject.clone(), remark.reason.clone()))
        .collect()
}

/// A scenario with a stack, a heap, a module, and whatever is added.
fn with(more: &str) -> String {
    format!(
        r#"
        [system]
        platform = "linux"
        [[module]]
        path = "/opt/program"
        base = 0x40_0000
        size = 0x4000
        build_id = "00112233445566778899aabbccddeeff00112233"
        sections = [{{ offset = 0x1000, size = 0x2000, protect = "r-x", content = "counting" }}]
        [[memory]]
        name = "heap"
        base = 0x10_0000_0000
        size = 0x8000
        content = "counting"
        [[memory]]
        name = "stack"
        base = 0x7fff_0000_0000
        size = 0x4000
        content = "counting"
        [[thread]]
        id = 7
        registers = {{ rip = "program+0x1100", rsp = "stack+0x1000" }}
        {more}
        "#
    )
}

const HEAP: u64 = 0x10_0000_0000;
const STACK: u64 = 0x7fff_0000_0000;
const HEAP_DUMP: u32 = 0x200;
const FULL: u32 = 0x802;

fn page(start: u64) -> Subject {
    Subject::Memory(AddressRange::at(start, 0x1000).unwrap())
}

// The cases.

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
                .filter(|found| found.severity == Severity::Error)
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
    // A stack reaches to where the thread's own block says that it does.
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
    // The signal handler's stack and the interrupted one.
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

/// Every fault of the case, by what it costs in a full dump and in one of private memory.
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
        violations.iter().all(|found| found.severity != Severity::Error),
        "{violations:#?}"
    );

    let error = try_dump(&mut Scenario::load(case("refused")).unwrap(), 0, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot hold process 1000: another debugger holds it"
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

// The keys.

#[test]
fn process_and_system() {
    let dump = read(
        r#"
        [process]
        id = 77
        clock = 1234567
        times = { created = 1000, user = 20, kernel = 3 }
        power = { max = 3000, current = 2000, limit = 2500, max_idle_state = 2, idle_state = 1 }
        [process.time_zone]
        id = 2
        bias = -60
        name = "CET"
        standard = { begins = [0, 10, 0, 5, 3, 0, 0, 0], bias = 5 }
        daylight = { name = "CEST", begins = [0, 3, 0, 5, 2, 0, 0, 1], bias = -55 }
        [system]
        platform = "linux"
        version = "5.4.3"
        version_text = "Linux 5.4.3"
        product_type = 3
        suite_mask = 0x110
        build = "a build"
        processors = 3
        level = 25
        revision = 0x0102
        page_size = 0x4000
        cpuid = { vendor = "AuthenticAMD", version = 1, features = 2, amd_features = 3 }
        [[memory]]
        base = 0x4000
        size = 0x4000
        [[thread]]
        id = 1
        registers = { rip = 0, rsp = 0x5000 }
        "#,
        0,
    );
    assert_eq!(dump.header().time, 1_234_567);
    let misc = dump.misc_info().unwrap().unwrap();
    assert_eq!(misc.process_id, Some(77));
    assert_eq!(
        (
            misc.process_create_time,
            misc.process_user_time,
            misc.process_kernel_time
        ),
        (Some(1000), Some(20), Some(3))
    );
    let power = misc.processor_power.unwrap();
    assert_eq!(
        (power.max_mhz, power.current_mhz, power.mhz_limit),
        (3000, 2000, 2500)
    );
    assert_eq!((power.max_idle_state, power.current_idle_state), (2, 1));
    let zone = misc.time_zone.unwrap();
    assert_eq!(
        (
            zone.id,
            zone.bias,
            &zone.standard_name[..],
            &zone.daylight_name[..]
        ),
        (2, -60, "CET", "CEST")
    );
    // The dates and biases, where TIME_ZONE_INFORMATION has them: 60 is its place in the stream.
    let bytes = dump.stream_bytes(15).unwrap().unwrap();
    let words = |at: usize| -> Vec<u16> {
        let words = bytes[60 + at..60 + at + 20].chunks(2);
        words.map(|word| u16::from_le_bytes([word[0], word[1]])).collect()
    };
    assert_eq!(words(68), [0, 10, 0, 5, 3, 0, 0, 0, 5, 0]);
    assert_eq!(
        words(152),
        [0, 3, 0, 5, 2, 0, 0, 1, (-55_i16).cast_unsigned(), 0xffff]
    );
    assert_eq!(misc.build_string.as_deref(), Some("a build"));
    let system = dump.system_info().unwrap().unwrap();
    assert_eq!(
        (system.major_version, system.minor_version, system.build_number),
        (5, 4, 3)
    );
    assert_eq!(system.csd_version.as_deref(), Some("Linux 5.4.3"));
    assert_eq!((system.product_type, system.suite_mask), (3, 0x110));
    assert_eq!(
        (
            system.number_of_processors,
            system.processor_level,
            system.processor_revision
        ),
        (3, 25, 0x0102)
    );
    assert_eq!(system.cpu_vendor(), Some("AuthenticAMD"));
    assert_eq!(system.cpu_information[12..16], 1_u32.to_le_bytes());

    let dump = read(
        "[system]\nplatform = \"windows\"\ncpu = \"amd64\"\nfeatures = [0x1122, 3]\n",
        0,
    );
    let system = dump.system_info().unwrap().unwrap();
    assert!(
        matches!(system.platform, Platform::Windows),
        "{:?}",
        system.platform
    );
    assert_eq!(system.cpu_information[..8], 0x1122_u64.to_le_bytes());
}

#[test]
fn a_snapshot_may_be_announced_as_one() {
    let mut announce = |ask: Ask<'_>| {
        if let Ask::IsProcessSnapshot { status } = ask {
            *status = Hresult::S_FALSE;
        }
        true
    };
    let text = with("[process]\nsnapshot = true\n");
    assert!(try_dump(&mut parse(&text), 0, Some(&mut announce)).is_ok());
    let error = try_dump(&mut parse(&with("")), 0, Some(&mut announce)).unwrap_err();
    assert_eq!(error.hresult(), Hresult(0x8007_007F));
}

#[test]
fn memory_has_the_protection_and_the_contents_that_are_said() {
    let text = with(
        r#"
        [[memory]]
        name = "words"
        base = 0x1000
        size = 0x1000
        protect = "PAGE_READWRITE | PAGE_NOCACHE"
        content = { words = ["heap+8", 3, "words-1"] }
        [[memory]]
        name = "text"
        base = 0x3000
        size = 0x3000
        kind = "mapped"
        protect = "r--"
        allocation = 0x2000
        allocation_protect = "PAGE_WRITECOPY"
        content = { text = "häh" }
        put = [{ offset = 0x1ffe, hex = "de ad be ef" }, { offset = 0x1fff, text = "!" }]
        parts = [{ offset = 0x1000, size = 0x1000, protect = "PAGE_EXECUTE_READ", exclusion = "dont-dump" }]
        [[memory]]
        base = 0x8000
        size = 0x1000
        content = { fill = 0x5A }
        [[memory]]
        base = 0x9000
        size = 0x1000
        content = "untouched"
        [[memory]]
        base = 0xA000
        size = 0x1000
        content = { pattern = 5 }
        [[memory]]
        base = 0xB000
        size = 0x1000
        state = "reserve"
        [[memory]]
        base = 0xC000
        size = 0x1000
        exclusion = "device"
        [[memory]]
        base = 0xD000
        size = 0x1000
        kind = "image"
        protect = 0x80
        "#,
    );
    let dump = read(&text, FULL);
    let at = |address, len| dump.memory(address, len).unwrap();
    assert_eq!(
        at(0x1000, 24).unwrap(),
        [HEAP + 8, 3, 0xFFF].map(u64::to_le_bytes).concat()
    );
    assert_eq!(at(0x3000, 5).unwrap(), b"h\xc3\xa4h\0");
    assert_eq!(
        at(0x5000, 2).unwrap(),
        [0xbe, 0xef],
        "the first half lies in the part that is left out"
    );
    assert_eq!(at(0x4000, 1), None);
    assert_eq!(at(0x8000, 0x1000).unwrap(), [0x5A; 0x1000]);
    assert_eq!(at(0x9000, 0x1000).unwrap(), [0; 0x1000]);
    assert_ne!(at(0xA000, 8).unwrap(), [0; 8]);
    assert_eq!(at(0xB000, 1), None);
    assert_eq!(at(0xC000, 1), None);

    let map: BTreeMap<_, _> = dump
        .memory_regions()
        .unwrap()
        .into_iter()
        .map(|r| {
            (
                r.base,
                (
                    r.size,
                    r.allocation_base,
                    r.allocation_protect,
                    r.state,
                    r.protect,
                    r.kind,
                ),
            )
        })
        .collect();
    assert_eq!(map[&0x1000], (0x1000, 0x1000, 0x204, 0x1000, 0x204, 0x2_0000));
    assert_eq!(map[&0x3000], (0x1000, 0x2000, 8, 0x1000, 2, 0x4_0000));
    assert_eq!(map[&0x4000], (0x1000, 0x2000, 8, 0x1000, 0x20, 0x4_0000));
    assert_eq!(map[&0x5000], (0x1000, 0x2000, 8, 0x1000, 2, 0x4_0000));
    assert_eq!(map[&0xB000], (0x1000, 0xB000, 4, 0x2000, 0, 0x2_0000));
    assert_eq!(map[&0xD000], (0x1000, 0xD000, 0x80, 0x1000, 0x80, 0x100_0000));
}

#[test]
fn protection_keeps_a_dumper_out_unless_the_system_lets_it_in() {
    let text = with(
        r#"
        [[memory]]
        name = "odd"
        base = 0x10000
        size = 0x4000
        content = "counting"
        parts = [
            { offset = 0x0, size = 0x1000, protect = "---" },
            { offset = 0x1000, size = 0x1000, protect = "rw- | PAGE_GUARD" },
            { offset = 0x2000, size = 0x1000, state = "reserve" },
        ]
        "#,
    );
    let readable = |text: &str| {
        let mut process = parse(text);
        let mut still = process.freeze(&Need::default()).unwrap();
        [0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000].map(|at| still.read(at, &mut [0; 8]).is_ok())
    };
    assert_eq!(readable(&text), [false, false, false, true]);
    let open = text.replace("\"linux\"", "\"linux\"\nreads_any_protection = true");
    assert_eq!(readable(&open), [true; 4]);
}

#[test]
fn modules_have_the_records_that_are_said() {
    let text = with(
        r#"
        [[module]]
        name = "two"
        path = 'C:\a\two.dll'
        base = 0x1000_0000
        size = 0x3000
        checksum = 1
        timestamp = 2
        version = "1.2.3.4"
        pdb = { name = "two.pdb", guid = "{01234567-89ab-cdef-0123-456789abcdef}", age = 10 }
        misc = "01 02 03 04"
        [[module]]
        path = "/three"
        base = 0x1000_2000
        size = 0x3000
        may_overlap = true
        codeview = "4c4570 42 aa"
        [[symbol]]
        name = "inside"
        at = "two+0x100"
        size = 0x10
        "#,
    );
    let process = parse(&text);
    assert_eq!(
        process.symbols().describe(0x1000_0108).as_deref(),
        Some("inside+0x8")
    );
    assert_eq!(process.symbols().resolve("three+1"), Ok(0x1000_2001));
    assert_eq!(process.modules[1].misc_record, [1, 2, 3, 4]);
    let modules = read(&text, 0).modules().unwrap();
    let two = &modules[1];
    assert_eq!(
        (two.name.as_deref(), two.base, two.size),
        (Some(r"C:\a\two.dll"), 0x1000_0000, 0x3000)
    );
    assert_eq!(
        (two.checksum, two.timestamp, two.version.as_deref()),
        (1, 2, Some("1.2.3.4"))
    );
    assert_eq!(two.debug_id.as_deref(), Some("0123456789ABCDEF0123456789ABCDEFa"));
    assert!(
        matches!(&two.code_view, Some(CodeView::Pdb70 { .. })),
        "{:?}",
        two.code_view
    );
    assert!(
        matches!(&modules[2].code_view, Some(CodeView::Elf { .. })),
        "{:?}",
        modules[2].code_view
    );
    assert_eq!(modules[0].name.as_deref(), Some("/opt/program"));
    // Windows packs each number into half a word.
    let windows = with("").replace("\"linux\"", "\"windows\"");
    let process = parse(&windows.replace(
        "build_id",
        "version = \"1.2.3.4\"\nproduct_version = \"5.6\"\nbuild_id",
    ));
    let words = process.modules[0].version.unwrap();
    assert_eq!(
        words[..6],
        [0xFEEF_04BD, 0x1_0000, 0x1_0002, 0x3_0004, 0x5_0006, 0]
    );
}

#[test]
fn threads_have_what_is_said() {
    let text = with(
        r#"
        [[thread]]
        id = 8
        name = "wörker"
        teb = "heap+0x10"
        stack = { limit = "heap", base = "heap+0x3000" }
        priority = -15
        priority_class = 0x40
        suspend_count = 2
        times = { created = 1, kernel = 2, user = 3 }
        start_address = "program+0x1000"
        affinity = 0xF
        interrupted = ["stack+0x3f00"]
        [thread.registers]
        rip = "program+0x1200"
        rsp = "heap+0x2000"
        rax = 0xffff_ffff_ffff_ffff
        r15 = "stack+1"
        eflags = 0x202
        cs = 0x23
        gs = 7
        dr0 = "heap+0x20"
        mxcsr = 0x1fa0
        xmm15 = "000102030405060708090a0b0c0d0e0f"
        [[thread]]
        id = 9
        stack = "heap"
        stack_outside_memory = true
        registers = { rip = 0, rsp = 0x10 }
        "#,
    );
    let dump = read(&text, 0x1000);
    let threads = dump.threads().unwrap();
    let thread = &threads[1];
    assert_eq!(
        (thread.id, thread.name.as_deref(), thread.teb),
        (8, Some("wörker"), HEAP + 0x10)
    );
    assert_eq!((thread.stack.start, thread.stack.size), (HEAP + 0x2000, 0x1000));
    assert_eq!(
        (thread.priority, thread.priority_class, thread.suspend_count),
        (-15, 0x40, 2)
    );
    let info = thread.info.as_ref().unwrap();
    assert_eq!(
        (info.create_time, info.kernel_time, info.user_time, info.affinity),
        (1, 2, 3, 0xF)
    );
    assert_eq!(info.start_address, 0x40_1000);
    assert!(
        dump.has_memory(STACK + 0x3f00, 0x100).unwrap(),
        "the interrupted stack"
    );
    let at = usize::try_from(thread.context_location.rva).unwrap();
    let context = &dumped(&mut parse(&text), 0x1000).1[at..at + 1232];
    // Places as in winnt.h.
    assert_eq!(
        context[0x30..0x34],
        0x10_001F_u32.to_le_bytes(),
        "all of ContextFlags"
    );
    assert_eq!(context[0x34..0x38], 0x1fa0_u32.to_le_bytes());
    assert_eq!(
        (context[0x38], context[0x40], context[0x44..0x48].to_vec()),
        (0x23, 7, vec![2, 2, 0, 0])
    );
    assert_eq!(context[0x48..0x50], (HEAP + 0x20).to_le_bytes(), "Dr0");
    assert_eq!(context[0x78..0x80], [0xFF; 8], "Rax");
    assert_eq!(context[0xF0..0xF8], (STACK + 1).to_le_bytes(), "R15");
    assert_eq!(context[0xF8..0x100], 0x40_1200_u64.to_le_bytes(), "Rip");
    assert_eq!(context[0x290..0x2A0], *(0..16).collect::<Vec<u8>>(), "Xmm15");
    // After an overflow the stack pointer lies outside, and the stack is the one that is named.
    assert_eq!((threads[2].stack.start, threads[2].stack.size), (HEAP, 0x8000));
}

#[test]
fn handles_and_unloaded_modules_are_listed_on_request() {
    let text = with(
        r#"
        [[handle]]
        number = 9
        type = "Event"
        [[handle]]
        number = 4
        type = "File"
        object = "/dev/null"
        attributes = 1
        access = 2
        handle_count = 3
        pointer_count = 4
        [[unloaded_module]]
        name = "gone.so"
        base = 0x9000_0000
        size = 0x1000
        checksum = 5
        timestamp = 6
        "#,
    );
    let dump = read(&text, 0x24);
    let handles = dump.handles().unwrap();
    assert_eq!(
        handles.iter().map(|handle| handle.handle).collect::<Vec<_>>(),
        [4, 9]
    );
    let file = &handles[0];
    assert_eq!(
        (file.type_name.as_deref(), file.object_name.as_deref()),
        (Some("File"), Some("/dev/null"))
    );
    assert_eq!(
        (
            file.attributes,
            file.granted_access,
            file.handle_count,
            file.pointer_count
        ),
        (1, 2, 3, 4)
    );
    let gone = &dump.unloaded_modules().unwrap()[0];
    assert_eq!(
        (gone.name.as_deref(), gone.base, gone.size),
        (Some("gone.so"), 0x9000_0000, 0x1000)
    );
    assert_eq!((gone.checksum, gone.timestamp), (5, 6));
    let plain = read(&text, 0);
    assert!(plain.handles().unwrap().is_empty() && plain.unloaded_modules().unwrap().is_empty());
}

// The faults.

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

    // The heap is read once whole, which fails; then the page once more by itself.
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
fn promised_memory_that_fails_is_marked() {
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
            let regions = still.regions().unwrap().into_iter();
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

// Mistakes.

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_name() {
    for (text, place, words) in [
        ("", (1, 1), "a scenario needs \"system\""),
        (
            "[sytem]\n",
            (1, 2),
            "a scenario has no key \"sytem\"; did you mean \"system\"?",
        ),
        ("[system]\nplatform = \"linux\n", (2, 18), "basic string"),
        (
            "[system]\nplatform = \"linux\"\nplatform = \"linux\"\n",
            (3, 1),
            "duplicate key",
        ),
        (
            "[system]\nplatform = \"windoze\"\n",
            (2, 12),
            "\"linux\" or \"windows\", found \"windoze\"",
        ),
        (
            "[system]\nplatform = 7\n",
            (2, 12),
            "expected a string, found the integer 7",
        ),
        (
            "system = 3\n",
            (1, 10),
            "expected a table (a system), found the integer 3",
        ),
        (
            "[system]\nplatform = \"linux\"\ncpu = \"amd46\"\n",
            (3, 7),
            "expected \"amd64\" or \"x86\" or \"arm\" or \"arm64\", found \"amd46\"; did you mean \"amd64\"?",
        ),
        (
            "[system]\nplatform = \"linux\"\nversion = \"6.x\"\n",
            (3, 11),
            "numbers with dots",
        ),
        (
            "[system]\nplatform = \"linux\"\npage_size = 5000\n",
            (3, 13),
            "a power of two",
        ),
        (
            "[system]\nplatform = \"linux\"\ncpuid = {vendor = \"me\"}\n",
            (3, 19),
            "12 letters",
        ),
        (
            "[system]\nplatform = \"linux\"\nfeatures = [1]\n",
            (3, 12),
            "two numbers",
        ),
        ("[system]\nplatform = \"windows\"\n[linux]\n", (3, 1), "\"linux\""),
        (
            "[process]\nid = 0x1_0000_0000\n[system]\nplatform = \"linux\"",
            (2, 6),
            "from 0 to 0xffff_ffff",
        ),
        (
            "[process]\nid = -1\n[system]\nplatform = \"linux\"",
            (2, 6),
            "from 0 to",
        ),
    ] {
        let error = mistake(text);
        assert_eq!((error.line, error.column), place, "{error}\n{text}");
        assert!(error.to_string().contains(words), "{error}\n{text}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("test.toml:{}:{}: ", place.0, place.1)),
            "{error}"
        );
    }
}

/// Each is put behind the good scenario of `with`; the place is that of the mark.
#[test]
fn what_no_process_can_be_is_refused_where_it_stands() {
    for (text, words) in [
        (
            "[[memory]]\nbase = §0x1001\nsize = 0x1000",
            "multiple of the page size, 0x1000",
        ),
        ("[[token]]\nuser = §\"S-1-5-x\"", "no security identifier"),
        (
            "[[token]]\nuser = \"S-1-5-18\"\nstatistics = §\"00\"",
            "expected 56 bytes, found 1",
        ),
        (
            "[[token]]\nuser = \"S-1-5-18\"\n§sesion = 1",
            "did you mean \"session\"?",
        ),
        (
            "[[handle]]\nnumber = 1\ntype = \"Event\"\ninfo = [§{ event = \"00\", mutant = \"00\" }]",
            "expected one of event, mutant",
        ),
        (
            "[[handle]]\nnumber = 1\ntype = \"Process\"\ninfo = [{ process = §{} }]",
            "pairs of hexadecimal digits",
        ),
        (
            "[[handle_operation]]\nhandle = 1\noperation = §\"opened\"",
            "did you mean \"open\"?",
        ),
        (
            "[[function_table]]\nbase = 0x1000\nentries = [§[1, 2]]",
            "[begin, end, unwind_info]",
        ),
        (
            "[system_memory]\nbasic = { page_size = §0x1_0000_0000 }",
            "from 0 to 0xffff_ffff",
        ),
        (
            "[vm_counters]\nvirtual_size = { §virtual_sise = 1 }",
            "did you mean \"virtual_size\"?",
        ),
        (
            "[[thread]]\nid = 9\nregisters = { rip = 1, rsp = \"stack+8\" }\nbacking_store = §0x1000",
            "the name of a block",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = §0x1001",
            "multiple of the page size, 0x1000",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = §0",
            "no range of an address space",
        ),
        (
            "[[memory]]\nbase = 0xffff_ffff_ffff_f000\nsize = §0x1000",
            "no range of an address space",
        ),
        (
            "§[[memory]]\nbase = \"heap+0x1000\"\nsize = 0x1000",
            "overlaps 0x1000000000..0x1000008000, which line 10 has",
        ),
        (
            "§[[memory]]\nbase = 0x40_1000\nsize = 0x1000",
            "overlaps 0x401000..0x403000",
        ),
        (
            "[[memory]]\nname = §\"heap\"\nbase = 0x1000\nsize = 0x1000",
            "\"heap\" is the name of 0x1000000000",
        ),
        (
            "[[memory]]\nname = §\"\"\nbase = 0x1000\nsize = 0x1000",
            "letters",
        ),
        (
            "[[memory]]\nbase = §\"heep+1\"\nsize = 0x1000",
            "nothing is called \"heep\"",
        ),
        (
            "[[memory]]\nbase = §\"heep+1\"\nsize = 0x1000",
            "did you mean \"heap\"?",
        ),
        (
            "[[memory]]\nbase = §\"heap-0x1000000001\"\nsize = 0x1000",
            "lies outside the address space",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"rq-\"",
            "\"rq-\" is no protection",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"PAGE_READWRIT\"",
            "did you mean \"PAGE_READWRITE\"?",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"rw- r--\"",
            "found two",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"PAGE_GUARD\"",
            "expected a protection",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = §\"countin\"",
            "did you mean \"counting\"?",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = §{ fill = 1, text = \"\" }",
            "exclude each other",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = §{ }",
            "expected one of fill",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = { hex = §\"abc\" }",
            "pairs of hexadecimal digits",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = { fill = §256 }",
            "from 0 to 255",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nput = [§{ offset = 0xfff, text = \"ab\" }]",
            "not a part of the memory",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nparts = [§{ offset = 0x1000, size = 0x1000 }]",
            "not a part of the block",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x3000\nparts = [{ offset = 0, size = 0x2000 }, §{ offset = 0x1000, size = 0x1000 }]",
            "overlaps another",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nallocation = §0x2000",
            "behind its memory",
        ),
        (
            "§[[module]]\npath = \"/b\"\nbase = \"program+0x1000\"\nsize = 0x1000",
            "may_overlap = true",
        ),
        (
            "§[[module]]\npath = \"/b\"\nbase = \"program\"\nsize = 0x1000\nmay_overlap = true",
            "no two begin at the same address",
        ),
        (
            "§[[module]]\nbase = 0x1000\nsize = 0x1000",
            "a module needs \"path\"",
        ),
        (
            "§[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\nbuild_id = \"00\"\npdb = {}",
            "exclude each other",
        ),
        (
            "[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\npdb = { name = \"b\", guid = §\"0123\" }",
            "expected a GUID",
        ),
        (
            "[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\nsections = [§{ offset = 0, size = 0x2000 }]",
            "not a part of the module",
        ),
        (
            "[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\nproduct_version = §\"1\"",
            "one version only",
        ),
        (
            "[[thread]]\nid = §7\nregisters = { rip = 0, rsp = \"stack\" }",
            "another thread has this id",
        ),
        (
            "[[memory]]\nname = \"r\"\nbase = 0x1000\nsize = 0x1000\nstate = \"reserve\"\n\
             [[thread]]\nid = 8\nstack = \"r\"\nregisters = §{ rip = 0, rsp = \"r\" }",
            "no memory is there",
        ),
        (
            "[[thread]]\nid = 8\nregisters = §{ rip = 0, rsp = 0x10 }",
            "stack_outside_memory = true",
        ),
        (
            "[[thread]]\nid = 8\nregisters = { rip = 0, §rps = 0x10 }",
            "did you mean \"rsp\"?",
        ),
        (
            "[[thread]]\nid = 8\nregisters = §{ rsp = \"stack\" }",
            "registers needs \"rip\"",
        ),
        (
            "[[thread]]\nid = 8\nstack = §\"heap\"\nregisters = { rip = 0, rsp = \"stack\" }",
            "outside 0x1000000000..0x1000008000",
        ),
        (
            "[[thread]]\nid = 8\nstack = { limit = 5, base = §5 }\nregisters = { rip = 0, rsp = \"stack\" }",
            "above its limit",
        ),
        (
            "[[thread]]\nid = 8\ninterrupted = [§3]\nregisters = { rip = 0, rsp = \"stack\" }",
            "no memory is at 0x3",
        ),
        (
            "[[thread]]\nid = 8\npriority = §16\nregisters = { rip = 0, rsp = \"stack\" }",
            "from -15 to 15",
        ),
        (
            "[[thread]]\nid = 8\nregisters = { rip = 0, rsp = \"stack\", xmm0 = §\"00\" }",
            "16 bytes",
        ),
        (
            "[[handle]]\nnumber = 1\ntype = \"a\"\n[[handle]]\nnumber = §1\ntype = \"b\"",
            "another handle has this number",
        ),
        (
            "[[fault]]\nkind = §\"unreadble\"\nat = \"heap\"",
            "did you mean \"unreadable\"?",
        ),
        (
            "[[fault]]\nkind = \"thread-vanishes\"\n§at = \"heap\"",
            "no key \"at\"",
        ),
        (
            "[[fault]]\nkind = \"thread-vanishes\"\nthread = §8",
            "no thread has the id 8; there are 7",
        ),
        (
            "[[fault]]\nkind = \"unreadable-from\"\nat = \"heap\"\nread = §0",
            "counting begins at 1",
        ),
        (
            "§[[fault]]\nkind = \"unreadable\"\nat = \"heap+1\"",
            "needs \"size\"",
        ),
        (
            "[[fault]]\nkind = \"broken-module-record\"\nmodule = §\"heap\"",
            "no module begins at",
        ),
        (
            "[[fault]]\nkind = \"region-changes\"\nat = §\"heap+0x1000\"\ngone = true",
            "no region begins at",
        ),
        (
            "[[fault]]\nkind = \"region-changes\"\nat = \"heap\"\nnew_size = §0x8000",
            "smaller than the region's",
        ),
        (
            "§[[fault]]\nkind = \"region-changes\"\nat = \"heap\"",
            "changes how?",
        ),
        (
            "[[fault]]\nkind = \"freeze-fails\"\nreason = §\"zombi\"",
            "did you mean \"zombie\"?",
        ),
    ] {
        let marked = with(&format!("\n{text}\n"));
        let mark = marked.find('§').expect("a mark");
        let error = mistake(&marked.replace('§', ""));
        let line = marked[..mark].matches('\n').count() + 1;
        let column = marked[..mark].rsplit('\n').next().unwrap().chars().count() + 1;
        assert_eq!((error.line, error.column), (line, column), "{error}\n{text}");
        assert!(error.message.contains(words), "{error}\n{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_name() {
    let error = Scenario::load("/nonexistent/a.toml").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/a.toml: cannot be read: "),
        "{error}"
    );
}

/// Whatever a scenario became: nothing that a dumper does with it panics. Not dumped, because a scenario
/// may have more memory than a disk.
fn handle(text: &str) {
    let Ok(mut process) = Scenario::parse(text, "test.toml") else {
        return;
    };
    let Ok(mut still) = process.freeze(&Need {
        handles: true,
        ..Need::default()
    }) else {
        return;
    };
    let mut starts = vec![0, 1, u64::MAX - 2];
    for _ in 0..3 {
        starts.extend(
            still
                .regions()
                .into_iter()
                .flatten()
                .map(|region| region.range.start().wrapping_add(0xfff)),
        );
    }
    for id in still.thread_ids().unwrap_or_default() {
        let pointer = still
            .thread(id)
            .ok()
            .and_then(|thread| thread.stack)
            .map(|stack| stack.pointer);
        starts.extend(pointer);
    }
    for base in still.module_bases().unwrap_or_default() {
        let _ = still.module(base);
    }
    for start in starts {
        let _ = still.read(start, &mut [0; 0x2003]);
        let _ = still.stack_at(7, start);
        if let Some(range) = AddressRange::new(start, start.saturating_add(0x3000)) {
            let extents = still.survey(range);
            assert_eq!(
                extents.iter().map(|extent| extent.range.len()).sum::<u64>(),
                range.len()
            );
        }
    }
    let _ = (
        still.system(),
        still.process(),
        still.handles(),
        still.unloaded_modules(),
        still.linux(),
    );
}

/// Pieces of scenarios, right and wrong ones.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "\"heap\"",
        "\"heap+0x1000\"",
        "\"stack-1\"",
        "\"nothing\"",
        "0",
        "1",
        "0xffff_ffff_ffff_ffff",
        "-1",
        "1.5",
        "true",
        "0x1000",
        "0x7fff_0000_0000",
        "99999999999999999999999",
        "[]",
        "{}",
        "[[1, 2]]",
        "\"rw-\"",
        "\"PAGE_GUARD\"",
        "\"\\u00e9+1\"",
        "{ fill = 1 }",
        "{ words = [\"heap\"] }",
        "[[memory]]\n",
        "[[fault]]\n",
        "[thread]\n",
        "size = ",
        "base = ",
        "at = ",
        "kind = \"short-read\"\n",
        "kind = \"region-changes\"\n",
        "new_size = 0x1000\n",
        "most = 18446744073709551615\n",
        "\n",
        "§",
        "\"",
    ];
    prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => "\\PC{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        handle(&text);
    }

    /// Good scenarios with pieces cut out and others put in.
    #[test]
    fn no_damaged_scenario_makes_anything_panic(
        which in 0..4_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, piece()), 1..6),
    ) {
        let names = ["linux-two-threads", "windows-five-threads", "every-fault", "refused"];
        let mut text: Vec<char> = std::fs::read_to_string(case(names[which])).unwrap().chars().collect();
        for (at, cut, put) in edits {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + cut);
            text.splice(at..end, put.chars());
        }
        handle(&text.into_iter().collect::<String>());
    }

    /// Values of good scenarios exchanged for others.
    #[test]
    fn no_exchanged_value_makes_anything_panic(line in any::<prop::sample::Index>(), value in piece()) {
        let text = std::fs::read_to_string(case("every-fault")).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let candidates: Vec<_> = (0..lines.len()).filter(|index| lines[*index].contains(" = ")).collect();
        let chosen = candidates[line.index(candidates.len())];
        let key = lines[chosen].split(" = ").next().unwrap().to_owned();
        lines[chosen] = format!("{key} = {value}");
        handle(&lines.join("\n"));
    }
}

/// What one processor has and another has not; `§` marks the place.
#[test]
fn mistakes_about_processors_are_told_with_their_place() {
    const STACK: &str = "[[memory]]\nname = \"stack\"\nbase = 0x1000\nsize = 0x1000\n";
    for (system, rest, words) in [
        (
            "cpu = \"x86\"",
            "[[thread]]\nid = 1\nregisters = { §rip = 0, esp = \"stack\" }",
            "did you mean \"eip\"?",
        ),
        (
            "cpu = \"x86\"",
            "[[thread]]\nid = 1\nregisters = §{ eip = 0 }",
            "registers needs \"esp\"",
        ),
        (
            "cpu = \"x86\"",
            "[[thread]]\nid = 1\nregisters = { eip = 0, esp = \"stack\", eax = §0x1_0000_0000 }",
            "0x100000000 does not fit into a register of 32 bits",
        ),
        (
            "cpu = \"arm\"",
            "[[memory]]\nbase = 0xffff_f000\nsize = §0x2000",
            "no range of a 32-bit address space begins at 0xfffff000",
        ),
        (
            "cpu = \"arm\"",
            "[[memory]]\nbase = 0x8000\nsize = 0x1000\ncontent = { words = [1, §0x1_2345_6789] }",
            "0x123456789 does not fit into a word of 4 bytes",
        ),
        (
            "cpu = \"arm\"",
            "[[thread]]\nid = 1\nregisters = §{ pc = 0, sp = 3 }",
            "sp is 0x3, and no memory is there",
        ),
        (
            "cpu = \"arm64\"",
            "[[thread]]\nid = 1\nregisters = { pc = 0, sp = \"stack\", v31 = §\"00\" }",
            "16 bytes",
        ),
        (
            "cpu = \"arm64\"",
            "[[thread]]\nid = 1\nregisters = { pc = 0, sp = \"stack\", §x29 = 1 }",
            "did you mean",
        ),
        (
            "cpu = \"arm64\"\ncpuid = §{ vendor = \"GenuineIntel\" }",
            "",
            "dumps of arm64 have no place for \"cpuid\"",
        ),
        (
            "arm_cpu = §{ hwcaps = 1 }",
            "",
            "dumps of amd64 have no place for \"arm_cpu\"",
        ),
        (
            "cpu = \"x86\"\nfeatures = §[1, 2]",
            "",
            "dumps of x86 have no place for \"features\"",
        ),
        (
            "cpu = \"arm64\"\nextended_state = §\"avx\"",
            "",
            "arm64 has no extended state here",
        ),
        ("extended_state = §\"avx2\"", "", "did you mean \"avx\"?"),
        (
            "",
            "[[thread]]\nid = 1\nregisters = { rip = 0, rsp = \"stack\", ymm0 = §\"00\" }",
            "ymm0 needs a system with extended_state = \"avx\" or \"avx512\"",
        ),
        (
            "extended_state = \"avx\"",
            "[[thread]]\nid = 1\nregisters = { rip = 0, rsp = \"stack\", k1 = §\"00\" }",
            "k1 needs a system with extended_state = \"avx512\"",
        ),
    ] {
        let marked = format!("[system]\nplatform = \"linux\"\n{system}\n{STACK}{rest}\n");
        let mark = marked.find('§').expect("a place is marked");
        let line = marked[..mark].matches('\n').count() + 1;
        let column = marked[..mark].rsplit('\n').next().unwrap().chars().count() + 1;
        let text = marked.replace('§', "");
        let error = mistake(&text);
        assert_eq!((error.line, error.column), (line, column), "{error}\n{text}");
        assert!(error.to_string().contains(words), "{error}\n{text}");
    }
    let windows = mistake("[system]\nplatform = \"windows\"\ncpu = \"arm\"\n");
    assert_eq!((windows.line, windows.column), (3, 7), "{windows}");
    assert!(windows.to_string().contains("for Linux only"), "{windows}");
}
