//! Policies on simulated processes, alone and in chains, judged by what is in the bytes of the dump.
//!
//! Would catch: a policy that does not do what it says, one that changes what it is not about, a chain in which one
//! policy undoes another, a secret that survives at the border of two reads or behind a cache, a range that comes back
//! by another way, a budget that is passed or drops the wrong thing, a dump that such answers make unsound.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use dumpwright::callback::{AskKind, Hresult, ModuleWriteFlags, ProcessAsked, ThreadWriteFlags};
use dumpwright::policy::{
    AddMemory, AroundRegisters, CancelToken, Chain, DataSegments, Deadline, Dropped, IgnoreReadFailures,
    Modules, Phase, Preset, Priority, Progress, ReadCache, Redact, RemoveMemory, SizeBudget, StreamOutput,
    Threads,
};
use dumpwright::protocol::{Lint, Recorder, Symbols};
use dumpwright::read::{CheckOptions, Dump, Severity};
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::target::{AddressRange, Amd64, Exception, Frozen, Holding, Need, RegionKind, Target};
use dumpwright::{Ask, Callback, DumpType, Error, Profile, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};
use proptest::prelude::*;

const CODE: u64 = 0x40_0000;
const LIBRARY: u64 = 0x50_0000;
const HEAP: u64 = 0x10_0000_0000;
const STACK: u64 = 0x7fff_0000_0000;
const STACK_8: u64 = STACK + 0x10_0000;

/// Two threads with stacks of three and 3.5 pages in use, two modules of which one page each is writable, 16 pages of
/// heap.
fn process() -> SimProcess {
    SimProcess::new(1000)
        .thread(7, STACK + 0x1000, CODE + 0x1234)
        .thread(8, STACK_8 + 0x800, CODE + 0x2000)
        .module(CODE, 0x9000, "/opt/program", &[0xAB; 20])
        .module(LIBRARY, 0x3000, "/opt/lib/libplugin.so.1", &[0xCD; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
        .memory(CODE + 0x8000, 0x1000, READWRITE, Contents::Counting)
        .memory(LIBRARY, 0x2000, EXECUTE_READ, Contents::Counting)
        .memory(LIBRARY + 0x2000, 0x1000, READWRITE, Contents::Counting)
        .memory(HEAP, 0x10000, READWRITE, Contents::Counting)
        .memory(STACK, 0x4000, READWRITE, Contents::Counting)
        .memory(STACK_8, 0x4000, READWRITE, Contents::Counting)
}

fn request(dump_type: u32) -> Request {
    Request::new(DumpType::from_bits_retain(dump_type)).time(1)
}

fn attempt(
    process: &mut dyn Target,
    request: &Request,
    callback: &mut dyn Callback,
) -> Result<(Report, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let report = dump(process, request, Some(callback), &mut bytes)?;
    Ok((report, bytes))
}

/// The dump of the process above, which has to be sound.
fn run(dump_type: u32, callback: &mut dyn Callback) -> Dumped {
    run_on(&mut process(), &request(dump_type), callback)
}

fn run_on(process: &mut dyn Target, request: &Request, callback: &mut dyn Callback) -> Dumped {
    let (report, bytes) = attempt(process, request, callback).expect("a dump");
    let dump = Dump::from_bytes(bytes.clone()).expect("a minidump");
    assert_sound(&dump);
    Dumped { report, bytes, dump }
}

struct Dumped {
    report: Report,
    bytes: Vec<u8>,
    dump: Dump,
}

impl Dumped {
    fn ranges(&self) -> Vec<(u64, u64)> {
        self.dump
            .memory_ranges()
            .unwrap()
            .iter()
            .map(|range| (range.address, range.address + range.size))
            .collect()
    }

    fn has(&self, needle: &[u8]) -> bool {
        !self.dump.contains_nowhere(needle).unwrap()
    }

    fn threads(&self) -> Vec<u32> {
        self.dump
            .threads()
            .unwrap()
            .iter()
            .map(|thread| thread.id)
            .collect()
    }

    fn modules(&self) -> Vec<String> {
        self.dump
            .modules()
            .unwrap()
            .into_iter()
            .map(|module| module.name.unwrap())
            .collect()
    }
}

/// No rule of the format is broken, and no two ranges have an address in common.
fn assert_sound(dump: &Dump) {
    let options = CheckOptions { expect_losses: true };
    let errors: Vec<_> = dumpwright::read::check_with(dump, options)
        .unwrap()
        .into_iter()
        .filter(|violation| violation.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let mut ranges: Vec<_> = dump
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address, range.address + range.size))
        .collect();
    ranges.sort_unstable();
    assert!(
        ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{ranges:x?}"
    );
}

fn plain(dump_type: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump(&mut process(), &request(dump_type), None, &mut bytes).unwrap();
    bytes
}

const WINDOWS: [(u64, u64); 2] = [(CODE + 0x11B4, CODE + 0x12B4), (CODE + 0x1F80, CODE + 0x2080)];
const STACKS: [(u64, u64); 2] = [
    (STACK + 0x1000, STACK + 0x4000),
    (STACK_8 + 0x800, STACK_8 + 0x4000),
];

#[test]
fn policies_that_have_nothing_to_do_change_nothing() {
    for dump_type in [0, 0x2, 0x241, 0x1803] {
        let mut policies: [(&str, Box<dyn Callback>); 14] = [
            ("Chain", Box::new(Chain::new())),
            ("Threads", Box::new(Threads::except([]))),
            ("Modules", Box::new(Modules::except([""]))),
            ("DataSegments", Box::new(DataSegments::of(["*"]))),
            ("AddMemory", Box::new(AddMemory::new())),
            ("RemoveMemory", Box::new(RemoveMemory::new())),
            ("AroundRegisters", Box::new(AroundRegisters::new(0, 0))),
            ("CancelToken", Box::new(CancelToken::new())),
            ("Deadline", Box::new(Deadline::after(Duration::MAX))),
            ("Progress", Box::new(Progress::new(|_| {}))),
            ("IgnoreReadFailures", Box::new(IgnoreReadFailures::new())),
            ("Redact", Box::new(Redact::new().text("not in there").bytes([]))),
            ("ReadCache", Box::new(ReadCache::new(1 << 20))),
            ("SizeBudget", Box::new(SizeBudget::new(u64::MAX))),
        ];
        for (name, policy) in &mut policies {
            let alone = run(dump_type, &mut **policy);
            assert!(
                alone.bytes == plain(dump_type),
                "{name} alone, type {dump_type:#x}"
            );
        }
        let mut chain = Chain::new();
        for (_, policy) in &mut policies {
            chain = chain.then_mut(&mut **policy);
        }
        assert!(
            run(dump_type, &mut chain).bytes == plain(dump_type),
            "all in a chain, type {dump_type:#x}"
        );
    }
}

#[test]
fn threads_are_left_out_by_id_and_by_their_facts() {
    for mut policy in [
        Threads::only([7, 99]),
        Threads::except([8]),
        Threads::matching(|thread| thread.stack_base < STACK_8),
        Threads::parts(|id| {
            if id == 8 {
                ThreadWriteFlags::STACK
            } else {
                ThreadWriteFlags::all()
            }
        }),
    ] {
        let dumped = run(0, &mut policy);
        assert_eq!(dumped.threads(), [7]);
        assert_eq!(dumped.ranges(), [WINDOWS[0], STACKS[0]]);
    }
}

#[test]
fn parts_of_threads_are_left_out() {
    let mut policy = Threads::parts(|id| match id {
        7 => ThreadWriteFlags::all() - ThreadWriteFlags::INSTRUCTION_WINDOW,
        _ => ThreadWriteFlags::all() - ThreadWriteFlags::STACK,
    });
    let dumped = run(0, &mut policy);
    assert_eq!(dumped.threads(), [7, 8]);
    assert_eq!(dumped.ranges(), [WINDOWS[1], STACKS[0]]);
}

#[test]
fn modules_are_left_out_by_name_and_by_their_facts() {
    for (mut policy, left) in [
        (Modules::only(["prog*"]), vec!["/opt/program"]),
        (Modules::except(["/opt/lib/*"]), vec!["/opt/program"]),
        (
            Modules::matching(|module| module.size_of_image < 0x9000),
            vec!["/opt/lib/libplugin.so.1"],
        ),
        (Modules::only(Vec::<String>::new()), vec![]),
    ] {
        assert_eq!(run(0, &mut policy).modules(), left);
    }
    let mut nameless = Modules::parts(|_| ModuleWriteFlags::all() - ModuleWriteFlags::CV_RECORD);
    let dumped = run(0, &mut nameless);
    assert_eq!(dumped.modules().len(), 2);
    assert!(!dumped.has(&[0xAB; 20]));
}

#[test]
fn data_segments_are_those_of_the_named_modules() {
    let mut policy = DataSegments::of(["libplugin*"]);
    let dumped = run(0x1, &mut policy);
    assert_eq!(dumped.modules().len(), 2);
    assert_eq!(
        dumped.ranges(),
        [&WINDOWS[..], &[(LIBRARY + 0x2000, LIBRARY + 0x3000)], &STACKS].concat()
    );
    // A module that is left out leaves with its memory.
    let mut policy = Modules::except(["libplugin*"]);
    let expected = [&WINDOWS[..], &[(CODE + 0x8000, CODE + 0x9000)], &STACKS].concat();
    assert_eq!(run(0x1, &mut policy).ranges(), expected);
}

#[test]
fn memory_is_added_and_removed() {
    let mut policy = Chain::new()
        .then(
            AddMemory::new()
                .range(HEAP + 0x100..HEAP + 0x200)
                .range(HEAP + 0x8000..HEAP + 0x20000),
        )
        .then(
            RemoveMemory::new()
                .range(HEAP + 0x9000..HEAP + 0xA000)
                .range(STACK + 0x2000..STACK_8 + 0x1000),
        )
        .then(AddMemory::new().range(HEAP + 0x200..HEAP + 0x280))
        .then(RemoveMemory::new().range(CODE + 0x1F80..CODE + 0x2000));
    assert_eq!(
        run(0, &mut policy).ranges(),
        [
            WINDOWS[0],
            (CODE + 0x2000, CODE + 0x2080),
            (HEAP + 0x100, HEAP + 0x280),
            (HEAP + 0x8000, HEAP + 0x9000),
            (HEAP + 0xA000, HEAP + 0x10000),
            (STACK + 0x1000, STACK + 0x2000),
            (STACK_8 + 0x1000, STACK_8 + 0x4000),
        ]
    );
}

#[test]
fn from_full_memory_whole_pages_are_removed() {
    let mut policy = Chain::new()
        .then(RemoveMemory::new().range(HEAP + 0x1FF8..HEAP + 0x2008))
        .then(
            RemoveMemory::new()
                .range(HEAP + 0x4000..HEAP + 0x5000)
                .range(STACK..STACK + 0x10),
        );
    let dumped = run(0x2, &mut policy);
    let of_heap: Vec<_> = dumped
        .ranges()
        .into_iter()
        .filter(|range| (HEAP..STACK).contains(&range.0))
        .collect();
    assert_eq!(
        of_heap,
        [
            (HEAP, HEAP + 0x1000),
            (HEAP + 0x3000, HEAP + 0x4000),
            (HEAP + 0x5000, HEAP + 0x10000)
        ]
    );
    assert!(dumped.dump.has_memory(STACK + 0x1000, 0x3000).unwrap());
    assert!(!dumped.has(&(HEAP + 0x1FF8).to_le_bytes()));
    assert!(!dumped.has(&(STACK + 0x8).to_le_bytes()));
}

#[test]
fn what_registers_point_to_is_added() {
    let mut process = process();
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        rdi: HEAP + 0x3000,
        r13: HEAP + 0x20,
        rax: 5,
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());
    let heap = |dumped: &Dumped| {
        dumped
            .ranges()
            .into_iter()
            .filter(|range| (HEAP..STACK).contains(&range.0))
            .collect::<Vec<_>>()
    };
    let dumped = run_on(&mut process, &request(0), &mut AroundRegisters::new(64, 256));
    // Memory before the first mapped byte is not there, and no failure.
    assert_eq!(
        heap(&dumped),
        [(HEAP, HEAP + 0x120), (HEAP + 0x2FC0, HEAP + 0x3100)]
    );
    assert!(dumped.report.is_complete());
    // It is asked for thread 8 only, or the thread is filtered before.
    let dumped = run_on(
        &mut process,
        &request(0),
        &mut AroundRegisters::new(64, 256).of_threads([8]),
    );
    assert_eq!(heap(&dumped), []);
    let mut chain = Chain::new()
        .then(Threads::except([7]))
        .then(AroundRegisters::new(64, 256));
    assert_eq!(heap(&run_on(&mut process, &request(0), &mut chain)), []);
}

#[test]
fn a_token_stops_a_dump_at_whichever_question_it_is_used() {
    // How many Cancel questions there are.
    let polls = Cell::new(0);
    let counting = |ask: Ask<'_>| {
        polls.set(polls.get() + u32::from(ask.kind() == AskKind::Cancel));
        true
    };
    run(0x2, &mut Chain::new().then(counting).then(CancelToken::new()));
    assert_eq!(
        polls.get(),
        1,
        "a link that does not renew CheckCancel is asked once, whatever the others do"
    );
    let all = Cell::new(0);
    let mut patient = |ask: Ask<'_>| {
        if let Ask::Cancel { answer } = ask {
            answer.check_cancel = true;
            all.set(all.get() + 1);
        }
        true
    };
    run(0x2, &mut patient);
    assert!(all.get() > 20, "{}", all.get());
    for stop_at in 1..=all.get() {
        let token = CancelToken::new();
        let seen = Cell::new(0);
        let stopping = |ask: Ask<'_>| {
            if let Ask::Cancel { answer } = ask {
                answer.check_cancel = true;
                seen.set(seen.get() + 1);
                if seen.get() == stop_at {
                    token.cancel();
                }
            }
            true
        };
        let mut process = process();
        let mut policy = Chain::new().then(stopping).then(token.clone());
        let error = attempt(&mut process, &request(0x2), &mut policy).expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert_eq!(seen.get(), stop_at, "at once");
        assert_eq!(process.freezes, process.releases);
    }
}

#[test]
fn a_deadline_that_is_over_stops_and_one_that_is_far_does_not() {
    let mut over = Deadline::after(Duration::ZERO);
    let error = attempt(&mut process(), &request(0), &mut over).expect_err("too late");
    assert!(matches!(error, Error::Cancelled), "{error}");
    // The clock begins anew with every dump.
    let mut far = Deadline::after(Duration::from_secs(86_400));
    for _ in 0..2 {
        run(0, &mut far);
    }
}

#[test]
fn progress_goes_through_the_phases_and_counts() {
    for (dump_type, bytes) in [
        (0, 0x6800 + 0x200),
        (0x2, 0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000),
    ] {
        let mut phases: Vec<Phase> = Vec::new();
        let mut last = None;
        let progress = Progress::new(|step| {
            if phases.last() != Some(&step.phase) {
                phases.push(step.phase);
            }
            last = Some(*step);
        });
        run(dump_type, &mut progress.counting_bytes());
        let last = last.expect("called");
        assert_eq!((last.threads, last.modules, last.bytes), (2, 2, bytes));
        let all = [
            Phase::Negotiate,
            Phase::Select,
            Phase::Collect,
            Phase::Memory,
            Phase::Write,
            Phase::Done,
        ];
        assert_eq!(phases, all, "{dump_type:#x}");
    }
}

/// A target whose reads are counted.
struct Counted<'c>(SimProcess, &'c Cell<u64>);

impl Target for Counted<'_> {
    fn process_id(&self) -> u32 {
        self.0.id
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, dumpwright::target::Fault> {
        Ok(Box::new(CountedStill(self.0.freeze(need)?, self.1)))
    }
}

struct CountedStill<'p>(Box<dyn Frozen + 'p>, &'p Cell<u64>);

impl Frozen for CountedStill<'_> {
    fn system(&mut self) -> Result<dumpwright::target::System, dumpwright::target::Fault> {
        self.0.system()
    }
    fn process(&mut self) -> Result<dumpwright::target::Process, dumpwright::target::Fault> {
        self.0.process()
    }
    fn thread_ids(&mut self) -> Result<Vec<u32>, dumpwright::target::Fault> {
        self.0.thread_ids()
    }
    fn thread(&mut self, id: u32) -> Result<dumpwright::target::Thread, dumpwright::target::Fault> {
        self.0.thread(id)
    }
    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64) -> Option<dumpwright::target::Stack> {
        self.0.stack_at(thread_id, stack_pointer)
    }
    fn module_bases(&mut self) -> Result<Vec<u64>, dumpwright::target::Fault> {
        self.0.module_bases()
    }
    fn module(&mut self, base: u64) -> Result<dumpwright::target::Module, dumpwright::target::Fault> {
        self.0.module(base)
    }
    fn regions(&mut self) -> Result<Vec<dumpwright::target::Region>, dumpwright::target::Fault> {
        self.0.regions()
    }
    fn handles(&mut self) -> Result<Vec<dumpwright::target::Handle>, dumpwright::target::Fault> {
        self.0.handles()
    }
    fn linux(&mut self) -> Option<dumpwright::target::LinuxFacts> {
        self.0.linux()
    }
    fn survey(&mut self, range: AddressRange) -> Vec<dumpwright::target::Extent> {
        self.0.survey(range)
    }
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, dumpwright::target::Fault> {
        let count = self.0.read(at, into)?;
        self.1.set(self.1.get() + count as u64);
        Ok(count)
    }
    fn remarks(&mut self) -> Vec<dumpwright::target::Remark> {
        self.0.remarks()
    }
    fn thaw(self: Box<Self>) -> Holding {
        self.0.thaw()
    }
}

#[test]
fn a_cache_spares_the_target_and_changes_nothing() {
    let read = Cell::new(0);
    let mut target = Counted(process(), &read);
    // Words of stacks are followed (0x40): stacks are read to find them, and again to dump them.
    let without = run_on(&mut target, &request(0x40), &mut Chain::new());
    let plainly = read.replace(0);
    let mut cache = ReadCache::new(1 << 20);
    let with = run_on(&mut target, &request(0x40), &mut cache);
    assert!(with.bytes == without.bytes);
    assert_eq!(read.replace(0) + cache.served(), plainly);
    assert_eq!(cache.served(), 0x6800, "both stacks");
    // The next dump begins anew, unless the target is known not to change.
    run_on(&mut target, &request(0x40), &mut cache);
    assert_eq!(read.replace(0), plainly - 0x6800);
    let mut cache = ReadCache::new(1 << 20).across_dumps();
    run_on(&mut target, &request(0x40), &mut cache);
    read.set(0);
    let again = run_on(&mut target, &request(0x40), &mut cache);
    assert_eq!(read.get(), 0);
    assert!(again.bytes == without.bytes);
    cache.clear();
    run_on(&mut target, &request(0x40), &mut cache);
    assert!(read.get() > 0);
}

#[test]
fn a_cache_that_is_full_serves_what_it_has() {
    let read = Cell::new(0);
    let mut target = Counted(process(), &read);
    let mut cache = ReadCache::new(5 * 4096).across_dumps();
    let first = run_on(&mut target, &request(0x2), &mut cache);
    read.set(0);
    let second = run_on(&mut target, &request(0x2), &mut cache);
    assert!(first.bytes == second.bytes && first.bytes == plain(0x2));
    // The page below the first stack pointer is read first, and is the first half of a page only.
    assert_eq!(
        read.get(),
        0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000 - cache.served()
    );
    assert!(cache.served() > 4 * 4096);
}

#[test]
fn a_failed_read_is_ignored_only_if_somebody_says_so() {
    let mut process = process().treacherous(HEAP + 0x1000, 0x1000);
    let add = || {
        AddMemory::new()
            .range(HEAP..HEAP + 0x3000)
            .range(HEAP + 0x5000..HEAP + 0x6000)
    };
    let error = attempt(&mut process, &request(0), &mut add()).expect_err("nobody says to go on");
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    let mut failures = IgnoreReadFailures::new();
    let dumped = run_on(
        &mut process,
        &request(0),
        &mut Chain::new().then(add()).then_mut(&mut failures),
    );
    assert_eq!(failures.left_out(), [AddressRange::at(HEAP, 0x3000).unwrap()]);
    assert_eq!(
        dumped.ranges(),
        [&WINDOWS[..], &[(HEAP + 0x5000, HEAP + 0x6000)], &STACKS].concat()
    );
    // The list is of the last dump.
    run_on(&mut self::process(), &request(0), &mut failures);
    assert!(failures.left_out().is_empty());
}

#[test]
fn output_streams_and_says_why_it_cannot() {
    let mut output = StreamOutput::new(Vec::new());
    let mut untouched = Vec::new();
    let report = dump(&mut process(), &request(0x2), Some(&mut output), &mut untouched).unwrap();
    assert_eq!(
        (untouched.len(), output.written(), report.bytes),
        (0, report.bytes, output.written())
    );
    assert!(output.into_inner() == plain(0x2));

    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.0) {
                0 => Err(io::Error::new(io::ErrorKind::StorageFull, "no room")),
                count => {
                    self.0 -= count;
                    Ok(count)
                }
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut output = StreamOutput::new(Full(5000));
    let error = attempt(&mut process(), &request(0), &mut output).expect_err("no room");
    assert_eq!(error.hresult(), Hresult::DISK_FULL);
    assert_eq!(output.error().unwrap().to_string(), "no room");

    // A writer that goes back.
    let mut status = Hresult::E_FAIL;
    let mut output = StreamOutput::new(Vec::new());
    assert!(output.ask(Ask::IoWriteAll {
        handle: 0,
        offset: 32,
        bytes: &[1],
        status: &mut status
    }));
    assert_eq!(status, Hresult::E_FAIL);
    assert_eq!(output.error().unwrap().kind(), io::ErrorKind::NotSeekable);
}

#[test]
fn only_the_link_that_took_over_the_output_writes() {
    let mut bystander = |ask: Ask<'_>| {
        assert!(!matches!(ask, Ask::IoWriteAll { .. } | Ask::IoFinish { .. }));
        true
    };
    let (mut first, mut second) = (StreamOutput::new(Vec::new()), StreamOutput::new(Vec::new()));
    let mut chain = Chain::new()
        .then_mut(&mut bystander)
        .then_mut(&mut first)
        .then_mut(&mut second);
    dump(&mut process(), &request(0), Some(&mut chain), &mut Vec::new()).unwrap();
    drop(chain);
    assert!(first.into_inner() == plain(0));
    assert_eq!(second.written(), 0);
}

#[test]
fn kernel_dumps_are_told_to_the_link_that_asked_for_one() {
    let told = RefCell::new(Vec::new());
    let link = |name: &'static str, wanted: u64| {
        let told = &told;
        move |ask: Ask<'_>| {
            match ask {
                Ask::WriteKernelMinidump { handle } => *handle = wanted,
                Ask::KernelMinidumpStatus { .. } => told.borrow_mut().push(name),
                _ => {}
            }
            true
        }
    };
    run(
        0,
        &mut Chain::new()
            .then(link("none", 0))
            .then(link("first", 4))
            .then(link("second", 8)),
    );
    assert_eq!(*told.borrow(), ["first"]);
}

const SECRET: &[u8] = b"4111-1111-1111-1111";

#[test]
fn secrets_are_overwritten_wherever_they_lie() {
    // At a page border, at the border of two reads of 256 KiB, at the border of stack and heap, twice, and in UTF-16.
    let wide: Vec<u8> = "4111-1111-1111-1111"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for shift in 0..=SECRET.len() as u64 {
        let mut process = process()
            .memory(HEAP + 0x10000, 0x81000, READWRITE, Contents::Fill(b'.'))
            .put(HEAP + 0x5000 - shift, SECRET)
            .put(HEAP + 0x40000 - shift, SECRET)
            .put(HEAP + 0x10000 + 0x40000 - shift, SECRET)
            .put(HEAP + 0x60000, [SECRET, SECRET].concat())
            .put(HEAP + 0x60100, wide.clone())
            .put(STACK + 0x1000 - shift, SECRET)
            .put(STACK + 0x2fff, SECRET);
        for dump_type in [0x2, 0x200] {
            for fetch_limit in [256 << 20, 0] {
                let request = request(dump_type).fetch_limit(fetch_limit);
                let mut redact = Redact::new().text("4111-1111-1111-1111");
                let dumped = run_on(&mut process, &request, &mut redact);
                assert!(
                    !dumped.has(SECRET) && !dumped.has(&wide),
                    "{shift} {dump_type:#x} {fetch_limit}"
                );
                assert!(redact.redacted().places >= 7);
                let stars = dumped.dump.memory(HEAP + 0x60000 - 1, 40).unwrap().unwrap();
                assert_eq!(String::from_utf8(stars).unwrap(), format!(".{}.", "*".repeat(38)));
                // What stands around the secret is as it was, also across the border of pages.
                let around = dumped
                    .dump
                    .memory(HEAP + 0x5000 - shift - 8, 35)
                    .unwrap()
                    .unwrap();
                assert_eq!(around[8..27], [b'*'; 19]);
                let counted: Vec<u8> = (HEAP + 0x5000 - shift - 8..HEAP + 0x5000 - shift)
                    .map(|at| (at & !7).to_le_bytes()[usize::try_from(at % 8).unwrap()])
                    .collect();
                assert_eq!(around[..8], counted);
            }
        }
    }
}

#[test]
fn no_more_than_three_bytes_of_a_secret_are_left_where_it_is_cut() {
    for cut in 1..SECRET.len() as u64 {
        let mut process = process().put(HEAP + 0x5000, SECRET);
        // The secret is cut in two by what was selected, and only one part is in the dump.
        for range in [
            HEAP + 0x4000..HEAP + 0x5000 + cut,
            HEAP + 0x5000 + cut..HEAP + 0x6000,
        ] {
            let mut policy = Chain::new()
                .then(AddMemory::new().range(range))
                .then(Redact::new().bytes(SECRET));
            let dumped = run_on(&mut process, &request(0), &mut policy);
            assert!(SECRET.windows(4).all(|part| !dumped.has(part)), "{cut}");
        }
    }
}

#[test]
fn bytes_are_redacted_by_range_and_the_rest_stays() {
    let mut redact = Redact::new()
        .range(STACK + 0x1010..STACK + 0x1020)
        .range(STACK + 0x2ffc..STACK + 0x3004);
    let dumped = run(0, &mut redact);
    let expected = plain(0);
    assert_eq!(dumped.bytes.len(), expected.len());
    let changed = dumped.bytes.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert!((1..=24).contains(&changed));
    assert_eq!(
        dumped.dump.memory(STACK + 0x1010, 16).unwrap().unwrap(),
        [b'*'; 16]
    );
    assert_eq!(dumped.dump.memory(STACK + 0x2ffc, 8).unwrap().unwrap(), [b'*'; 8]);
}

#[test]
fn a_cache_does_not_lead_around_a_redaction() {
    let mut process = process().put(STACK + 0x1ff8, SECRET);
    for cache_first in [true, false] {
        let mut cache = ReadCache::new(1 << 20).across_dumps();
        for _ in 0..2 {
            let redact = Redact::new().bytes(SECRET);
            let mut policy = match cache_first {
                true => Chain::new().then_mut(&mut cache).then(redact),
                false => Chain::new().then(redact).then_mut(&mut cache),
            };
            let dumped = run_on(&mut process, &request(0x40), &mut policy);
            assert!(!dumped.has(SECRET), "cache first: {cache_first}");
        }
        assert!(cache.served() > 0);
    }
}

#[test]
fn registers_names_and_debug_records_are_looked_through_too() {
    let key: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xefKEYKEYKE";
    let half = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap());
    let mut process = process();
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        r8: half(0),
        r9: half(8),
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());
    let mut redact = Redact::new().bytes(key).text("/lib/").bytes([0xAB; 20]);
    let dumped = run_on(&mut process, &request(0), &mut redact);
    assert!(!dumped.has(&key) && !dumped.has(&[0xAB; 20]));
    assert_eq!(dumped.threads(), [7, 8]);
    assert_eq!(dumped.modules(), ["/opt/program"]);
    let redacted = redact.redacted();
    assert_eq!((redacted.threads, redacted.modules), (1, 2));
}

fn memory_bytes(dumped: &Dumped) -> u64 {
    dumped.ranges().iter().map(|range| range.1 - range.0).sum()
}

#[test]
fn a_budget_keeps_the_inner_part_of_stacks_before_all_else() {
    // Stacks of 0x3000 and 0x3800 bytes; 0x4000 is not enough for both.
    let add = AddMemory::new().range(HEAP..HEAP + 0x100);
    let mut budget = SizeBudget::around(add, 0x4000);
    let dumped = run_on(&mut process(), &SizeBudget::prepare(request(0)), &mut budget);
    assert_eq!(
        dumped.ranges(),
        [
            (STACK + 0x1000, STACK + 0x3000),
            (STACK_8 + 0x800, STACK_8 + 0x2800)
        ]
    );
    let dropped = |start, end, priority| Dropped {
        range: AddressRange::new(start, end).unwrap(),
        priority,
    };
    assert_eq!(
        budget.dropped(),
        [
            dropped(STACK + 0x3000, STACK + 0x4000, Priority::Stack),
            dropped(STACK_8 + 0x2800, STACK_8 + 0x4000, Priority::Stack),
            dropped(CODE + 0x11B4, CODE + 0x12B4, Priority::Added),
            dropped(CODE + 0x1F80, CODE + 0x2080, Priority::Added),
            dropped(HEAP, HEAP + 0x100, Priority::Added),
        ]
    );
}

#[test]
fn a_budget_keeps_what_was_added_before_what_the_type_selects() {
    // Private memory (0x200): code, data of both modules, the heap. In the order of addresses the heap's added page would
    // come last.
    let mut budget = SizeBudget::around(
        AddMemory::new().range(HEAP + 0x20000..HEAP + 0x21000),
        0x6800 + 0x200 + 0x2000,
    );
    let mut process = process().memory(HEAP + 0x20000, 0x1000, EXECUTE_READ, Contents::Counting);
    let dumped = run_on(&mut process, &SizeBudget::prepare(request(0x200)), &mut budget);
    let expected = [
        WINDOWS[0],
        WINDOWS[1],
        (CODE + 0x8000, CODE + 0x9000),
        (HEAP + 0x20000, HEAP + 0x21000),
        (STACK + 0x1000, STACK + 0x4000),
        (STACK_8 + 0x800, STACK_8 + 0x4000),
    ];
    assert_eq!(dumped.ranges(), expected);
    assert!(
        budget
            .dropped()
            .iter()
            .all(|dropped| dropped.priority == Priority::Rest)
    );
    assert!(
        budget
            .dropped()
            .iter()
            .any(|dropped| dropped.range.start() == HEAP && dropped.range.len() == 0x10000)
    );
}

#[test]
fn a_budget_for_full_memory_knows_its_priorities() {
    let mut process = process();
    // The code of the modules is no private memory.
    for (region, _) in &mut process.regions {
        if region.range.start() < HEAP {
            region.kind = Some(RegionKind::Image);
        }
    }
    let kept = |limit| {
        let mut budget = SizeBudget::new(limit);
        let dumped = run_on(&mut process.clone(), &request(0x2), &mut budget);
        assert!(memory_bytes(&dumped) <= limit);
        let lost: u64 = budget.dropped().iter().map(|dropped| dropped.range.len()).sum();
        // Nothing is both kept and dropped, nothing is neither.
        assert_eq!(
            lost + memory_bytes(&dumped),
            0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000
        );
        dumped.ranges()
    };
    // Stacks (with the page of thread 8 that its stack pointer is in), and the pages that the instruction pointers are in.
    let stacks = [
        (STACK + 0x1000, STACK + 0x4000),
        (STACK_8 + 0x800, STACK_8 + 0x4000),
    ];
    assert_eq!(kept(0x7000), [stacks[0], stacks[1], (STACK_8, STACK_8 + 0x800)]);
    assert_eq!(
        kept(0xA000),
        [
            stacks[0],
            stacks[1],
            (CODE + 0x1000, CODE + 0x3000),
            (STACK, STACK + 0x1000),
            (STACK_8, STACK_8 + 0x800)
        ]
    );
    // Then private memory: the page below the first stack, the heap; then other writable memory, then the rest.
    let with_heap = kept(0x1A000);
    assert!(
        with_heap.contains(&(HEAP, HEAP + 0x10000)) && !with_heap.contains(&(CODE + 0x8000, CODE + 0x9000))
    );
    let with_data = kept(0x1C000);
    assert!(
        with_data.contains(&(LIBRARY + 0x2000, LIBRARY + 0x3000))
            && !with_data.contains(&(LIBRARY, LIBRARY + 0x2000))
    );
    // Far too little: both stacks are cut alike.
    assert_eq!(
        kept(0x2000),
        [
            (STACK + 0x1000, STACK + 0x2000),
            (STACK_8 + 0x800, STACK_8 + 0x1000),
            (STACK_8, STACK_8 + 0x800)
        ]
    );
    assert_eq!(kept(0), []);
}

#[test]
fn a_budget_stands_around_narrowing_and_removal() {
    let inner = || {
        RemoveMemory::new()
            .range(HEAP..HEAP + 0xF000)
            .range(CODE..CODE + 0x8000)
    };
    let all = run(0x2, &mut inner());
    let mut budget = SizeBudget::around(inner(), memory_bytes(&all));
    assert!(run(0x2, &mut budget).bytes == all.bytes);
    assert!(budget.dropped().is_empty());
    let mut budget = SizeBudget::around(inner(), memory_bytes(&all) - 1);
    let less = run(0x2, &mut budget);
    assert!(memory_bytes(&less) < memory_bytes(&all));
    assert!(!less.dump.has_memory(HEAP, 1).unwrap());
    assert!(
        budget
            .dropped()
            .iter()
            .all(|dropped| dropped.range.end() <= HEAP || dropped.range.start() >= HEAP + 0xF000)
    );
}

#[test]
fn presets_are_types_and_policies_that_fit() {
    let mut process = process()
        .put(HEAP + 0x3000, SECRET)
        .treacherous(HEAP + 0x4000, 0x1000);
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        rdi: HEAP + 0x3000,
        rsi: HEAP + 0x4800,
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());

    let mut first_look = Preset::first_look();
    let dumped = run_on(&mut process, &first_look.request(), &mut first_look);
    assert!(dumped.has(SECRET));
    assert_eq!(dumped.modules(), ["program", "libplugin.so.1"]);
    assert!(
        !dumped.dump.has_memory(HEAP + 0x4800, 1).unwrap(),
        "and no failure"
    );

    let mut discreet = Preset::discreet(["4111-1111-1111-1111"]);
    let dumped = run_on(&mut process, &discreet.request(), &mut discreet);
    assert!(!dumped.has(SECRET) && dumped.dump.has_memory(HEAP + 0x3000, 32).unwrap());

    let mut for_upload = Preset::for_upload(0x7000);
    let dumped = run_on(&mut process, &for_upload.request(), &mut for_upload);
    assert!(memory_bytes(&dumped) <= 0x7000 && dumped.threads() == [7, 8]);

    let mut everything = Preset::everything().then(Threads::only([7]));
    let (report, bytes) = attempt(&mut process, &everything.request(), &mut everything).unwrap();
    assert_eq!(
        (report.threads, report.memory_bytes),
        (1, 0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000)
    );
    assert!(Dump::from_bytes(bytes).unwrap().stream(16).is_some());
}

/// As `/proc` has them; short values stay, and so do modules in a folder that a variable names.
#[test]
fn environment_arguments_and_folders_are_redacted_in_memory() {
    let environ = b"HOME=/opt/lib\0TOKEN=swordfish-42\0LANG=C\0broken\0";
    let arguments = b"program\0--password=hunter2\0-v\0";
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let mut process = process()
        .put(HEAP, environ.to_vec())
        .put(HEAP + 0x100, arguments.to_vec())
        .put(HEAP + 0x200, wide("swordfish-42"))
        .put(HEAP + 0x300, b"/srv/customers/jo/data".to_vec());
    let mut redact = Redact::new()
        .environment(environ)
        .command_line(arguments)
        .folder("/srv/customers");
    let dumped = run_on(&mut process, &request(0x200), &mut redact);
    for gone in ["swordfish", "/opt/lib", "hunter2", "customers"] {
        assert!(
            !dumped
                .dump
                .memory(HEAP, 0x400)
                .unwrap()
                .unwrap()
                .windows(gone.len())
                .any(|bytes| bytes == gone.as_bytes())
        );
    }
    assert!(dumped.dump.contains_nowhere(&wide("swordfish")).unwrap());
    for stays in ["HOME=", "LANG=C", "program\0", "\0-v", "/jo/data"] {
        assert!(dumped.has(stays.as_bytes()), "{stays}");
    }
    assert_eq!(dumped.modules(), ["/opt/program", "/opt/lib/libplugin.so.1"]);
}

/// Stacks that are filtered need no list of secrets.
#[test]
fn stack_traces_alone_are_a_preset() {
    let mut process = process().put(STACK + 0x1100, SECRET);
    let mut preset = Preset::stack_traces();
    let dumped = run_on(&mut process, &preset.request(), &mut preset);
    assert!(!dumped.has(SECRET) && dumped.dump.has_memory(STACK + 0x1100, 32).unwrap());
    assert_eq!(dumped.dump.modules().unwrap()[0].name.as_deref(), Some("program"));
}

/// The next link sees what the one before it left, and cannot bring anything back.
#[test]
fn a_chain_narrows() {
    let seen = RefCell::new(Vec::new());
    let greedy = |ask: Ask<'_>| {
        match ask {
            Ask::IncludeThread { thread_id, keep } => {
                seen.borrow_mut()
                    .push((u64::from(thread_id), u64::from(keep.bits())));
                *keep = ThreadWriteFlags::all();
            }
            Ask::IncludeModule { base, keep } => {
                seen.borrow_mut().push((base, keep.bits().into()));
                *keep = ModuleWriteFlags::all();
            }
            Ask::Module { keep, .. } => {
                assert_eq!(keep.bits(), 0x1D, "the one bit that can be added has been")
            }
            Ask::Thread { keep, .. } => {
                assert!(!keep.contains(ThreadWriteFlags::STACK), "it did not come back")
            }
            Ask::IncludeVmRegion { answer } => {
                seen.borrow_mut()
                    .push((answer.region.base_address, answer.region.region_size));
                answer.cont = true;
            }
            _ => {}
        }
        true
    };
    let first = || {
        Chain::new()
            .then(Threads::parts(|id| match id {
                7 => ThreadWriteFlags::empty(),
                _ => ThreadWriteFlags::all() - ThreadWriteFlags::STACK,
            }))
            .then(
                RemoveMemory::new()
                    .range(HEAP + 0x1000..HEAP + 0x3000)
                    .range(CODE..LIBRARY + 0x3000)
                    .range(STACK..STACK + 0x20_0000),
            )
    };
    let dumped = run(0, &mut first().then(greedy));
    assert_eq!(*seen.borrow(), [(8, 0x15), (CODE, 0xD), (LIBRARY, 0xD)]);
    assert_eq!(dumped.ranges(), []);
    seen.borrow_mut().clear();
    let dumped = run(0x2, &mut first().then(greedy));
    let pass = [(HEAP, 0x1000), (HEAP + 0x3000, 0xD000)];
    assert_eq!(seen.borrow()[3..], [pass, pass].concat());
    assert_eq!(
        dumped.ranges(),
        [(HEAP, HEAP + 0x1000), (HEAP + 0x3000, HEAP + 0x10000)]
    );
}

/// A link that ends the region questions for itself does not end them for the others, in either pass.
#[test]
fn a_link_that_wants_no_more_regions_leaves_them_to_the_others() {
    let asked = Cell::new(0);
    let once = |ask: Ask<'_>| {
        asked.set(asked.get() + u32::from(ask.kind() == AskKind::IncludeVmRegion));
        true
    };
    let dumped = run(
        0x2,
        &mut Chain::new()
            .then(once)
            .then(RemoveMemory::new().range(HEAP..HEAP + 0x10000)),
    );
    assert_eq!(asked.get(), 2, "once a pass");
    assert!(
        dumped
            .ranges()
            .iter()
            .all(|range| range.0 < HEAP || range.0 >= STACK)
    );
}

/// A listener in a chain changes nothing, whatever it does to the slots.
#[test]
fn listeners_in_a_chain_only_listen() {
    struct Meddler;
    impl Callback for Meddler {
        fn ask(&mut self, ask: Ask<'_>) -> bool {
            match ask {
                Ask::IncludeThread { keep, .. } | Ask::Thread { keep, .. } => {
                    *keep = ThreadWriteFlags::empty()
                }
                Ask::Cancel { answer } => answer.cancel = true,
                Ask::Memory { wanted } => (wanted.base, wanted.size) = (HEAP, 0x100),
                Ask::IoStart { status, .. } | Ask::VmStart { status } => *status = Hresult::S_FALSE,
                Ask::IncludeVmRegion { answer } => (answer.cont, answer.region.region_size) = (true, 0),
                _ => {}
            }
            true
        }
        fn answers(&self) -> bool {
            false
        }
    }
    for dump_type in [0, 0x2] {
        for mut chain in [
            Chain::new().then(Meddler),
            Chain::new().then(Meddler).then(Threads::except([])),
        ] {
            assert!(run(dump_type, &mut chain).bytes == plain(dump_type));
        }
    }
}

/// Whatever stands around a callback, it is shown the process id and handle that each question comes with.
#[test]
fn the_process_is_shown_through_everything() {
    struct Watcher(Rc<RefCell<Vec<(AskKind, ProcessAsked)>>>, ProcessAsked);
    impl Callback for Watcher {
        fn ask(&mut self, ask: Ask<'_>) -> bool {
            self.0.borrow_mut().push((ask.kind(), self.1));
            true
        }
        fn process(&mut self, process: ProcessAsked) {
            self.1 = process;
        }
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut watcher = Watcher(Rc::clone(&seen), ProcessAsked::default());
    let mut lint = Lint::new(&mut watcher);
    let budget = SizeBudget::around(Chain::new().then_mut(&mut lint), 1 << 30);
    let mut preset = Preset::first_look().then(Chain::new().then(budget));
    let mut chain = Chain::new().then_mut(&mut preset);
    let mut recorder = Recorder::new(Some(&mut chain), Symbols::new());
    let request = Request::new(DumpType::NORMAL).process_handle(0x54);
    dump(&mut process(), &request, Some(&mut recorder), &mut Vec::new()).unwrap();
    let shown = |kind| {
        let seen = seen.borrow();
        let (_, shown) = seen.iter().find(|(asked, _)| *asked == kind).unwrap();
        (shown.process_id, shown.process_handle)
    };
    assert_eq!(shown(AskKind::IsProcessSnapshot), (0, 0x54));
    assert_eq!(shown(AskKind::IoStart), (0, 0));
    assert_eq!(shown(AskKind::IncludeThread), (1000, 0x54));
    assert_eq!(shown(AskKind::WriteKernelMinidump), (0, 0));
}

/// The linter knows what real programs do wrong.
#[test]
fn policies_do_nothing_that_the_linter_minds() {
    for dump_type in [0, 0x2, 0x241] {
        let chain = Chain::new()
            .then(Threads::except([8]))
            .then(Modules::except(["lib*"]))
            .then(DataSegments::of(["prog*"]))
            .then(AddMemory::new().range(HEAP..HEAP + 0x1000))
            .then(AroundRegisters::new(64, 256))
            .then(RemoveMemory::new().range(HEAP + 0x800..HEAP + 0x900))
            .then(CancelToken::new())
            .then(Deadline::after(Duration::MAX))
            .then(Progress::new(|_| {}).counting_bytes())
            .then(ReadCache::new(1 << 20))
            .then(Redact::new().bytes((HEAP + 0x108).to_le_bytes()))
            .then(IgnoreReadFailures::new())
            .then(StreamOutput::new(io::sink()));
        let mut budget = SizeBudget::around(chain, 0x3000);
        let mut lint = Lint::new(&mut budget);
        attempt(
            &mut process(),
            &SizeBudget::prepare(request(dump_type)),
            &mut lint,
        )
        .expect("a dump");
        assert_eq!(lint.findings(), [], "{dump_type:#x}");
    }
}

/// A policy chosen by a property test.
#[derive(Debug, Clone)]
enum Choice {
    Threads(Vec<u32>),
    Modules(&'static str),
    DataSegments(&'static str),
    Add(Range<u64>),
    Remove(Range<u64>),
    AroundRegisters(u64, u64),
    RedactRange(Range<u64>),
    RedactSecret(usize),
    Cache(usize),
    Stream,
    Progress,
}

fn secret(index: usize) -> Vec<u8> {
    (0..16)
        .map(|byte| b'A' + u8::try_from((byte * 7 + index * 5) % 26).unwrap())
        .collect()
}

fn any_range() -> impl Strategy<Value = Range<u64>> {
    let base = prop::sample::select(vec![CODE, LIBRARY, HEAP, STACK, STACK_8]);
    (base, 0_u64..0x11000, 1_u64..0x3000).prop_map(|(base, offset, len)| base + offset..base + offset + len)
}

fn any_choice() -> impl Strategy<Value = Choice> {
    let pattern = || prop::sample::select(vec!["*", "prog*", "lib*", "nothing"]);
    prop_oneof![
        prop::collection::vec(7_u32..9, 0..2).prop_map(Choice::Threads),
        pattern().prop_map(Choice::Modules),
        pattern().prop_map(Choice::DataSegments),
        any_range().prop_map(Choice::Add),
        any_range().prop_map(Choice::Remove),
        (0_u64..0x400, 0_u64..0x2000).prop_map(|(before, behind)| Choice::AroundRegisters(before, behind)),
        any_range().prop_map(Choice::RedactRange),
        (0_usize..4).prop_map(Choice::RedactSecret),
        (0_usize..0x20000).prop_map(Choice::Cache),
        Just(Choice::Stream),
        Just(Choice::Progress),
    ]
}

fn build(choices: &[Choice]) -> Chain<'static> {
    choices
        .iter()
        .cloned()
        .fold(Chain::new(), |chain, choice| match choice {
            Choice::Threads(ids) => chain.then(Threads::except(ids)),
            Choice::Modules(pattern) => chain.then(Modules::except([pattern])),
            Choice::DataSegments(pattern) => chain.then(DataSegments::of([pattern])),
            Choice::Add(range) => chain.then(AddMemory::new().range(range)),
            Choice::Remove(range) => chain.then(RemoveMemory::new().range(range)),
            Choice::AroundRegisters(before, behind) => chain.then(AroundRegisters::new(before, behind)),
            Choice::RedactRange(range) => chain.then(Redact::new().range(range)),
            Choice::RedactSecret(index) => chain.then(Redact::new().bytes(secret(index))),
            Choice::Cache(bytes) => chain.then(ReadCache::new(bytes)),
            Choice::Stream => chain.then(StreamOutput::new(io::sink())),
            Choice::Progress => chain.then(Progress::new(|_| {}).counting_bytes()),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is combined: the dump is sound, and nothing removed or redacted is in its bytes.
    #[test]
    fn any_combination_gives_a_sound_dump_without_what_was_taken_out(
        choices in prop::collection::vec(any_choice(), 0..8),
        dump_type in prop::sample::select(vec![0, 0x1, 0x2, 0x40, 0x200, 0x2241, 0x80000, 0x1802]),
        secrets in prop::collection::vec((0_usize..4, any_range()), 0..5),
        fetch_limit in prop::sample::select(vec![0, 0x3000, 256 << 20]),
        budget in prop::option::of(0_u64..0x30000),
        fault in prop::option::of((0_u64..15, any::<bool>())),
        profile in prop::sample::select(vec![Profile::Documented, Profile::DbgHelp63, Profile::DbgHelp10]),
    ) {
        let mut process = process();
        for (index, place) in &secrets {
            let at = place.start;
            let fits = process.regions.iter().any(|(region, _)| region.range.contains(at) && region.range.contains(at + 16));
            if fits {
                process = process.put(at, secret(*index));
            }
        }
        if let Some((page, is_known)) = fault {
            let at = HEAP + page * 0x1000;
            process = if is_known { process.unreadable(at, 0x1000) } else { process.treacherous(at, 0x1000) };
        }
        let mut request = request(dump_type).fetch_limit(fetch_limit).profile(profile);
        let chain = build(&choices).then(IgnoreReadFailures::new());
        let mut bytes = RefCell::new(Vec::new());
        // The dump goes where the test can look at it, unless it has been sent elsewhere before.
        let tee = |ask: Ask<'_>| {
            match ask {
                Ask::IoStart { status, .. } => *status = Hresult::S_FALSE,
                Ask::IoWriteAll { bytes: more, status, .. } => {
                    bytes.borrow_mut().extend_from_slice(more);
                    *status = Hresult::S_OK;
                }
                Ask::IoFinish { status, .. } => *status = Hresult::S_OK,
                _ => {}
            }
            true
        };
        let mut policy: Box<dyn Callback + '_> = match budget {
            None => Box::new(Chain::new().then(tee).then(chain)),
            Some(limit) => {
                request = SizeBudget::prepare(request);
                Box::new(Chain::new().then(tee).then(SizeBudget::around(chain, limit)))
            }
        };
        let outcome = dump(&mut process, &request, Some(&mut *policy), &mut Vec::new());
        drop(policy);
        prop_assert_eq!(process.freezes, process.releases);
        let observed = profile != Profile::Documented;
        let report = match outcome {
            // DbgHelp lets a page of full memory fail the dump, and asks nobody.
            Err(Error::Unreadable { .. }) if observed && fault.is_some() => return Ok(()),
            outcome => outcome.unwrap(),
        };
        let dump = Dump::from_bytes(std::mem::take(bytes.get_mut())).unwrap();
        let removes = choices.iter().any(|choice| matches!(choice, Choice::Remove(_)));
        // Its removal leaves blocks behind, and touches only some of the memory.
        if !(observed && (removes || budget.is_some())) {
            assert_sound(&dump);
        }
        if let Some(limit) = budget.filter(|_| !observed) {
            prop_assert!(report.memory_bytes <= limit, "{} bytes of {}", report.memory_bytes, limit);
        }
        for choice in &choices {
            match choice {
                Choice::RedactSecret(index) => prop_assert!(dump.contains_nowhere(&secret(*index)).unwrap()),
                Choice::Remove(range) if !observed => {
                    for captured in dump.memory_ranges().unwrap() {
                        let end = captured.address + captured.size;
                        prop_assert!(end <= range.start || range.end <= captured.address, "{:x?}", captured);
                    }
                }
                Choice::RedactRange(range) => {
                    for at in range.clone() {
                        if let Some(byte) = dump.memory(at, 1).unwrap() {
                            prop_assert_eq!(byte, [b'*'], "{:#x}", at);
                        }
                    }
                }
                Choice::Threads(ids) => {
                    prop_assert!(dump.threads().unwrap().iter().all(|thread| !ids.contains(&thread.id)));
                }
                _ => {}
            }
        }
    }
}

/// Whatever else is asked for, a filtered dump has no unused part of a stack, and nothing of what a crash has accessed; and a
/// callback that takes registers out of the thread takes them out of its exception.
#[test]
fn filters_and_refusals_are_not_undone_by_something_else() {
    const SECRET: u64 = 0x5E5E_5E5E_5E5E_5E5E;
    let process = || {
        SimProcess::new(1000)
            .thread(7, STACK + 0x1000, CODE + 0x1234)
            .module(CODE, 0x9000, "/opt/program", &[0xAB; 20])
            .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
            .memory(HEAP, 0x1000, READWRITE, Contents::Fill(0x5E))
            .memory(STACK, 0x3000, READWRITE, Contents::Fill(0x5E))
    };
    let registers = Amd64 {
        rax: SECRET,
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        ..Amd64::default()
    };
    let exception = Exception {
        thread_id: 7,
        code: 11,
        flags: 1,
        record: 0,
        address: HEAP + 0x800,
        parameters: Vec::new(),
        context: registers.to_context(),
    };
    let has_secret = |bytes: &[u8], len| {
        bytes
            .windows(len)
            .any(|part| part.iter().all(|byte| *byte == 0x5E))
    };
    for dump_type in [0x8, 0x48, 0x108, 0x10_0000, 0x10_0040] {
        let request = Request::new(DumpType::from_bits_retain(dump_type)).exception(exception.clone());
        let mut file = Vec::new();
        dump(&mut process(), &request, None, &mut file).unwrap();
        assert!(!has_secret(&file, 8), "{dump_type:#x}");
    }
    // The heap was asked for, the stack's region was not.
    let mut file = Vec::new();
    dump(
        &mut process(),
        &Request::new(DumpType::from_bits_retain(0x208)),
        None,
        &mut file,
    )
    .unwrap();
    assert!(has_secret(&file, 0x1000) && !has_secret(&file, 0x1001));

    for thread_kept in [true, false] {
        let mut callback = |ask: Ask<'_>| match ask {
            Ask::IncludeThread { keep, .. } => {
                *keep = ThreadWriteFlags::THREAD;
                thread_kept
            }
            _ => true,
        };
        let mut elsewhere = exception.clone();
        elsewhere.address = CODE + 0x1234;
        let request = Request::new(DumpType::NORMAL).exception(elsewhere);
        let mut file = Vec::new();
        let mut ending = Chain::new().then_mut(&mut callback).then(RemoveMemory::new());
        dump(&mut process(), &request, Some(&mut ending), &mut file).unwrap();
        assert!(!has_secret(&file, 8), "kept: {thread_kept}");
    }
}
