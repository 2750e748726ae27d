//! ELF images, by the headers they carry: in memory first, because the file may be another one by now.
//!
//! Nothing in a header is believed further than its consequences are bounded: every size read from one is checked or
//! cut before memory is taken for it, and address arithmetic wraps instead of failing.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use goblin::container::{Container, Ctx};
use goblin::elf::header::{ELFMAG, Header, SIZEOF_IDENT};
use goblin::elf::note::{NT_GNU_BUILD_ID, NoteDataIterator};
use goblin::elf::program_header::{PF_X, PT_DYNAMIC, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{SHT_NOBITS, SectionHeader};
use goblin::elf::{Elf, dynamic};

/// The headers of an image lie in its first page, as far as linkers are concerned; so much is read at once.
const FIRST_READ: usize = 4096;

/// No linker makes more segments. (The largest count seen is below 20.)
const MOST_SEGMENTS: usize = 1024;

/// No linker makes more sections than this, short of `-ffunction-sections` in object files.
const MOST_SECTIONS: usize = 16 << 10;

/// Notes and dynamic sections are at most some hundred bytes; longer ones are read so far.
const LONGEST_TABLE: u64 = 64 << 10;

/// A build id is a hash (16, 20 or 32 bytes), unless someone chose it by hand.
const LONGEST_BUILD_ID: usize = 64;

/// File names are at most this long on Linux (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// Breakpad's hash of a module without a build id covers so much of its code.
const HASHED_TEXT: u64 = 4096;

/// Fills a buffer with the bytes at an offset or address and says how many there are.
pub(crate) type Read<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> usize;

/// The headers of an ELF image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    header: Header,
    ctx: Ctx,
    segments: Vec<ProgramHeader>,
}

impl Image {
    /// Reads the headers of an image; `read` takes offsets from its first byte. `None` if there is no image.
    ///
    /// # Errors
    /// An image begins there, but its headers make no sense.
    pub(crate) fn parse(read: Read<'_>) -> Result<Option<Self>, String> {
        let mut start = vec![0; FIRST_READ];
        let there = read(0, &mut start);
        start.truncate(there);
        if start.is_empty() {
            return Err("it cannot be read".into());
        }
        if !start.starts_with(ELFMAG) {
            return Ok(None);
        }
        if start.len() < SIZEOF_IDENT + 48 {
            return Err("the ELF header is cut off".into());
        }
        let header = Elf::parse_header(&start).map_err(|error| error.to_string())?;
        let container = header.container().map_err(|error| error.to_string())?;
        let ctx = Ctx::new(container, header.endianness().map_err(|error| error.to_string())?);
        let count = usize::from(header.e_phnum);
        let size = ProgramHeader::size(ctx);
        if usize::from(header.e_phentsize) != size || count == 0 || count > MOST_SEGMENTS {
            return Err(format!(
                "{count} program headers of {} bytes make no sense",
                header.e_phentsize
            ));
        }
        let inside = usize::try_from(header.e_phoff)
            .ok()
            .and_then(|from| start.get(from..from.checked_add(count * size)?));
        let table = match inside {
            Some(table) => table.to_vec(),
            None => {
                let mut table = vec![0; count * size];
                if read(header.e_phoff, &mut table) < table.len() {
                    return Err(format!(
                        "program headers at offset {:#x} cannot be read",
                        header.e_phoff
                    ));
                }
                table
            }
        };
        let segments = ProgramHeader::parse(&table, 0, count, ctx).map_err(|error| error.to_string())?;
        let image = Self {
            header,
            ctx,
            segments,
        };
        if image.first().is_none() {
            return Err("no segment holds the ELF header".into());
        }
        Ok(Some(image))
    }

    /// The segments that are loaded.
    pub(crate) fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0)
    }

    /// The segment that holds the ELF header.
    fn first(&self) -> Option<&ProgramHeader> {
        self.loads()
            .find(|segment| page_of(segment.p_offset) == 0 && segment.p_filesz > 0)
    }

    /// What has to be added to an address of the headers, when the image begins at `start`.
    pub(crate) fn bias(&self, start: u64) -> u64 {
        start.wrapping_sub(self.first().map_or(0, |first| page_of(first.p_vaddr)))
    }

    /// The bytes that the image takes in memory, from its ELF header to the end of its highest segment, in whole pages.
    pub(crate) fn span(&self) -> u64 {
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

    /// Whether a segment holds code.
    pub(crate) fn is_code(segment: &ProgramHeader) -> bool {
        segment.p_flags & PF_X != 0
    }

    /// The build id, from the notes in memory; `read` takes addresses.
    pub(crate) fn build_id_in_memory(&self, bias: u64, read: Read<'_>) -> Option<Vec<u8>> {
        self.build_id(|note| note.p_vaddr.wrapping_add(bias), read)
    }

    /// The build id, from the notes in the file; `read` takes offsets from the image's first byte.
    pub(crate) fn build_id_in_file(&self, read: Read<'_>) -> Option<Vec<u8>> {
        self.build_id(|note| note.p_offset, read)
    }

    fn build_id(&self, place: impl Fn(&ProgramHeader) -> u64, read: Read<'_>) -> Option<Vec<u8>> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_NOTE)
            .find_map(|segment| {
                let data = table(place(segment), segment.p_filesz, read)?;
                let notes = NoteDataIterator {
                    data: &data,
                    size: data.len(),
                    offset: 0,
                    ctx: (usize::try_from(segment.p_align).unwrap_or(4), self.ctx),
                };
                notes
                    .map_while(Result::ok)
                    .find(|note| note.n_type == NT_GNU_BUILD_ID && note.name == "GNU")
                    .map(|note| note.desc.to_vec())
                    .filter(|id| (1..=LONGEST_BUILD_ID).contains(&id.len()))
            })
    }

    /// What Breakpad's tools take for the identity of a module without a build id: the first page of its `.text`
    /// section, in lanes of 16 bytes, exclusive-or. `read` takes offsets into the file.
    pub(crate) fn text_hash(&self, read: Read<'_>) -> Option<Vec<u8>> {
        let text = self.text_section(read)?;
        let mut code = vec![0; usize::try_from(text.sh_size.min(HASHED_TEXT)).ok()?];
        let there = read(text.sh_offset, &mut code);
        if there == 0 || there < code.len() {
            return None;
        }
        let mut hash = vec![0; 16];
        for lane in code.chunks(16) {
            for (sum, byte) in hash.iter_mut().zip(lane) {
                *sum ^= byte;
            }
        }
        Some(hash)
    }

    fn text_section(&self, read: Read<'_>) -> Option<SectionHeader> {
        let count = usize::from(self.header.e_shnum);
        let size = SectionHeader::size(self.ctx);
        if usize::from(self.header.e_shentsize) != size || count == 0 || count > MOST_SECTIONS {
            return None;
        }
        let mut bytes = vec![0; count * size];
        if self.header.e_shoff == 0 || read(self.header.e_shoff, &mut bytes) < bytes.len() {
            return None;
        }
        let sections = SectionHeader::parse_from(&bytes, 0, count, self.ctx).ok()?;
        let names = sections.get(usize::from(self.header.e_shstrndx))?;
        sections
            .iter()
            .filter(|section| section.sh_type != SHT_NOBITS && section.sh_size > 0)
            .find(|section| {
                let mut name = [0; 6];
                let at = names.sh_offset.wrapping_add(section.sh_name as u64);
                read(at, &mut name) == name.len() && &name == b".text\0"
            })
            .cloned()
    }

    /// The name by which other modules ask for this one (`DT_SONAME`), from memory; `read` takes addresses.
    pub(crate) fn soname(&self, bias: u64, read: Read<'_>) -> Option<String> {
        let entries = self.dynamic(bias, read)?;
        let value = |tag| entries.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
        let strings = value(dynamic::DT_STRTAB)?;
        // The dynamic linkers of glibc write the address itself over the one of the file; others (musl) do
        // not, and nobody does in the vdso.
        let strings = if strings < bias {
            strings.wrapping_add(bias)
        } else {
            strings
        };
        let at = strings.wrapping_add(value(dynamic::DT_SONAME)?);
        let mut name = vec![0; LONGEST_NAME + 1];
        let there = read(at, &mut name);
        let end = name.get(..there)?.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8(name[..end].to_vec()).ok()?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }

    /// The dynamic section in memory up to its end mark, as tags and values.
    fn dynamic(&self, bias: u64, read: Read<'_>) -> Option<Vec<(u64, u64)>> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.p_type == PT_DYNAMIC)?;
        let bytes = table(segment.p_vaddr.wrapping_add(bias), segment.p_memsz, read)?;
        Some(dynamic_entries(&bytes, self.ctx))
    }
}

/// The entries of a dynamic section, up to its end mark.
fn dynamic_entries(bytes: &[u8], ctx: Ctx) -> Vec<(u64, u64)> {
    let size = match ctx.container {
        Container::Big => 8,
        Container::Little => 4,
    };
    let word = |bytes: &[u8]| match ctx.le {
        goblin::container::Endian::Little => LittleEndian::read_uint(bytes, size),
        goblin::container::Endian::Big => BigEndian::read_uint(bytes, size),
    };
    bytes
        .chunks_exact(2 * size)
        .map(|entry| (word(&entry[..size]), word(&entry[size..])))
        .take_while(|(tag, _)| *tag != dynamic::DT_NULL)
        .collect()
}

/// Reads a table of which the headers say that it is `size` bytes long.
fn table(at: u64, size: u64, read: Read<'_>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size.min(LONGEST_TABLE)).ok()?];
    let there = read(at, &mut bytes);
    bytes.truncate(there);
    (!bytes.is_empty()).then_some(bytes)
}

/// Segments begin in the same place of their page in memory and in the file; 4 KiB is the smallest page of
/// all processors that Linux runs on.
const PAGE: u64 = 4096;

/// The start of the page that holds `address`.
pub(crate) fn page_of(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// What these tests would catch: headers that make the dumper panic, loop, or take memory without bound, and wrong
/// identities of modules.
#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of bytes that begin at address or offset 0.
    fn of(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> usize {
        move |at, into| {
            let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let count = into.len().min(bytes.len() - from);
            into[..count].copy_from_slice(&bytes[from..from + count]);
            count
        }
    }

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().expect("has a path")).expect("readable")
    }

    fn parsed(bytes: &[u8]) -> Image {
        Image::parse(&mut of(bytes)).expect("sound").expect("an image")
    }

    #[test]
    fn goblin_reading_the_whole_file_agrees() {
        let bytes = own();
        let image = parsed(&bytes);
        let whole = Elf::parse(&bytes).expect("sound");
        let id = whole
            .iter_note_headers(&bytes)
            .and_then(|notes| {
                notes
                    .map_while(Result::ok)
                    .find(|note| note.n_type == NT_GNU_BUILD_ID)
            })
            .map(|note| note.desc.to_vec());
        assert_eq!(image.build_id_in_file(&mut of(&bytes)), id);
        let text = whole
            .section_headers
            .iter()
            .find(|s| whole.shdr_strtab.get_at(s.sh_name) == Some(".text"));
        let text = text.expect("has code");
        let mut hash = [0; 16];
        for (i, byte) in bytes[text.sh_offset as usize..][..4096].iter().enumerate() {
            hash[i % 16] ^= byte;
        }
        assert_eq!(image.text_hash(&mut of(&bytes)).as_deref(), Some(&hash[..]));
        assert_eq!(image.soname(0, &mut of(&bytes)), None);
        assert!(image.loads().any(Image::is_code));
    }

    #[test]
    fn what_is_no_image_is_none_and_a_broken_one_says_why() {
        assert_eq!(
            Image::parse(&mut of(b"")).expect_err("nothing there").as_str(),
            "it cannot be read"
        );
        assert!(
            Image::parse(&mut of(b"MZ\x90\0"))
                .expect("something else")
                .is_none()
        );
        assert_eq!(
            Image::parse(&mut of(b"\x7fELF")).expect_err("cut").as_str(),
            "the ELF header is cut off"
        );
        let mut bytes = own();
        bytes[56..58].copy_from_slice(&0xffff_u16.to_le_bytes());
        let reason = Image::parse(&mut of(&bytes)).expect_err("too many");
        assert_eq!(reason, "65535 program headers of 56 bytes make no sense");
        let mut bytes = own();
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(
            Image::parse(&mut of(&bytes))
                .expect_err("nowhere")
                .contains("0xffffffffffffffff")
        );
    }

    #[test]
    fn lying_sizes_and_flipped_bits_neither_panic_nor_take_memory() {
        let sound = own();
        let sound = &sound[..sound.len().min(1 << 16)];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..5_000 {
            let mut bytes = sound[..4096].to_vec();
            for _ in 0..8 {
                // xorshift, from a fixed start: the same headers on every run.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state % 1024) as usize;
                bytes[at] = (state >> 32) as u8;
            }
            let mut largest = 0;
            let mut read = |at: u64, into: &mut [u8]| {
                largest = largest.max(into.len());
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let count = into.len().min(bytes.len() - from);
                into[..count].copy_from_slice(&bytes[from..from + count]);
                count
            };
            if let Ok(Some(image)) = Image::parse(&mut read) {
                let bias = image.bias(0x7fff_0000_0000);
                let _ = image.span();
                let _ = image.build_id_in_memory(bias, &mut read);
                let _ = image.build_id_in_file(&mut read);
                let _ = image.text_hash(&mut read);
                let _ = image.soname(bias, &mut read);
            }
            assert!(largest <= 2 << 20, "{largest} bytes at once");
        }
    }

    #[test]
    fn a_span_reaches_to_the_end_of_the_highest_segment() {
        let mut bytes = own();
        let image = parsed(&bytes);
        let end = image
            .loads()
            .map(|segment| segment.p_vaddr + segment.p_memsz)
            .max()
            .expect("has segments");
        assert_eq!(image.span(), end.next_multiple_of(4096));
        assert_eq!(image.bias(0x5000), 0x5000);
        // A segment of all the address space: cut at its end, not wrapped to nothing.
        let table = image.header.e_phoff as usize;
        let load = image
            .segments
            .iter()
            .position(|segment| segment.p_type == PT_LOAD)
            .expect("has one");
        let size = table + load * 56 + 40;
        bytes[size..size + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(parsed(&bytes).span(), page_of(u64::MAX));
    }

    #[test]
    fn hostile_notes_end() {
        for data in [
            &[0xff; 64][..],
            &[0; 64],
            &[
                4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, b'G', b'N', b'U', 0,
            ],
        ] {
            let mut bytes = own();
            let image = parsed(&bytes);
            let note = image
                .segments
                .iter()
                .find(|segment| segment.p_type == PT_NOTE)
                .expect("has notes");
            let at = note.p_offset as usize;
            bytes[at..at + data.len()].copy_from_slice(data);
            let _ = image.build_id_in_file(&mut of(&bytes));
        }
    }
}
