//! Dumps with compressed memory, of simulated processes. The memory is read by a decoder that knows
//! only the format (`support::compressed_memory`), and by dumpwright's own reader.
//!
//! Would catch: a byte that is lost, or that appears at another address; a question that is not
//! asked, or an answer without effect; a stack that readers of ordinary dumps do not find; equal
//! memory that is stored twice; an output that is touched although it cannot store such a dump; a
//! header that is there although the file is not complete.

use std::io;

use dumpwright::callback::{AskKind, Hresult};
use dumpwright::policy::SizeBudget;
use dumpwright::read::{Dump, LossReason, check};
use dumpwright::target::protect::READWRITE;
use dumpwright::{Ask, Callback, DumpType, Error, Profile, Report, Request, Sink, StreamSink, dump};
use dumpwright_sim::{Contents, SimProcess};
use minidump::{Minidump, MinidumpThreadList};

use crate::support::compressed_memory::{Bucket, bytes_at, entry, memory, stream};
use crate::support::simulated::{CODE, HEAP, OTHER_STACK, STACK, two_threads};

/// Where tests put more memory.
const MORE: u64 = 0x100_0000_0000;
const MIB: u64 = 1 << 20;
const COMPRESSED: DumpType = DumpType::WITH_MEMORY_COMPRESSED;

fn request() -> Request {
    Request::new(COMPRESSED).time(1)
}

fn dbghelp10() -> Request {
    request().profile(Profile::DbgHelp10)
}

fn run(
    process: &mut SimProcess,
    request: &Request,
    callback: Option<&mut dyn Callback>,
) -> Result<(Report, Vec<u8>), Error> {
    let mut file = Vec::new();
    let outcome = dump(process, request, callback, &mut file);
    assert_eq!(process.freezes, process.releases, "the target is let go");
    outcome.map(|report| {
        assert_eq!(report.bytes, file.len() as u64);
        (report, file)
    })
}

/// The bytes at an address of a counting region.
fn counting(address: u64, length: u64) -> Vec<u8> {
    let byte = |at: u64| (at & !7).to_le_bytes()[usize::try_from(at % 8).unwrap()];
    (address..address + length).map(byte).collect()
}

/// Checks the memory of the process that most tests use, as both decoders see it.
fn assert_has(file: &[u8], ranges: &[(u64, u64)]) {
    let found = memory(file);
    let dump = Dump::from_bytes(file).unwrap();
    for (address, length) in ranges {
        let expected = counting(*address, *length);
        let size = usize::try_from(*length).unwrap();
        assert!(
            bytes_at(&found, *address, size) == Some(&expected),
            "{address:#x}"
        );
        assert!(
            dump.memory(*address, *length).unwrap() == Some(expected),
            "{address:#x}"
        );
    }
}

const ALL: [(u64, u64); 4] = [
    (CODE, 0x8000),
    (HEAP, 0x10000),
    (STACK, 0x4000),
    (OTHER_STACK, 0x4000),
];

fn assert_sound(file: &[u8]) {
    let violations = check(&Dump::from_bytes(file).unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn all_memory_is_there_and_stacks_are_where_readers_of_normal_dumps_look() {
    let (report, file) = run(&mut two_threads(), &request(), None).unwrap();
    assert!(report.is_complete(), "{:?}", report.diagnostics);
    assert_eq!(report.dump_type, COMPRESSED);
    assert_has(&file, &ALL);
    assert_sound(&file);
    let found = memory(&file);
    let bytes: usize = found.values().map(Vec::len).sum();
    assert_eq!(bytes as u64, report.memory_bytes);
    assert_eq!(bytes as u64, ALL.iter().map(|(_, length)| length).sum::<u64>());
    let stream = stream(&file);
    assert_eq!(stream.process_id, 1000);
    assert_eq!(stream.regions.len(), report.memory_ranges);
    // The stacks, as rust-minidump finds them.
    let dump = Minidump::read(file.as_slice()).unwrap();
    let threads: MinidumpThreadList<'_> = dump.get_stream().unwrap();
    let list = dump.get_memory().unwrap();
    for (thread, (start, end)) in threads.threads.iter().zip([
        (STACK + 0x1000, STACK + 0x4000),
        (OTHER_STACK + 0x800, OTHER_STACK + 0x4000),
    ]) {
        let stack = thread.stack_memory(&list).expect("a stack");
        assert_eq!(stack.base_address(), start);
        assert_eq!(stack.bytes(), counting(start, end - start));
        assert_ne!(thread.raw.stack.memory.rva, 0);
    }
}

#[test]
fn with_full_memory_it_is_the_same_dump_and_0x20000_joins() {
    let (_, alone) = run(&mut two_threads(), &request(), None).unwrap();
    let full = Request::new(COMPRESSED | DumpType::WITH_FULL_MEMORY).time(1);
    let (report, both) = run(&mut two_threads(), &full, None).unwrap();
    assert_eq!(report.dump_type.bits(), 0x402_0000);
    assert_eq!(memory(&both), memory(&alone));
}

#[test]
fn questions_come_as_observed_and_only_once_per_region() {
    for request in [request(), dbghelp10()] {
        let mut asked = Vec::new();
        let mut finish = None;
        let mut callback = |ask: Ask<'_>| {
            if asked.last() != Some(&ask.kind()) {
                asked.push(ask.kind());
            }
            match ask {
                Ask::CompressedMemoryStreamStart { answer } => {
                    assert_eq!(*answer, Default::default(), "prefilled with zeros");
                }
                Ask::CompressedMemoryStreamFinish {
                    stream_size,
                    compression_rate,
                } => finish = Some((stream_size, compression_rate)),
                Ask::IncludeVmRegion { answer } => answer.cont = true,
                _ => {}
            }
            true
        };
        let (_, file) = run(&mut two_threads(), &request, Some(&mut callback)).unwrap();
        let from = asked.iter().position(|kind| *kind == AskKind::Thread).unwrap();
        assert_eq!(
            asked[from..],
            [
                AskKind::Thread,
                AskKind::CompressedMemoryStreamStart,
                AskKind::IncludeVmRegion,
                AskKind::CompressedMemoryStreamFinish,
                AskKind::WriteKernelMinidump,
            ]
        );
        let stream = stream(&file);
        assert_eq!(finish, Some((stream.stream_size, stream.rate as u32)));
    }
}

#[test]
fn regions_are_asked_about_in_one_pass() {
    let mut bases = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        if let Ask::IncludeVmRegion { answer } = ask {
            bases.push(answer.region.base_address);
            answer.cont = true;
            match answer.region.base_address {
                HEAP => {
                    answer.region.base_address += 0x1000;
                    answer.region.region_size = 0x2000;
                }
                base if base == HEAP + 0x3000 => answer.region.region_size = 0,
                CODE => answer.region.region_size = 0,
                _ => {}
            }
        }
        true
    };
    let (_, file) = run(&mut two_threads(), &request(), Some(&mut callback)).unwrap();
    assert_eq!(bases, [CODE, HEAP, HEAP + 0x3000, STACK, OTHER_STACK]);
    let found = memory(&file);
    assert_has(&file, &[(HEAP + 0x1000, 0x2000), ALL[2], ALL[3]]);
    assert_eq!(
        found.keys().copied().collect::<Vec<_>>(),
        [HEAP + 0x1000, STACK, OTHER_STACK]
    );
}

/// The answers are those of the scenarios `20-xfer-*` and `20-start-ret0-1m`.
#[test]
fn the_answer_to_start_is_honoured_as_observed() {
    for (said, size, expected) in [
        (true, 0, 4 * MIB),
        (true, 1, 4 * MIB),
        (true, MIB - 1, 4 * MIB),
        (true, MIB, MIB),
        (true, MIB + 1, 0x11_0000),
        (true, 8 * MIB, 8 * MIB),
        (true, 64 * MIB, 64 * MIB),
        (true, 64 * MIB + 1, 4 * MIB),
        (true, 0xFFFF_FFFF, 4 * MIB),
        (false, MIB, 4 * MIB),
    ] {
        let mut callback = |ask: Ask<'_>| {
            if let Ask::CompressedMemoryStreamStart { answer } = ask {
                answer.max_transfer_size = size as u32;
                return said;
            }
            true
        };
        let mut process = two_threads().memory(MORE, 18 * MIB, READWRITE, Contents::Counting);
        let (_, file) = run(&mut process, &request(), Some(&mut callback)).unwrap();
        let stream = stream(&file);
        assert_eq!(stream.transfer_size, expected, "{said} {size:#x}");
        // The compressed bytes of a bucket must fit into the window of WinDbg's engine.
        let largest = stream.buckets.iter().map(|bucket| bucket.size as u64).max();
        assert_eq!(largest, Some(expected.min(15 * MIB)));
        assert_has(&file, &[(MORE + 14 * MIB, 0x2000), (MORE + 18 * MIB - 8, 8)]);
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let file = |parallelism: u32| {
        let mut callback = |ask: Ask<'_>| {
            if let Ask::CompressedMemoryStreamStart { answer } = ask {
                answer.max_parallelism = parallelism;
            }
            true
        };
        let mut process = two_threads().memory(MORE, 18 * MIB, READWRITE, Contents::Pattern(2));
        run(&mut process, &request(), Some(&mut callback)).unwrap().1
    };
    let first = file(0);
    for parallelism in [1, 2, 64, u32::MAX] {
        assert!(file(parallelism) == first, "{parallelism}");
    }
}

#[test]
fn equal_buckets_and_zeros_are_stored_once() {
    let compressed = |process: &mut SimProcess| {
        let (_, file) = run(process, &request(), None).unwrap();
        stream(&file)
    };
    let once = two_threads().memory(MORE, 4 * MIB, READWRITE, Contents::Pattern(1));
    let twice = once
        .clone()
        .memory(2 * MORE, 4 * MIB, READWRITE, Contents::Pattern(1));
    let (once, twice) = (compressed(&mut once.clone()), compressed(&mut twice.clone()));
    let random = once.buckets.iter().find(|bucket| bucket.size as u64 == 4 * MIB);
    let random = random.expect("it has a bucket of its own").compressed_size as u64;
    assert_eq!(twice.data_size, once.data_size);
    assert_eq!(twice.compressed_bytes, once.compressed_bytes + random);

    // Untouched memory is not read; memory that was read and is zero is not stored either.
    let zeros = two_threads()
        .memory(MORE, 32 << 30, READWRITE, Contents::Untouched)
        .memory(2 * MORE, 8 * MIB, READWRITE, Contents::Fill(0))
        .memory(3 * MORE, 0x2_3000, READWRITE, Contents::Bytes(vec![1; 0x3000]));
    let (_, file) = run(&mut zeros.clone(), &request(), None).unwrap();
    assert!(file.len() < 2 << 20, "{} bytes", file.len());
    let stream = stream(&file);
    let of = |start: u64, end: u64| {
        let inside = stream
            .regions
            .iter()
            .filter(move |region| (start..end).contains(&region.address));
        inside
            .map(|region| &stream.buckets[region.bucket])
            .collect::<Vec<_>>()
    };
    let places = |buckets: Vec<&Bucket>| {
        let mut places: Vec<_> = buckets.iter().map(|bucket| bucket.offset).collect();
        places.dedup();
        places
    };
    let (untouched, filled) = (of(MORE, 2 * MORE), of(2 * MORE, 3 * MORE));
    assert_eq!((untouched.len(), filled.len()), (8192, 2));
    assert_eq!(places(untouched), places(filled));
    // The zeros behind other bytes of a region begin a bucket of their own.
    let sizes: Vec<_> = of(3 * MORE, 4 * MORE).iter().map(|bucket| bucket.size).collect();
    assert_eq!(sizes.last(), Some(&0x2_0000));
    let dump = Dump::from_bytes(file).unwrap();
    assert_eq!(dump.memory(3 * MORE + 0x2FFF, 3).unwrap(), Some(vec![1, 0, 0]));
    assert_eq!(dump.memory(MORE + (9 << 30), 8).unwrap(), Some(vec![0; 8]));
}

#[test]
fn runs_of_zeros_of_many_sizes_share_few_blocks() {
    let mut process = (0..64).fold(two_threads(), |process, index| {
        let size = (64 << 10) + index * 0x1000;
        process.memory(MORE + (index << 30), size, READWRITE, Contents::Untouched)
    });
    let (_, file) = run(&mut process, &request(), None).unwrap();
    let stream = stream(&file);
    let zeros: Vec<_> = stream
        .regions
        .iter()
        .filter(|region| (MORE..MORE + (64 << 30)).contains(&region.address))
        .map(|region| &stream.buckets[region.bucket])
        .collect();
    let bytes: usize = zeros.iter().map(|bucket| bucket.size).sum();
    assert_eq!(
        bytes,
        (0..64).map(|index| (64 << 10) + index * 0x1000).sum::<usize>()
    );
    let mut places: Vec<_> = zeros.iter().map(|bucket| bucket.offset).collect();
    places.sort_unstable();
    places.dedup();
    // From 4 to 256 KiB.
    assert!(places.len() <= 7, "{places:?}");
}

#[test]
fn untouched_memory_beyond_the_limit_is_left_out_and_reported() {
    let mut process = two_threads().memory(MORE, 300 << 30, READWRITE, Contents::Untouched);
    let (report, file) = run(&mut process, &request(), None).unwrap();
    assert!(report.is_complete());
    assert!(
        report
            .left_out()
            .any(|entry| entry.to_string().contains("never touched"))
    );
    assert_has(&file, &ALL);
    assert_eq!(bytes_at(&memory(&file), MORE, 1), None);
}

#[test]
fn an_unreadable_page_splits_its_region_and_is_listed() {
    for (known, fails) in [(0x3000, 0x9000), (0, 0x9000), (0x3000, 0)] {
        let mut process = two_threads();
        let mut gaps = Vec::new();
        if known != 0 {
            process = process.unreadable(HEAP + known, 0x1000);
            gaps.push(HEAP + known);
        }
        if fails != 0 {
            process = process.fails_when_read(HEAP + fails, 0x1000);
            gaps.push(HEAP + fails);
        }
        for request in [request(), dbghelp10()] {
            let (report, file) = run(&mut process.clone(), &request, None).unwrap();
            assert!(!report.is_complete());
            assert_eq!(report.missing().count(), gaps.len(), "{:?}", report.diagnostics);
            let found = memory(&file);
            for page in (HEAP..HEAP + 0x10000).step_by(0x1000) {
                let expected = (!gaps.contains(&page)).then(|| counting(page, 0x1000));
                assert_eq!(bytes_at(&found, page, 0x1000), expected.as_deref(), "{page:#x}");
            }
            let dump = Dump::from_bytes(file).unwrap();
            let losses = dump.losses().unwrap();
            let listed: Vec<_> = losses
                .iter()
                .map(|loss| (loss.start, loss.length, loss.reason))
                .collect();
            let expected = (fails != 0).then_some((HEAP + fails, 0x1000, LossReason::ReadFailed));
            assert_eq!(listed, expected.into_iter().collect::<Vec<_>>());
            assert!(!dump.has_memory(HEAP, 0x10000).unwrap());
        }
    }
}

#[test]
fn a_failed_read_is_asked_about_and_the_answer_counts() {
    let process = || two_threads().fails_when_read(HEAP + 0x9000, 0x1000);
    let full = || Request::new(COMPRESSED | DumpType::WITH_FULL_MEMORY).time(1);
    for (request, status, goes_on) in [
        (request(), Hresult::S_OK, true),
        (request(), Hresult::E_FAIL, false),
        // 0x20000 joins: the callback learns of it, and the dump goes on.
        (full(), Hresult::E_FAIL, true),
    ] {
        let mut failures = 0;
        let mut callback = |ask: Ask<'_>| {
            if let Ask::ReadMemoryFailure {
                offset,
                bytes,
                status: answer,
                ..
            } = ask
            {
                failures += 1;
                assert!(offset <= HEAP + 0x9000 && HEAP + 0xA000 <= offset + u64::from(bytes));
                *answer = status;
            }
            true
        };
        let outcome = run(&mut process(), &request, Some(&mut callback));
        assert_eq!(failures, 1);
        match outcome {
            Ok((report, file)) => {
                assert!(goes_on && !report.is_complete());
                assert_has(&file, &[(HEAP, 0x9000), (HEAP + 0xA000, 0x6000)]);
            }
            Err(error) => assert!(!goes_on && matches!(error, Error::Unreadable { .. }), "{error}"),
        }
    }
    // As observed, DbgHelp does not ask.
    let mut asked = false;
    let mut callback = |ask: Ask<'_>| {
        asked |= ask.kind() == AskKind::ReadMemoryFailure;
        true
    };
    let (report, _) = run(&mut process(), &dbghelp10(), Some(&mut callback)).unwrap();
    assert!(!asked && !report.is_complete());
    let strict = Request::new(COMPRESSED | DumpType::NO_IGNORE_INACCESSIBLE_MEMORY);
    let error = run(&mut process(), &strict, None).expect_err("no losses are allowed");
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
}

#[test]
fn reads_pass_through_the_callback_once_and_its_changes_are_in_both_places() {
    let mut read = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        match ask {
            Ask::VmStart { status } => *status = Hresult::S_FALSE,
            Ask::VmPostRead { offset, buffer, .. } => {
                read.push(offset);
                if let Some(at) = (STACK + 0x2000).checked_sub(offset)
                    && let Some(secret) = usize::try_from(at).ok().and_then(|at| buffer.get_mut(at..at + 8))
                {
                    secret.copy_from_slice(b"REDACTED");
                }
            }
            _ => {}
        }
        true
    };
    let mut process = two_threads().memory(MORE, 0x20000, READWRITE, Contents::Untouched);
    let (_, file) = run(&mut process, &request(), Some(&mut callback)).unwrap();
    for page in (STACK..STACK + 0x4000)
        .chain(HEAP..HEAP + 0x10000)
        .chain(MORE..MORE + 0x20000)
        .step_by(0x1000)
    {
        let times = read.iter().filter(|at| **at == page).count();
        assert_eq!(times, 1, "{page:#x}");
    }
    let found = memory(&file);
    assert_eq!(bytes_at(&found, STACK + 0x2000, 8), Some(&b"REDACTED"[..]));
    let dump = Minidump::read(file.as_slice()).unwrap();
    let threads: MinidumpThreadList<'_> = dump.get_stream().unwrap();
    let list = dump.get_memory().unwrap();
    let stack = threads.threads[0].stack_memory(&list).unwrap();
    assert_eq!(stack.bytes()[0x1000..0x1008], *b"REDACTED");
    assert_sound(&file);
    // The secret is nowhere else.
    let secret = (STACK + 0x2000).to_le_bytes();
    assert!(Dump::from_bytes(file).unwrap().contains_nowhere(&secret).unwrap());
}

/// As observed (`20-vm`): the dump fails after the regions were asked about.
#[test]
fn the_vm_callback_types_fail_such_a_dump_in_dbghelp10() {
    let mut asked = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        asked.push(ask.kind());
        match ask {
            Ask::VmStart { status } => *status = Hresult::S_FALSE,
            Ask::IncludeVmRegion { answer } => answer.cont = true,
            _ => {}
        }
        true
    };
    let error = run(&mut two_threads(), &dbghelp10(), Some(&mut callback)).expect_err("no dump");
    assert_eq!(error.hresult(), Hresult(0x8007_0057));
    let count = |kind| asked.iter().filter(|asked| **asked == kind).count();
    assert_eq!(count(AskKind::CompressedMemoryStreamStart), 1);
    assert_eq!(count(AskKind::IncludeVmRegion), ALL.len());
    assert_eq!(count(AskKind::CompressedMemoryStreamFinish), 0);
}

#[test]
fn a_callback_that_takes_the_output_gets_all_of_it() {
    for request in [request(), dbghelp10()] {
        let mut file = Vec::new();
        let mut backwards = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::IoStart { status, .. } => *status = Hresult::S_FALSE,
                Ask::IoWriteAll {
                    offset,
                    bytes,
                    status,
                    ..
                } => {
                    let (from, end) = (offset as usize, offset as usize + bytes.len());
                    if from < file.len() {
                        backwards.push((from, bytes.len()));
                    }
                    file.resize(end.max(file.len()), 0xEE);
                    file[from..end].copy_from_slice(bytes);
                    *status = Hresult::S_OK;
                }
                Ask::IoFinish { status, .. } => *status = Hresult::S_OK,
                _ => {}
            }
            true
        };
        // An output that cannot be written again does not matter.
        let mut sink = StreamSink::new(io::sink());
        dump(&mut two_threads(), &request, Some(&mut callback), &mut sink).unwrap();
        assert_has(&file, &ALL);
        let (size, offset) = entry(&file, 25).unwrap();
        assert_eq!(backwards, [(offset, size)], "only the header is written later");
    }
}

/// Counts what reaches an output that can only be appended to.
#[derive(Default)]
struct Pipe {
    prepared: bool,
    received: u64,
}

impl Sink for Pipe {
    fn append(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.prepared = true;
        Ok(())
    }
}

#[test]
fn a_pipe_is_refused_before_anything_is_touched() {
    for request in [request(), dbghelp10()] {
        let (mut process, mut pipe) = (two_threads(), Pipe::default());
        let error = dump(&mut process, &request, None, &mut pipe).expect_err("a pipe");
        assert!(error.to_string().contains("--compress zstd"), "{error}");
        assert_eq!((process.freezes, pipe.prepared, pipe.received), (0, false, 0));
    }
    // 0x400 makes it an ordinary dump.
    let request = Request::new(COMPRESSED | DumpType::WITHOUT_OPTIONAL_DATA);
    let mut pipe = Pipe::default();
    dump(&mut two_threads(), &request, None, &mut pipe).unwrap();
    assert!(pipe.received > 0);
}

#[test]
fn a_file_that_was_cut_off_does_not_pass_for_a_whole_one() {
    /// Fails when it has received this many bytes.
    struct Full(Vec<u8>, usize);
    impl Sink for Full {
        fn append(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
            let now = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..now]);
            match now == bytes.len() {
                true => Ok(()),
                false => Err(io::ErrorKind::StorageFull.into()),
            }
        }
        fn check_amend(&self) -> io::Result<()> {
            Ok(())
        }
        fn amend(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let (_, whole) = run(&mut two_threads(), &request(), None).unwrap();
    let start = stream(&whole).offset;
    for length in [start + 0xC0, start + 0x1000, whole.len()] {
        let mut sink = Full(Vec::new(), length);
        dump(&mut two_threads(), &request(), None, &mut sink).expect_err("the disk is full");
        let dump = Dump::from_bytes(sink.0).unwrap();
        let error = dump.memory(HEAP, 8).expect_err("nothing shows what is there");
        assert!(error.to_string().contains("not finished"), "{error}");
        assert!(!check(&dump).unwrap().is_empty());
    }
}

#[test]
fn dbghelp63_refuses_the_type_as_any_unknown_one() {
    let request = request().profile(Profile::DbgHelp63);
    let mut asked = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        asked.push(ask.kind());
        true
    };
    let error = run(&mut two_threads(), &request, Some(&mut callback)).expect_err("unknown");
    assert_eq!(error.hresult(), Hresult(0x8007_0057));
    assert_eq!(
        asked,
        [AskKind::IsProcessSnapshot, AskKind::VmStart, AskKind::IoStart]
    );
}

/// As observed: no list of memory, and stacks with a size and without an offset.
#[test]
fn dbghelp10_lists_memory_in_the_stream_only() {
    let (_, file) = run(&mut two_threads(), &dbghelp10(), None).unwrap();
    assert_has(&file, &ALL);
    assert_eq!((entry(&file, 5), entry(&file, 9)), (None, None));
    let threads = Dump::from_bytes(file).unwrap().threads().unwrap();
    let stacks: Vec<_> = threads
        .iter()
        .map(|thread| (thread.stack.start, thread.stack.size, thread.stack.rva))
        .collect();
    assert_eq!(
        stacks,
        [(STACK + 0x1000, 0x3000, 0), (OTHER_STACK + 0x800, 0x3800, 0)]
    );
}

#[test]
fn equal_processes_give_equal_bytes_and_other_contents_another_id() {
    let file = |process: SimProcess| run(&mut process.clone(), &request(), None).unwrap().1;
    let process = || two_threads().memory(MORE, 9 * MIB, READWRITE, Contents::Pattern(5));
    let first = file(process());
    assert!(file(process()) == first);
    let other = file(process().put(MORE + 5 * MIB, [1]));
    assert_ne!(stream(&other).dump_id, stream(&first).dump_id);
}

#[test]
fn a_budget_limits_compressed_memory_and_keeps_the_stacks() {
    let mut process = two_threads().memory(MORE, 4 * MIB, READWRITE, Contents::Counting);
    let mut budget = SizeBudget::new(0x12000);
    let (report, file) = run(&mut process, &request(), Some(&mut budget)).unwrap();
    assert!(report.memory_bytes <= 0x12000, "{:#x}", report.memory_bytes);
    assert_has(&file, &[(STACK + 0x1000, 0x3000), (OTHER_STACK + 0x1000, 0x3000)]);
    assert!(
        budget
            .dropped()
            .iter()
            .any(|dropped| dropped.to_string().contains("0x10000000000"))
    );
}

/// As observed (`20-nofile`), DbgHelp finds out after the last thread that there is no file.
#[test]
fn without_a_file_the_dump_fails_before_compression_is_asked_about() {
    for (request, last) in [(request(), AskKind::Cancel), (dbghelp10(), AskKind::Thread)] {
        let mut asked = Vec::new();
        let mut callback = |ask: Ask<'_>| {
            asked.push(ask.kind());
            true
        };
        let request = request.file_handle(0);
        let error = run(&mut two_threads(), &request, Some(&mut callback)).expect_err("no file");
        assert_eq!(error.hresult(), Hresult(0x8007_0006));
        assert_eq!(asked.last(), Some(&last));
    }
}
