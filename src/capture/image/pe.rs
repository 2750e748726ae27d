//! PE images: sections, and the tables that data directories name.
//!
//! Offsets are those of Microsoft's "PE Format". They are read here and not by a crate, because crates look up long
//! names of sections in the file's symbol table, which is not in memory, and refuse images that have some.

use dumpwright_target::AddressRange;

use super::{Memory, Parts, ThreadLocal};

/// Microsoft's loader takes no more.
const MOST_SECTIONS: u16 = 96;

/// Debug directories seen have up to six entries.
const MOST_DEBUG_ENTRIES: u64 = 32;

/// The data directories that DbgHelp 6.3.9600 keeps with the headers: exports, imports, resources, exceptions,
/// relocations, debug. Certificates (4) are not in memory; the one of thread-local storage (9) is kept apart.
const KEPT: [usize; 6] = [0, 1, 2, 3, 5, DEBUG];
const DEBUG: usize = 6;
const TLS: usize = 9;
/// The size of `IMAGE_TLS_DIRECTORY64`, as DbgHelp keeps of it.
const TLS_SIZE: u64 = 0x28;

/// What the optional header begins with: the image is of a 32-bit, or of a 64-bit program.
const PE32: u16 = 0x10b;
const PE32_PLUS: u16 = 0x20b;

const SCN_CNT_CODE: u32 = 0x20;
const SCN_MEM_EXECUTE: u32 = 0x2000_0000;
const SCN_MEM_WRITE: u32 = 0x8000_0000;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

/// What the header says of the image as a whole.
struct Header {
    /// Where the signature is, and the file header behind it.
    nt: u64,
    sections: u16,
    /// The optional header: it holds the data directories.
    optional: Vec<u8>,
    directories_at: usize,
}

impl Header {
    const FILE_HEADER: u64 = 24;

    fn read(memory: &mut Memory<'_>, start: &[u8]) -> Option<Self> {
        const NEW_HEADER: usize = 0x3c;
        let nt = memory
            .image
            .start()
            .checked_add(u32_at(start, NEW_HEADER)?.into())?;
        let file = memory.exactly(nt, Self::FILE_HEADER)?;
        let sections = u16_at(&file, 6)?;
        if !file.starts_with(b"PE\0\0") || sections > MOST_SECTIONS {
            return None;
        }
        let optional_size = u64::from(u16_at(&file, 20)?);
        let optional = memory.exactly(nt.checked_add(Self::FILE_HEADER)?, optional_size)?;
        let directories_at = match u16_at(&optional, 0)? {
            PE32 => 96,
            PE32_PLUS => 112,
            _ => return None,
        };
        Some(Self {
            nt,
            sections,
            optional,
            directories_at,
        })
    }

    /// Where a table is, from the image's start, and its size; `None` if the image has it not.
    fn directory(&self, index: usize) -> Option<(u32, u64)> {
        let listed = u32_at(&self.optional, self.directories_at - 4)?;
        let at = self.directories_at + index * 8;
        let (rva, size) = (u32_at(&self.optional, at)?, u32_at(&self.optional, at + 4)?);
        (index < listed as usize && rva != 0 && size != 0).then_some((rva, u64::from(size)))
    }

    /// Bytes of a pointer.
    fn pointer(&self) -> usize {
        match u16_at(&self.optional, 0) {
            Some(PE32) => 4,
            _ => 8,
        }
    }
}

/// `IMAGE_TLS_DIRECTORY`: where the first values of the variables begin and end, where the loader has put the module's index, where its
/// callbacks are, how many zeros follow the first values.
pub(super) fn thread_local(memory: &mut Memory<'_>, start: &[u8]) -> Option<ThreadLocal> {
    /// A thread's array has no more blocks; real ones have some tens.
    const MOST_INDEXES: u32 = 4096;
    /// More zeros than this are no honest header's.
    const MOST_ZEROS: u32 = 16 << 20;
    let header = Header::read(memory, start)?;
    let (rva, _) = header.directory(TLS)?;
    let pointer = header.pointer();
    let at = memory.image.start().checked_add(rva.into())?;
    let directory = memory.exactly(at, 4 * pointer as u64 + 8)?;
    let word = |index: usize| {
        let at = index * pointer;
        let mut wide = [0; 8];
        wide[..pointer].copy_from_slice(&directory[at..at + pointer]);
        u64::from_le_bytes(wide)
    };
    let values = AddressRange::new(word(0), word(1)).map_or(0, AddressRange::len);
    let zeros = u32_at(&directory, 4 * pointer)?;
    let index = u32_at(&memory.exactly(word(2), 4)?, 0)?;
    let sound = values <= memory.image.len() && zeros <= MOST_ZEROS && index < MOST_INDEXES;
    sound.then(|| ThreadLocal {
        index: index.into(),
        size: values + u64::from(zeros),
    })
}

pub(super) fn parts(memory: &mut Memory<'_>, start: &[u8]) -> Result<Parts, String> {
    found(memory, start).ok_or_else(|| "its PE header makes no sense".to_owned())
}

fn found(memory: &mut Memory<'_>, start: &[u8]) -> Option<Parts> {
    const SECTION: usize = 40;
    let base = memory.image.start();
    let header = Header::read(memory, start)?;
    let place = |rva: u32, size: u64| AddressRange::at(base.checked_add(rva.into())?, size);

    let mut headers = Vec::new();
    headers.extend(AddressRange::at(base, u32_at(&header.optional, 60)?.into()));
    for (rva, size) in KEPT.into_iter().filter_map(|index| header.directory(index)) {
        headers.extend(place(rva, size));
    }
    if let Some((rva, _)) = header.directory(TLS) {
        headers.extend(place(rva, TLS_SIZE));
    }
    if let Some((rva, size)) = header.directory(DEBUG) {
        const ENTRY: u64 = 28;
        let len = size.min(MOST_DEBUG_ENTRIES * ENTRY);
        let entries = memory.up_to(base.checked_add(rva.into())?, len);
        // What an entry describes, the CodeView record first of all: its size, and where it is in memory.
        headers.extend(entries.chunks_exact(28).filter_map(|entry| {
            let (size, rva) = (u32_at(entry, 16)?, u32_at(entry, 20)?);
            (rva != 0).then(|| place(rva, size.into())).flatten()
        }));
    }

    let optional_size = header.optional.len() as u64;
    let table_at = header
        .nt
        .checked_add(Header::FILE_HEADER)?
        .checked_add(optional_size)?;
    let table = memory.exactly(table_at, u64::from(header.sections) * SECTION as u64)?;
    let sections: Vec<_> = table
        .chunks_exact(SECTION)
        .filter_map(|section| {
            let (size, rva) = (u32_at(section, 8)?, u32_at(section, 12)?);
            // Old linkers leave the size in memory 0 and mean that in the file.
            let size = if size == 0 { u32_at(section, 16)? } else { size };
            Some((place(rva, size.into())?, u32_at(section, 36)?))
        })
        .collect();
    let with_flag = |wanted: u32| {
        let sections = sections.iter().filter(move |(_, flags)| flags & wanted != 0);
        sections.map(|(range, _)| *range).collect()
    };
    Some(Parts {
        data: with_flag(SCN_MEM_WRITE),
        code: with_flag(SCN_MEM_EXECUTE | SCN_CNT_CODE),
        headers,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::parts_of;

    fn put(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// A small library: code, writable data, read-only data with a debug directory.
    pub fn image() -> Vec<u8> {
        let mut bytes = vec![0; 0x4000];
        bytes[..2].copy_from_slice(b"MZ");
        put(&mut bytes, 0x3c, 0x80);
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        put(&mut bytes, 0x84, 0x0003_8664);
        put(&mut bytes, 0x94, 0x2022_00f0);
        put(&mut bytes, 0x98, 0x20b);
        put(&mut bytes, 0x98 + 60, 0x400);
        put(&mut bytes, 0x98 + 108, 16);
        for (index, rva, size) in [(0, 0x3100, 0x40), (6, 0x3200, 28), (9, 0x3300, 0x28)] {
            put(&mut bytes, 0x98 + 112 + index * 8, rva);
            put(&mut bytes, 0x98 + 116 + index * 8, size);
        }
        put(&mut bytes, 0x3210, 0x23);
        put(&mut bytes, 0x3214, 0x3400);
        for (index, (size, rva, flags)) in [
            (0x123_u32, 0x1000_u32, 0x6000_0020_u32),
            (0x345, 0x2000, 0xC000_0040),
            (0x600, 0x3000, 0x4000_0040),
        ]
        .into_iter()
        .enumerate()
        {
            let at = 0x98 + 0xf0 + index * 40;
            put(&mut bytes, at + 8, size);
            put(&mut bytes, at + 12, rva);
            put(&mut bytes, at + 36, flags);
        }
        bytes
    }

    #[test]
    fn sections_are_exact_and_directories_are_kept() {
        let parts = parts_of(0x1_4000_0000, &image()).unwrap();
        let starts = |ranges: &[dumpwright_target::AddressRange]| {
            let ranges = ranges.iter();
            ranges
                .map(|range| (range.start() - 0x1_4000_0000, range.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(starts(&parts.code), [(0x1000, 0x123)]);
        assert_eq!(starts(&parts.data), [(0x2000, 0x345)]);
        assert_eq!(
            starts(&parts.headers),
            [
                (0, 0x400),
                (0x3100, 0x40),
                (0x3200, 28),
                (0x3300, 0x28),
                (0x3400, 0x23)
            ]
        );
    }

    #[test]
    fn a_header_that_points_anywhere_is_said_to_make_no_sense() {
        for (at, value) in [
            (0x3c, u32::MAX - 1),
            (0x80, 0),
            (0x84, 0xffff_8664),
            (0x98, 0x30b),
        ] {
            let mut bytes = image();
            put(&mut bytes, at, value);
            let text = parts_of(0x1_4000_0000, &bytes).unwrap_err();
            assert!(text.contains("PE header"), "{at:#x}: {text}");
        }
    }
}
