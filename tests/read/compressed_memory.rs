//! Compressed memory: what the reader finds in it, and what it refuses.

use dumpwright::read::{Dump, ReadError, check, stream_type};

use crate::sample::{self, BEHIND_2, HEAP, STACK_1, STACK_2, Sample, pattern};

fn open(sample: &Sample) -> Dump {
    Dump::from_bytes(&sample.bytes[..]).expect("the sample is a minidump")
}

#[test]
fn memory_is_read_at_any_address() {
    for with_list in [true, false] {
        let mut sample = sample::compressed();
        if !with_list {
            sample.remove(stream_type::MEMORY_LIST);
        }
        let dump = open(&sample);
        let expected = [
            (HEAP, pattern(9, 0x40)),
            (STACK_2, [pattern(2, 0x100), pattern(3, 0x40)].concat()),
            (STACK_1, pattern(1, 0x200)),
        ];
        for (start, bytes) in &expected {
            for (from, to) in [(0, bytes.len()), (3, 8), (bytes.len() - 1, bytes.len())] {
                let found = dump.memory(start + from as u64, (to - from) as u64).unwrap();
                assert_eq!(found.as_deref(), Some(&bytes[from..to]));
            }
            assert_eq!(dump.memory(start - 1, 2).unwrap(), None);
            assert_eq!(dump.memory(start + bytes.len() as u64, 1).unwrap(), None);
        }
        assert!(dump.has_memory(BEHIND_2 - 8, 16).unwrap());
    }
}

#[test]
fn the_header_and_the_tables_are_shown_as_they_are() {
    let sample = sample::compressed();
    let dump = open(&sample);
    let memory = dump.compressed_memory().unwrap().expect("there is one");
    assert_eq!((memory.regions, memory.buckets), (4, 2));
    assert_eq!(memory.process_id, u64::from(sample::PROCESS));
    assert_eq!((memory.dump_id, memory.bytes_read), (0x1234_5678, 0x380));
    assert_eq!(memory.record_offset, sample.mark("compressed memory") as u64);
    let regions: Vec<_> = dump
        .iter_compressed_regions()
        .unwrap()
        .map(|region| {
            region
                .map(|region| (region.address, region.size, region.bucket))
                .unwrap()
        })
        .collect();
    assert_eq!(
        regions,
        [
            (HEAP, 0x40, 0),
            (STACK_2, 0x100, 0),
            (BEHIND_2, 0x40, 0),
            (STACK_1, 0x200, 1)
        ]
    );
    let buckets = dump.iter_compressed_buckets().unwrap();
    let offsets: Vec<_> = buckets.map(|bucket| bucket.unwrap().file_offset).collect();
    assert_eq!(
        offsets,
        ["bucket 0", "bucket 1"].map(|mark| sample.mark(mark) as u64)
    );
    assert_eq!(open(&sample::normal()).compressed_memory().unwrap(), None);
}

/// `CompressedMemoryStreamSQL` has the same format.
#[test]
fn the_other_type_of_the_stream_is_read_as_well() {
    let mut sample = sample::compressed();
    sample.set_u32(sample.entry(stream_type::COMPRESSED_MEMORY), 0x7000);
    assert_eq!(open(&sample).memory(HEAP, 0x40).unwrap(), Some(pattern(9, 0x40)));
}

/// Each error has the name of the field, and costs neither time nor memory.
#[test]
fn sizes_that_lie_are_errors_with_the_name_of_the_field() {
    type Damage = fn(&mut Sample);
    let cases: [(Damage, &str); 9] = [
        (|dump| dump.resize(stream_type::COMPRESSED_MEMORY, 8), "DataSize"),
        (
            |dump| dump.set_u32(dump.mark("compressed memory"), 0),
            "the header's size",
        ),
        (
            |dump| dump.set_u64(dump.mark("compressed memory") + 96, 0),
            "the size of a region",
        ),
        (
            |dump| dump.set_u64(dump.mark("compressed memory") + 120, 0),
            "the size of a bucket",
        ),
        (
            |dump| dump.set_u64(dump.mark("compressed memory") + 80, u64::MAX),
            "the table of compressed regions",
        ),
        (
            |dump| dump.set_u64(dump.mark("compressed memory") + 112, u64::MAX),
            "the table of compressed buckets",
        ),
        (
            |dump| dump.set_u32(dump.mark("compressed regions") + 28, u32::MAX),
            "the size of the region at 0x10000000",
        ),
        (
            |dump| dump.set_u32(dump.mark("compressed buckets") + 8, u32::MAX),
            "its uncompressed size",
        ),
        (
            |dump| dump.set_u32(dump.mark("compressed buckets") + 12, u32::MAX),
            "a bucket of compressed",
        ),
    ];
    for (damage, named) in cases {
        let mut sample = sample::compressed();
        damage(&mut sample);
        let error = open(&sample).memory(HEAP, 8).expect_err(named).to_string();
        assert!(error.contains(named), "{named}: {error}");
        assert!(!check(&open(&sample)).unwrap().is_empty(), "{named}");
    }
    // A bucket of 64 MiB in 100 bytes.
    let mut sample = sample::compressed();
    sample.set_u32(sample.mark("compressed buckets") + 8, 64 << 20);
    let error = open(&sample).memory(HEAP, 8).expect_err("LZ4 cannot do that");
    assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
}

#[test]
fn a_writer_that_left_bytes_of_other_regions_is_reported() {
    let mut sample = sample::compressed();
    sample.set_u64(sample.mark("compressed memory") + 56, 0x300);
    let found = check(&open(&sample)).unwrap();
    let ids: Vec<_> = found.iter().map(|violation| violation.rule.id()).collect();
    assert_eq!(ids, ["compressed-memory-unread"]);
}
