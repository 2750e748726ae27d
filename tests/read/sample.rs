//! Small dumps, built byte by byte from the documentation of the format.
//!
//! Nothing here uses dumpwright's structures. Numbers and offsets are written down a second time,
//! so that a mistake in the reader shows as a disagreement.

use std::collections::HashMap;

pub const THREAD_1: u32 = 4711;
pub const THREAD_2: u32 = 4712;
pub const PROCESS: u32 = 4710;
pub const STACK_1: u64 = 0x7ffc_0000_1000;
pub const STACK_2: u64 = 0x7f11_0000_2000;
/// The memory directly after the second stack.
pub const BEHIND_2: u64 = STACK_2 + 0x100;
pub const PROGRAM: u64 = 0x5555_5555_4000;
pub const LIBRARY: u64 = 0x7f22_0000_0000;
pub const RIP_1: u64 = PROGRAM + 0x1234;
pub const RIP_2: u64 = LIBRARY + 0x42;
/// An application's own stream type.
pub const PRIVATE: u32 = 0x4457_0001;

/// A dump that is being built or damaged.
#[derive(Clone)]
pub struct Sample {
    pub bytes: Vec<u8>,
    /// Names of offsets in `bytes`.
    marks: HashMap<&'static str, usize>,
    streams: Vec<(u32, u32, u32)>,
    directory: usize,
}

impl Sample {
    /// The header and room for `slots` directory entries, `gap` bytes after the header.
    fn start(slots: usize, gap: usize) -> Self {
        let directory = 32 + gap;
        let mut bytes = vec![0; directory + 12 * slots];
        bytes[..4].copy_from_slice(b"MDMP");
        bytes[4..8].copy_from_slice(&0x4457_a793_u32.to_le_bytes());
        bytes[8..12].copy_from_slice(&(slots as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&(directory as u32).to_le_bytes());
        bytes[20..24].copy_from_slice(&951_782_400_u32.to_le_bytes());
        Self {
            bytes,
            marks: HashMap::new(),
            streams: Vec::new(),
            directory,
        }
    }

    /// Appends bytes at the next multiple of 8 and stores the offset under a name. At least 8 zero
    /// bytes separate two blocks, so that a block whose size is slightly too large does not run
    /// into the next one.
    pub fn put(&mut self, mark: &'static str, block: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8) + 8, 0);
        let place = self.bytes.len();
        self.marks.insert(mark, place);
        self.bytes.extend(block);
        place as u32
    }

    /// Appends a `MINIDUMP_STRING`.
    pub fn put_string(&mut self, mark: &'static str, text: &str) -> u32 {
        let units: Vec<u16> = text.encode_utf16().collect();
        let block = Block::new()
            .u32(2 * units.len() as u32)
            .each(&units, |block, unit| block.u16(*unit))
            .u16(0);
        self.put(mark, &block.0)
    }

    /// Appends a stream and enters it into the first free slot of the directory.
    pub fn put_stream(&mut self, stream_type: u32, mark: &'static str, block: &[u8]) -> u32 {
        let rva = self.put(mark, block);
        self.enter(stream_type, block.len() as u32, rva);
        rva
    }

    /// Enters a stream into the directory; it replaces one of the same type.
    pub fn enter(&mut self, stream_type: u32, size: u32, rva: u32) {
        let slot = self.streams.iter().position(|stream| stream.0 == stream_type);
        let slot = slot.unwrap_or_else(|| {
            self.streams.push((stream_type, size, rva));
            self.streams.len() - 1
        });
        self.streams[slot] = (stream_type, size, rva);
        self.write_entry(slot, (stream_type, size, rva));
    }

    /// Adds another directory entry, whatever the directory already has.
    pub fn enter_again(&mut self, stream_type: u32, size: u32, rva: u32) {
        self.streams.push((stream_type, size, rva));
        self.write_entry(self.streams.len() - 1, (stream_type, size, rva));
    }

    fn write_entry(&mut self, slot: usize, entry: (u32, u32, u32)) {
        let at = self.directory + 12 * slot;
        let entry = Block::new().u32(entry.0).u32(entry.1).u32(entry.2);
        self.bytes[at..at + 12].copy_from_slice(&entry.0);
    }

    /// The offset of a named block.
    pub fn mark(&self, mark: &str) -> usize {
        *self
            .marks
            .get(mark)
            .unwrap_or_else(|| panic!("the sample has no {mark}"))
    }

    /// Size and offset of a stream, as entered.
    pub fn stream(&self, stream_type: u32) -> (u32, u32) {
        let entry = self
            .streams
            .iter()
            .find(|stream| stream.0 == stream_type)
            .expect("the sample has the stream");
        (entry.1, entry.2)
    }

    /// The offset of a stream's directory entry.
    pub fn entry(&self, stream_type: u32) -> usize {
        let slot = self.streams.iter().position(|stream| stream.0 == stream_type);
        self.directory + 12 * slot.expect("the sample has the stream")
    }

    /// Turns the entry of a stream into an unused slot.
    pub fn remove(&mut self, stream_type: u32) {
        let at = self.entry(stream_type);
        self.bytes[at..at + 12].fill(0);
    }

    /// Changes the size of a stream in the directory.
    pub fn resize(&mut self, stream_type: u32, size: u32) {
        let at = self.entry(stream_type);
        self.set_u32(at + 4, size);
    }

    pub fn set_u16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn set_u64(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Changes one byte of a text.
    pub fn set_byte(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    pub fn len(&self) -> u32 {
        self.bytes.len() as u32
    }
}

/// Little-endian fields, one after the other.
pub struct Block(pub Vec<u8>);

impl Block {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub fn each<T>(self, items: &[T], add: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self, add)
    }

    /// UTF-16 in a field of `units` units.
    pub fn fixed_text(self, text: &str, units: usize) -> Self {
        let end = self.0.len() + 2 * units;
        let mut block = self.each(&text.encode_utf16().collect::<Vec<_>>(), |block, unit| {
            block.u16(*unit)
        });
        block.0.resize(end, 0);
        block
    }
}

/// An AMD64 CONTEXT in which every register has a different value: `seed` shifted left by 32, plus
/// the register's offset in the record. Only `rip` and `rsp` are given.
pub fn context(seed: u64, rip: u64, rsp: u64) -> Vec<u8> {
    let own = |offset: usize| (seed << 32) + offset as u64;
    let mut block = Block::new().zeros(0x30).u32(0x10_001f).u32(0x1f80);
    for segment in [0x33_u16, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f] {
        block = block.u16(segment); // cs ds es fs gs ss
    }
    block = block.u32(0x246);
    for offset in (0x48..0x100).step_by(8) {
        block = block.u64(match offset {
            0x98 => rsp,
            0xf8 => rip,
            _ => own(offset),
        });
    }
    block = block.u16(0x37f).zeros(22).u32(0x1fa0).zeros(4).zeros(128);
    for register in 0..16_u64 {
        block = block.u64(seed).u64(0x100 + register);
    }
    let mut bytes = block.0;
    bytes.resize(1232, 0);
    bytes
}

/// The bytes of captured memory. Each differs from its neighbours, and from the same offset in
/// other ranges.
pub fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(7).wrapping_add(seed))
        .collect()
}

/// A Linux dump with the streams that most dumps have: two threads, two modules, an exception.
pub fn normal() -> Sample {
    sample_with(24, 0)
}

/// The same with another directory.
pub fn sample_with(slots: usize, gap: usize) -> Sample {
    let mut dump = Sample::start(slots, gap);
    process(&mut dump);
    let stack_1 = dump.put("stack 1", &pattern(1, 0x200));
    let stack_2 = dump.put("stack 2", &pattern(2, 0x100));
    let behind_2 = dump.put("behind 2", &pattern(3, 0x40));
    threads(&mut dump, stack_1, stack_2);
    let ranges = Block::new()
        .u32(3)
        .bytes(&range(BEHIND_2, 0x40, behind_2)) // any order is allowed; this one does not ascend
        .bytes(&range(STACK_1, 0x200, stack_1))
        .bytes(&range(STACK_2, 0x100, stack_2));
    dump.put_stream(5, "memory list", &ranges.0);
    exception(&mut dump);
    others(&mut dump);
    dump.put_stream(PRIVATE, "private", b"our own bytes");
    dump
}

/// The normal dump and, in addition, the rarer streams, including those of Windows.
pub fn every() -> Sample {
    let mut dump = sample_with(32, 0);
    rare(&mut dump);
    dump
}

/// A full-memory dump: Memory64List at the end, and stacks without an offset, as Microsoft's writer
/// makes them. In the target, the second range directly follows the first.
pub fn full() -> Sample {
    let mut dump = Sample::start(16, 0);
    dump.set_u64(24, 0x802);
    process(&mut dump);
    threads(&mut dump, 0, 0);
    let list = [(STACK_2, 0x100), (BEHIND_2, 0x40), (STACK_1, 0x200)];
    let regions = Block::new().u32(16).u32(48).u64(3).each(&list, |block, one| {
        block.bytes(&region(one.0, one.1, 0x1000, 4, 0x2_0000))
    });
    dump.put_stream(16, "memory info", &regions.0);
    let list = Block::new()
        .u64(3)
        .u64(0)
        .u64(STACK_2)
        .u64(0x100)
        .u64(BEHIND_2)
        .u64(0x40)
        .u64(STACK_1)
        .u64(0x200);
    let rva = dump.put_stream(9, "memory64 list", &list.0);
    let mut memory = pattern(2, 0x100);
    memory.extend(pattern(3, 0x40));
    memory.extend(pattern(1, 0x200));
    let base = dump.put("memory64 data", &memory);
    dump.set_u64(rva as usize + 8, base.into());
    dump
}

/// Memory that only the compressed dump has.
pub const HEAP: u64 = 0x1000_0000;

/// The normal dump with compressed memory in two buckets, which has the stacks as well.
pub fn compressed() -> Sample {
    compressed_with(0)
}

/// The same, with more bytes at the end of the second bucket.
pub fn compressed_with(more: usize) -> Sample {
    let mut dump = normal();
    dump.set_u64(24, 0x400_0000);
    let header = dump.put_stream(25, "compressed memory", &[0; 0xC0]) as usize;
    let first = [pattern(9, 0x40), pattern(2, 0x100), pattern(3, 0x40)].concat();
    let mut second = pattern(1, 0x200);
    second.resize(0x200 + more, 7);
    let blocks = [literals(&first), literals(&second)];
    let places = [dump.put("bucket 0", &blocks[0]), dump.put("bucket 1", &blocks[1])];
    let region = |block: Block, (id, base, bucket, size, inside): (u64, u64, u64, u32, u32)| {
        block.u64(id).u64(base).u64(bucket).u32(size).u32(inside)
    };
    let regions = [
        (0, HEAP, 0, 0x40, 0),
        (1, STACK_2, 0, 0x100, 0x40),
        (2, BEHIND_2, 0, 0x40, 0x140),
        (3, STACK_1, 1, 0x200, 0),
    ];
    let regions = Block::new().each(&regions, |block, one| region(block, *one));
    let regions = dump.put("compressed regions", &regions.0);
    let sizes = [first.len(), second.len()];
    let bucket = |block: Block, id: usize, first_region: u64, count: u64| {
        block
            .u64(id as u64)
            .u32(sizes[id] as u32)
            .u32(blocks[id].len() as u32)
            .u64(places[id].into())
            .u64(first_region)
            .u64(count)
    };
    let buckets = bucket(bucket(Block::new(), 0, 0, 3), 1, 3, 1);
    let buckets = dump.put("compressed buckets", &buckets.0);
    let (plain, packed) = (sizes[0] + sizes[1], blocks[0].len() + blocks[1].len());
    let filled = Block::new()
        .u32(0xC0)
        .u32(2)
        .bytes(b"!!pmdz!!")
        .u64(0x1234_5678)
        .u64(PROCESS.into())
        .u64(64 << 20)
        .u64(header as u64)
        .u64((dump.bytes.len() - header) as u64)
        .u64(plain as u64)
        .u64(packed as u64)
        .u64(0)
        .u64(4)
        .u64(regions.into())
        .u64(32)
        .u64(2)
        .u64(buckets.into())
        .u64(40)
        .u64(places[0].into())
        .u64(u64::from(places[1]) + blocks[1].len() as u64 - u64::from(places[0]))
        .u32(1)
        .zeros(44);
    dump.bytes[header..header + 0xC0].copy_from_slice(&filled.0);
    dump
}

/// An LZ4 block of these bytes, without a match.
fn literals(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes.len() - 15;
    let mut block = Block::new().u8(0xF0);
    while rest >= 255 {
        block = block.u8(255);
        rest -= 255;
    }
    block.u8(rest as u8).bytes(bytes).0
}

/// The full dump, in which 16 bytes of the range after the second stack are lost.
pub fn with_losses() -> Sample {
    let mut dump = full();
    let lost = dump.mark("memory64 data") + 0x100 + 8;
    dump.bytes[lost..lost + 16].fill(0xdd);
    let trailer = Block::new()
        .bytes(b"DWLOSSES")
        .u32(1)
        .u32(1)
        .u64(BEHIND_2 + 8)
        .u64(16)
        .u32(2)
        .u32(0)
        .u64(56)
        .bytes(b"DWLOSEND");
    dump.put("losses", &trailer.0);
    dump
}

pub fn range(start: u64, size: u32, rva: u32) -> Vec<u8> {
    Block::new().u64(start).u32(size).u32(rva).0
}

pub fn module(base: u64, size: u32, name: u32, version: [u32; 4], code_view: (u32, u32)) -> Vec<u8> {
    Block::new()
        .u64(base)
        .u32(size)
        .u32(0xc5c5)
        .u32(0x6000_0001)
        .u32(name)
        .u32(0xfeef_04bd)
        .u32(0x1_0000)
        .each(&version, |block, part| block.u32(*part))
        .zeros(28)
        .u32(code_view.0)
        .u32(code_view.1)
        .zeros(24)
        .0
}

pub fn region(base: u64, size: u64, state: u32, protect: u32, kind: u32) -> Vec<u8> {
    Block::new()
        .u64(base)
        .u64(base)
        .u32(4)
        .u32(0)
        .u64(size)
        .u32(state)
        .u32(protect)
        .u32(kind)
        .u32(0)
        .0
}

fn process(dump: &mut Sample) {
    let words = dump.put_string("csd", "Linux 6.1.0 #1 SMP x86_64");
    let system = Block::new()
        .u16(9)
        .u16(6)
        .u16(0x5507)
        .u8(4)
        .u8(1)
        .u32(6)
        .u32(1)
        .u32(90)
        .u32(0x8201)
        .u32(words)
        .u16(0x100)
        .u16(0)
        .bytes(b"GenuineIntel")
        .u32(0x0005_0657)
        .u32(0x1fc9_cbf5)
        .u32(0);
    dump.put_stream(7, "system info", &system.0);
    // The fourth version. ProtectedProcess has stray bytes, as in Microsoft's dumps, and its bit is
    // clear.
    let misc = Block::new()
        .u32(832)
        .u32(0x147)
        .u32(PROCESS)
        .u32(951_700_000)
        .u32(12)
        .u32(3)
        .u32(4000)
        .u32(3500)
        .u32(3900)
        .u32(2)
        .u32(1)
        .u32(0x3000)
        .u32(0)
        .u32(0xdead)
        .u32(2)
        .u32(-60_i32 as u32)
        .fixed_text("CET", 32)
        .zeros(16)
        .u32(0)
        .fixed_text("CEST", 32)
        .zeros(16)
        .u32(0)
        .fixed_text("#1 SMP", 260)
        .fixed_text("a writer", 40);
    assert_eq!(misc.0.len(), 832);
    dump.put_stream(15, "misc info", &misc.0);

    let program = dump.put_string("program name", "/usr/bin/victim");
    let library = dump.put_string("library name", "C:\\lib\\warm.dll");
    let build_id: Vec<u8> = (1..=20).collect();
    let elf = dump.put("elf id", &Block::new().u32(0x4270_454c).bytes(&build_id).0);
    let guid = [
        0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    let pdb = dump.put(
        "pdb id",
        &Block::new()
            .u32(0x5344_5352)
            .bytes(&guid)
            .u32(0x1a)
            .bytes(b"w.pdb\0")
            .0,
    );
    let list = Block::new()
        .u32(2)
        .bytes(&module(PROGRAM, 0x4000, program, [1, 2, 3, 4], (24, elf)))
        .bytes(&module(LIBRARY, 0x2_0000, library, [5, 6, 7, 8], (30, pdb)));
    dump.put_stream(4, "module list", &list.0);
}

fn threads(dump: &mut Sample, stack_1: u32, stack_2: u32) {
    let context_1 = dump.put("context 1", &context(1, RIP_1, STACK_1 + 0x80));
    let context_2 = dump.put("context 2", &context(2, RIP_2, STACK_2 + 0x80));
    let thread = |block: Block, id, priority: i32, stack: Vec<u8>, context| {
        block
            .u32(id)
            .u32(1)
            .u32(0x20)
            .u32(priority as u32)
            .u64(0x7f33_0000_0000 + u64::from(id))
            .bytes(&stack)
            .u32(1232)
            .u32(context)
    };
    let list = Block::new().u32(2);
    let list = thread(list, THREAD_1, 2, range(STACK_1, 0x200, stack_1), context_1);
    let list = thread(list, THREAD_2, -1, range(STACK_2, 0x100, stack_2), context_2);
    dump.put_stream(3, "thread list", &list.0);
}

fn exception(dump: &mut Sample) {
    let context = dump.put("exception context", &context(3, RIP_1 + 1, STACK_1 + 0x90));
    let block = Block::new()
        .u32(THREAD_1)
        .u32(0)
        .u32(11)
        .u32(1)
        .u64(0)
        .u64(0x18)
        .u32(2)
        .u32(0)
        .u64(1)
        .u64(0x18)
        .zeros(13 * 8)
        .u32(1232)
        .u32(context);
    assert_eq!(block.0.len(), 168);
    dump.put_stream(6, "exception", &block.0);
}

fn others(dump: &mut Sample) {
    let name_1 = dump.put_string("thread name 1", "main");
    let name_2 = dump.put_string("thread name 2", "wörker");
    let names = Block::new()
        .u32(2)
        .u32(THREAD_1)
        .u64(name_1.into())
        .u32(THREAD_2)
        .u64(name_2.into());
    dump.put_stream(24, "thread names", &names.0);

    let info = |block: Block, id| {
        block
            .u32(id)
            .u32(2)
            .u32(0)
            .u32(0x103)
            .each(&[10_u64, 11, 12, 13, 14, 15], |block, value| block.u64(*value))
    };
    let infos = info(info(Block::new().u32(12).u32(64).u32(2), THREAD_1), THREAD_2);
    dump.put_stream(17, "thread infos", &infos.0);

    let kind = dump.put_string("handle type", "File");
    let object = dump.put_string("handle name", "/dev/null");
    let handles = Block::new()
        .u32(16)
        .u32(40)
        .u32(2)
        .u32(0)
        .u64(3)
        .u32(kind)
        .u32(object)
        .u32(0o20_666)
        .u32(0x12_0089)
        .u32(1)
        .u32(0)
        .zeros(8)
        .u64(4)
        .zeros(32);
    dump.put_stream(12, "handles", &handles.0);

    let unloaded = dump.put_string("unloaded name", "gone.dll");
    let list = Block::new()
        .u32(12)
        .u32(24)
        .u32(1)
        .u64(0x1000_0000)
        .u32(0x5000)
        .u32(7)
        .u32(8)
        .u32(unloaded);
    dump.put_stream(14, "unloaded modules", &list.0);

    let regions = Block::new()
        .u32(16)
        .u32(48)
        .u64(2)
        .bytes(&region(STACK_2 & !0xfff, 0x1000, 0x1000, 4, 0x2_0000))
        .bytes(&region(LIBRARY, 0x2_0000, 0x1000, 0x20, 0x100_0000));
    dump.put_stream(16, "memory info", &regions.0);

    dump.put_stream(
        0x4767_0001,
        "breakpad info",
        &Block::new().u32(2).u32(99).u32(THREAD_1).0,
    );
    dump.put_stream(0x4767_0004, "status", b"Name:\tvictim\nPid:\t4710\n");
    dump.put_stream(
        0x4767_0009,
        "maps",
        b"555555554000-555555558000 r-xp 0 08:01 7 /usr/bin/victim\n",
    );
    dump.put_stream(0x4767_0006, "command line", b"victim\0--run\0");
    let object = dump.put_string("object name", "/lib/libc.so.6");
    let map = dump.put(
        "link map",
        &Block::new().u64(LIBRARY).u32(object).u64(LIBRARY + 0x100).0,
    );
    let dso = Block::new()
        .u32(1)
        .u32(map)
        .u32(1)
        .u64(0xb0)
        .u64(0xb1)
        .u64(0xb2)
        .bytes(b"dynamic section");
    dump.put_stream(0x4767_000a, "dso debug", &dso.0);
    dump.put_stream(0x4d7a_0004, "soft errors", br#"[{"StopProcess":"timeout"}]"#);
    dump.put_stream(10, "comment", b"a diagnostic\0");
}

/// The security identifier S-1-5-18.
const SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];

fn rare(dump: &mut Sample) {
    // The second handle has information about its object, in two blocks.
    let second = dump.put(
        "second information",
        &Block::new().u32(0).u32(6).u32(2).bytes(&[7, 8]).0,
    );
    let first = dump.put("information", &Block::new().u32(second).u32(2).u32(1).u8(9).0);
    let handles = dump.mark("handles");
    dump.set_u32(handles + 16 + 40 + 32, first);

    let operation = Block::new()
        .u32(16)
        .u32(288)
        .u32(1)
        .u32(0)
        .u64(0x44)
        .u32(100)
        .u32(101)
        .u32(3)
        .u32(0)
        .u32(2)
        .u32(7)
        .u64(0xaaaa)
        .u64(0xbbbb)
        .zeros(30 * 8);
    dump.put_stream(18, "handle operations", &operation.0);

    let table = |block: Block, base: u64, functions: &[u32], pad: u32| {
        block
            .u64(base + 1)
            .u64(base + 2)
            .u64(base)
            .u32(functions.len() as u32 / 3)
            .u32(pad)
            .zeros(88)
            .each(functions, |block, word| block.u32(*word))
            .zeros(pad as usize)
    };
    let tables = Block::new().u32(24).u32(32).u32(88).u32(12).u32(2).u32(0);
    let tables = table(tables, 0x7000, &[1, 2, 3], 4);
    let tables = table(tables, 0x8000, &[4, 5, 6, 7, 8, 9], 0);
    dump.put_stream(13, "function tables", &tables.0);

    // Session, user, one group, primary group, one privilege, statistics with their type, one
    // restricting identifier.
    let parts = [
        Block::new().u32(3).zeros(4),
        Block::new().u32(8).u32(0).bytes(&SYSTEM).zeros(4),
        Block::new()
            .u32(1)
            .u32(16)
            .u32(7)
            .zeros(4)
            .bytes(&SYSTEM)
            .zeros(4),
        Block::new().u32(4).bytes(&SYSTEM),
        Block::new().u32(1).u64(20).u32(2),
        Block::new().zeros(24).u32(2).zeros(28),
        Block::new()
            .u32(1)
            .u32(16)
            .u32(8)
            .zeros(4)
            .bytes(&SYSTEM)
            .zeros(4),
    ];
    let sizes = [4_u32, 20, 28, 16, 16, 56, 28];
    let mut element = Block::new();
    let mut at = 72;
    for (part, size) in parts.iter().zip(sizes) {
        element = element.u32(at).u32(size);
        at += part.0.len() as u32;
    }
    let element = element.each(&parts, |block, part| block.bytes(&part.0));
    let token = Block::new()
        .u32(16 + at)
        .u32(1)
        .u32(16)
        .u32(72)
        .u32(at)
        .u32(4710)
        .u64(0x99)
        .bytes(&element.0);
    dump.put_stream(19, "token", &token.0);

    // Each number is its own offset.
    let memory = Block::new().u16(1).u16(2);
    let memory = memory.each(&(1..123).collect::<Vec<u32>>(), |block, word| block.u32(4 * word));
    dump.put_stream(21, "system memory", &memory.0);
    let counters = Block::new().u16(2).u16(0xf);
    let counters = counters.each(&(1..38).collect::<Vec<u32>>(), |block, word| block.u32(4 * word));
    dump.put_stream(22, "counters", &counters.0);
}
