//! Compressed dumps of live processes.

use std::io;

use dumpwright::read::Dump;
use dumpwright::{CompressedSink, DumpType, Request, Sink, dump, native};

use crate::support::dumper::{dumpwright, run_measured};
use crate::support::seekable;
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};

const MIB: u64 = 1 << 20;

/// Two outputs for one dump.
struct Tee<A, B>(A, B);

impl<A: Sink, B: Sink> Sink for Tee<A, B> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.append(at, bytes)?;
        self.1.append(at, bytes)
    }

    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.0.append_zeros(at, len)?;
        self.1.append_zeros(at, len)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()?;
        self.1.finish()
    }
}

#[test]
fn the_compressed_dump_of_a_process_is_its_dump() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::NoPointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    for dump_type in [DumpType::NORMAL, DumpType::WITH_FULL_MEMORY] {
        let mut both = Tee(
            Vec::new(),
            CompressedSink::new(Vec::new(), CompressedSink::DEFAULT_LEVEL).unwrap(),
        );
        let mut target = native::process(victim.pid()).unwrap();
        let report = dump(&mut target, &Request::new(dump_type), None, &mut both).unwrap();
        assert!(report.is_complete());
        let (plain, compressed) = (both.0, both.1.into_inner());
        let frames = seekable::frames(&compressed);
        let sizes = frames.iter().map(|frame| frame.size);
        assert_eq!(sizes.sum::<u64>(), report.bytes);
        assert!(zstd::stream::decode_all(compressed.as_slice()).unwrap() == plain);
        assert!(compressed.len() < plain.len());

        let dump = Dump::from_bytes(compressed).unwrap();
        assert_eq!(dump.threads().unwrap().len(), truth.threads.len());
        if dump_type == DumpType::WITH_FULL_MEMORY {
            for pattern in &truth.memory {
                let found = dump.memory(pattern.address, pattern.length).unwrap();
                assert!(found == Some(pattern.bytes()), "{}", pattern.name);
            }
        }
        victim.ping();
    }
}

/// Random bytes, which need the largest buffers, and memory that was never touched.
#[test]
fn memory_does_not_grow_with_the_dump() {
    let folder = tempfile::tempdir_in(crate::support::scratch()).unwrap();
    let path = folder.path().join("big.dmp.zst");
    let peaks = ["64", "512"].map(|mib| {
        let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &[mib]);
        let mut command = dumpwright();
        command
            .args(["dump", "--force", "--compress", "zstd", "--type", "full", "--pid"])
            .arg(victim.pid().to_string())
            .arg("-o")
            .arg(&path);
        let (status, complaints, peak) = run_measured(&mut command);
        assert!(status.success(), "{status}\n{complaints}");
        victim.ping();
        peak
    });
    // What varies is how many buffers were in use at the same time.
    assert!(peaks.iter().all(|peak| *peak < 64 * MIB), "{peaks:?}");
    assert!(peaks[1] < peaks[0] + 16 * MIB, "{peaks:?}");
}
