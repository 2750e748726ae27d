//! Compressed dumps: valid ones of other writers, and damaged or hostile ones.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dumpwright::read::{ByteSource, Dump, ReadError, check};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::sample;

/// A file in zstd's seekable format, written after its description.
#[derive(Clone, Default)]
struct SeekableFile {
    frames: Vec<u8>,
    /// The compressed and decompressed sizes.
    entries: Vec<(u32, u32)>,
    has_checksums: bool,
}

impl SeekableFile {
    fn of(bytes: &[u8], frame_size: usize) -> Self {
        let mut file = Self::default();
        for part in bytes.chunks(frame_size) {
            file.put(part);
        }
        file
    }

    /// Adds a frame with a checksum.
    fn put(&mut self, bytes: &[u8]) {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.include_checksum(true).unwrap();
        let frame = compressor.compress(bytes).unwrap();
        self.entries.push((frame.len() as u32, bytes.len() as u32));
        self.frames.extend(frame);
    }

    /// Adds bytes that decompress to nothing.
    fn put_skippable(&mut self, bytes: &[u8]) {
        self.frames.extend(0x184D_2A53_u32.to_le_bytes());
        self.frames.extend((bytes.len() as u32).to_le_bytes());
        self.frames.extend(bytes);
        self.entries.push((bytes.len() as u32 + 8, 0));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = self.frames.clone();
        let entry = if self.has_checksums { 12 } else { 8 };
        file.extend(0x184D_2A5E_u32.to_le_bytes());
        file.extend((self.entries.len() as u32 * entry + 9).to_le_bytes());
        for (compressed, plain) in &self.entries {
            file.extend(compressed.to_le_bytes());
            file.extend(plain.to_le_bytes());
            if self.has_checksums {
                file.extend([0xCC; 4]);
            }
        }
        file.extend((self.entries.len() as u32).to_le_bytes());
        file.push(if self.has_checksums { 0x80 } else { 0 });
        file.extend(0x8F92_EAB1_u32.to_le_bytes());
        file
    }
}

/// Reads all bytes of a dump, in pieces of this size.
fn all(dump: &Dump, piece: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; dump.len() as usize];
    let mut at = 0;
    for piece in bytes.chunks_mut(piece) {
        dump.read_file(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(bytes)
}

#[test]
fn frames_of_any_size_are_read() {
    for sample in [sample::every(), sample::full()] {
        let plain = Dump::from_bytes(sample.bytes.clone()).unwrap();
        for (frame_size, has_checksums) in [(1, false), (33, true), (4096, false), (1 << 24, true)] {
            let mut file = SeekableFile::of(&sample.bytes, frame_size);
            file.has_checksums = has_checksums;
            let dump = Dump::from_bytes(file.bytes()).unwrap();
            assert_eq!(dump.len(), plain.len());
            for piece in [1, 7, 1000, usize::MAX >> 1] {
                assert!(all(&dump, piece.min(sample.bytes.len())).unwrap() == sample.bytes);
            }
            assert_eq!(
                format!("{:?}", check(&dump).unwrap()),
                format!("{:?}", check(&plain).unwrap())
            );
            assert!(dump.read_file(dump.len() - 1, &mut [0; 2]).is_err());
        }
    }
}

#[test]
fn frames_without_bytes_are_skipped() {
    let bytes = sample::every().bytes;
    let (start, end) = bytes.split_at(bytes.len() / 2);
    let mut file = SeekableFile::default();
    file.put_skippable(b"of another program");
    file.put(start);
    file.put(b"");
    file.put_skippable(b"");
    file.put(end);
    file.put(b"");
    let dump = Dump::from_bytes(file.bytes()).unwrap();
    assert!(all(&dump, 100).unwrap() == bytes);
}

/// Bytes that count how many of them are read.
struct Counting(Vec<u8>, Arc<AtomicU64>);

impl ByteSource for Counting {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.0.read_at(offset, into)
    }
}

#[test]
fn only_the_frames_that_are_needed_are_read() {
    const FRAME: usize = 1 << 20;
    let mut bytes = sample::full().bytes;
    // Bytes that cannot be compressed.
    let mut state = 1_u64;
    while bytes.len() < 40 * FRAME {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend((state >> 32).to_le_bytes());
    }
    let read = Arc::new(AtomicU64::new(0));
    let file = SeekableFile::of(&bytes, FRAME).bytes();
    let dump = Dump::from_source(Counting(file, read.clone())).unwrap();
    let since = |before: &mut u64| {
        let now = read.load(Ordering::Relaxed);
        now - std::mem::replace(before, now)
    };
    let mut before = 0;
    let one = FRAME as u64 + 4096;
    assert!(since(&mut before) < one, "the table and the first frame");
    let mut piece = [0; 100];
    dump.read_file(20 * FRAME as u64 + 7, &mut piece).unwrap();
    assert_eq!(piece, bytes[20 * FRAME + 7..][..100]);
    assert!((1..one).contains(&since(&mut before)), "one frame");
    dump.read_file(20 * FRAME as u64 + 700, &mut piece).unwrap();
    dump.read_file(0, &mut piece).unwrap();
    assert_eq!(since(&mut before), 0, "both frames are still in memory");
    // Sixteen other frames replace them.
    for frame in 1..=16 {
        dump.read_file(frame * FRAME as u64, &mut piece).unwrap();
    }
    since(&mut before);
    dump.read_file(20 * FRAME as u64, &mut piece).unwrap();
    assert!((1..one).contains(&since(&mut before)), "the frame is read again");
}

fn refusal(bytes: Vec<u8>) -> String {
    Dump::from_bytes(bytes).expect_err("a refusal").to_string()
}

#[test]
fn what_contradicts_the_format_is_refused_with_a_reason() {
    let bytes = sample::every().bytes;
    let good = SeekableFile::of(&bytes, 1000);
    assert!(good.entries.len() > 2);
    let with = |change: &dyn Fn(&mut SeekableFile)| {
        let mut file = good.clone();
        change(&mut file);
        file.bytes()
    };
    let without_table = zstd::bulk::compress(&bytes, 3).unwrap();
    let end = |change: &dyn Fn(&mut Vec<u8>, usize)| {
        let mut file = good.bytes();
        let footer = file.len() - 9;
        change(&mut file, footer);
        file
    };
    let set =
        |file: &mut Vec<u8>, at: usize, value: u32| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let cases: [(Vec<u8>, &str); 12] = [
        (without_table, "no table of frames"),
        (good.frames[..40].to_vec(), "no table of frames"),
        (
            end(&|file, footer| set(file, footer + 5, 0)),
            "no table of frames",
        ),
        (end(&|file, footer| file[footer + 4] = 0x04), "descriptor"),
        (
            end(&|file, footer| file[footer + 4] = 0x80),
            "there is no frame for its",
        ),
        (
            end(&|file, footer| set(file, footer, u32::MAX)),
            "supports at most",
        ),
        (
            end(&|file, footer| set(file, footer, 1 << 22)),
            "do not fit into the file",
        ),
        (
            end(&|file, footer| set(file, footer, 1)),
            "there is no frame for its 1 entries",
        ),
        (with(&|file| file.entries[1].0 += 1), "before the table"),
        (
            with(&|file| file.entries[1].1 = (16 << 20) + 1),
            "at most 16777216 bytes",
        ),
        (
            with(&|file| file.entries[1].0 = 18 << 20),
            "it should have at most",
        ),
        (
            with(&|file| file.entries[1] = (9, 900)),
            "cannot be decompressed to so many",
        ),
    ];
    for (file, expected) in cases {
        let reason = refusal(file);
        assert!(
            reason.starts_with("the file is compressed with zstd, but"),
            "{reason}"
        );
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    // The number of bytes that a frame has is known only when it is decompressed.
    for change in [-1_i32, 1] {
        let file = with(&|file| {
            file.entries[1].1 = file.entries[1].1.checked_add_signed(change).unwrap();
        });
        let dump = Dump::from_bytes(file).unwrap();
        let reason = all(&dump, 1000).expect_err("another size").to_string();
        assert!(
            reason.contains("frame 1") && reason.contains("damaged"),
            "{reason}"
        );
    }
    let file = with(&|file| file.frames[500] ^= 0x10);
    let reason = match Dump::from_bytes(file) {
        Ok(dump) => all(&dump, 1000).expect_err("damaged").to_string(),
        Err(error) => error.to_string(),
    };
    assert!(
        reason.contains("compressed frame") && reason.contains("damaged"),
        "{reason}"
    );
    // There is no dump inside.
    assert!(refusal(SeekableFile::of(&[b'x'; 1000], 100).bytes()).contains("instead of \"MDMP\""));
    assert!(refusal(SeekableFile::of(b"MDMP", 4).bytes()).contains("the file has 4 bytes"));
}

/// Zeros of 16 MiB in a frame of some hundred bytes: the most that is accepted. The dump seems to
/// have 64 GiB, of which only what is needed is decompressed.
#[test]
fn a_small_file_with_a_large_dump() {
    let mut file = SeekableFile::of(&sample::every().bytes, 1 << 20);
    let mut zeros = SeekableFile::default();
    zeros.put(&vec![0; 16 << 20]);
    for _ in 0..4096 {
        file.frames.extend(&zeros.frames);
        file.entries.extend(&zeros.entries);
    }
    let bytes = file.bytes();
    assert!(bytes.len() < 4 << 20);
    let dump = Dump::from_bytes(bytes).unwrap();
    assert!(dump.len() > 64 << 30);
    check(&dump).unwrap();
    let mut end = [1; 16];
    dump.read_file(dump.len() - 16, &mut end).unwrap();
    assert_eq!(end, [0; 16]);
}

#[test]
fn every_truncation_is_refused() {
    let file = SeekableFile::of(&sample::every().bytes, 1000).bytes();
    for length in 0..file.len() {
        assert!(Dump::from_bytes(&file[..length]).is_err(), "{length}");
    }
}

/// A damaged file leads to an error or to the true bytes: each frame has a checksum.
fn assert_true_or_refused(file: Vec<u8>, original: &[u8]) {
    if let Ok(dump) = Dump::from_bytes(file) {
        if let Ok(bytes) = all(&dump, 700) {
            assert!(bytes == original);
        }
        let _ = check(&dump);
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = sample::every().bytes;
    let file = SeekableFile::of(&bytes, 1000).bytes();
    for at in 0..file.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut file = file.clone();
            file[at] ^= change;
            assert_true_or_refused(file, &bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(14),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn so_are_many_changes_at_once(
        frame_size in 1_usize..3000,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        at_the_end in any::<bool>(),
    ) {
        let bytes = sample::every().bytes;
        let mut file = SeekableFile::of(&bytes, frame_size).bytes();
        // Half of the cases change the table, and the frames stay as they are.
        let start = if at_the_end { file.len() - 100.min(file.len()) } else { 0 };
        for (index, byte) in changes {
            let at = start + index.index(file.len() - start);
            file[at] = byte;
        }
        assert_true_or_refused(file, &bytes);
    }
}
