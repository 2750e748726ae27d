//! The ELF header and the program headers of a core.

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::{AddressRange, Diagnostic, Fault, FaultKind, Memory, MemoryExt, Subject};
use goblin::elf::header::{
    EI_CLASS, EI_DATA, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_AARCH64, EM_ARM, EM_X86_64,
    ET_CORE, machine_to_str,
};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_LOAD, PT_NOTE};

use super::notes::{self, CoreNotes};

/// The sizes in bytes of the ELF header, of a program header and of a section header, for 64-bit
/// processors.
const HEADER: usize = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: usize = 64;

/// The number of program headers that stands for a number that does not fit into the field.
const PN_XNUM: u16 = 0xffff;

/// The maximum number of program headers. The kernel writes one for each mapping, and one for the
/// notes. Distributions raise the limit for mappings to 2^20 (`vm.max_map_count`).
const MOST_SEGMENTS: u64 = 1 << 21;

/// The maximum number of program headers for notes. The kernel and gdb write one.
const MOST_NOTE_SEGMENTS: usize = 16;

/// The end of the largest address space that a program can have, with five levels of page tables.
/// Only `[vsyscall]`, a page of the kernel, is above it.
pub(super) const USER_SPACE_END: u64 = 1 << 56;

/// The number of program headers that are read at once.
const AT_ONCE: u64 = 1024;

/// Everything in a core except the memory.
#[derive(Debug, Clone)]
pub(crate) struct CoreHeaders {
    /// The mappings of the process that the core lists, ascending and disjoint.
    pub(crate) segments: Vec<CoreSegment>,
    pub(crate) notes: CoreNotes,
    /// The length that the core must have to contain all its memory and notes.
    pub(crate) end: u64,
    /// What is cut off or malformed.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A mapping of the process, and the place of its bytes in the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CoreSegment {
    pub(crate) range: AddressRange,
    /// The offset of its bytes in the core.
    pub(crate) offset: u64,
    /// How many of its bytes are in the core: all of them, only the first ones, or none. It is at
    /// most the length of the range.
    pub(crate) stored: u64,
    /// The protection. Debuggers that write cores may add the permission to read.
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

impl CoreHeaders {
    /// Reads the headers and notes of a core, in ascending order of their offsets if the kernel has
    /// written it. `name` is that of the core in errors.
    ///
    /// # Errors
    /// It is not a core, it is one of a processor that is not supported, or not even one thread of
    /// it is there. What is missing otherwise is in `diagnostics`.
    pub(crate) fn read(core: &mut dyn Memory, name: &str) -> Result<Self, Fault> {
        let header = FileHeader::read(core, name)?;
        let (table, mut diagnostics) = header.program_headers(core);
        let end_of = |header: &ProgramEntry| header.offset.saturating_add(header.stored);
        let end = table.iter().map(end_of).max().unwrap_or(0);
        let mut places: Vec<_> = table
            .iter()
            .filter(|header| header.kind == PT_NOTE && header.stored > 0)
            .collect();
        places.sort_by_key(|header| header.offset);
        places.truncate(MOST_NOTE_SEGMENTS);
        let places = places.into_iter().map(|header| (header.offset, end_of(header)));
        let (notes, of_notes) = notes::read(core, places);
        diagnostics.extend(of_notes);
        if notes.threads.is_empty() {
            let reason = match diagnostics.first() {
                Some(diagnostic) => format!("it has no thread: {}", diagnostic.reason),
                None => "it has no thread, because it has no note of the type NT_PRSTATUS".to_owned(),
            };
            return Err(Fault::new(FaultKind::Malformed, operation(name), reason)
                .advise("if the core was cut off, raise the limit for it: ulimit -c unlimited"));
        }
        let segments = segments(&table);
        tracing::debug!(
            name,
            segments = segments.len(),
            threads = notes.threads.len(),
            end,
            "headers of a core read"
        );
        Ok(Self {
            segments,
            notes,
            end,
            diagnostics,
        })
    }
}

fn operation(name: &str) -> String {
    format!("use {name} as a core")
}

/// The fields of the ELF header that are used.
struct FileHeader {
    programs_at: u64,
    sections_at: u64,
    programs: u16,
}

impl FileHeader {
    fn read(core: &mut dyn Memory, name: &str) -> Result<Self, Fault> {
        let refused = |kind, reason: String| Fault::new(kind, operation(name), reason);
        let start = core.up_to(0, HEADER);
        if start.is_empty() {
            return Err(refused(
                FaultKind::Malformed,
                "it is empty or cannot be read".into(),
            ));
        }
        if !start.starts_with(ELFMAG) {
            let advice = "name a file that the kernel or gcore has written; dumpwright show opens minidumps";
            let reason = "it does not begin with an ELF header".into();
            return Err(refused(FaultKind::Malformed, reason).advise(advice));
        }
        let half = |at: usize| start.get(at..at + 2).map_or(0, LittleEndian::read_u16);
        let (class, order, machine) = (start.get(EI_CLASS), start.get(EI_DATA), half(18));
        // The class and machine come first: the header of a 32-bit core is shorter.
        if order == Some(&ELFDATA2LSB) && half(16) == ET_CORE {
            let what = match (class, machine) {
                (Some(&ELFCLASS64), EM_X86_64) => None,
                (Some(&ELFCLASS32), EM_X86_64) => Some("of an x32 program".to_owned()),
                (Some(&ELFCLASS32), EM_386) => Some("of a 32-bit x86 program".to_owned()),
                (_, EM_ARM) => Some("of a 32-bit ARM program".to_owned()),
                (_, EM_AARCH64) => Some("of an ARM64 program".to_owned()),
                _ => Some(format!("for another processor ({})", machine_to_str(machine))),
            };
            if let Some(what) = what {
                let reason = format!("it is a core {what}, and only those of x86-64 programs are supported");
                let fault = refused(FaultKind::Unsupported, reason);
                return Err(match machine {
                    EM_386 => fault.advise("dump the live process instead: dumpwright dump PID"),
                    _ => fault,
                });
            }
        } else if start.len() >= 20 && order == Some(&ELFDATA2LSB) {
            let reason = "it is an ELF file, but not a core".to_owned();
            let advice = "to run and dump a program: dumpwright dump --exec -- PROGRAM";
            return Err(refused(FaultKind::Malformed, reason).advise(advice));
        } else if start.len() >= 20 {
            let reason = "it is an ELF file for a big-endian processor, and only cores of x86-64 programs are supported";
            return Err(refused(FaultKind::Unsupported, reason.into()));
        }
        if start.len() < HEADER {
            return Err(refused(
                FaultKind::Malformed,
                format!(
                    "it is cut off after {} bytes, inside of its ELF header",
                    start.len()
                ),
            ));
        }
        let entry = half(54);
        if u64::from(entry) != PROGRAM_HEADER {
            let reason = format!("its program headers have {entry} bytes instead of {PROGRAM_HEADER}");
            return Err(refused(FaultKind::Malformed, reason));
        }
        Ok(Self {
            programs_at: LittleEndian::read_u64(&start[32..]),
            sections_at: LittleEndian::read_u64(&start[40..]),
            programs: half(56),
        })
    }

    /// Reads the program headers. Those that are missing are reported.
    fn program_headers(&self, core: &mut dyn Memory) -> (Vec<ProgramEntry>, Vec<Diagnostic>) {
        let mut table = Vec::new();
        let mut count = u64::from(self.programs);
        if self.programs == PN_XNUM {
            table.extend(self.headers_from(core, 0, 1));
            count = self.large_count(table.first(), core);
        }
        let mut diagnostics = Vec::new();
        if count > MOST_SEGMENTS {
            let reason = format!("it has {count} program headers: only the first {MOST_SEGMENTS} are used");
            diagnostics.push(Diagnostic::missing(Subject::Process, reason));
            count = MOST_SEGMENTS;
        }
        while (table.len() as u64) < count {
            let first = table.len() as u64;
            let wanted = (count - first).min(AT_ONCE);
            let read = self.headers_from(core, first, wanted);
            let is_short = (read.len() as u64) < wanted;
            table.extend(read);
            if is_short {
                let reason = format!(
                    "the core is cut off or malformed: {} of its {count} program headers can be read",
                    table.len()
                );
                diagnostics.push(Diagnostic::missing(Subject::Process, reason));
                break;
            }
        }
        (table, diagnostics)
    }

    /// Reads `count` program headers, or fewer if the core ends.
    fn headers_from(&self, core: &mut dyn Memory, first: u64, count: u64) -> Vec<ProgramEntry> {
        let Some(at) = self.programs_at.checked_add(first * PROGRAM_HEADER) else {
            return Vec::new();
        };
        let bytes = core.up_to(at, (count * PROGRAM_HEADER) as usize);
        let entries = bytes.chunks_exact(PROGRAM_HEADER as usize);
        entries.map(ProgramEntry::parse).collect()
    }

    /// Returns the number of program headers if the field in the ELF header is too small for it.
    ///
    /// The number is in the first section header, which the kernel writes at the end of the core.
    /// But the kernel puts the notes directly behind the program headers, and their header is the
    /// first one, so that the end of a pipe is not needed.
    fn large_count(&self, first: Option<&ProgramEntry>, core: &mut dyn Memory) -> u64 {
        let at_least = u64::from(PN_XNUM);
        let before_notes = first
            .filter(|first| first.kind == PT_NOTE)
            .and_then(|first| first.offset.checked_sub(self.programs_at))
            .filter(|size| size % PROGRAM_HEADER == 0)
            .map(|size| size / PROGRAM_HEADER)
            .filter(|count| (at_least..=MOST_SEGMENTS).contains(count));
        before_notes.unwrap_or_else(|| {
            let section = core.up_to(self.sections_at, SECTION_HEADER);
            let count = section.get(44..48).map_or(0, LittleEndian::read_u32);
            u64::from(count).max(at_least)
        })
    }
}

/// The fields of a program header that are used.
#[derive(Debug, Clone, Copy)]
struct ProgramEntry {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    stored: u64,
    size: u64,
}

impl ProgramEntry {
    fn parse(bytes: &[u8]) -> Self {
        Self {
            kind: LittleEndian::read_u32(bytes),
            flags: LittleEndian::read_u32(&bytes[4..]),
            offset: LittleEndian::read_u64(&bytes[8..]),
            address: LittleEndian::read_u64(&bytes[16..]),
            stored: LittleEndian::read_u64(&bytes[32..]),
            size: LittleEndian::read_u64(&bytes[40..]),
        }
    }
}

/// Returns the mappings, ascending. Of mappings that overlap, the lower one counts.
fn segments(table: &[ProgramEntry]) -> Vec<CoreSegment> {
    let mut all: Vec<CoreSegment> = table
        .iter()
        .filter(|header| header.kind == PT_LOAD)
        .filter_map(|header| {
            let range = AddressRange::at(header.address, header.size)?;
            if range.end() > USER_SPACE_END {
                return None;
            }
            Some(CoreSegment {
                range,
                offset: header.offset,
                stored: header.stored.min(range.len()),
                read: header.flags & PF_R != 0,
                write: header.flags & PF_W != 0,
                execute: header.flags & PF_X != 0,
            })
        })
        .collect();
    all.sort_by_key(|segment| segment.range.start());
    let mut covered = 0;
    all.retain_mut(|segment| {
        let start = segment.range.start();
        let Some(rest) = AddressRange::new(start.max(covered), segment.range.end()) else {
            return false;
        };
        let cut = rest.start() - start;
        segment.range = rest;
        segment.offset = segment.offset.saturating_add(cut);
        segment.stored = segment.stored.saturating_sub(cut);
        covered = rest.end();
        true
    });
    all
}

#[cfg(test)]
mod tests;
