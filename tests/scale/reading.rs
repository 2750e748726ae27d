//! The work of reading compressed memory, at many addresses.
//!
//! Would catch: a bucket that is decompressed again and again; a reader that keeps all of them;
//! stacks that are decompressed although they are in the file as they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use dumpwright::read::{ByteSource, Dump};
use dumpwright::target::protect::READWRITE;
use dumpwright::{Profile, dump};
use dumpwright_sim::{Contents, SimProcess};

use super::{CODE, HEAP, STACKS, add, instructions, measured, number_behind, process, request, sort};

const READS: u64 = 10_000;
const COUNT: u64 = 8;
const SIZE: u64 = 256 << 10;
/// The size of a bucket. Each stack is in another one.
const BUCKET: u64 = 4 << 20;
const HEAP_SIZE: u64 = 64 << 20;

/// The first addresses of the stacks.
fn stacks() -> impl Iterator<Item = u64> {
    (0..COUNT).map(|index| STACKS + 4 * BUCKET * index)
}

/// A process with eight stacks, each next to a bucket of other memory, and a heap.
fn eight_stacks() -> SimProcess {
    let mut process = process();
    let region = |process: &mut SimProcess, start, size| {
        add(process, start, size, READWRITE, Contents::Pattern(start));
    };
    region(&mut process, HEAP, HEAP_SIZE);
    for (stack, id) in stacks().zip(7..) {
        process = process.thread(id, stack + 0x100, CODE + 0x1234);
        region(&mut process, stack, SIZE);
        region(&mut process, stack + 2 * BUCKET, BUCKET);
    }
    sort(&mut process);
    process
}

/// Writes a dump of the process.
fn dumped(path: &Path, dump_type: u32, profile: Profile) {
    let mut file = Vec::new();
    dump(&mut eight_stacks(), &request(dump_type, profile), None, &mut file).expect("a dump");
    std::fs::write(path, file).expect("a file");
}

/// A file that notes where it is read.
struct Watched {
    file: File,
    offsets: Mutex<Vec<u64>>,
}

impl ByteSource for &'static Watched {
    fn len(&self) -> u64 {
        self.file.metadata().expect("a file").len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.offsets.lock().expect("no panic before").push(offset);
        self.file.read_exact_at(into, offset)
    }
}

/// The child process: reads a dump at many addresses.
#[test]
#[ignore = "a part of the other tests"]
fn reads() {
    let variable = |name| std::env::var(name).expect("set by the test");
    let watched: &'static Watched = Box::leak(Box::new(Watched {
        file: File::open(variable("SCALE_FILE")).expect("the dump"),
        offsets: Mutex::default(),
    }));
    let dump = Dump::from_source(watched).expect("a dump");
    let addresses: Vec<u64> = match &*variable("SCALE_READS") {
        // From one stack to the next.
        "stacks" => (0..READS)
            .zip(stacks().collect::<Vec<_>>().into_iter().cycle())
            .map(|(index, stack)| stack + 0x100 + index * 7919 * 8 % (SIZE - 0x100))
            .collect(),
        _ => (0..READS)
            .map(|index| HEAP + index * (HEAP_SIZE / READS))
            .collect(),
    };
    measured(|| {
        for address in &addresses {
            let bytes = dump.memory(*address, 8).expect("it is intact");
            assert_eq!(bytes.expect("it is there").len(), 8);
        }
    });
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    println!(
        "\nmemory: {}",
        number_behind(&status.replace(" kB", ""), "VmHWM:")
    );
    let buckets = dump.iter_compressed_buckets().expect("they are intact");
    let offsets = watched.offsets.lock().expect("no panic before").clone();
    let times = buckets.map(|bucket| {
        let offset = bucket.expect("it is intact").file_offset;
        offsets.iter().filter(|read| **read == offset).count()
    });
    let times: Vec<_> = times.collect();
    println!("most: {}", times.iter().max().unwrap_or(&0));
    println!(
        "decompressed: {}",
        times.iter().filter(|times| **times > 0).count()
    );
}

fn child(file: &Path, reads: &str) -> impl Fn(&mut Command) {
    move |command: &mut Command| {
        command
            .args(["--exact", "reading::reads", "--ignored", "--nocapture"])
            .arg("--test-threads=1")
            .env("SCALE_READS", reads)
            .env("SCALE_FILE", file);
    }
}

#[test]
fn ascending_addresses_decompress_each_bucket_once_in_bounded_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dump.dmp");
    dumped(&file, 0x400_0000, Profile::Documented);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    child(&file, "ascending")(&mut command);
    let output = command.output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(number_behind(&said, "most: "), 1, "{said}");
    assert_eq!(
        number_behind(&said, "decompressed: "),
        HEAP_SIZE / BUCKET,
        "{said}"
    );
    assert!(
        number_behind(&said, "memory: ") < 64 << 10,
        "KiB of memory: {said}"
    );
}

#[test]
fn stacks_of_compressed_memory_cost_what_those_of_plain_memory_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dump.dmp");
    let [plain, compressed, listless] = [
        (0x2, Profile::Documented),
        (0x400_0000, Profile::Documented),
        // Without a MemoryList, as by DbgHelp.
        (0x400_0000, Profile::DbgHelp10),
    ]
    .map(|(dump_type, profile)| {
        dumped(&file, dump_type, profile);
        instructions(child(&file, "stacks"))
    });
    println!("{} and {} instructions", plain.0, compressed.0);
    assert!(compressed.0 <= 3 * plain.0, "{} and {}", compressed.0, plain.0);
    assert_eq!(number_behind(&compressed.1, "decompressed: "), 0);
    // The stacks are in eight buckets, all of which are kept.
    assert_eq!(number_behind(&listless.1, "decompressed: "), COUNT);
    assert_eq!(number_behind(&listless.1, "most: "), 1);
}
