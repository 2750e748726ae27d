//! Compressed dumps, decompressed by the program `zstd`.
//!
//! Would catch: a compressed dump that other programs cannot decompress, or that decompresses to
//! other bytes than those that `show` and `check` read from it.

use std::path::Path;
use std::process::Command;

use crate::support::dumper::dumpwright;
use crate::support::readers::lldb;
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};
use crate::support::{run_well, seekable};

/// Runs a command of dumpwright on a dump. Returns what it prints, without the file's name.
fn said(arguments: &[&str], dump: &Path) -> String {
    let text = run_well(dumpwright().args(arguments).arg(dump));
    text.replace(dump.to_str().unwrap(), "DUMP")
}

#[test]
fn zstd_decompresses_what_show_and_check_read() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::NoPointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    let folder = tempfile::tempdir().unwrap();
    for (dump_type, method) in [("normal", "zstd"), ("full", "zstd:3")] {
        let compressed = folder.path().join("victim.dmp.zst");
        let plain = folder.path().join("victim.dmp");
        let mut command = dumpwright();
        command.args([
            "dump",
            "--force",
            "--json",
            "--type",
            dump_type,
            "--compress",
            method,
        ]);
        command.args(["--pid", &victim.pid().to_string(), "-o"]);
        let result: serde_json::Value = serde_json::from_str(&run_well(command.arg(&compressed))).unwrap();
        victim.ping();

        run_well(Command::new("zstd").args(["--test", "--quiet"]).arg(&compressed));
        let mut zstd = Command::new("zstd");
        zstd.args(["--decompress", "--force", "--quiet", "-o"])
            .arg(&plain);
        run_well(zstd.arg(&compressed));
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(result["bytes"], size(&plain));
        assert_eq!(result["compressed_bytes"], size(&compressed));
        let frames = seekable::frames(&std::fs::read(&compressed).unwrap());
        let sizes = frames.iter().map(|frame| frame.size);
        assert_eq!(sizes.sum::<u64>(), size(&plain));

        for arguments in [
            &["show"][..],
            &["show", "--json"],
            &["show", "--all"],
            &["check"],
            &["check", "--json"],
        ] {
            assert_eq!(said(arguments, &compressed), said(arguments, &plain));
        }
        let threads = lldb::report(&plain, &[]).expect("LLDB reads it").threads;
        assert_eq!(threads.len(), truth.threads.len());
    }
}
