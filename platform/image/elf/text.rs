//! The start of the code of an image whose file cannot be read.
//!
//! The table of sections, which gives the start and size of `.text`, is not in memory as a rule.
//! The unwind index is. It lists the functions, and also the stubs for calls into other images
//! (`.plt`) that GNU ld puts before `.text`. Debuggers refuse a file whose hash differs from that
//! in a dump, so a start that is not certain is none.

use dumpwright_target::{AddressRange, Fault, FaultKind, Memory, MemoryExt};
use goblin::elf::dynamic::{DT_FINI, DT_INIT, DT_PLTRELSZ};
use goblin::elf::header::{EM_386, EM_X86_64};
use scroll::Pread;

use super::sections::hash;
use super::{Elf, PAGE, PF_W, page_of};
use crate::limits::{FIRST_FUNCTIONS, HASHED_TEXT};

/// The largest number of zero bytes between two sections of code. Linkers align sections to at most
/// 64 bytes, unless a program says otherwise.
const LARGEST_GAP: usize = 64;

/// The largest size of the `.init` section. glibc's has 27 bytes.
const LARGEST_INIT: u64 = 64;

impl Elf {
    /// Returns the same hash as [`text_hash`](Self::text_hash), from the image in memory.
    ///
    /// Returns `None` if the start or end of the `.text` section cannot be found for certain, or if
    /// some of its first page cannot be read. The result is wrong for a program that has changed
    /// this part of its code.
    pub fn text_hash_in_memory(&self, memory: &mut dyn Memory) -> Option<Vec<u8>> {
        // Go's linker puts the table and names of sections into the read-only segments.
        let mut parts = FilePartsInMemory { image: self, memory };
        if let Some(text) = self.text_section(&mut parts) {
            return hash(&mut parts, text.sh_offset, text.sh_size);
        }
        let text = match self.frame_index() {
            Some(_) => self.text_by_functions(memory)?,
            None => self.text_of_go(memory)?,
        };
        hash(memory, text.start(), text.len())
    }

    /// Returns the first page of code of a program that Go's linker made and `strip` has changed:
    /// it begins one page behind the headers (cmd/link of Go 1.19). Programs that contain code in C
    /// were linked by another linker, and have an unwind index.
    fn text_of_go(&self, memory: &mut dyn Memory) -> Option<AddressRange> {
        const NAME: &[u8] = b"Go\0\0";
        // The name comes behind three numbers of four bytes.
        let mut notes = self.notes().into_iter();
        if !notes.any(|note| memory.up_to(note.start(), 16).ends_with(NAME)) {
            return None;
        }
        let code = AddressRange::at(self.base.checked_add(PAGE)?, HASHED_TEXT)?;
        let mut segments = self.code();
        segments
            .any(|segment| segment.start() == self.base && segment.covers(code))
            .then_some(code)
    }

    /// Finds the first page of the `.text` section, or all of it if it is shorter, by the unwind
    /// index. Zeros may follow it, which do not change the hash.
    fn text_by_functions(&self, memory: &mut dyn Memory) -> Option<AddressRange> {
        let functions = self.functions(memory)?;
        let is_stub = |memory: &mut dyn Memory, at: u64| is_stub(&memory.up_to(at, 16));
        // BOLT moves functions to a second segment, and keeps the original one.
        let [segment] = self.code().collect::<Vec<_>>()[..] else {
            return None;
        };
        let stubs = functions
            .iter()
            .take_while(|function| is_stub(memory, function.start))
            .count();
        let (stubs, functions) = functions.split_at(stubs);
        let start = functions.first()?.start;
        let before = match stubs.last() {
            Some(last) => last.end(memory, self.ctx.le)?,
            None => segment.start(),
        };
        if !self.is_boundary(memory, before, start, stubs.is_empty()) {
            return None;
        }
        let page = AddressRange::at(start, HASHED_TEXT)?;
        let mut behind = functions.iter().rev();
        if behind.any(|function| function.start >= page.end() && !is_stub(memory, function.start)) {
            return segment.covers(page).then_some(page);
        }
        // Other sections may follow in the same page.
        let [init, fini, stubs_size] =
            [DT_INIT, DT_FINI, DT_PLTRELSZ].map(|tag| self.dynamic_value(memory, tag));
        let ends = [init, fini].into_iter().flatten().map(|at| self.in_memory(at));
        let end = ends.filter(|end| *end > start).min();
        let may_have_stubs = stubs.is_empty() && stubs_size.is_some_and(|size| size != 0);
        // gold puts the code and all read-only data into one segment.
        let has_only_code = !self
            .frame_index()
            .is_some_and(|index| segment.contains(index.start()));
        let end = match end {
            Some(end) => end,
            None if self.dynamic().is_some() && !may_have_stubs && has_only_code => segment.end(),
            None => return None,
        };
        let text = AddressRange::new(start, end.min(segment.end()).min(page.end()))?;
        (!has_gap(memory, text)).then_some(text)
    }

    /// Whether a section begins at `start`: what is between `before` and `start` is nothing, zeros,
    /// or the `.init` section, which has no unwind information.
    fn is_boundary(&self, memory: &mut dyn Memory, before: u64, start: u64, is_first: bool) -> bool {
        const RETURN: u8 = 0xc3;
        let limit = LARGEST_GAP as u64 + LARGEST_INIT;
        let Some(len) = start.checked_sub(before).filter(|len| *len <= limit) else {
            return false;
        };
        let Ok(bytes) = memory.bytes(before, usize::try_from(len).unwrap_or_default()) else {
            return false;
        };
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        let rest = &bytes[..bytes.len() - zeros];
        let is_x86 = matches!(self.header.e_machine, EM_386 | EM_X86_64);
        zeros < LARGEST_GAP
            && (rest.is_empty()
                || is_first && is_x86 && rest.last() == Some(&RETURN) && rest.len() as u64 <= LARGEST_INIT)
    }

    /// Returns the first functions in the unwind index (`.eh_frame_hdr`), ascending, at least one.
    /// Returns `None` if it is not in the form that all linkers choose.
    fn functions(&self, memory: &mut dyn Memory) -> Option<Vec<UnwindEntry>> {
        // Version 1. The number of entries is a u32, and their addresses are i32 relative to the
        // index (DW_EH_PE_datarel | DW_EH_PE_sdata4). The second byte is for another field, which
        // has four bytes in all its usual encodings.
        const HEAD: usize = 12;
        const ENTRY: usize = 8;
        let index = self.frame_index()?.start();
        let head = memory.bytes(index, HEAD).ok()?;
        if head[0] != 1 || !matches!(head[1] & 0x0f, 0x03 | 0x0b) || head[2..4] != [0x03, 0x3b] {
            return None;
        }
        let count = usize::try_from(head.pread_with::<u32>(8, self.ctx.le).ok()?).ok()?;
        let table = index.checked_add(HEAD as u64)?;
        let table = memory.bytes(table, count.min(FIRST_FUNCTIONS) * ENTRY).ok()?;
        let place = |entry: &[u8], at| {
            let relative = entry.pread_with::<i32>(at, self.ctx.le).ok()?;
            index.checked_add_signed(relative.into())
        };
        let functions: Option<Vec<_>> = table
            .chunks_exact(ENTRY)
            .map(|entry| {
                Some(UnwindEntry {
                    start: place(entry, 0)?,
                    record: place(entry, 4)?,
                })
            })
            .collect();
        functions.filter(|all| !all.is_empty() && all.is_sorted_by_key(|function| function.start))
    }
}

/// An entry of the unwind index.
#[derive(Debug, Clone, Copy)]
struct UnwindEntry {
    start: u64,
    /// The address of its frame description entry.
    record: u64,
}

impl UnwindEntry {
    /// Returns the address behind the function, or `None` if its record has an unusual encoding.
    fn end(self, memory: &mut dyn Memory, endian: scroll::Endian) -> Option<u64> {
        // The length, the distance to the common record, the start relative to the field itself
        // (DW_EH_PE_pcrel | DW_EH_PE_sdata4), and the size.
        const START: u64 = 8;
        let record = memory.bytes(self.record, 16).ok()?;
        let at = self.record.checked_add(START)?;
        let start: i32 = record.pread_with(8, endian).ok()?;
        let size: u32 = record.pread_with(12, endian).ok()?;
        if at.checked_add_signed(start.into())? != self.start {
            return None;
        }
        self.start.checked_add(size.into())
    }
}

/// Whether a section may end in the middle of `code`: so many zeros are not in code, whose padding
/// consists of instructions. (libglvnd has functions in an aligned section behind `.text`.)
fn has_gap(memory: &mut dyn Memory, code: AddressRange) -> bool {
    const GAP: usize = 32;
    let code = memory.up_to(code.start(), usize::try_from(code.len()).unwrap_or_default());
    let zeros = code.iter().rev().take_while(|byte| **byte == 0).count();
    let code = &code[..code.len() - zeros];
    code.windows(GAP).any(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// Whether code on x86 is a stub that jumps to an address in a table (`.plt`, `.plt.got`,
/// `.plt.sec`). Other processors' stubs have no unwind information.
fn is_stub(code: &[u8]) -> bool {
    const ENDBR_64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    const ENDBR_32: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfb];
    const BND: &[u8] = &[0xf2];
    let strip = |code: &mut &[u8], prefix: &[u8]| {
        if let Some(rest) = code.strip_prefix(prefix) {
            *code = rest;
        }
    };
    let mut code = code;
    strip(&mut code, ENDBR_64);
    strip(&mut code, ENDBR_32);
    strip(&mut code, BND);
    // `push` or `jmp`, with an address relative to the instruction or, in 32-bit libraries, to EBX.
    matches!(code, [0xff, 0x35 | 0xb3 | 0x25 | 0xa3, ..])
}

/// The file of an image, as far as the image's read-only segments show it. Addresses are offsets in
/// the file.
struct FilePartsInMemory<'a> {
    image: &'a Elf,
    memory: &'a mut dyn Memory,
}

impl Memory for FilePartsInMemory<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let bias = self.image.bias();
        // Whole pages are mapped.
        let part = self.image.loads().find_map(|load| {
            let file = AddressRange::new(
                page_of(load.p_offset),
                load.p_offset
                    .checked_add(load.p_filesz)?
                    .checked_next_multiple_of(PAGE)?,
            )?;
            let is_unchanged = load.p_flags & PF_W == 0 && load.p_filesz == load.p_memsz;
            let place = page_of(load.p_vaddr).wrapping_add(bias);
            (is_unchanged && file.contains(at))
                .then(|| (place.checked_add(at - file.start()), file.end() - at))
        });
        let fault = || {
            Fault::new(
                FaultKind::Unreadable,
                format!("read the file at {at:#x} in memory"),
                "this part of the file is not loaded",
            )
        };
        let (place, len) = part.ok_or_else(fault)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(into.len());
        self.memory.read(place.ok_or_else(fault)?, &mut into[..len])
    }
}
