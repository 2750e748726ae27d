//! Compressed dumps of live processes.

use std::io;
use std::process::Command;

use dumpwright::read::Dump;
use dumpwright::{CompressedSink, DumpType, Request, Sink, dump, native};

use crate::support::dumper::dumpwright;
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};
use crate::support::{run_well, seekable};

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

/// The limit counts all memory that the dumper can write to, also that of its threads. The peak of
/// resident memory could not be used: it includes that of this process before the `exec`.
#[test]
fn memory_does_not_grow_with_the_dump() {
    let folder = tempfile::tempdir_in(crate::support::scratch()).unwrap();
    let path = folder.path().join("big.dmp.zst");
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &["256"]);
    let script = "ulimit -d 65536; exec \"$0\" dump --compress zstd --type full --pid $1 -o \"$2\"";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(dumpwright().get_program());
    run_well(command.arg(victim.pid().to_string()).arg(&path));
    assert!(Dump::open(&path).unwrap().len() > 256 << 20);
    victim.ping();
}
