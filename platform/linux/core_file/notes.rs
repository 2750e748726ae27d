//! The notes of a core: registers, signals, the auxiliary vector, and the names of mapped files.
//!
//! Each thread has a note of the type `NT_PRSTATUS`. The notes behind it, up to the next one, are
//! about the same thread or about the process. The kernel writes the thread that the signal has
//! killed first (`fs/binfmt_elf.c`), and gdb the thread that it has selected.

use std::collections::HashSet;
use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::{
    AddressRange, Cpu, Diagnostic, Exception, Memory, MemoryExt, Subject, XStateFeature,
};
use goblin::elf::note::{NT_FILE, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO};

use super::amd64;
use super::headers::USER_SPACE_END;
use crate::crash::SignalFacts;
use crate::registers::Registers;

/// Types of notes that are not in goblin (`linux/elf.h`, `asm/elf.h`).
const NT_FPREGSET: u32 = 2;
const NT_AUXV: u32 = 6;
const NT_X86_XSTATE: u32 = 0x202;
const NT_X86_XSAVE_LAYOUT: u32 = 0x205;

/// The number of bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// The maximum size of all notes together. A thread has less than 4 KiB (11 KiB with AMX).
const LONGEST_NOTES: u64 = 1 << 30;

/// The maximum sizes of notes. The kernel limits the list of files to 4 MiB by default, and to 16
/// MiB in any case.
const LONGEST_FILES: u32 = 16 << 20;
const LONGEST_XSTATE: u32 = 16 << 10;
const LONGEST_AUXV: u32 = 64 << 10;

/// The size of a `siginfo_t`.
const SIGINFO: u32 = 128;

/// The maximum length of an owner's name. The names used here are `CORE` and `LINUX`.
const LONGEST_OWNER: u32 = 32;

/// The signals whose default action is to write a core (signal(7)).
const WITH_CORE: [i32; 10] = [
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// What the notes of a core contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CoreNotes {
    /// The threads in the order of the core. The first one is the one that the signal has killed.
    pub(crate) threads: Vec<CoreThread>,
    pub(crate) process: Option<CoreProcess>,
    /// The auxiliary vector, as in `/proc/PID/auxv`; empty if there is none.
    pub(crate) auxv: Vec<u8>,
    /// The mapped files, ascending.
    pub(crate) files: Vec<CoreFileRange>,
    /// Where the features beyond x87 and SSE are in the [XSAVE images](CoreThread::xsave). Empty if
    /// the core does not tell, as before Linux 6.12.
    pub(crate) xsave_layout: Vec<XStateFeature>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreThread {
    /// Its id, in the pid namespace of the process.
    pub(crate) tid: u32,
    /// All but the debug registers and the extended state, which a core does not have or has in
    /// another place. The x87 and SSE registers are `None` if they are missing.
    pub(crate) registers: Registers,
    /// The XSAVE image in the standard format; empty if there is none.
    pub(crate) xsave: Box<[u8]>,
    /// The signal that has killed the process, in the thread that received it. The kernel stores
    /// it in all threads. 0 if there is none.
    pub(crate) signal: i32,
    /// The facts about the signal. The kernel stores them for the first thread only.
    pub(crate) siginfo: Option<SignalFacts>,
    /// The signals that it blocks.
    pub(crate) blocked: u64,
    /// The time that it has spent in user code and in the kernel, in units of 100 ns.
    pub(crate) user_time: u64,
    pub(crate) kernel_time: u64,
}

/// Facts about the process as a whole (`NT_PRPSINFO`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CoreProcess {
    /// Its id, in its own pid namespace.
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The nice value of its first thread.
    pub(crate) nice: i8,
    /// The name of its first thread, at most 15 bytes.
    pub(crate) name: Vec<u8>,
    /// The first 79 bytes of its arguments, with spaces between them.
    pub(crate) arguments: Vec<u8>,
}

/// A mapping of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreFileRange {
    pub(crate) range: AddressRange,
    /// The offset of its start in the file.
    pub(crate) offset: u64,
    /// The path, as in `/proc/PID/maps`.
    pub(crate) path: Vec<u8>,
}

impl CoreNotes {
    /// Returns the signal that has killed the process, as an exception. `None` if the core was
    /// written of a process that no signal has killed, as by gcore.
    pub(crate) fn exception(&self) -> Option<Exception> {
        let thread = self.threads.first()?;
        let context = thread.registers.context(Cpu::Amd64);
        let is_crash = |signal: i32| WITH_CORE.contains(&signal);
        match thread.siginfo.filter(|facts| is_crash(facts.signal)) {
            Some(facts) => Some(facts.exception(thread.tid, context, None)),
            // Without the facts, only the number of the signal is known.
            None if thread.siginfo.is_none() && is_crash(thread.signal) => Some(Exception {
                thread_id: thread.tid,
                code: thread.signal.cast_unsigned(),
                flags: 0,
                record: 0,
                address: context.instruction_pointer(),
                parameters: Vec::new(),
                context,
            }),
            None => None,
        }
    }

    /// Returns the id of the process. Without a note about the process, the lowest id of a thread,
    /// which is usually that of the first one.
    pub(crate) fn process_id(&self) -> u32 {
        let lowest = || self.threads.iter().map(|thread| thread.tid).min();
        let known = self.process.as_ref().map(|process| process.pid);
        known.or_else(lowest).unwrap_or_default()
    }
}

/// Reads the notes in these ranges of offsets, which are ascending. Also returns diagnostics about
/// what is missing.
pub(super) fn read(
    core: &mut dyn Memory,
    places: impl IntoIterator<Item = (u64, u64)>,
) -> (CoreNotes, Vec<Diagnostic>) {
    let mut collector = Collector::default();
    let mut left = LONGEST_NOTES;
    for (start, end) in places {
        let end = end.min(start.saturating_add(left));
        left -= end.saturating_sub(start);
        let mut notes = NoteReader {
            core: &mut *core,
            at: start,
            end,
            buffer: Vec::new(),
            used: 0,
        };
        if let Err(CutOff) = notes.each(&mut collector) {
            let (at, threads) = (notes.at, collector.notes.threads.len());
            let reason = format!(
                "the notes of the core are cut off or malformed at offset {at:#x}, behind those of {threads} threads"
            );
            collector.report(reason);
        }
    }
    collector.notes.files.sort_by_key(|file| file.range.start());
    (collector.notes, collector.diagnostics)
}

/// The core ends, or a size exceeds the part of it that has the notes.
struct CutOff;

/// Reads a range of notes in chunks.
struct NoteReader<'a> {
    core: &'a mut dyn Memory,
    /// The offset behind what was taken.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    used: usize,
}

impl NoteReader<'_> {
    /// Passes all notes on.
    fn each(&mut self, collector: &mut Collector) -> Result<(), CutOff> {
        /// The size of the header of a note: two sizes and the type.
        const NOTE_HEADER: usize = 12;
        while self.end - self.at >= NOTE_HEADER as u64 {
            let header = self.take(NOTE_HEADER)?;
            let [owner_size, size, kind] = [0, 4, 8].map(|at| LittleEndian::read_u32(&header[at..]));
            if owner_size > LONGEST_OWNER {
                self.skip(padded(owner_size))?;
                self.skip(padded(size))?;
                continue;
            }
            let mut owner = self.take(padded(owner_size) as usize)?;
            owner.truncate(owner_size as usize);
            let kind = NoteKind::of(owner.strip_suffix(&[0]).unwrap_or(&owner), kind);
            let Some(kind) = kind.filter(|kind| kind.sizes().contains(&size)) else {
                if let Some(kind) = kind {
                    collector.wrong_size(kind, size);
                }
                self.skip(padded(size))?;
                continue;
            };
            let mut contents = self.take(size as usize)?;
            // The last note need not be padded.
            self.skip((padded(size) - u64::from(size)).min(self.end - self.at))?;
            collector.add(kind, &mut contents);
        }
        Ok(())
    }

    /// Returns the next bytes. Their number was compared with a limit.
    fn take(&mut self, size: usize) -> Result<Vec<u8>, CutOff> {
        if size as u64 > self.end - self.at {
            return Err(CutOff);
        }
        let mut taken = Vec::with_capacity(size);
        while taken.len() < size {
            if self.used == self.buffer.len() {
                let chunk = (self.end - self.at).min(CHUNK as u64) as usize;
                self.buffer = self.core.up_to(self.at, chunk);
                self.used = 0;
            }
            let rest = &self.buffer[self.used..];
            let part = &rest[..rest.len().min(size - taken.len())];
            if part.is_empty() {
                return Err(CutOff);
            }
            taken.extend_from_slice(part);
            self.used += part.len();
            self.at += part.len() as u64;
        }
        Ok(taken)
    }

    /// Skips the next bytes.
    fn skip(&mut self, size: u64) -> Result<(), CutOff> {
        if size > self.end - self.at {
            return Err(CutOff);
        }
        self.at += size;
        let buffered = (self.buffer.len() - self.used) as u64;
        self.used += buffered.min(size) as usize;
        Ok(())
    }
}

/// Returns the size with padding. Notes of cores are aligned to four bytes on all processors.
fn padded(size: u32) -> u64 {
    u64::from(size).next_multiple_of(4)
}

/// The notes that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum NoteKind {
    ThreadStatus,
    ProcessFacts,
    SignalFacts,
    AuxiliaryVector,
    Files,
    FloatingPoint,
    ExtendedState,
    ExtendedLayout,
}

impl NoteKind {
    fn of(owner: &[u8], kind: u32) -> Option<Self> {
        Some(match (owner, kind) {
            (b"CORE", NT_PRSTATUS) => Self::ThreadStatus,
            (b"CORE", NT_PRPSINFO) => Self::ProcessFacts,
            (b"CORE", NT_SIGINFO) => Self::SignalFacts,
            (b"CORE", NT_AUXV) => Self::AuxiliaryVector,
            (b"CORE", NT_FILE) => Self::Files,
            (b"CORE", NT_FPREGSET) => Self::FloatingPoint,
            (b"LINUX", NT_X86_XSTATE) => Self::ExtendedState,
            (b"LINUX", NT_X86_XSAVE_LAYOUT) => Self::ExtendedLayout,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::ThreadStatus => "NT_PRSTATUS",
            Self::ProcessFacts => "NT_PRPSINFO",
            Self::SignalFacts => "NT_SIGINFO",
            Self::AuxiliaryVector => "NT_AUXV",
            Self::Files => "NT_FILE",
            Self::FloatingPoint => "NT_FPREGSET",
            Self::ExtendedState => "NT_X86_XSTATE",
            Self::ExtendedLayout => "NT_X86_XSAVE_LAYOUT",
        }
    }

    /// The sizes in bytes that it may have.
    fn sizes(self) -> Range<u32> {
        let exactly = |size: u32| size..size + 1;
        match self {
            Self::ThreadStatus => exactly(amd64::STATUS),
            Self::ProcessFacts => exactly(amd64::PROCESS),
            Self::SignalFacts => exactly(SIGINFO),
            Self::FloatingPoint => exactly(amd64::FLOATING_POINT),
            Self::AuxiliaryVector => 0..LONGEST_AUXV + 1,
            Self::Files => 16..LONGEST_FILES + 1,
            Self::ExtendedState => 0..LONGEST_XSTATE + 1,
            Self::ExtendedLayout => 0..amd64::LAYOUT_ENTRY as u32 * 64 + 1,
        }
    }
}

/// What has been read of the notes.
#[derive(Default)]
struct Collector {
    notes: CoreNotes,
    tids: HashSet<u32>,
    /// Whether the notes that follow are about a thread that is left out.
    is_double: bool,
    /// The kinds of notes about which something was reported.
    reported: HashSet<NoteKind>,
    diagnostics: Vec<Diagnostic>,
}

impl Collector {
    fn report(&mut self, reason: String) {
        let missing = Diagnostic::missing(Subject::Process, reason);
        self.diagnostics.push(missing);
    }

    fn report_once(&mut self, kind: NoteKind, reason: impl FnOnce() -> String) {
        if self.reported.insert(kind) {
            self.report(reason());
        }
    }

    fn wrong_size(&mut self, kind: NoteKind, size: u32) {
        // What follows belongs to a thread that is not known.
        self.is_double |= kind == NoteKind::ThreadStatus;
        self.report_once(kind, || {
            let (name, sizes) = (kind.name(), kind.sizes());
            let expected = match sizes.len() {
                1 => format!("{}", sizes.start),
                _ => format!("at most {}", sizes.end - 1),
            };
            format!("the core has a note of the type {name} with {size} bytes instead of {expected}")
        });
    }

    fn add(&mut self, kind: NoteKind, contents: &mut Vec<u8>) {
        let notes = &mut self.notes;
        let thread = notes.threads.last_mut().filter(|_| !self.is_double);
        match kind {
            NoteKind::ThreadStatus => {
                let thread = amd64::thread(contents);
                self.is_double = !self.tids.insert(thread.tid);
                if self.is_double {
                    self.report_once(kind, || {
                        format!("the core has thread {} more than once", thread.tid)
                    });
                } else {
                    notes.threads.push(thread);
                }
            }
            NoteKind::ProcessFacts => {
                notes.process.get_or_insert_with(|| amd64::process(contents));
            }
            NoteKind::AuxiliaryVector if notes.auxv.is_empty() => notes.auxv = std::mem::take(contents),
            NoteKind::Files if notes.files.is_empty() => match files(contents) {
                Some(files) => notes.files = files,
                None => self.report_once(kind, || "the core's list of mapped files is malformed".to_owned()),
            },
            NoteKind::ExtendedLayout if notes.xsave_layout.is_empty() => {
                notes.xsave_layout = amd64::xsave_layout(contents);
            }
            NoteKind::SignalFacts => {
                if let (Some(thread), Some(bytes)) = (thread, contents.first_chunk()) {
                    thread.siginfo.get_or_insert_with(|| SignalFacts::parse(bytes));
                }
            }
            NoteKind::FloatingPoint => {
                if let (Some(thread), Some(bytes)) = (thread, contents.first_chunk()) {
                    thread.registers.add_fxsave(*bytes);
                }
            }
            NoteKind::ExtendedState => {
                if let Some(thread) = thread.filter(|thread| thread.xsave.is_empty()) {
                    thread.xsave = std::mem::take(contents).into_boxed_slice();
                }
            }
            // The first one counts.
            NoteKind::AuxiliaryVector | NoteKind::Files | NoteKind::ExtendedLayout => {}
        }
    }
}

/// Parses the list of mapped files: their number, the unit of the offsets, then an entry of three
/// words for each, then the paths, each with a zero byte at its end. Returns `None` if not even the
/// entries are there. The list ends at the first path that is missing.
fn files(contents: &[u8]) -> Option<Vec<CoreFileRange>> {
    const WORD: usize = 8;
    let word = |at: usize| contents.get(at..at + WORD).map(LittleEndian::read_u64);
    let (count, unit) = (word(0)?, word(WORD)?);
    let count = usize::try_from(count).ok()?;
    let entries = contents.get(2 * WORD..)?;
    let size = count
        .checked_mul(3 * WORD)
        .filter(|size| *size <= entries.len())?;
    let (entries, paths) = entries.split_at(size);
    let paths = paths.split(|byte| *byte == 0);
    let entries = entries.chunks_exact(3 * WORD);
    let files = entries.zip(paths).filter_map(|(entry, path)| {
        let [start, end, offset] = [0, 8, 16].map(|at| LittleEndian::read_u64(&entry[at..]));
        Some(CoreFileRange {
            range: AddressRange::new(start, end).filter(|range| range.end() <= USER_SPACE_END)?,
            offset: offset.checked_mul(unit)?,
            path: path.to_vec(),
        })
    });
    Some(files.collect())
}
