//! Cores for tests, built by hand from the documentation of the format.

use goblin::elf::program_header::{PF_R, PF_W, PF_X};

/// The types of notes, as numbers (`linux/elf.h`).
pub(crate) const PRSTATUS: u32 = 1;
pub(crate) const FPREGSET: u32 = 2;
pub(crate) const PRPSINFO: u32 = 3;
pub(crate) const AUXV: u32 = 6;
pub(crate) const SIGINFO: u32 = 0x5349_4749;
pub(crate) const FILE: u32 = 0x4649_4c45;
pub(crate) const XSTATE: u32 = 0x202;
pub(crate) const XSAVE_LAYOUT: u32 = 0x205;

/// The contents of a core.
#[derive(Clone)]
pub(crate) struct SampleCore {
    /// Address, size, flags, and the bytes that are in the core.
    pub(crate) loads: Vec<(u64, u64, u32, Vec<u8>)>,
    pub(crate) notes: Vec<u8>,
}

impl SampleCore {
    /// A core of a process with two threads, 41 and 42, of which SIGSEGV has killed the second one.
    pub(crate) fn new() -> Self {
        let notes = [
            note("CORE", PRSTATUS, &status(42, 11, 0x40_1000, 0x7ff0_0100)),
            note("CORE", PRPSINFO, &process(41, "sample", "./sample --all")),
            note("CORE", SIGINFO, &siginfo(11, 1, 0x18)),
            note(
                "CORE",
                AUXV,
                &words(&[6, 4096, 9, 0x40_0000, 25, 0x7ff0_0f00, 0, 0]),
            ),
            note("CORE", FILE, &files(&[(0x40_0000, 0x40_2000, 0, "/tmp/sample")])),
            note("CORE", FPREGSET, &[0x5A; 512]),
            note("LINUX", XSTATE, &xsave()),
            note("CORE", PRSTATUS, &status(41, 11, 0x40_1010, 0x7ff0_0800)),
            note("LINUX", XSAVE_LAYOUT, &halves(&[2, 256, 576, 0])),
        ];
        Self {
            loads: vec![
                (0x40_0000, 0x1000, PF_R, vec![0x7f; 0x1000]),
                (0x40_1000, 0x1000, PF_R | PF_X, Vec::new()),
                (0x7ff0_0000, 0x1000, PF_R | PF_W, vec![0xAA; 0x1000]),
            ],
            notes: notes.concat(),
        }
    }

    /// Returns the bytes of the core, in the order of the kernel: headers, notes, memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = self.loads.len() as u64 + 1;
        let notes_at = 64 + 56 * count;
        let mut at = (notes_at + self.notes.len() as u64).next_multiple_of(16);
        let large = count >= 0xffff;
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend(4_u16.to_le_bytes());
        bytes.extend(62_u16.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(words(&[0, 64, 0]));
        bytes.extend(0_u32.to_le_bytes());
        let count = if large { 0xffff } else { count as u16 };
        for half in [64, 56, count, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(header(4, 0, notes_at, 0, self.notes.len() as u64, 0));
        for (address, size, flags, stored) in &self.loads {
            bytes.extend(header(1, *flags, at, *address, stored.len() as u64, *size));
            at += stored.len() as u64;
        }
        bytes.extend(&self.notes);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        for (.., stored) in &self.loads {
            bytes.extend(stored);
        }
        bytes
    }
}

fn header(kind: u32, flags: u32, offset: u64, address: u64, stored: u64, size: u64) -> Vec<u8> {
    let numbers = words(&[offset, address, 0, stored, size, 0]);
    [kind.to_le_bytes().to_vec(), flags.to_le_bytes().to_vec(), numbers].concat()
}

/// Returns a note.
pub(crate) fn note(owner: &str, kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = halves(&[owner.len() as u32 + 1, contents.len() as u32, kind]);
    bytes.extend(owner.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(crate) fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(crate) fn halves(halves: &[u32]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}

/// Returns a `struct elf_prstatus`. The general registers have their place in `struct
/// user_regs_struct` as value, except the instruction pointer (16), the stack pointer (19) and
/// the segment registers.
pub(crate) fn status(tid: u32, signal: u16, rip: u64, rsp: u64) -> Vec<u8> {
    let mut bytes = vec![0; 112];
    bytes[12..14].copy_from_slice(&signal.to_le_bytes());
    bytes[24..32].copy_from_slice(&0x1000_u64.to_le_bytes());
    bytes[32..36].copy_from_slice(&tid.to_le_bytes());
    bytes[48..64].copy_from_slice(&words(&[2, 500_000]));
    bytes[64..80].copy_from_slice(&words(&[0, 7]));
    for place in 0..27 {
        bytes.extend(match place {
            16 => rip.to_le_bytes(),
            19 => rsp.to_le_bytes(),
            _ => u64::to_le_bytes(place),
        });
    }
    bytes.resize(336, 0);
    bytes
}

pub(crate) fn process(pid: u32, name: &str, arguments: &str) -> Vec<u8> {
    let mut bytes = vec![0; 136];
    bytes[3] = 5;
    bytes[16..24].copy_from_slice(&halves(&[1000, 100]));
    bytes[24..32].copy_from_slice(&halves(&[pid, 7]));
    bytes[40..40 + name.len()].copy_from_slice(name.as_bytes());
    bytes[56..56 + arguments.len()].copy_from_slice(arguments.as_bytes());
    bytes
}

pub(crate) fn siginfo(signal: u32, code: u32, address: u64) -> Vec<u8> {
    let mut bytes = halves(&[signal, 0, code, 0]);
    bytes.extend(address.to_le_bytes());
    bytes.resize(128, 0);
    bytes
}

/// Returns a list of files with offsets in pages.
pub(crate) fn files(list: &[(u64, u64, u64, &str)]) -> Vec<u8> {
    let mut bytes = words(&[list.len() as u64, 4096]);
    for (start, end, offset, _) in list {
        bytes.extend(words(&[*start, *end, *offset]));
    }
    for (.., path) in list {
        bytes.extend(path.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Returns an XSAVE image with AVX in use.
pub(crate) fn xsave() -> Vec<u8> {
    let mut image = vec![0; 832];
    image[512] = 7;
    image[576..].fill(0xAB);
    image
}
