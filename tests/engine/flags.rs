//! Dump types on simulated processes, exact to the byte: filters, Windows' own data, broken
//! headers, private memory.
//!
//! Would catch: a word that a filter keeps or removes wrongly; a register or an exception that is
//! not filtered; a block of Windows' process data that is missing or was not requested; a module
//! with broken headers that counts as complete; an unreadable page that does not fail a dump whose
//! type requires this.

use dumpwright::callback::Hresult;
use dumpwright::read::{self, Dump};
use dumpwright::target::protect::{EXECUTE_READ, EXECUTE_READWRITE, READONLY, READWRITE};
use dumpwright::target::{Amd64, Exception, Platform, RegionKind, Subject, protect};
use dumpwright::{DumpType, Error, Profile, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};

use crate::support::simulated::{CODE, HEAP, OTHER_STACK, STACK};

const GENERATED: u64 = 0x20_0000_0000;
/// The base of the Windows program.
const PROGRAM: u64 = 0x1_4000_0000;
const SECRET: u64 = 0x5EC2_E75E_C2E7_5EC2;

/// The words on the stack, from the stack pointer on.
const WORDS: [u64; 11] = [
    CODE + 0x123,
    STACK + 0xF80,
    OTHER_STACK + 0xF80,
    GENERATED + 0x10,
    // Pointers to a text, to an object with a table of functions, and to an object whose first word
    // is an address in a stack.
    HEAP,
    HEAP + 0x100,
    HEAP + 0x200,
    SECRET,
    0,
    // Below the stack pointer, in the unused part.
    STACK + 0x100,
    // Not mapped.
    0x30_0000_0000,
];

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn process() -> SimProcess {
    let mut stack = vec![0; 0xE00];
    stack.extend(bytes(&WORDS));
    let mut heap = b"the words that must not leave".to_vec();
    heap.resize(0x300, 0);
    heap[0x100..0x110].copy_from_slice(&bytes(&[CODE + 0x2000, SECRET]));
    heap[0x200..0x210].copy_from_slice(&bytes(&[STACK + 0xF00, SECRET]));
    let mut process = SimProcess::new(1000)
        .thread(7, STACK + 0xE00, CODE + 0x1000)
        .thread(8, OTHER_STACK + 0xE00, CODE + 0x1800)
        .module(CODE, 0x8000, "/opt/program", &[0xAB; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Fill(0xCC))
        .memory(HEAP, 0x1000, READWRITE, Contents::Bytes(heap))
        .memory(GENERATED, 0x1000, EXECUTE_READWRITE, Contents::Fill(0x90))
        .memory(STACK, 0x1000, READWRITE, Contents::Bytes(stack))
        .memory(OTHER_STACK, 0x1000, READWRITE, Contents::Fill(0));
    process.threads[0].context = Some(registers(STACK + 0xE00, CODE + 0x1000).to_context());
    process
}

fn registers(rsp: u64, rip: u64) -> Amd64 {
    Amd64 {
        rax: SECRET,
        rbx: HEAP + 0x100,
        rcx: HEAP,
        rbp: STACK + 0xF80,
        r12: CODE + 0x44,
        rsp,
        rip,
        eflags: 0x246,
        fxsave: Some(Box::new([0x5E; 512])),
        ..Amd64::default()
    }
}

fn run(process: &mut SimProcess, profile: Profile, dump_type: u32) -> Result<(Report, Dump), Error> {
    run_request(
        process,
        &Request::new(DumpType::from_bits_retain(dump_type)).profile(profile),
    )
}

fn run_request(process: &mut SimProcess, request: &Request) -> Result<(Report, Dump), Error> {
    let mut bytes = Vec::new();
    let report = dump(process, &request.clone().time(1), None, &mut bytes)?;
    let dump = Dump::from_bytes(bytes).expect("a dump");
    let found = read::check(&dump).expect("it can be checked");
    assert!(found.is_empty() || !report.is_complete(), "{found:#?}");
    Ok((report, dump))
}

fn words(dump: &Dump, at: u64, count: usize) -> Vec<u64> {
    let bytes = dump
        .memory(at, count as u64 * 8)
        .unwrap()
        .expect("it is in the dump");
    bytes
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

fn register(context: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(context[at..at + 8].try_into().unwrap())
}

#[test]
fn filter_memory_keeps_code_and_stacks() {
    let (report, dump) = run(&mut process(), Profile::Documented, 0x8).unwrap();
    let mut expected = WORDS;
    for index in [4, 5, 6, 7, 9, 10] {
        expected[index] = 0;
    }
    assert_eq!(words(&dump, STACK + 0xE00, WORDS.len()), expected);
    assert!(dump.contains_nowhere(&SECRET.to_le_bytes()).unwrap());
    assert!(dump.contains_nowhere(&[0x5E; 8]).unwrap(), "vector registers");
    let reasons: Vec<_> = report
        .left_out()
        .map(|diagnostic| diagnostic.reason.clone())
        .collect();
    assert!(reasons[0].contains("filter-memory: 6 of "), "{reasons:?}");
    assert!(report.is_complete());
    for profile in [Profile::DbgHelp63, Profile::DbgHelp10] {
        let (_, dump) = run(&mut process(), profile, 0x8).unwrap();
        assert_eq!(
            words(&dump, STACK + 0xE00, WORDS.len()),
            WORDS,
            "nothing is filtered"
        );
    }
}

/// As observed with DbgHelp 6.3.9600. Only the profile `documented` recognises generated code.
#[test]
fn triage_keeps_what_points_into_modules_the_own_stack_and_objects() {
    const FILLED: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    for (name, profile) in Profile::all() {
        let (_, dump) = run(&mut process(), profile, 0x10_0000).unwrap();
        let mut expected = WORDS;
        for index in [2, 4, 7, 9, 10] {
            expected[index] = FILLED;
        }
        if profile != Profile::Documented {
            expected[3] = FILLED;
        }
        assert_eq!(words(&dump, STACK + 0xE00, WORDS.len()), expected, "{name}");
        // The first words of objects, without the second ones.
        for (object, first) in [(HEAP + 0x100, CODE + 0x2000), (HEAP + 0x200, STACK + 0xF00)] {
            assert_eq!(words(&dump, object, 1), [first], "{name}");
            assert_eq!(dump.memory(object + 8, 1).unwrap(), None, "{name}");
        }
        assert!(dump.contains_nowhere(&SECRET.to_le_bytes()).unwrap(), "{name}");
        assert!(dump.contains_nowhere(b"the words").unwrap(), "{name}");
        let threads = dump.threads().unwrap();
        let context = threads[0].context.as_ref().unwrap().bytes();
        // Rax, Rbx, Rcx, Rbp, R12, Rsp, Rip, MxCsr, Xmm0.
        assert_eq!(
            [0x78, 0x90, 0x80, 0xA0, 0xD8, 0x98, 0xF8, 0x1A0].map(|at| register(context, at)),
            [
                FILLED,
                HEAP + 0x100,
                FILLED,
                STACK + 0xF80,
                CODE + 0x44,
                STACK + 0xE00,
                CODE + 0x1000,
                FILLED
            ],
            "{name}"
        );
    }
}

#[test]
fn the_registers_of_an_exception_are_filtered_too() {
    for dump_type in [0x8, 0x10_0000] {
        let exception = Exception {
            thread_id: 8,
            code: 11,
            flags: 1,
            record: 0,
            address: 0,
            parameters: Vec::new(),
            context: registers(OTHER_STACK + 0xE00, CODE + 0x1900).to_context(),
        };
        let request = Request::new(DumpType::from_bits_retain(dump_type)).exception(exception);
        let (_, dump) = run_request(&mut process(), &request).unwrap();
        assert!(dump.contains_nowhere(&SECRET.to_le_bytes()).unwrap());
        assert!(dump.contains_nowhere(&[0x5E; 8]).unwrap());
    }
}

/// A Windows process with all blocks that 0x100 includes. Each is filled with a different byte.
fn windows() -> SimProcess {
    let block = |process: SimProcess, at: u64, byte: u8, words: &[(u64, u64)]| {
        let mut process = process.memory(at, 0x4000, READWRITE, Contents::Fill(byte));
        for (offset, word) in words {
            process = process.put(at + offset, word.to_le_bytes().to_vec());
        }
        process
    };
    let mut process = SimProcess::new(1000)
        .thread(7, STACK + 0x100, 0x9_0000_0000)
        .memory(STACK, 0x1000, READWRITE, Contents::Fill(0));
    process.system.platform = Platform::WindowsNt;
    process.threads[0].teb = 0x10_0000;
    process = block(
        process,
        0x10_0000,
        0x01,
        &[(0x58, 0x20_0000), (0x60, 0x30_0000), (0x17C8, 0x40_0000)],
    );
    process = block(process, 0x20_0000, 0x02, &[(8, 0x21_0000)]);
    process = block(process, 0x21_0000, 0x08, &[]);
    process = block(process, 0x30_0000, 0x03, &[(0x20, 0x50_0000)]);
    process = block(process, 0x40_0000, 0x04, &[]);
    let strings: Vec<_> = [0x38, 0x60, 0x70, 0xB0, 0xC0]
        .into_iter()
        .enumerate()
        // Length 0x40, capacity 0x42.
        .flat_map(|(index, at)| [(at, 0x42_0040), (at + 8, 0x60_0000 + index as u64 * 0x200)])
        .chain([(0x80, 0x70_0000)])
        .collect();
    process = block(process, 0x50_0000, 0x05, &strings);
    process = block(process, 0x60_0000, 0x06, &[]);
    process = block(process, 0x70_0000, 0x07, &[]);
    process
        .module(PROGRAM, 0x4000, r"C:\program.exe", &[0xAB; 20])
        .memory(
            PROGRAM,
            0x4000,
            EXECUTE_READ,
            Contents::Bytes(image_with_thread_local_variables()),
        )
}

/// A PE image with thread-local variables at the second place in each thread's array: 0x30 bytes
/// with initial values and 0x10 zeros.
fn image_with_thread_local_variables() -> Vec<u8> {
    let mut image = vec![0; 0x4000];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    // Microsoft's "PE Format": the offset of the signature, the signature, the size of the optional
    // header, PE32+, and 16 directories. The tenth is that of thread-local storage.
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x94, &240_u16.to_le_bytes());
    put(0x98, &0x20b_u16.to_le_bytes());
    put(0x98 + 108, &16_u32.to_le_bytes());
    put(
        0x98 + 112 + 9 * 8,
        &[0x1000_u32, 0x28].map(u32::to_le_bytes).concat(),
    );
    // Initial values at 0x2000, the index at 0x1100, no callbacks.
    put(
        0x1000,
        &bytes(&[PROGRAM + 0x2000, PROGRAM + 0x2030, PROGRAM + 0x1100, 0]),
    );
    put(0x1020, &0x10_u32.to_le_bytes());
    put(0x1100, &1_u32.to_le_bytes());
    image
}

/// Sizes as observed with DbgHelp 6.3.9600 and with the DbgHelp of January 2026. `documented` has
/// the later PEB.
#[test]
fn windows_own_data_comes_in_the_observed_sizes() {
    for (profile, peb, fiber_data, parameters) in [
        (Profile::Documented, 0x7D0, 0x410, 0x410),
        (Profile::DbgHelp63, 0x388, 0x410, 0x410),
        // The data of fibers is longer than the region.
        (Profile::DbgHelp10, 0x7D0, 0x4000, 0x448),
    ] {
        windows_own_data_comes_in_these_sizes(profile, peb, fiber_data, parameters);
    }
}

fn windows_own_data_comes_in_these_sizes(profile: Profile, peb: u64, fiber_data: u64, parameters: u64) {
    let ranges = |dump_type| {
        let (_, dump) = run(&mut windows(), profile, dump_type).unwrap();
        let ranges = dump.memory_ranges().unwrap().into_iter();
        let mut ranges: Vec<_> = ranges.map(|range| (range.address, range.size)).collect();
        ranges.retain(|(start, _)| (0x10_0000..0x80_0000).contains(start));
        ranges
    };
    // Image path and command line are included up to their capacity.
    let lengths = [0x40, 0x42, 0x42, 0x40, 0x40];
    let strings = (0..).zip(lengths);
    let strings = strings.map(|(index, length)| (0x60_0000 + index * 0x200, length));
    let mut all = vec![
        (0x10_0000, 0x2000),
        (0x20_0000, 0x10),
        (0x30_0000, peb),
        (0x40_0000, fiber_data),
        (0x50_0000, parameters),
    ];
    let reduced = all[..3].to_vec();
    all.extend(strings);
    all.push((0x70_0000, 0x2000));
    assert_eq!(ranges(0x100), all);
    assert_eq!(ranges(0x500), reduced);
    // 0x1 adds the variables themselves.
    let mut with_variables = reduced;
    with_variables.insert(2, (0x21_0000, 0x40));
    assert_eq!(ranges(0x501), with_variables);
    assert_eq!(ranges(0x10_0100), [(0x10_0000, 8)]);
    assert_eq!(ranges(0), []);
}

/// A module with false headers, or without headers: data is chosen by what is writable, and headers
/// are missing.
#[test]
fn broken_headers_are_a_loss_only_where_headers_were_asked_for() {
    for (name, profile) in Profile::all() {
        let (report, dump) = run(&mut process(), profile, 0x2001).unwrap();
        assert!(report.is_complete(), "{name}");
        let note = report
            .notes()
            .find(|note| note.subject == Subject::Module(CODE))
            .unwrap();
        assert!(
            note.reason.contains("neither an ELF nor a PE header"),
            "{}",
            note.reason
        );
        assert!(
            dump.memory(CODE, 0x8000).unwrap().is_some(),
            "{name}: all may be executed"
        );

        let (report, dump) = run(&mut process(), profile, 0x8_0000).unwrap();
        assert_eq!(report.is_complete(), profile != Profile::Documented, "{name}");
        assert!(dump.memory(CODE, 0x1000).unwrap().is_some(), "{name}");
        assert!(dump.memory(CODE + 0x2000, 1).unwrap().is_none(), "{name}");
    }
}

/// By the current protection. DbgHelp 6.3.9600 chooses the same for both types.
#[test]
fn private_memory_by_its_protection() {
    let protections = [
        READONLY,
        READWRITE,
        protect::WRITECOPY,
        EXECUTE_READ,
        EXECUTE_READWRITE,
        READWRITE | protect::WRITECOMBINE,
    ];
    let kinds = [RegionKind::Private, RegionKind::Mapped];
    let taken = |profile, dump_type| {
        let mut process = SimProcess::new(1000).thread(7, STACK + 0x100, CODE).memory(
            STACK,
            0x1000,
            READWRITE,
            Contents::Fill(0),
        );
        for (row, kind) in kinds.into_iter().enumerate() {
            for (index, protect) in protections.into_iter().enumerate() {
                let at = HEAP + (row as u64 * 16 + index as u64) * 0x10000;
                process = process.memory(at, 0x1000, protect, Contents::Counting);
                let mut regions = process.regions.iter_mut();
                let region = regions.find(|(region, _)| region.range.start() == at).unwrap();
                region.0.kind = Some(kind);
            }
        }
        let (_, dump) = run(&mut process, profile, dump_type).unwrap();
        let rows = [0, 1].map(|row| {
            let has = |index: u64| {
                dump.memory(HEAP + (row * 16 + index) * 0x10000, 8)
                    .unwrap()
                    .is_some()
            };
            (0..6)
                .map(|index| if has(index) { '1' } else { '0' })
                .collect::<String>()
        });
        rows.join(" ")
    };
    assert_eq!(taken(Profile::Documented, 0), "000000 000000");
    assert_eq!(taken(Profile::Documented, 0x200), "010011 000000");
    assert_eq!(taken(Profile::Documented, 0x1_0000), "001000 001000");
    assert_eq!(taken(Profile::Documented, 0x100_0200), "010010 000000");
    for dump_type in [0x200, 0x1_0000] {
        assert_eq!(taken(Profile::DbgHelp63, dump_type), "011111 000000");
    }
}

#[test]
fn unreadable_memory_is_an_error_where_the_type_says_so() {
    let process = || process().fails_when_read(HEAP, 0x1000);
    for wanted in [0x200, 0x2] {
        let (report, _) = run(&mut process(), Profile::Documented, wanted).unwrap();
        assert!(
            report
                .missing()
                .any(|diagnostic| matches!(diagnostic.subject, Subject::Memory(_)))
        );
        let error = run(&mut process(), Profile::Documented, 0x200_0000 | wanted).unwrap_err();
        assert_eq!(error.hresult(), Hresult::PARTIAL_COPY, "{error}");
        assert!(error.to_string().contains("0x1000000000"), "{error}");
    }
}
