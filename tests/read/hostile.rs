//! Files that were damaged by accident or on purpose.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use dumpwright::read::{ByteSource, Dump, ReadError, check, stream_type};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::sample::{self, BEHIND_2, Block, STACK_2};

/// Bytes that panic if a read asks for more than there is. The reader compares every size with the
/// length of the file before it allocates a buffer, so such a read shows that it did not.
struct Guarded(Vec<u8>);

impl ByteSource for Guarded {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).expect("no range wraps");
        assert!(
            end <= self.len(),
            "{} bytes at {offset:#x} of {:#x}",
            into.len(),
            self.len()
        );
        self.0.read_at(offset, into)
    }
}

/// Reads everything that the reader can report.
fn exercise(bytes: Vec<u8>) {
    let Ok(dump) = Dump::from_source(Guarded(bytes)) else {
        return;
    };
    let _ = (dump.system_info(), dump.misc_info(), dump.exception());
    let _ = (
        dump.threads(),
        dump.thread_names(),
        dump.thread_infos(),
        dump.modules(),
        dump.unloaded_modules(),
    );
    let _ = (
        dump.memory_regions(),
        dump.handles(),
        dump.breakpad_info(),
        dump.dso_debug(),
        dump.soft_errors(),
    );
    let _ = (
        dump.handle_operations(),
        dump.function_tables(),
        dump.tokens(),
        dump.system_memory(),
        dump.vm_counters(),
    );
    let _ = (
        dump.comments(),
        dump.losses(),
        dump.memory(STACK_2, 0x140),
        dump.memory(BEHIND_2, u64::MAX),
        dump.memory(sample::HEAP, 0x40),
        dump.compressed_memory(),
    );
    for entry in dump.directory() {
        let _ = dump.stream_bytes(entry.stream_type);
    }
    for range in dump.memory_ranges().unwrap_or_default() {
        let _ = dump.memory(range.address, range.size);
    }
    for violation in check(&dump).expect("bytes in memory can be read") {
        let _ = violation.to_string();
    }
}

#[test]
fn every_truncation() {
    for sample in [sample::every(), sample::with_losses(), sample::compressed()] {
        for length in 0..sample.bytes.len() {
            exercise(sample.bytes[..length].to_vec());
        }
    }
}

#[test]
fn a_truncated_dump_keeps_what_arrived() {
    let sample = sample::normal();
    let cut = sample.mark("exception");
    let dump = Dump::from_bytes(&sample.bytes[..cut]).unwrap();
    assert_eq!(dump.threads().unwrap().len(), 2);
    assert!(matches!(dump.exception(), Err(ReadError::Outside { .. })));
    assert!(matches!(dump.handles(), Err(ReadError::Outside { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x4457), // the same files on every machine
        ..ProptestConfig::default()
    })]

    /// Random bytes, mostly replaced by values that are extreme as a part of a count, size or
    /// offset.
    #[test]
    fn random_damage(
        which in 0..5_usize,
        hits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(0xff), any::<u8>()]), 1..24),
    ) {
        let samples = [sample::normal, sample::every, sample::full, sample::with_losses, sample::compressed];
        let mut bytes = samples[which]().bytes;
        for (place, value) in hits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        exercise(bytes);
    }

    /// Whole 32-bit fields of the directory and the lists, replaced by others from the file, so
    /// that structures refer to each other.
    #[test]
    fn crossed_references(
        which in 0..3_usize,
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..16),
    ) {
        let mut bytes = [sample::with_losses, sample::every, sample::compressed][which]().bytes;
        for (from, to) in moves {
            let words = bytes.len() / 4;
            let (from, to) = (from.index(words) * 4, to.index(words) * 4);
            bytes.copy_within(from..from + 4, to);
        }
        exercise(bytes);
    }
}

#[test]
fn counts_that_no_file_could_hold() {
    for (stream, mark, at) in [
        (stream_type::THREAD_LIST, "thread list", 0),
        (stream_type::MODULE_LIST, "module list", 0),
        (stream_type::MEMORY_LIST, "memory list", 0),
        (stream_type::THREAD_NAMES, "thread names", 0),
        (stream_type::THREAD_INFO_LIST, "thread infos", 8),
        (stream_type::HANDLE_DATA, "handles", 8),
        (stream_type::UNLOADED_MODULE_LIST, "unloaded modules", 8),
        (stream_type::MEMORY_INFO_LIST, "memory info", 12),
    ] {
        let mut sample = sample::normal();
        sample.set_u32(sample.mark(mark) + at, u32::MAX);
        let dump = Dump::from_source(Guarded(sample.bytes)).unwrap();
        let refused = match stream {
            stream_type::THREAD_LIST => dump.threads().is_err(),
            stream_type::MODULE_LIST => dump.modules().is_err(),
            stream_type::MEMORY_LIST => dump.memory_ranges().is_err(),
            stream_type::THREAD_NAMES => dump.thread_names().is_err(),
            stream_type::THREAD_INFO_LIST => dump.thread_infos().is_err(),
            stream_type::HANDLE_DATA => dump.handles().is_err(),
            stream_type::UNLOADED_MODULE_LIST => dump.unloaded_modules().is_err(),
            _ => dump.memory_regions().is_err(),
        };
        assert!(refused, "{mark}");
    }
}

/// A file that counts the bytes that were read from it.
struct Counted {
    bytes: Vec<u8>,
    read: std::sync::Arc<AtomicU64>,
}

impl ByteSource for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.bytes.read_at(offset, into)
    }
}

#[test]
fn many_names_for_one_long_string_do_not_multiply_it() {
    // Ten thousand modules with the same name of 60 KiB: 600 MB of text from a file of 1.2 MB.
    let mut sample = sample::normal();
    let name = sample.put_string("long name", &"n".repeat(30_000));
    let count = 10_000;
    let bases: Vec<u64> = (0..count).map(|index| 0x1_0000 * (index + 1)).collect();
    let list = Block::new().u32(count as u32).each(&bases, |list, base| {
        list.bytes(&sample::module(*base, 1, name, [0; 4], (0, 0)))
    });
    sample.put_stream(stream_type::MODULE_LIST, "modules", &list.0);
    let read = std::sync::Arc::new(AtomicU64::new(0));
    let length = sample.bytes.len() as u64;
    let dump = Dump::from_source(Counted {
        bytes: sample.bytes,
        read: read.clone(),
    })
    .unwrap();
    let modules = dump.modules().unwrap();
    assert_eq!(modules.len(), count as usize);
    assert!(modules[0].name.is_some() && modules[count as usize - 1].name.is_none());
    let read = read.load(Ordering::Relaxed);
    // 16 times the file and 1 MiB of names, and the beginnings of those that are not read.
    assert!(read < 22 * length, "{read} bytes read of a file of {length}");
}

#[test]
fn opening_reads_header_and_directory_only() {
    let mut sample = sample::full();
    sample.bytes.resize(16 << 20, 0);
    let read = std::sync::Arc::new(AtomicU64::new(0));
    let dump = Dump::from_source(Counted {
        bytes: sample.bytes,
        read: read.clone(),
    })
    .unwrap();
    assert_eq!(read.load(Ordering::Relaxed), 32 + 16 * 12);
    assert!(dump.has_memory(STACK_2, 0x100).unwrap());
    assert!(
        read.load(Ordering::Relaxed) < 4096,
        "asking where memory is does not read the memory"
    );
}
