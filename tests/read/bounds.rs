//! Files whose tables are as long as the format allows.
//!
//! Would catch: a list, a text or a name that is kept in memory although its length is the file's
//! choice, an allocation that ends the program, a check that passes what it has not read, and work
//! that goes on behind the limits of what is shown.
//!
//! The program runs in 500 MB of address space. Most files are sparse: 6 GiB long, some KiB on
//! disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dumpwright::read::{ByteSource, Dump, LIST_LIMIT, ReadError, Rule, check, stream_type};

use crate::sample::Block;

const MEMORY: u64 = 500 << 20;
/// For a machine that is slow and busy. The program takes seconds.
const HANG: Duration = Duration::from_secs(300);
/// Where the one stream begins, and where what it refers to begins.
const STREAM: u64 = 0x1000;
const BEHIND: u64 = 0x2000_0000;

/// A dump with a system info and one other stream of `size` bytes, which starts with `head`.
struct Shape {
    name: &'static str,
    stream: u32,
    size: u32,
    head: Vec<u8>,
    /// More bytes at [`BEHIND`].
    behind: Vec<u8>,
}

fn counted(size: u32, entry: u32) -> Block {
    Block::new().u32((size - 4) / entry)
}

fn sized(size: u32, header: u32, entry: u32) -> Block {
    let block = Block::new().u32(header).u32(entry);
    let count = (size - header) / entry;
    match header {
        16 => block.u32(count).u32(0),
        _ => block.u32(count),
    }
}

/// Every table shape of every stream, `size` bytes long.
fn tables(size: u32) -> Vec<Shape> {
    let shape = |name, stream, head: Block| Shape {
        name,
        stream,
        size,
        head: head.0,
        behind: Vec::new(),
    };
    let count64 = |header: u32, entry: u32| u64::from((size - header) / entry);
    vec![
        shape("threads", stream_type::THREAD_LIST, counted(size, 48)),
        shape(
            "threads with backing stores",
            stream_type::THREAD_EX_LIST,
            counted(size, 64),
        ),
        shape("modules", stream_type::MODULE_LIST, counted(size, 108)),
        shape("memory", stream_type::MEMORY_LIST, counted(size, 16)),
        shape(
            "full memory",
            stream_type::MEMORY64_LIST,
            Block::new().u64(count64(16, 16)).u64(BEHIND),
        ),
        shape(
            "regions",
            stream_type::MEMORY_INFO_LIST,
            Block::new().u32(16).u32(48).u64(count64(16, 48)),
        ),
        shape("handles", stream_type::HANDLE_DATA, sized(size, 16, 40)),
        shape(
            "operations",
            stream_type::HANDLE_OPERATION_LIST,
            sized(size, 16, 288),
        ),
        shape(
            "unloaded modules",
            stream_type::UNLOADED_MODULE_LIST,
            sized(size, 12, 24),
        ),
        shape("thread infos", stream_type::THREAD_INFO_LIST, sized(size, 12, 64)),
        shape("thread names", stream_type::THREAD_NAMES, counted(size, 12)),
        shape(
            "function tables",
            stream_type::FUNCTION_TABLE,
            Block::new()
                .u32(24)
                .u32(32)
                .u32(0)
                .u32(12)
                .u32((size - 24) / 32)
                .u32(0),
        ),
        shape(
            "tokens",
            stream_type::TOKEN,
            Block::new().u32(size).u32((size - 16) / 72).u32(16).u32(72),
        ),
        shape(
            "loaded objects",
            stream_type::LINUX_DSO_DEBUG,
            Block::new().u32(1).u32(BEHIND as u32).u32(size / 20),
        ),
        shape(
            "maps",
            stream_type::LINUX_MAPS,
            Block::new().bytes(&b"0-1 r--p 0 0:0 0\n".repeat(100)),
        ),
        shape(
            "comment",
            stream_type::COMMENT_A,
            Block::new().bytes(&[b'A'; 1000]),
        ),
        shape(
            "wide comment",
            stream_type::COMMENT_W,
            Block::new().bytes(&[b'A'; 1000]),
        ),
        shape(
            "soft errors",
            stream_type::MOZ_SOFT_ERRORS,
            Block::new().bytes(b"[{\"a\":1},"),
        ),
    ]
}

/// Tables of moderate length whose entries all refer to the same long data.
fn shared_data() -> Vec<Shape> {
    let size = |count: u32, entry: u32| 4 + count * entry;
    let name = Block::new().u32(65_534).bytes(&b"A\0".repeat(32_767)).0;
    let module = |base: u64| {
        let block = Block::new()
            .u64(base << 20)
            .u32(1 << 20)
            .u32(0)
            .u32(0)
            .u32(BEHIND as u32);
        block.zeros(52).u32(0x1000_0000).u32(BEHIND as u32 + 4).zeros(24)
    };
    let thread = |id: u32| {
        let block = Block::new()
            .u32(id)
            .zeros(20)
            .u64(0x1000)
            .u32(0xF000_0000)
            .u32(BEHIND as u32);
        block.u32(0xF000_0000).u32(BEHIND as u32)
    };
    let all = |count: u32, entry: &dyn Fn(u32) -> Block| {
        let entries: Vec<u32> = (0..count).collect();
        Block::new()
            .u32(count)
            .each(&entries, |block, index| block.bytes(&entry(*index).0))
            .0
    };
    vec![
        Shape {
            name: "modules with one name and one CodeView record",
            stream: stream_type::MODULE_LIST,
            size: size(30_000, 108),
            head: all(30_000, &|index| module(index.into())),
            behind: name.clone(),
        },
        Shape {
            name: "threads with one context and one stack",
            stream: stream_type::THREAD_LIST,
            size: size(50_000, 48),
            head: all(50_000, &thread),
            behind: Vec::new(),
        },
        Shape {
            name: "ranges that overlap",
            stream: stream_type::MEMORY_LIST,
            size: size(100_000, 16),
            head: all(100_000, &|index| {
                Block::new()
                    .u64(u64::from(index) << 12)
                    .u32(0xF000_0000)
                    .u32(0x2000)
            }),
            behind: Vec::new(),
        },
        Shape {
            name: "soft errors that take much memory",
            stream: stream_type::MOZ_SOFT_ERRORS,
            size: 7 * 2_000_000 + 1,
            head: [b"[".to_vec(), b"{\"\":0},".repeat(2_000_000)].concat(),
            behind: Vec::new(),
        },
    ]
}

impl Shape {
    /// The header, the directory and a system info: x86-64, Linux.
    fn start(&self) -> Vec<u8> {
        let start = Block::new()
            .bytes(b"MDMP")
            .u32(0xA793)
            .u32(2)
            .u32(32)
            .zeros(16)
            .u32(7)
            .u32(56)
            .u32(56)
            .u32(self.stream)
            .u32(self.size)
            .u32(STREAM as u32)
            .u16(9)
            .zeros(4)
            .bytes(&[2, 1])
            .zeros(12)
            .u32(0x8201);
        start.0
    }

    fn parts(&self) -> [(u64, Vec<u8>); 3] {
        [
            (0, self.start()),
            (STREAM, self.head.clone()),
            (BEHIND, self.behind.clone()),
        ]
    }

    fn write(&self, path: &Path, length: u64) {
        let file = File::create(path).expect("a file");
        for (at, bytes) in self.parts() {
            file.write_all_at(&bytes, at).expect("the file can be written");
        }
        file.set_len(length.max(STREAM + self.head.len() as u64))
            .expect("a sparse file");
    }
}

/// The program that was built with the tests, unless the variable `DUMPWRIGHT_OPTIMIZED` names an
/// optimized build, which needs a tenth of the time for these files.
fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_dumpwright").into();
    Command::new(std::env::var_os("DUMPWRIGHT_OPTIMIZED").unwrap_or_else(built))
}

/// Runs the program on a file, and returns its exit status. A signal or a time beyond [`HANG`] is
/// a failure.
fn run(arguments: &[&str], file: &Path, what: &str) -> i32 {
    let mut command = program();
    command
        .args(arguments)
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: the closure only makes system calls.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: MEMORY,
                rlim_max: MEMORY,
            };
            match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                0 => {
                    // The kernel ends a program that hangs, with SIGALRM.
                    libc::alarm(HANG.as_secs() as u32);
                    Ok(())
                }
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = command.output().expect("dumpwright starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), None, "{what}: {arguments:?}: {said}");
    output.status.code().expect("no signal")
}

/// The same dump, compressed.
#[cfg(feature = "zstd")]
fn compressed(shape: &Shape, length: u64) -> Vec<u8> {
    use dumpwright::{CompressedSink, Sink};

    let mut sink = CompressedSink::new(Vec::new(), 1).expect("a level");
    let mut end = 0;
    for (at, bytes) in shape.parts() {
        sink.append_zeros(end, at - end).expect("no file");
        sink.append(at, &bytes).expect("no file");
        end = at + bytes.len() as u64;
    }
    sink.append_zeros(end, length.saturating_sub(end))
        .expect("no file");
    sink.finish().expect("no file");
    sink.into_inner()
}

/// Compressed, files of a few hundred KiB have the tables of a dump of 6 GiB.
#[cfg(feature = "zstd")]
#[test]
fn compressed_tables_of_4_gib_take_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.dmp.zst");
    let shapes = tables(u32::MAX);
    for name in ["threads", "modules", "full memory", "handles"] {
        let shape = shapes.iter().find(|shape| shape.name == name).expect("a shape");
        std::fs::write(&path, compressed(shape, 6 << 30)).expect("a file");
        assert_eq!(run(&["show", "--json"], &path, shape.name), 0, "{}", shape.name);
        assert_eq!(run(&["check"], &path, shape.name), 1, "{}: check", shape.name);
    }
}

fn judge(shapes: &[Shape], length: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    for shape in shapes {
        let path = folder.path().join("long.dmp");
        shape.write(&path, length);
        for arguments in [&["show"][..], &["show", "--json"], &["show", "--all"]] {
            assert_eq!(
                run(arguments, &path, shape.name),
                0,
                "{}: {arguments:?}",
                shape.name
            );
        }
        assert_eq!(run(&["check"], &path, shape.name), 1, "{}: check", shape.name);
    }
}

#[test]
fn tables_of_16_mib_take_little_memory() {
    judge(&tables(16 << 20), 0x4000_0000);
}

#[test]
fn tables_of_4_gib_take_little_memory() {
    judge(&tables(u32::MAX), 6 << 30);
}

#[test]
fn data_that_many_entries_share_is_not_multiplied() {
    judge(&shared_data(), 6 << 30);
}

/// A file that counts how many bytes are read from it.
struct Counted {
    parts: [(u64, Vec<u8>); 3],
    length: u64,
    read: Arc<AtomicU64>,
}

impl ByteSource for Counted {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.read.fetch_add(into.len() as u64, Ordering::Relaxed);
        into.fill(0);
        for (start, bytes) in &self.parts {
            let from = offset.max(*start);
            let to = (offset + into.len() as u64).min(start + bytes.len() as u64);
            if from < to {
                let part = &bytes[(from - start) as usize..(to - start) as usize];
                into[(from - offset) as usize..][..part.len()].copy_from_slice(part);
            }
        }
        Ok(())
    }
}

/// A dump of 6 GiB with one shape, and the count of bytes that are read from it.
fn open(shape: &Shape) -> (Dump, Arc<AtomicU64>) {
    let read = Arc::new(AtomicU64::new(0));
    let source = Counted {
        parts: shape.parts(),
        length: 6 << 30,
        read: read.clone(),
    };
    (Dump::from_source(source).expect("a minidump"), read)
}

/// Every rule that reads a list reads its first entries, and says that it has not read the others.
#[test]
fn a_check_reads_a_part_of_a_long_table_and_says_so() {
    /// The largest entries have 288 bytes; those of threads refer to a context and a stack.
    const MOST: u64 = LIST_LIMIT * 1024;
    for shape in tables(u32::MAX) {
        let (dump, read) = open(&shape);
        let found = check(&dump).expect("the file can be read");
        let read = read.load(Ordering::Relaxed);
        assert!(read < MOST, "{}: {read} bytes were read", shape.name);
        // There is no rule about the contents of these.
        let has_rules = !shape.name.contains("comment") && !["maps", "operations"].contains(&shape.name);
        let is_said = found
            .iter()
            .any(|found| [Rule::ListTooLong, Rule::SoftErrorsJson].contains(&found.rule))
            // These two have counts that contradict their sizes.
            || ["tokens", "function tables"].contains(&shape.name);
        assert!(is_said || !has_rules, "{}: {found:#?}", shape.name);
        assert!(found.len() < 4000, "{}: {} violations", shape.name, found.len());
    }
}

/// The methods that return all entries refuse a list that is longer than any real one; the
/// iterators read it.
#[test]
fn a_list_is_not_cut_without_a_word() {
    let shapes = tables(u32::MAX);
    let shape = |name: &str| shapes.iter().find(|shape| shape.name == name).expect("a shape");
    let too_long = |error: Option<ReadError>| {
        let error = error.expect("too long");
        assert!(
            matches!(
                error,
                ReadError::TooLong {
                    limit: LIST_LIMIT,
                    ..
                }
            ),
            "{error}"
        );
    };
    let (dump, _) = open(shape("threads"));
    too_long(dump.threads().err());
    let threads = dump.iter_threads().expect("a list");
    assert_eq!(threads.len(), u64::from((u32::MAX - 4) / 48));
    assert!(threads.take(10).all(|thread| thread.is_ok()));
    let (dump, _) = open(shape("full memory"));
    too_long(dump.memory_ranges().err());
    too_long(dump.memory(0x1000, 16).err());
    assert_eq!(
        dump.iter_memory_ranges().expect("a list").len(),
        u64::from((u32::MAX - 16) / 16)
    );
    let (dump, _) = open(shape("handles"));
    too_long(dump.handles().err());
    let (dump, _) = open(shape("regions"));
    too_long(dump.memory_regions().err());
}

/// `show` says how many entries it does not show, in both forms.
#[test]
fn what_is_not_shown_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.dmp");
    let shapes = tables(u32::MAX);
    let shape = shapes
        .iter()
        .find(|shape| shape.name == "modules")
        .expect("a shape");
    shape.write(&path, 6 << 30);
    let show = |arguments: &[&str]| {
        let mut command = program();
        let output = command
            .arg("show")
            .args(arguments)
            .arg(&path)
            .output()
            .expect("it starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let more = (u32::MAX - 4) / 108 - 65_536;
    let text = show(&["--all"]);
    assert!(text.contains(&format!("\n  and {more} more, which are not shown\n")));
    let json: serde_json::Value = serde_json::from_str(&show(&["--json"])).expect("JSON");
    assert_eq!(json["modules"].as_array().map(Vec::len), Some(65_536));
    assert_eq!(json["left_out"], serde_json::json!({ "modules": more }));
}
