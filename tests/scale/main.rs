//! How the work grows with the size of a process, of a dialogue and of a hostile file.
//!
//! Would catch: a search through one list for each entry of another, while a process is suspended
//! or a hostile file is checked; one system call per word; memory that grows with the width of the
//! address space.
//!
//! Twice as much of something may cost at most 2.2 times as much. The tests count questions to the
//! suspended process, and instructions. The instructions of one function are counted by callgrind,
//! a part of Valgrind, so the numbers hardly depend on the machine, and not at all on its load. The
//! counted parts run in child processes, which are this program again.
#![cfg(target_os = "linux")]

mod hostile;
mod reading;
mod target;

use std::io;
use std::process::Command;

use dumpwright::policy::{AddMemory, Chain, Redact, RemoveMemory, SizeBudget};
use dumpwright::protocol::{Recorder, Symbols};
use dumpwright::read::{self, Dump};
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::target::{AddressRange, Handle, Platform};
use dumpwright::{Ask, Callback, DumpType, Profile, Request, Sink, dump};
use dumpwright_sim::{Contents, SimFault, SimProcess};
use hostile::Hostile;
use target::{Counted, add, sort};

/// The permitted growth for twice the size.
const MOST_GROWTH: f64 = 2.2;

const STACKS: u64 = 0x7fff_0000_0000;
const HEAP: u64 = 0x10_0000_0000;
const CODE: u64 = 0x40_0000;
const TEBS: u64 = 0x20_0000_0000;

/// Each case has a test, which compares the counts for `n` and for `2 * n`.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident($n:literal) $part:expr;)*) => {
        mod twice_as_much {
            $($(#[$doc])* #[test] fn $name() {
                super::grows_linearly(stringify!($name), $n);
            })*
        }

        /// The part with this name, for the child process.
        fn part_of(case: &str) -> fn(usize) -> u64 {
            match case {
                $(stringify!($name) => $part,)*
                other => panic!("there is no case {other}"),
            }
        }
    };
}

cases! {
    threads(500) |n| plain(threads(n), 0x1800);
    filtered_threads(500) |n| plain(threads(n), 0x8);
    triaged_threads(500) |n| plain(threads(n), 0x10_0000);
    blocks_of_threads(500) |n| plain(windows_threads(n), 0x100);
    thread_names_in_a_transcript(500) |n| recorded(threads(n), 0);
    /// All of the stacks are in one mapping, as in a program with its own stacks. Each reaches to
    /// the end of the mapping.
    threads_on_one_mapping(100) |n| plain(threads_on_one_mapping(n), 0x8);
    mappings_in_full(500) |n| plain(mappings(n), 0x802);
    mappings_in_full_as_dbghelp(500) |n| as_dbghelp(mappings(n), 0x802);
    private_mappings(500) |n| plain(mappings(n), 0xA00);
    private_mappings_as_dbghelp(1500) |n| as_dbghelp(mappings(n), 0xA00);
    mapping_names_in_a_transcript(1000) |n| recorded(mappings(n), 0x802);
    unreadable_mappings_as_dbghelp(100) |n| as_dbghelp(unreadable(mappings(n)), 0x2_0002);
    modules_of_one_name(100) |n| recorded(modules(n), 0);
    modules_and_their_references(500) |n| plain(modules(n), 0x10);
    handles(500) |n| plain(with_handles(n), 0x4);
    /// For the larger size, more than are kept without being joined.
    pointers_on_a_stack(50_300) |n| {
        let mut removed = RemoveMemory::new().range(HEAP..HEAP + 0x1000 * n as u64 + 0x1000);
        with_callback(pointers(n), 0x40, Profile::Documented, &mut removed)
    };
    pointers_on_a_stack_as_dbghelp(1000) |n| as_dbghelp(pointers(n), 0x40);
    objects_on_a_stack(500) |n| plain(pointers(n), 0x10_0000);
    added_ranges(1000) |n| {
        let added = (0..n as u64).fold(AddMemory::new(), |policy, at| policy.range(page(at)..page(at) + 0x10));
        with_callback(mappings(n), 0, Profile::Documented, &mut { added })
    };
    removed_ranges(300) |n| with_callback(mappings(n), 0x2, Profile::Documented, &mut removed(n));
    removed_ranges_as_dbghelp(800) |n| with_callback(mappings(n), 0x200, Profile::DbgHelp63, &mut removed(n));
    redacted_ranges(500) |n| {
        let redact = (0..n as u64).fold(Redact::new(), |policy, at| policy.range(page(at)..page(at) + 0x10));
        with_callback(mappings(n), 0x200, Profile::Documented, &mut { redact })
    };
    budget(300) |n| {
        let added = (0..n as u64).fold(AddMemory::new(), |policy, at| policy.range(page(at)..page(at) + 0x10));
        let mut budget = SizeBudget::around(Chain::new().then(added), 0x1000 * n as u64);
        with_callback(mappings(n), 0x200, Profile::Documented, &mut budget)
    };
    full_budget(500) |n| {
        let mut budget = SizeBudget::new(0x800 * n as u64);
        with_callback(mappings(n), 0x2, Profile::Documented, &mut budget)
    };
    hostile_threads_and_ranges(500) |n| checked(Hostile {
        threads: size(n),
        ranges: size(n),
        ..Hostile::default()
    });
    hostile_threads_and_losses(1000) |n| checked(Hostile {
        threads: size(n),
        ranges: size(n),
        losses: size(n),
        lost_stacks: true,
        ..Hostile::default()
    });
    hostile_losses_and_ranges(500) |n| checked(Hostile {
        threads: 1,
        ranges: size(n),
        losses: size(n),
        whole_losses: true,
        ..Hostile::default()
    });
    hostile_threads_and_streams(1000) |n| checked(Hostile {
        threads: size(n),
        ranges: 1,
        unknown_streams: size(n),
        ..Hostile::default()
    });
    hostile_contexts(500) |n| checked(Hostile {
        threads: size(n),
        ranges: 1,
        // The engine reads at most 64 KiB of one.
        context: 48 * size(n),
        ..Hostile::default()
    });
}

fn size(n: usize) -> u32 {
    u32::try_from(n).expect("small")
}

/// A page of the heap, without its neighbour.
fn page(index: u64) -> u64 {
    HEAP + 0x2000 * index
}

/// A process with one module.
fn process() -> SimProcess {
    let mut process = SimProcess::new(1000).module(CODE, 0x8000, "/opt/program", &[0xAB; 20]);
    add(&mut process, CODE, 0x8000, EXECUTE_READ, Contents::Fill(0x11));
    process
}

fn threads(n: usize) -> SimProcess {
    let mut process = process();
    for index in 0..n as u64 {
        let stack = STACKS + 0x10_0000 * index;
        process = process.thread(
            7 + size(n) - u32::try_from(index).unwrap(),
            stack + 0xE00,
            CODE + 0x1234,
        );
        add(&mut process, stack, 0x1000, READWRITE, Contents::Fill(0x11));
    }
    sort(&mut process);
    process
}

fn windows_threads(n: usize) -> SimProcess {
    let mut process = threads(n);
    process.system.platform = Platform::WindowsNt;
    for index in 0..n as u64 {
        let teb = TEBS + 0x10000 * index;
        process.threads[usize::try_from(index).unwrap()].teb = teb;
        let contents = Contents::Bytes(vec![0; 0x2000]);
        add(&mut process, teb, 0x2000, READWRITE, contents);
    }
    sort(&mut process);
    process
}

fn threads_on_one_mapping(n: usize) -> SimProcess {
    let mut process = process();
    for index in 0..n as u64 {
        process = process.thread(
            7 + u32::try_from(index).unwrap(),
            STACKS + 0x100 * index,
            CODE + 0x1234,
        );
    }
    add(
        &mut process,
        STACKS,
        0x100 * n as u64,
        READWRITE,
        Contents::Fill(0x11),
    );
    sort(&mut process);
    process
}

fn mappings(n: usize) -> SimProcess {
    let mut process = process();
    for index in 0..n as u64 {
        add(&mut process, page(index), 0x1000, READWRITE, Contents::Fill(0x11));
    }
    sort(&mut process);
    process
}

/// Every read of the heap fails, which is not known beforehand.
fn unreadable(process: SimProcess) -> SimProcess {
    let (last, _) = process.regions.last().expect("some memory");
    let range = AddressRange::new(HEAP, last.range.end()).expect("a heap");
    process.fault(SimFault::UnreadableFrom { range, read: 1 })
}

fn modules(n: usize) -> SimProcess {
    let mut process = process().thread(7, STACKS + 0x1000, CODE + 0x1234);
    add(&mut process, STACKS, 0x2000, READWRITE, Contents::Fill(0x11));
    for index in 0..n as u64 {
        // They overlap, as modules on Linux can.
        let path = format!("/opt/{index}/libplugin.so");
        process = process.module(HEAP + 0x1000 * index, 0x2000, &path, &[0xCD; 20]);
    }
    sort(&mut process);
    process
}

fn with_handles(n: usize) -> SimProcess {
    let mut process = process();
    process.handles = (0..n as u64)
        .map(|handle| Handle {
            number: handle,
            type_name: "File".to_owned(),
            object_name: Some(format!("/tmp/{handle}")),
            attributes: 0,
            granted_access: 0,
            handle_count: 1,
            pointer_count: 0,
            information: Vec::new(),
        })
        .collect();
    process
}

/// A stack full of pointers to distant places of a heap. Each place has a pointer into the program,
/// like an object with virtual functions.
fn pointers(n: usize) -> SimProcess {
    let places = (0..n as u64).map(|index| HEAP + 0x1000 * index + 0x400);
    let stack: Vec<u8> = places.flat_map(u64::to_le_bytes).collect();
    let len = (stack.len() as u64).next_multiple_of(0x1000);
    let mut process = process().thread(7, STACKS, CODE + 0x1234);
    add(&mut process, STACKS, len, READWRITE, Contents::Bytes(stack));
    let heap = 0x1000 * n as u64 + 0x1000;
    add(&mut process, HEAP, heap, READWRITE, Contents::Fill(0x41));
    sort(&mut process);
    process
}

fn removed(n: usize) -> RemoveMemory {
    (0..n as u64).fold(RemoveMemory::new(), |policy, at| {
        policy.range(page(at) + 0x100..page(at) + 0x110)
    })
}

/// Accepts everything and stores nothing.
#[derive(Default)]
struct Nowhere {
    bytes: u64,
}

impl Sink for Nowhere {
    fn append(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn append_zeros(&mut self, _: u64, len: u64) -> io::Result<()> {
        self.bytes += len;
        Ok(())
    }
}

fn request(dump_type: u32, profile: Profile) -> Request {
    Request::new(DumpType::from_bits_retain(dump_type))
        .profile(profile)
        .time(1)
}

fn plain(process: SimProcess, dump_type: u32) -> u64 {
    dumped(process, dump_type, Profile::Documented)
}

fn as_dbghelp(process: SimProcess, dump_type: u32) -> u64 {
    dumped(process, dump_type, Profile::DbgHelp63)
}

fn dumped(process: SimProcess, dump_type: u32, profile: Profile) -> u64 {
    let mut target = Counted::new(process);
    let request = request(dump_type, profile);
    measured(|| {
        dump(&mut target, &request, None, &mut Nowhere::default()).expect("a dump");
    });
    target.calls.get()
}

fn with_callback(process: SimProcess, dump_type: u32, profile: Profile, callback: &mut dyn Callback) -> u64 {
    let mut target = Counted::new(process);
    let request = request(dump_type, profile);
    measured(|| {
        dump(
            &mut target,
            &request,
            Some(&mut *callback),
            &mut Nowhere::default(),
        )
        .expect("a dump");
    });
    target.calls.get()
}

/// Dumps with a callback that accepts every region, and with a transcript with names.
fn recorded(process: SimProcess, dump_type: u32) -> u64 {
    let mut target = Counted::new(process);
    let request = request(dump_type, Profile::Documented);
    let mut callback = |ask: Ask<'_>| match ask {
        Ask::Memory { .. } | Ask::RemoveMemory { .. } => false,
        Ask::IncludeVmRegion { answer } => {
            answer.cont = true;
            true
        }
        _ => true,
    };
    measured(|| {
        let mut recorder = Recorder::new(Some(&mut callback), Symbols::live());
        let outcome = dump(
            &mut target,
            &request,
            Some(&mut recorder),
            &mut Nowhere::default(),
        );
        assert!(outcome.is_ok());
        std::hint::black_box(recorder.finish(&outcome));
    });
    target.calls.get()
}

fn checked(file: Hostile) -> u64 {
    let dump = Dump::from_bytes(file.bytes()).expect("a header");
    measured(|| {
        std::hint::black_box(read::check(&dump).expect("bytes in memory can be read"));
    });
    0
}

/// Pointers that are close together in one block of memory, and thread blocks: a page is read once,
/// not once per word.
#[test]
fn words_are_not_read_one_by_one() {
    const COUNT: u64 = 4096;
    let stack: Vec<u8> = (0..COUNT)
        .flat_map(|at| u64::to_le_bytes(HEAP + 8 * at))
        .collect();
    let mut objects = process().thread(7, STACKS, CODE + 0x1234);
    add(&mut objects, STACKS, 8 * COUNT, READWRITE, Contents::Bytes(stack));
    add(&mut objects, HEAP, 8 * COUNT, READWRITE, Contents::Fill(0x41));
    sort(&mut objects);
    let calls = plain(objects, 0x10_0000);
    assert!(
        calls < COUNT / 20,
        "{calls} questions for {COUNT} objects in {} pages",
        COUNT / 512
    );
}

/// Untouched address space. The report lists what is left out of it, and it costs neither time nor
/// memory.
#[test]
fn untouched_address_space_costs_nothing() {
    for (name, _) in Profile::all() {
        for dump_type in [0x2, 0x802, 0x200, 0xA00, 0x2_0002] {
            // One reservation; more of them; fewer that are wider.
            let [plain, eight, wide] = [(0_u64, 0_u64), (8, 2 << 30), (1, 64 << 30)].map(|(count, size)| {
                let child = format!("{name} {dump_type} {count} {size}");
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command
                    .args(["--exact", "reservations", "--ignored", "--nocapture"])
                    .env("SCALE_CASE", &child);
                let output = command.output().expect("this program runs");
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    output.status.success(),
                    "{child}: {said}{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                ["questions: ", "bytes: ", "memory: ", "left out: "].map(|what| number_behind(&said, what))
            });
            for (what, count, reserved) in [(eight, 8, 16_u64 << 30), (wide, 1, 64 << 30)] {
                let [questions, bytes, memory, left_out] = what;
                let case =
                    format!("{name} {dump_type:#x}, {count} reservations: {what:?}, without: {plain:?}");
                // A survey covers 256 MiB, and there are only a few surveys.
                assert!(questions <= plain[0] + 4 * (reserved >> 28) + 16, "{case}");
                assert!(bytes <= plain[1] + 8192 * count, "{case}");
                assert!(memory <= plain[2] + (16 << 10), "KiB of memory: {case}");
                assert_eq!(left_out, count, "{case}");
            }
        }
    }
}

/// The child process of one case of the test above.
#[test]
#[ignore = "a part of another test"]
fn reservations() {
    let case = std::env::var("SCALE_CASE").expect("set by the test");
    let words: Vec<_> = case.split(' ').collect();
    let [name, numbers @ ..] = &words[..] else {
        panic!("{case}")
    };
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let (dump_type, count, size) = (numbers[0], numbers[1], numbers[2]);
    let mut process = threads(2);
    for index in 0..count {
        let start = HEAP + 0x100_0000_0000 * index;
        add(&mut process, start, 0x1000, READWRITE, Contents::Fill(0x11));
        add(&mut process, start + 0x1000, size, READWRITE, Contents::Untouched);
    }
    sort(&mut process);
    let request = request(
        u32::try_from(dump_type).expect("a type"),
        name.parse().expect("a profile"),
    );
    let mut target = Counted::new(process);
    let mut sink = Nowhere::default();
    let report = dump(&mut target, &request, None, &mut sink).expect("a dump");
    let left_out = report
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.reason.starts_with("never touched"));
    println!("\nquestions: {}", target.calls.get());
    println!("bytes: {}", sink.bytes);
    println!("left out: {}", left_out.count());
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let peak = number_behind(&status.replace(" kB", ""), "VmHWM:");
    println!("memory: {peak}");
}

/// Runs the work that callgrind counts. It finds this function by its name.
fn measured(mut work: impl FnMut()) {
    scale_measured_part(&mut work);
}

#[inline(never)]
fn scale_measured_part(work: &mut dyn FnMut()) {
    work();
    std::hint::black_box(());
}

/// The child process of one case.
#[test]
#[ignore = "a part of the other tests"]
fn part() {
    let variable = |name| std::env::var(name).expect("set by the test");
    let case = variable("SCALE_CASE");
    let n = variable("SCALE_SIZE").parse().expect("a number");
    println!("\nquestions: {}", part_of(&case)(n));
}

fn child(case: &str, n: usize) -> impl Fn(&mut Command) {
    move |command: &mut Command| {
        command
            .args(["--exact", "part", "--ignored", "--nocapture", "--test-threads=1"])
            .env("SCALE_CASE", case)
            .env("SCALE_SIZE", n.to_string());
    }
}

/// The number of questions to the process, and of instructions.
fn counts(case: &str, n: usize) -> (u64, u64) {
    let (instructions, said) = instructions(child(case, n));
    (number_behind(&said, "questions: "), instructions)
}

/// Runs a child process. Returns the number of instructions, and what it has printed.
fn instructions(child: impl Fn(&mut Command)) -> (u64, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("counts");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--toggle-collect=*scale_measured_part*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().expect("this program"));
    child(&mut command);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run valgrind: {error}\nTo install it: cargo xtask readers"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let counts = std::fs::read_to_string(&file).expect("callgrind's counts");
    (number_behind(&counts, "summary: "), said)
}

fn number_behind(text: &str, words: &str) -> u64 {
    let line = text.lines().find_map(|line| line.split_once(words));
    let (_, number) = line.unwrap_or_else(|| panic!("no {words:?} in {text}"));
    number.trim().parse().expect("a number")
}

fn grows_linearly(case: &str, n: usize) {
    let (small, large) = (counts(case, n), counts(case, 2 * n));
    for (what, small, large) in [
        ("questions", small.0, large.0),
        ("instructions", small.1, large.1),
    ] {
        let growth = large as f64 / small.max(1) as f64;
        println!("{case}: {small} {what} for {n}, {large} for twice as much: {growth:.2} times");
        assert!(
            growth <= MOST_GROWTH,
            "{case}: {small} {what} for {n}, {large} for twice as much: {growth:.2} times"
        );
    }
    assert!(small.1 > 0, "{case}: nothing was counted");
}
