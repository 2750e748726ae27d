//! The engine on simulated processes. Dumps are checked with rust-minidump's reader, with
//! dumpwright's own, and against the facts of the simulation.
//!
//! Would catch: a wrong order or default of the callback's calls; an answer without effect; memory
//! that is lost, added or misplaced; wrong offsets beyond 4 GiB; a loss that is not reported; a
//! target that is not resumed.

use std::cell::RefCell;
use std::io;

use dumpwright::callback::{AskKind, Hresult, ModuleWriteFlags, ThreadWriteFlags};
use dumpwright::read::Dump;
use dumpwright::target::protect::READWRITE;
use dumpwright::target::{
    AddressRange, Amd64, Arm64, CpuContext, Exception, Exclusion, Subject, X86, XState, XStateFeature,
    XStateLayout,
};
use dumpwright::{Ask, Callback, DumpType, Error, Profile, Report, Request, Sink, dump};
use dumpwright_sim::{Contents, SimFault, SimProcess};
use minidump::{Minidump, MinidumpMemoryList, MinidumpModuleList, MinidumpThreadList, Module};

use crate::support::simulated::{CODE, HEAP, STACK, two_threads as process};

fn request(dump_type: u32) -> Request {
    Request::new(DumpType::from_bits_retain(dump_type)).time(1)
}

fn run(
    process: &mut SimProcess,
    request: &Request,
    callback: Option<&mut dyn Callback>,
) -> Result<(Report, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let outcome = dump(process, request, callback, &mut bytes);
    assert_eq!(
        process.freezes, process.releases,
        "the target is let go, whatever happens"
    );
    outcome.map(|report| {
        assert_eq!(report.bytes, bytes.len() as u64);
        (report, bytes)
    })
}

fn expect_error(process: &mut SimProcess, request: &Request, callback: &mut dyn Callback) -> Error {
    run(process, request, Some(callback)).expect_err("no dump")
}

fn assert_sound(dump: &Dump) {
    let violations = dumpwright::read::check(dump).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

/// The bytes at an address of a counting region.
fn counting(range: std::ops::Range<u64>) -> Vec<u8> {
    range
        .map(|at| (at & !7).to_le_bytes()[usize::try_from(at % 8).unwrap()])
        .collect()
}

/// The memory ranges of a dump, as rust-minidump reads them.
fn ranges(bytes: &[u8]) -> Vec<(u64, u64)> {
    let dump = Minidump::read(bytes).unwrap();
    let list: MinidumpMemoryList<'_> = dump.get_stream().unwrap();
    list.iter()
        .map(|range| (range.base_address, range.base_address + range.size))
        .collect()
}

#[test]
fn a_normal_dump_holds_threads_modules_stacks_and_windows() {
    let (report, bytes) = run(&mut process(), &request(0), None).unwrap();
    assert!(report.is_complete(), "{:?}", report.diagnostics);
    let dump = Minidump::read(bytes.as_slice()).unwrap();
    let threads: MinidumpThreadList<'_> = dump.get_stream().unwrap();
    assert_eq!(
        threads
            .threads
            .iter()
            .map(|t| t.raw.thread_id)
            .collect::<Vec<_>>(),
        [7, 8]
    );
    let memory = dump.get_memory().unwrap();
    let stack = threads.threads[0].stack_memory(&memory).expect("a stack");
    assert_eq!(stack.base_address(), STACK + 0x1000);
    assert_eq!(stack.bytes(), counting(STACK + 0x1000..STACK + 0x4000));
    let modules: MinidumpModuleList = dump.get_stream().unwrap();
    let main = modules.main_module().unwrap();
    assert_eq!(
        (main.base_address(), main.size(), main.code_file().as_ref()),
        (CODE, 0x8000, "/opt/program")
    );
    assert_eq!(main.code_identifier().unwrap().as_str(), "ab".repeat(20));
    assert_eq!(
        ranges(&bytes),
        [
            (CODE + 0x1234 - 128, CODE + 0x1234 + 128),
            (CODE + 0x2000 - 128, CODE + 0x2000 + 128),
            (STACK + 0x1000, STACK + 0x4000),
            (STACK + 0x10_0800, STACK + 0x10_4000),
        ]
    );
    assert_sound(&Dump::from_bytes(bytes).unwrap());
}

/// The order and the prefilled values that DbgHelp 6.3.9600 showed for type 0 and a callback that
/// answers TRUE.
#[test]
fn questions_come_in_the_order_and_with_the_defaults_of_windows() {
    let mut asked = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        asked.push(match &ask {
            Ask::IsProcessSnapshot { status } | Ask::VmStart { status } | Ask::IoStart { status, .. } => {
                format!("{} {status}", ask.kind().name())
            }
            Ask::SecondaryFlags { flags } => format!("SecondaryFlags {:#x}", flags.bits()),
            Ask::Cancel { answer } => format!("Cancel {} {}", answer.check_cancel, answer.cancel),
            Ask::IncludeThread { thread_id, keep } => format!("IncludeThread {thread_id} {:#x}", keep.bits()),
            Ask::IncludeModule { base, keep } => format!("IncludeModule {base:#x} {:#x}", keep.bits()),
            Ask::Module { module, keep } => {
                format!(
                    "Module {} cv {} {:#x}",
                    module.full_path,
                    module.cv_record.len(),
                    keep.bits()
                )
            }
            Ask::Thread { thread, keep } => {
                format!(
                    "Thread {} {:#x}..{:#x} {:#x}",
                    thread.thread_id,
                    thread.stack_end,
                    thread.stack_base,
                    keep.bits()
                )
            }
            Ask::Memory { wanted } | Ask::RemoveMemory { unwanted: wanted } => {
                format!("{} {} {}", ask.kind().name(), wanted.base, wanted.size)
            }
            Ask::WriteKernelMinidump { handle } => format!("WriteKernelMinidump {handle}"),
            other => other.kind().name().to_owned(),
        });
        true
    };
    run(&mut process(), &request(0), Some(&mut callback)).unwrap();
    assert_eq!(
        asked,
        [
            "IsProcessSnapshot 0x80004001",
            "VmStart 0x80004001",
            "IoStart 0x80004001",
            "SecondaryFlags 0x0",
            "Cancel false false",
            "IncludeThread 7 0x17",
            "IncludeThread 8 0x17",
            "IncludeModule 0x400000 0xd",
            "Module /opt/program cv 24 0xd",
            "Thread 7 0x7fff00001000..0x7fff00004000 0x17",
            "Thread 8 0x7fff00100800..0x7fff00104000 0x17",
            "Memory 0 0",
            "RemoveMemory 0 0",
            "WriteKernelMinidump 0",
        ]
    );
}

#[test]
fn excluded_threads_and_modules_are_nowhere() {
    let mut callback = |ask: Ask<'_>| match ask {
        Ask::IncludeThread { thread_id, .. } => thread_id != 8,
        Ask::IncludeModule { keep, .. } => {
            *keep = ModuleWriteFlags::empty();
            true
        }
        _ => true,
    };
    let (report, bytes) = run(&mut process(), &request(0), Some(&mut callback)).unwrap();
    assert_eq!((report.threads, report.modules), (1, 0));
    assert!(
        ranges(&bytes).iter().all(|(start, _)| *start < STACK + 0x10_0000),
        "no stack of thread 8"
    );
}

#[test]
fn a_thread_without_stack_bit_has_no_stack_and_bits_cannot_be_added() {
    let mut callback = |ask: Ask<'_>| {
        match ask {
            Ask::IncludeThread { keep, .. } => *keep = ThreadWriteFlags::all() - ThreadWriteFlags::STACK,
            Ask::Thread { keep, .. } => {
                assert_eq!(keep.bits(), 0x15);
                *keep = ThreadWriteFlags::all();
            }
            _ => {}
        }
        true
    };
    let (_, bytes) = run(&mut process(), &request(0), Some(&mut callback)).unwrap();
    assert!(
        ranges(&bytes).iter().all(|(start, _)| *start < STACK),
        "windows only"
    );
}

#[test]
fn memory_is_added_joined_and_removed_and_what_was_removed_is_nowhere() {
    let wishes = RefCell::new(
        vec![
            (HEAP + 0x100, 0x100),
            (HEAP + 0x180, 0x1000),
            (STACK + 0x800, 0x1000),
        ]
        .into_iter(),
    );
    let removals = RefCell::new(vec![(HEAP + 0x200, 0x40), (CODE + 0x1200, 0x40)].into_iter());
    let mut callback = |ask: Ask<'_>| {
        let (list, answer) = match ask {
            Ask::Memory { wanted } => (&wishes, wanted),
            Ask::RemoveMemory { unwanted } => (&removals, unwanted),
            _ => return true,
        };
        let Some((base, size)) = list.borrow_mut().next() else {
            return false;
        };
        (answer.base, answer.size) = (base, size);
        true
    };
    let (report, bytes) = run(&mut process(), &request(0), Some(&mut callback)).unwrap();
    assert!(report.is_complete());
    assert_eq!(
        ranges(&bytes),
        [
            // Instruction windows can be removed as well.
            (CODE + 0x1234 - 128, CODE + 0x1200),
            (CODE + 0x1240, CODE + 0x1234 + 128),
            (CODE + 0x2000 - 128, CODE + 0x2000 + 128),
            (HEAP + 0x100, HEAP + 0x200),
            (HEAP + 0x240, HEAP + 0x1180),
            // Memory below the stack is not merged with the stack.
            (STACK + 0x800, STACK + 0x1000),
            (STACK + 0x1000, STACK + 0x4000),
            (STACK + 0x10_0800, STACK + 0x10_4000),
        ]
    );
    let secret = (HEAP + 0x208).to_le_bytes();
    assert!(!bytes.windows(8).any(|window| window == secret));
    assert!(
        bytes
            .windows(8)
            .any(|window| window == (HEAP + 0x108).to_le_bytes())
    );
}

#[test]
fn an_unreadable_page_costs_only_itself() {
    let mut process = process()
        .unreadable(STACK + 0x2000, 0x1000)
        .fails_when_read(STACK + 0x10_2000, 0x1000);
    let (report, bytes) = run(&mut process, &request(0), None).unwrap();
    let missing: Vec<_> = report
        .missing()
        .map(|diagnostic| diagnostic.subject.clone())
        .collect();
    let page = |start| Subject::Memory(AddressRange::at(start, 0x1000).unwrap());
    assert_eq!(missing, [page(STACK + 0x2000), page(STACK + 0x10_2000)]);
    let stacks: Vec<_> = ranges(&bytes)
        .into_iter()
        .filter(|(start, _)| *start >= STACK)
        .collect();
    assert_eq!(
        stacks,
        [
            (STACK + 0x1000, STACK + 0x2000),
            (STACK + 0x3000, STACK + 0x4000),
            (STACK + 0x10_0800, STACK + 0x10_2000),
            (STACK + 0x10_3000, STACK + 0x10_4000),
        ]
    );
    // The thread refers to the range that holds its stack pointer, and the dump lists what is
    // missing.
    let dump = Dump::from_bytes(bytes).unwrap();
    let threads = dump.threads().unwrap();
    assert_eq!(
        (threads[0].stack.start, u64::from(threads[0].stack.size)),
        (STACK + 0x1000, 0x1000)
    );
    assert!(
        String::from_utf8(dump.stream_bytes(0x4D7A_0004).unwrap().unwrap())
            .unwrap()
            .contains("0x7fff00102000")
    );
    assert_sound(&dump);
}

/// The stack is searched for words that point into modules (type 0x10). An unreadable page hides
/// only its own words.
#[test]
fn an_unreadable_page_hides_no_other_words_of_its_stack() {
    let is_referenced = |at: u64| {
        let mut process = process()
            .put(at, (CODE + 0x10).to_le_bytes())
            .fails_when_read(STACK + 0x2000, 0x1000);
        let mut referenced = None;
        let mut callback = |ask: Ask<'_>| {
            if let Ask::Module { keep, .. } = ask {
                referenced =
                    Some(keep.contains(dumpwright::callback::ModuleWriteFlags::REFERENCED_BY_MEMORY));
            }
            true
        };
        run(&mut process, &request(0x10), Some(&mut callback)).unwrap();
        referenced.expect("asked")
    };
    assert!(is_referenced(STACK + 0x1ff8));
    assert!(!is_referenced(STACK + 0x2008));
    assert!(is_referenced(STACK + 0x3000));
}

#[test]
fn a_vanished_thread_makes_the_dump_partial_and_loses_nothing_else() {
    let mut process = process().fault(SimFault::ThreadVanishes(7));
    let (report, bytes) = run(&mut process, &request(0), None).unwrap();
    assert_eq!(
        report.missing().map(|r| r.subject.clone()).collect::<Vec<_>>(),
        [Subject::Thread(7)]
    );
    let dump = Dump::from_bytes(bytes).unwrap();
    assert_eq!(
        dump.threads().unwrap().iter().map(|t| t.id).collect::<Vec<_>>(),
        [8]
    );
}

#[test]
fn a_process_of_which_no_thread_is_left_gives_no_dump() {
    let mut process = process()
        .fault(SimFault::ThreadVanishes(7))
        .fault(SimFault::ThreadVanishes(8));
    let error = run(&mut process, &request(0), None).unwrap_err();
    assert_eq!(error.to_string(), "cannot examine thread 8: it has ended");
}

#[test]
fn limits_of_single_readers_are_said_and_make_nothing_partial() {
    let mut process = process().module(0x50_0000, 0x1000, &format!("/{}", "x".repeat(1100)), &[1; 20]);
    for number in 0..2100 {
        process = process.module(0x1000_0000 + number * 0x1000, 0x1000, "/lib/one.so", &[2; 20]);
    }
    let (report, _) = run(&mut process, &request(0), None).unwrap();
    assert!(report.is_complete());
    let notes: Vec<_> = report.notes().map(|note| note.subject.clone()).collect();
    assert_eq!(notes, [Subject::Stream("ModuleList"), Subject::Module(0x50_0000)]);
}

#[test]
fn a_failed_read_is_put_to_the_callback() {
    let add = |ask: Ask<'_>, on_failure: Hresult, asked: &mut Vec<(u64, u32)>| match ask {
        Ask::Memory { wanted } if asked.is_empty() => {
            (wanted.base, wanted.size) = (HEAP, 0x3000);
            asked.push((0, 0));
            true
        }
        Ask::ReadMemoryFailure {
            offset,
            bytes,
            failure,
            status,
        } => {
            assert_eq!((failure, *status), (Hresult::PARTIAL_COPY, Hresult::S_FALSE));
            asked.push((offset, bytes));
            *status = on_failure;
            true
        }
        Ask::Memory { .. } => false,
        _ => true,
    };
    let mut asked = Vec::new();
    let mut process = process().fails_when_read(HEAP + 0x1000, 0x1000);
    let (report, bytes) = run(
        &mut process,
        &request(0),
        Some(&mut |ask: Ask<'_>| add(ask, Hresult::S_OK, &mut asked)),
    )
    .unwrap();
    assert_eq!(asked, [(0, 0), (HEAP, 0x3000)]);
    assert!(report.is_complete(), "dropped by choice of the callback");
    assert!(
        ranges(&bytes)
            .iter()
            .all(|(start, _)| !(HEAP..HEAP + 0x10000).contains(start))
    );

    let mut asked = Vec::new();
    let error = expect_error(&mut process, &request(0), &mut |ask: Ask<'_>| {
        add(ask, Hresult::S_FALSE, &mut asked)
    });
    assert_eq!(error.hresult(), Hresult::PARTIAL_COPY);
}

#[test]
fn failures_have_the_codes_of_windows() {
    type Answer = fn(Ask<'_>) -> bool;
    let cases: &[(u32, Answer, Hresult)] = &[
        (0, |ask| ask.kind() != AskKind::Module, Hresult::E_ABORT),
        (0, |ask| ask.kind() != AskKind::Thread, Hresult::E_ABORT),
        (0x800_0000, |_| true, Hresult::INVALID_ARGUMENT),
        (
            0,
            |ask| {
                if let Ask::Cancel { answer } = ask {
                    answer.cancel = true;
                }
                true
            },
            Hresult::CANCELLED,
        ),
        (
            0,
            |ask| {
                if let Ask::IsProcessSnapshot { status } = ask {
                    *status = Hresult::S_FALSE;
                }
                true
            },
            Hresult(0x8007_007F),
        ),
        (
            0,
            |ask| match ask {
                Ask::IoStart { status, .. } => {
                    *status = Hresult::S_FALSE;
                    true
                }
                Ask::IoWriteAll { status, .. } => {
                    *status = Hresult::DISK_FULL;
                    true
                }
                _ => true,
            },
            Hresult::DISK_FULL,
        ),
        (
            0,
            |ask| match ask {
                Ask::IoStart { status, .. } => {
                    *status = Hresult::S_FALSE;
                    true
                }
                ask => ask.kind() != AskKind::IoWriteAll,
            },
            Hresult::E_FAIL,
        ),
    ];
    for (dump_type, answer, code) in cases {
        let mut answer = *answer;
        let error = expect_error(&mut process(), &request(*dump_type), &mut answer);
        assert_eq!(error.hresult(), *code, "{error}");
    }
}

#[test]
fn a_callback_that_takes_over_the_output_gets_the_same_file_in_order() {
    let (_, expected) = run(&mut process(), &request(0x802), None).unwrap();
    let mut written = Vec::new();
    let mut finished = 0;
    let mut callback = |ask: Ask<'_>| {
        match ask {
            Ask::IoStart { status, .. } => *status = Hresult::S_FALSE,
            Ask::IoWriteAll {
                offset,
                bytes,
                status,
                ..
            } => {
                assert_eq!(offset, written.len() as u64, "never back");
                assert!(!bytes.is_empty() && bytes.len() <= 64 << 10);
                assert_eq!(*status, Hresult::E_FAIL);
                written.extend_from_slice(bytes);
                *status = Hresult::S_OK;
            }
            Ask::IoFinish { status, .. } => {
                finished += 1;
                *status = Hresult::S_OK;
            }
            Ask::IncludeVmRegion { answer } => answer.cont = true,
            _ => {}
        }
        true
    };
    let mut untouched = Vec::new();
    dump(
        &mut process(),
        &request(0x802),
        Some(&mut callback),
        &mut untouched,
    )
    .unwrap();
    assert!(untouched.is_empty());
    assert_eq!(finished, 1);
    assert!(written == expected);
}

#[test]
fn full_memory_is_all_readable_memory_with_stacks_first() {
    let mut process = process().excluded(0x20_0000_0000, 0x3000, Exclusion::DontDump);
    let (report, bytes) = run(&mut process, &request(0x802), None).unwrap();
    assert!(report.is_complete());
    let left_out: Vec<_> = report.left_out().map(ToString::to_string).collect();
    assert_eq!(
        left_out,
        ["process: 12288 bytes in 1 region: the program marked it \"do not dump\""]
    );
    let dump = Dump::from_bytes(bytes).unwrap();
    let ranges: Vec<_> = dump
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address, range.size))
        .collect();
    assert_eq!(
        ranges,
        [
            (STACK + 0x1000, 0x3000),
            (STACK + 0x10_0800, 0x3800),
            (CODE, 0x8000),
            (HEAP, 0x10000),
            (STACK, 0x1000),
            (STACK + 0x10_0000, 0x800),
        ]
    );
    for (start, size) in ranges {
        assert!(dump.memory(start, size).unwrap().unwrap() == counting(start..start + size));
    }
    let stack = &dump.threads().unwrap()[0].stack;
    assert_ne!(
        stack.rva, 0,
        "readers that do not know Memory64List find stacks by it"
    );
    assert_sound(&dump);
}

#[test]
fn regions_are_narrowed_and_skipped_by_both_passes() {
    let mut asked = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        if let Ask::IncludeVmRegion { answer } = ask {
            assert!(!answer.cont);
            asked.push(answer.region.base_address);
            answer.cont = true;
            match answer.region.base_address {
                HEAP => (answer.region.base_address, answer.region.region_size) = (HEAP + 0x2000, 0x1000),
                CODE => {}
                _ => answer.region.region_size = 0,
            }
        }
        true
    };
    let (_, bytes) = run(&mut process(), &request(0x2), Some(&mut callback)).unwrap();
    // The rest of the heap after the answer is offered as a separate region.
    let pass = [CODE, HEAP, HEAP + 0x3000, STACK, STACK + 0x10_0000];
    assert_eq!(asked, [pass, pass].concat());
    let dump = Dump::from_bytes(bytes).unwrap();
    let ranges: Vec<_> = dump
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address, range.size))
        .collect();
    assert_eq!(ranges, [(CODE, 0x8000), (HEAP + 0x2000, 0x1000)]);
}

#[test]
fn passes_that_never_agree_fail_after_five_attempts() {
    let mut count = 0;
    let mut callback = |ask: Ask<'_>| {
        if let Ask::IncludeVmRegion { answer } = ask {
            count += 1;
            answer.cont = true;
            if count % 2 == 0 {
                answer.region.region_size = 0;
            }
        }
        true
    };
    let mut one_region = SimProcess::new(1).memory(HEAP, 0x1000, READWRITE, Contents::Counting);
    let error = expect_error(&mut one_region, &request(0x2), &mut callback);
    assert_eq!(error.hresult(), Hresult::INVALID_DATA);
    assert_eq!(count, 10);
}

#[test]
fn bytes_lost_while_writing_are_marked_and_named() {
    // Full memory, and selected memory that is too large to be captured before it is written.
    for request in [request(0x802), request(0xa00).fetch_limit(0)] {
        let mut process = process().fails_when_read(HEAP + 0x4000, 0x2000);
        let (report, bytes) = run(&mut process, &request, None).unwrap();
        names_its_losses(&report, &bytes);
    }
}

fn names_its_losses(report: &Report, bytes: &[u8]) {
    let lost = AddressRange::at(HEAP + 0x4000, 0x2000).unwrap();
    assert_eq!(
        report.missing().map(|r| r.subject.clone()).collect::<Vec<_>>(),
        [Subject::Memory(lost)]
    );
    let dump = Dump::from_bytes(bytes).unwrap();
    let losses: Vec<_> = dump
        .losses()
        .unwrap()
        .iter()
        .map(|loss| (loss.start, loss.length))
        .collect();
    assert_eq!(losses, [(HEAP + 0x4000, 0x2000)]);
    assert_eq!(dump.memory(HEAP + 0x4ff8, 16).unwrap(), None);
    assert!(
        dump.memory(HEAP + 0x6000, 0x1000).unwrap().is_some(),
        "what lies behind is kept and in place"
    );
    assert!(!dumpwright::read::check(&dump).unwrap().is_empty());
    // An independent reader sees the fill bytes, not zeros.
    let judge = Minidump::read(bytes).unwrap();
    let memory = judge.get_memory().unwrap();
    let range = memory.memory_at_address(HEAP + 0x4000).unwrap();
    let word: u64 = range.get_memory_at_address(HEAP + 0x4000).unwrap();
    assert_eq!(word, 0xDDDD_DDDD_DDDD_DDDD);
}

/// Keeps the beginning of a dump and some samples, and counts the other bytes.
#[derive(Default)]
struct Probe {
    received: u64,
    largest: usize,
    zeros: u64,
    head: Vec<u8>,
    wanted: Vec<(u64, [u8; 8])>,
}

impl Sink for Probe {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(at, self.received);
        self.received += bytes.len() as u64;
        self.largest = self.largest.max(bytes.len());
        if self.head.len() < 1 << 16 {
            self.head.extend_from_slice(bytes);
        }
        for (offset, found) in &mut self.wanted {
            if (at..self.received - 7).contains(offset) {
                let from = usize::try_from(*offset - at).unwrap();
                found.copy_from_slice(&bytes[from..from + 8]);
            }
        }
        Ok(())
    }

    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        assert_eq!(at, self.received);
        self.received += len;
        self.zeros += len;
        if self.head.len() < 1 << 16 {
            self.head
                .resize(self.head.len() + usize::try_from(len).unwrap(), 0);
        }
        Ok(())
    }
}

#[test]
fn offsets_beyond_4_gib_are_right_and_the_buffer_stays_small() {
    const GIB: u64 = 1 << 30;
    let mut process = process()
        .memory(0x100_0000_0000, 0x80000, READWRITE, Contents::Counting)
        .memory(0x200_0000_0000, GIB, READWRITE, Contents::Untouched)
        .memory(0x300_0000_0000, 0x80000, READWRITE, Contents::Counting);
    for number in 0..4 {
        process = process.memory(
            0x210_0000_0000 + number * 2 * GIB,
            GIB,
            READWRITE,
            Contents::Untouched,
        );
    }
    let mut first = Probe::default();
    dump(&mut process, &request(0x2), None, &mut first).unwrap();
    let base = Dump::from_bytes(first.head.clone())
        .unwrap()
        .stream_bytes(9)
        .unwrap()
        .map(|body| u64::from_le_bytes(body[8..16].try_into().unwrap()))
        .unwrap();
    // Stacks (0x3000 + 0x3800), code, heap, then the large regions; the page below the stacks is
    // last.
    let large = base + 0x6800 + 0x8000 + 0x10000;
    let mut second = Probe {
        wanted: vec![(large, [0; 8]), (large + 5 * GIB + 0x80000 + 8, [0; 8])],
        ..Probe::default()
    };
    let report = dump(&mut process, &request(0x2), None, &mut second).unwrap();
    assert_eq!(second.wanted[0].1, 0x100_0000_0000_u64.to_le_bytes());
    assert_eq!(second.wanted[1].1, 0x300_0000_0008_u64.to_le_bytes());
    assert!(second.zeros >= 5 * GIB, "untouched memory is a hole");
    assert!(second.largest <= 1 << 20);
    assert_eq!(report.bytes, second.received);
}

#[test]
fn more_memory_than_32_bits_can_address_goes_into_a_64_bit_list() {
    const GIB: u64 = 1 << 30;
    const SIZE: u64 = 5 * GIB;
    // Longer runs of untouched memory would be left out.
    let mut process = (0..5).fold(process(), |process, index| {
        process.memory(
            0x100_0000_0000 + index * 2 * GIB,
            GIB,
            READWRITE,
            Contents::Untouched,
        )
    });
    let mut probe = Probe::default();
    let report = dump(
        &mut process,
        &request(0x200).fetch_limit(1 << 20),
        None,
        &mut probe,
    )
    .unwrap();
    assert!(report.is_complete());
    assert!(report.memory_bytes > SIZE);
    let dump = Dump::from_bytes(probe.head).unwrap();
    let list = dump.stream_bytes(9).unwrap().unwrap();
    assert!(dump.stream_bytes(5).unwrap().is_none());
    // The stacks come first, where the thread list can refer to them. The rest of their memory
    // comes last.
    let base = u64::from_le_bytes(list[8..16].try_into().unwrap());
    let threads = dump.stream_bytes(3).unwrap().unwrap();
    for (index, expected) in [(0, base), (1, base + 0x3000)] {
        let at = 4 + index * 48 + 36;
        let offset = u32::from_le_bytes(threads[at..at + 4].try_into().unwrap());
        assert_eq!(u64::from(offset), expected, "stack of thread {index}");
    }
}

#[test]
fn vm_questions_replace_extend_and_change_reads() {
    let mut pre = 0;
    let mut callback = |ask: Ask<'_>| match ask {
        Ask::VmStart { status } => {
            *status = Hresult::S_FALSE;
            true
        }
        Ask::VmPreRead {
            offset,
            buffer,
            answer,
        } => {
            pre += 1;
            if offset == STACK + 0x1000 {
                // The first page comes from the callback.
                buffer[..0x1000].fill(0x11);
                (answer.status, answer.completed) = (Hresult::S_OK, 0x1000);
                return true;
            }
            false
        }
        Ask::VmPostRead { offset, buffer, .. } => {
            if (offset..offset + buffer.len() as u64).contains(&(STACK + 0x3000)) {
                let at = usize::try_from(STACK + 0x3000 - offset).unwrap();
                buffer[at..at + 8].fill(0x22);
            }
            false
        }
        _ => true,
    };
    let (report, bytes) = run(&mut process(), &request(0), Some(&mut callback)).unwrap();
    assert!(report.is_complete());
    assert!(pre >= 8);
    let dump = Dump::from_bytes(bytes).unwrap();
    let stack = dump.memory(STACK + 0x1000, 0x3000).unwrap().unwrap();
    assert!(stack[..0x1000].iter().all(|byte| *byte == 0x11));
    assert!(stack[0x1000..0x2000] == counting(STACK + 0x2000..STACK + 0x3000));
    assert_eq!(stack[0x2000..0x2008], [0x22; 8]);
    assert!(stack[0x2008..] == counting(STACK + 0x3008..STACK + 0x4000));
}

#[test]
fn streams_of_the_callers_own_are_copied_and_reserved_types_refused() {
    let good = request(0)
        .user_stream(0x1_0001, b"mine".as_slice())
        .user_stream(10, b"a comment\0".as_slice());
    let (_, bytes) = run(&mut process(), &good, None).unwrap();
    let dump = Dump::from_bytes(bytes).unwrap();
    assert_eq!(dump.stream_bytes(0x1_0001).unwrap().unwrap(), b"mine");
    assert_eq!(dump.stream_bytes(10).unwrap().unwrap(), b"a comment\0");
    for stream_type in [0, 3, 5, 24] {
        let refused = request(0).user_stream(stream_type, b"".as_slice());
        let error = run(&mut process(), &refused, None).unwrap_err();
        assert_eq!(error.hresult(), Hresult::INVALID_ARGUMENT, "{error}");
    }
    for stream_type in [10, 23, 0x1_0001] {
        let twice = request(0)
            .user_stream(stream_type, b"one".as_slice())
            .user_stream(stream_type, b"two".as_slice());
        let error = run(&mut process(), &twice, None).unwrap_err();
        assert!(error.to_string().contains("two user streams"), "{error}");
    }
    // Microsoft's types that dumpwright does not write: IptTrace, ceStreamNull, LastReservedStream.
    for stream_type in [23, 0x8000, 0xFFFF] {
        let taken = request(0).user_stream(stream_type, b"mine".as_slice());
        let (_, bytes) = run(&mut process(), &taken, None).unwrap();
        let dump = Dump::from_bytes(bytes).unwrap();
        assert_eq!(dump.stream_bytes(stream_type).unwrap().unwrap(), b"mine");
    }
}

/// Breakpad's client for Windows has always written its own BreakpadInfo, and readers refuse a dump
/// with two.
#[test]
fn a_stream_of_the_callers_own_replaces_ours() {
    const BREAKPAD_INFO: u32 = 0x4767_0001;
    const LINUX_MAPS: u32 = 0x4767_0009;
    for (_, profile) in Profile::all() {
        for stream_type in [BREAKPAD_INFO, LINUX_MAPS] {
            let types = |request: &Request| {
                let (_, bytes) = run(&mut process(), request, None).unwrap();
                let dump = Dump::from_bytes(bytes).unwrap();
                let bytes = dump.stream_bytes(stream_type).unwrap();
                let types: Vec<u32> = dump.directory().iter().map(|entry| entry.stream_type).collect();
                (
                    types.iter().filter(|found| **found == stream_type).count(),
                    bytes,
                    types.len(),
                )
            };
            let plain = request(0).profile(profile);
            let (count, ours, streams) = types(&plain);
            let mine = plain.user_stream(stream_type, b"mine".as_slice());
            let replaced = types(&mine);
            assert_eq!(
                replaced,
                (1, Some(b"mine".to_vec()), streams + 1 - count),
                "{profile:?}"
            );
            assert_ne!(ours, replaced.1);
        }
    }
}

#[test]
fn the_same_process_gives_the_same_bytes() {
    let (_, one) = run(&mut process(), &request(0x1806), None).unwrap();
    let (_, two) = run(&mut process(), &request(0x1806), None).unwrap();
    assert!(one == two);
}

fn exception(context: CpuContext) -> Exception {
    Exception {
        thread_id: 7,
        code: 11,
        flags: 1,
        record: 0,
        address: 0,
        parameters: Vec::new(),
        context,
    }
}

#[test]
fn registers_of_another_family_are_refused() {
    for context in [X86::default().to_context(), Arm64::default().to_context()] {
        let given = context.cpu().name();
        let error =
            run(&mut process(), &request(0).exception(exception(context)), None).expect_err("no dump");
        assert!(matches!(error, Error::InvalidRequest(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(given) && text.contains("amd64"), "{text}");
    }
}

/// The reporter of a crash (a signal handler, a tracer) may have the plain registers only. The wide
/// registers of the same moment are added.
#[test]
fn registers_beyond_sse_stay_when_an_exception_is_given() {
    const AVX: XStateFeature = XStateFeature {
        number: 2,
        offset: 576,
        size: 256,
    };
    let layout = XStateLayout::new(vec![AVX]).unwrap();
    let plain = Amd64 {
        rsp: STACK + 0x1000,
        rip: CODE + 0x1234,
        ..Amd64::default()
    };
    let moved = Amd64 {
        rip: CODE + 0x1235,
        ..plain.clone()
    };
    let extended = Amd64 {
        xstate: Some(XState::from_parts([(2, &[0xAB; 256][..])], &layout)),
        ..plain.clone()
    };
    let mut process = process();
    process.system.extended_state = Some(layout.clone());
    process.threads[0].context = Some(extended.to_context());
    let size_of = |dump_type: u32, process: &mut SimProcess, given: &Amd64| {
        let request = request(dump_type).exception(exception(given.to_context()));
        let (_, bytes) = run(process, &request, None).unwrap();
        let dump = Dump::from_bytes(bytes).unwrap();
        let thread = dump.threads().unwrap()[0].context_location.size;
        (thread, dump.exception().unwrap().unwrap().context_location.size)
    };
    let whole = layout.context_size() as u32;
    assert_eq!(size_of(0x20_0000, &mut process, &plain), (whole, whole));
    assert_eq!(size_of(0, &mut process, &plain), (1232, 1232), "not asked for");
    // Wide registers of another moment are not mixed in.
    assert_eq!(size_of(0x20_0000, &mut process, &moved), (1232, 1232));
}

/// A debugger that reports a crash may have failed to read some of the registers. The thread is
/// still there, and they were read with its others.
#[test]
fn registers_that_the_exception_lacks_are_those_of_the_thread() {
    let own = Amd64 {
        rsp: STACK + 0x1000,
        rip: CODE + 0x1234,
        fxsave: Some(Box::new([0x5E; 512])),
        debug: Some([1, 2, 3, 4, 6, 7]),
        ..Amd64::default()
    };
    let reported = Amd64 {
        debug: None,
        ..own.clone()
    };
    let moved = Amd64 {
        rip: CODE + 0x1235,
        ..reported.clone()
    };
    let mut process = process();
    process.threads[0].context = Some(own.to_context());
    let contexts = |process: &mut SimProcess, given: &Amd64| {
        let request = request(0).exception(exception(given.to_context()));
        let (_, bytes) = run(process, &request, None).unwrap();
        let dump = Dump::from_bytes(bytes.clone()).unwrap();
        let thread = dump.threads().unwrap()[0].context_location;
        let exception = dump.exception().unwrap().unwrap().context_location;
        [thread, exception].map(|place| {
            let at = place.rva as usize;
            bytes[at..at + place.size as usize].to_vec()
        })
    };
    let whole = own.to_context().bytes().to_vec();
    assert_eq!(contexts(&mut process, &reported), [whole.clone(), whole]);
    let moved_bytes = moved.to_context().bytes().to_vec();
    assert_eq!(contexts(&mut process, &moved), [moved_bytes.clone(), moved_bytes]);
}
