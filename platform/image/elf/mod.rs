//! ELF images: segments, notes, the dynamic section and unwind tables.
//!
//! Sources: System V Application Binary Interface; Linux Standard Base for notes and unwind tables.

mod dynamic;
mod frames;
mod linker;
mod notes;
mod sections;
mod text;

use dumpwright_target::{AddressRange, Memory, MemoryExt};
use goblin::container::Ctx;
use goblin::elf::header::{ELFMAG, Header, SIZEOF_IDENT};
pub use goblin::elf::program_header::ProgramHeader;
use goblin::elf::program_header::{PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE};

pub use self::linker::{Linker, ListProblem, loaded_objects};
use crate::Malformed;
use crate::limits::MOST_SEGMENTS;
use crate::start::Start;

/// The smallest page size of all processors that Linux runs on: 4 KiB. A segment has the same
/// offset within its page in memory and in the file.
const PAGE: u64 = 4096;

/// Returns the start of the page that contains `address`.
#[must_use]
pub fn page_of(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// The headers of an ELF image.
#[derive(Debug, Clone)]
pub struct Elf {
    base: u64,
    header: Header,
    ctx: Ctx,
    segments: Vec<ProgramHeader>,
}

impl Elf {
    /// Reads the headers of the image whose first byte is at `base`. Returns `None` if no ELF image
    /// begins there.
    ///
    /// # Errors
    /// The headers are malformed, or nothing can be read at `base`.
    pub fn read(memory: &mut dyn Memory, base: u64) -> Result<Option<Self>, Malformed> {
        Self::parse(&mut Start::of(memory, base), base)
    }

    pub(crate) fn parse(memory: &mut Start<'_>, base: u64) -> Result<Option<Self>, Malformed> {
        let start = memory.up_to(base, SIZEOF_IDENT + 48);
        if start.is_empty() {
            return Err(Malformed::new("the headers cannot be read"));
        }
        if !start.starts_with(ELFMAG) {
            return Ok(None);
        }
        if start.len() < SIZEOF_IDENT + 48 {
            return Err(Malformed::new("the ELF header is cut off"));
        }
        let malformed = |error| Malformed::new(format!("the ELF header is malformed: {error}"));
        let header = goblin::elf::Elf::parse_header(&start).map_err(malformed)?;
        let container = header.container().map_err(malformed)?;
        let ctx = Ctx::new(container, header.endianness().map_err(malformed)?);
        let (count, size) = (usize::from(header.e_phnum), ProgramHeader::size(ctx));
        if usize::from(header.e_phentsize) != size || count == 0 || count > MOST_SEGMENTS {
            return Err(Malformed::new(format!(
                "the ELF header is invalid: {count} program headers of {} bytes",
                header.e_phentsize
            )));
        }
        let table = base
            .checked_add(header.e_phoff)
            .and_then(|at| memory.bytes(at, count * size).ok())
            .ok_or_else(|| {
                Malformed::new(format!(
                    "the program headers at offset {:#x} cannot be read",
                    header.e_phoff
                ))
            })?;
        let segments = ProgramHeader::parse(&table, 0, count, ctx).map_err(malformed)?;
        let image = Self {
            base,
            header,
            ctx,
            segments,
        };
        if image.first().is_none() {
            return Err(Malformed::new("the image has no loadable segment"));
        }
        Ok(Some(image))
    }

    /// Returns the same image, loaded at another address. For images that were read from their
    /// file.
    #[must_use]
    pub fn loaded_at(self, base: u64) -> Self {
        Self { base, ..self }
    }

    /// Returns the segments that are loaded.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0)
    }

    /// Returns the segment with which the image begins: the one that contains the ELF header, or
    /// the lowest one if none does.
    fn first(&self) -> Option<&ProgramHeader> {
        let with_header = self
            .loads()
            .find(|segment| page_of(segment.p_offset) == 0 && segment.p_filesz > 0);
        with_header.or_else(|| self.loads().min_by_key(|segment| segment.p_vaddr))
    }

    /// Returns the number to add to an address in the headers to get the address in memory: the
    /// load address minus the address for which the image was linked.
    ///
    /// The addition must wrap, because a linker may choose any address.
    #[must_use]
    pub fn bias(&self) -> u64 {
        let linked = self.first().map_or(0, |first| page_of(first.p_vaddr));
        self.base.wrapping_sub(linked)
    }

    /// Returns the size of the image in memory in bytes, from its ELF header to the end of its
    /// highest segment, in whole pages.
    #[must_use]
    pub fn size(&self) -> u64 {
        let first = self.first().map_or(0, |first| page_of(first.p_vaddr));
        let ends = self
            .loads()
            .map(|segment| segment.p_vaddr.saturating_add(segment.p_memsz));
        let end = ends.max().unwrap_or(first);
        end.checked_next_multiple_of(PAGE)
            .unwrap_or(page_of(u64::MAX))
            .saturating_sub(first)
            .max(PAGE)
    }

    /// Returns the address range of a segment in memory, or `None` if it is empty or extends past
    /// the end of the address space.
    #[must_use]
    pub fn place(&self, segment: &ProgramHeader) -> Option<AddressRange> {
        self.place_cut(segment, u64::MAX)
    }

    /// Like [`place`](Self::place), but returns at most the first `longest` bytes.
    fn place_cut(&self, segment: &ProgramHeader, longest: u64) -> Option<AddressRange> {
        let at = segment.p_vaddr.wrapping_add(self.bias());
        AddressRange::at(at, segment.p_memsz.min(longest))
    }

    /// Returns the address ranges of the loaded segments that contain code.
    pub fn code(&self) -> impl Iterator<Item = AddressRange> {
        self.loads_with(PF_X)
    }

    /// Returns the address ranges of the loaded segments that are writable.
    pub fn data(&self) -> impl Iterator<Item = AddressRange> {
        self.loads_with(PF_W)
    }

    fn loads_with(&self, flag: u32) -> impl Iterator<Item = AddressRange> {
        self.loads()
            .filter(move |segment| segment.p_flags & flag != 0)
            .filter_map(|segment| self.place(segment))
    }

    /// Returns whether a segment contains code.
    #[must_use]
    pub fn is_code(segment: &ProgramHeader) -> bool {
        segment.p_flags & PF_X != 0
    }

    /// Returns the address range of the program headers.
    #[must_use]
    pub fn program_headers(&self) -> Option<AddressRange> {
        let size = self.segments.len() * ProgramHeader::size(self.ctx);
        AddressRange::at(self.base.checked_add(self.header.e_phoff)?, size as u64)
    }

    /// Returns the first segment of a type.
    ///
    /// Loaders use one dynamic section and one unwind index. If hostile headers contain a thousand,
    /// only the first counts.
    fn segment(&self, kind: u32) -> Option<&ProgramHeader> {
        self.segments.iter().find(|segment| segment.p_type == kind)
    }
}

#[cfg(test)]
mod tests;
