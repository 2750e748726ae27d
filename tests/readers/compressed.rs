//! Compressed dumps, decompressed by the program `zstd`; and what readers see of them as they are.
//!
//! Would catch: a compressed dump that other programs cannot decompress, or that decompresses to
//! other bytes than those that `show` and `check` read from it; a reader that sees less of a dump
//! than the table in `README.md` says, or more.

use std::path::Path;
use std::process::Command;

use dumpwright::read;
use minidump::Minidump;

use crate::support::dumper::dumpwright;
use crate::support::readers::{cache, dbgeng, lldb, python};
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};
use crate::support::{repository, run_well, seekable};

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

/// What a reader sees of a dump: whether it opens it at all, and the bytes at two places.
type Seen = Option<[Option<Vec<u8>>; 2]>;

type Reader = fn(&Path, &[(u64, u64)]) -> Seen;

/// The rows of the table in `README.md` that are tested.
const READERS: [(&str, Reader); 8] = [
    ("dumpwright", dumpwright_sees),
    ("dbgeng 6.3.9600", |dump, places| {
        dbgeng_sees(dbgeng::OLD, dump, places)
    }),
    ("dbgeng 10.0.15063", |dump, places| {
        dbgeng_sees(dbgeng::NEW, dump, places)
    }),
    ("LLDB 19", |dump, places| {
        let report = lldb::report(dump, places).ok()?;
        (!report.threads.is_empty()).then(|| hexadecimal(&report.memory))
    }),
    ("rust-minidump 0.27", rust_minidump_sees),
    ("Breakpad", breakpad_sees),
    ("PyPI minidump 0.0.24", |dump, places| {
        let report = python::skelsec(dump, places).ok()?;
        Some(hexadecimal(&report.memory))
    }),
    ("udmp-parser", |dump, places| {
        let report = python::udmp(dump, places).ok()?;
        Some(hexadecimal(&report.memory))
    }),
];

fn hexadecimal(memory: &[Option<String>]) -> [Option<Vec<u8>>; 2] {
    let found = |at: usize| memory[at].as_deref().map(python::bytes);
    [found(0), found(1)]
}

fn dumpwright_sees(dump: &Path, places: &[(u64, u64)]) -> Seen {
    let dump = read::Dump::open(dump).ok()?;
    let found = |at: usize| dump.memory(places[at].0, places[at].1).ok().flatten();
    Some([found(0), found(1)])
}

fn dbgeng_sees(engine: dbgeng::Engine, dump: &Path, places: &[(u64, u64)]) -> Seen {
    let commands: Vec<_> = places
        .iter()
        .map(|(address, size)| format!("db {address:#x} L?{size:#x}"))
        .collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let session = dbgeng::session(engine, dump, &commands).ok()?;
    let found = |at: usize| dbgeng::bytes(&session.answers[at]).into_iter().collect();
    Some([found(0), found(1)])
}

fn rust_minidump_sees(dump: &Path, places: &[(u64, u64)]) -> Seen {
    let dump = Minidump::read(std::fs::read(dump).unwrap()).ok()?;
    let memory = dump.get_memory();
    let found = |at: usize| {
        let (address, size) = places[at];
        let byte = |at| {
            let range = memory.as_ref()?.memory_at_address(at)?;
            range.get_memory_at_address::<u8>(at)
        };
        (address..address + size).map(byte).collect()
    };
    Some([found(0), found(1)])
}

/// The program prints frames and no memory. A frame of each function is found only with the stack.
fn breakpad_sees(dump: &Path, places: &[(u64, u64)]) -> Seen {
    let output = Command::new(cache().join("breakpad/minidump_stackwalk"))
        .arg("-m")
        .arg(dump)
        .output()
        .expect("Breakpad starts");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let frames = lines
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .filter(|line| line.split('|').nth(1) != Some("0"));
    let walks = frames.count() > 0;
    let stack = walks.then(|| bytes_of(dump, places[0]));
    (output.status.success() && lines.contains("Module|")).then_some([stack, None])
}

/// The bytes of a dump, which stand for those that a reader has used.
fn bytes_of(dump: &Path, (address, size): (u64, u64)) -> Vec<u8> {
    let dump = read::Dump::open(dump).unwrap();
    dump.memory(address, size).unwrap().unwrap()
}

#[test]
fn readers_see_what_the_table_says() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    let folder = tempfile::tempdir().unwrap();
    let dumps = [
        ("plain.dmp", "full", &[][..]),
        ("compressed.dmp", "with-memory-compressed", &[]),
        ("plain.dmp.zst", "full", &["--compress", "zstd"]),
    ]
    .map(|(name, types, more)| {
        let file = folder.path().join(name);
        let mut command = dumpwright();
        command.args(["dump", "--type", types, "--pid", &victim.pid().to_string()]);
        run_well(command.args(more).arg("-o").arg(&file));
        victim.ping();
        file
    });
    let patterns = ["stack", "heap"].map(|name| truth.pattern(name));
    let places = patterns.map(|pattern| (pattern.address, pattern.length));
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    for (name, reader) in READERS {
        let cells = dumps.each_ref().map(|dump| {
            let Some(seen) = reader(dump, &places) else {
                return "–";
            };
            let has = |at: usize| seen[at].as_ref() == Some(&patterns[at].bytes());
            match (has(0), has(1)) {
                (true, true) => "all memory",
                (true, false) => "stacks",
                (false, false) => "threads",
                (false, true) => panic!("{name}: a stack is missing"),
            }
        });
        let row = format!("| {name} | {} |", cells.join(" | "));
        assert!(
            readme.lines().any(|line| line == row),
            "README.md lacks this row: {row}"
        );
    }
}
