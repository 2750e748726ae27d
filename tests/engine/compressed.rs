//! Dumps that are compressed while they are written.
//!
//! Would catch: bytes that are lost, moved or written twice where a frame or a run of zeros ends; a
//! seek table that contradicts the frames; a frame without a checksum, or of another size; zeros
//! that are compressed one by one; an output that is written to after it has failed, or a failure
//! that is not reported; a sink that buffers the whole dump.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use dumpwright::target::protect::READWRITE;
use dumpwright::{CompressedSink, DumpType, Error, Request, Sink, dump};
use dumpwright_sim::{Contents, SimProcess};

use crate::support::seekable::frames;
use crate::support::simulated::{HEAP, two_threads};

const MIB: usize = 1 << 20;

/// A process with memory of all kinds, several frames each.
fn process() -> SimProcess {
    let far = |number: u64| HEAP + (number << 32);
    let mib = MIB as u64;
    two_threads()
        .memory(far(1), 3 * mib + 0x5000, READWRITE, Contents::Pattern(1))
        .memory(far(2), 5 * mib, READWRITE, Contents::Untouched)
        .memory(far(3), 2 * mib, READWRITE, Contents::Fill(0))
        .memory(far(4), 4 * mib, READWRITE, Contents::Counting)
        .memory(far(5), 70 * mib, READWRITE, Contents::Untouched)
        .memory(far(6), 0x1000, READWRITE, Contents::Fill(7))
}

fn decompressed(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(bytes).expect("zstd decompresses it")
}

/// Checks the frames of a compressed dump. Returns the decompressed size.
fn assert_frames(bytes: &[u8]) -> u64 {
    let found = frames(bytes);
    assert!(found.iter().all(|frame| frame.has_checksum));
    let (last, others) = found.split_last().expect("a dump has bytes");
    assert!(others.iter().all(|frame| frame.size == MIB as u64));
    assert!(last.size <= MIB as u64);
    found.iter().map(|frame| frame.size).sum()
}

#[test]
fn a_compressed_dump_is_the_same_dump() {
    for dump_type in [DumpType::NORMAL, DumpType::WITH_FULL_MEMORY] {
        let request = Request::new(dump_type).time(1);
        let mut plain = Vec::new();
        dump(&mut process(), &request, None, &mut plain).expect("a dump");
        let mut sizes = Vec::new();
        for level in [1, 3, 19] {
            let mut sink = CompressedSink::new(Vec::new(), level).expect("a level");
            let mut process = process();
            let report = dump(&mut process, &request, None, &mut sink).expect("a dump");
            assert_eq!(process.freezes, process.releases);
            assert_eq!(report.bytes, plain.len() as u64, "the size of the dump itself");
            let written = sink.written();
            let compressed = sink.into_inner();
            assert_eq!(written, compressed.len() as u64);
            assert_eq!(assert_frames(&compressed), report.bytes);
            assert!(decompressed(&compressed) == plain, "level {level}");
            sizes.push(written);
        }
        assert!(sizes[0] > sizes[2], "higher levels make smaller dumps: {sizes:?}");
    }
}

#[test]
fn pieces_and_zeros_of_any_size_come_in_order() {
    const PIECES: [usize; 7] = [1, 4096, MIB - 1, MIB, MIB + 1, 2 * MIB + 77, 300];
    const ZEROS: [usize; 8] = [0, 1, 4096, MIB - 1, MIB, MIB + 1, 3 * MIB, 70_000];
    let mut sink = CompressedSink::new(Vec::new(), 1).expect("a level");
    let mut expected: Vec<u8> = Vec::new();
    for (number, (piece, zeros)) in PIECES
        .iter()
        .flat_map(|piece| ZEROS.map(|zeros| (*piece, zeros)))
        .enumerate()
    {
        let bytes: Vec<u8> = (0..piece).map(|at| (at / 3 + number) as u8).collect();
        sink.append(expected.len() as u64, &bytes).expect("written");
        expected.extend(bytes);
        // Once as a whole, once in two parts.
        for part in [zeros / 3, zeros - zeros / 3] {
            sink.append_zeros(expected.len() as u64, part as u64)
                .expect("written");
            expected.resize(expected.len() + part, 0);
        }
    }
    sink.finish().expect("written");
    let compressed = sink.into_inner();
    assert_eq!(assert_frames(&compressed), expected.len() as u64);
    assert!(decompressed(&compressed) == expected);
}

#[test]
fn an_empty_output_is_a_valid_file() {
    let mut sink = CompressedSink::new(Vec::new(), 1).expect("a level");
    sink.finish().expect("written");
    let compressed = sink.into_inner();
    assert_eq!(frames(&compressed), []);
    assert!(decompressed(&compressed).is_empty());
}

/// An output that counts what it receives, and fails when it has this many bytes.
struct Limited {
    limit: u64,
    bytes: AtomicU64,
    calls: u64,
    end: Vec<u8>,
    has_failed: bool,
}

impl Limited {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            bytes: AtomicU64::new(0),
            calls: 0,
            end: Vec::new(),
            has_failed: false,
        }
    }
}

impl Sink for Limited {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.has_failed, "it has failed before");
        assert_eq!(
            at,
            self.bytes.load(Ordering::Relaxed),
            "a sink is only appended to"
        );
        self.calls += 1;
        if at + bytes.len() as u64 > self.limit {
            self.has_failed = true;
            return Err(io::Error::from_raw_os_error(28));
        }
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.end = bytes.to_vec();
        Ok(())
    }
}

/// Zeros of 4 TiB, in the pieces in which the engine writes those of a frozen process. To compress
/// them would take an hour.
#[test]
fn zeros_are_not_compressed_one_by_one() {
    const ALL: u64 = 4 << 40;
    for piece in [ALL, 64 << 20] {
        let mut sink = CompressedSink::new(Limited::new(u64::MAX), 1).expect("a level");
        for number in 0..ALL / piece {
            sink.append_zeros(number * piece, piece).expect("written");
        }
        sink.finish().expect("written");
        let output = sink.into_inner();
        let bytes = output.bytes.into_inner();
        // A frame has 8 blocks of at least 4 bytes, a header and a checksum; an entry 8 bytes.
        assert!(bytes < (ALL >> 20) * 64, "{bytes}");
        let end = &output.end[output.end.len() - 9..];
        assert_eq!(
            end[..4],
            ((ALL >> 20) as u32).to_le_bytes(),
            "the number of frames"
        );
    }
}

#[test]
fn a_failing_output_fails_the_dump() {
    let request = Request::new(DumpType::WITH_FULL_MEMORY).time(1);
    let mut whole = CompressedSink::new(Vec::new(), 1).expect("a level");
    dump(&mut process(), &request, None, &mut whole).expect("a dump");
    let size = whole.written();
    // In the first frame, in the middle, in the frame of the end, in the table.
    for limit in [0, size / 2, size - 5000, size - 1] {
        let mut sink = CompressedSink::new(Limited::new(limit), 1).expect("a level");
        let mut process = process();
        let error = dump(&mut process, &request, None, &mut sink).expect_err("no room");
        assert!(
            matches!(&error, Error::Output { source, .. } if source.raw_os_error() == Some(28)),
            "{error}"
        );
        assert_eq!(process.freezes, process.releases);
    }
}

#[test]
fn levels_that_do_not_exist_are_refused() {
    for level in [i32::MIN, -1, 0, 20, i32::MAX] {
        let error = CompressedSink::new(Vec::new(), level).expect_err("no such level");
        assert!(error.to_string().contains("use one from 1 to 19"), "{error}");
    }
}
