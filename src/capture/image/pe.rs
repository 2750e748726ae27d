//! PE images: sections, and the tables that data directories name.
//!
//! Offsets are those of Microsoft's "PE Format". They are read here and not by a crate, because crates look up long
//! names of sections in the file's symbol table, which is not in memory, and refuse images that have some.

use dumpwright_target::AddressRange;

use super::{Memory, Parts};

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

pub(super) fn parts(memory: &mut Memory<'_>, start: &[u8]) -> Result<Parts, String> {
    found(memory, start).ok_or_else(|| "its PE header makes no sense".to_owned())
}

fn found(memory: &mut Memory<'_>, start: &[u8]) -> Option<Parts> {
    const NEW_HEADER: usize = 0x3c;
    const FILE_HEADER: u64 = 24;
    const SECTION: usize = 40;
    let base = memory.image.start();
    let nt = base.checked_add(u32_at(start, NEW_HEADER)?.into())?;
    let file = memory.exactly(nt, FILE_HEADER)?;
    let count = u16_at(&file, 6)?;
    if !file.starts_with(b"PE\0\0") || count > MOST_SECTIONS {
        return None;
    }
    let optional_size = u64::from(u16_at(&file, 20)?);
    let optional = memory.exactly(nt.checked_add(FILE_HEADER)?, optional_size)?;
    let directories_at = match u16_at(&optional, 0)? {
        0x10b => 96,
        0x20b => 112,
        _ => return None,
    };
    let place = |rva: u32, size: u64| AddressRange::at(base.checked_add(rva.into())?, size);

    let mut headers = Vec::new();
    headers.extend(AddressRange::at(base, u32_at(&optional, 60)?.into()));
    let listed = u32_at(&optional, directories_at - 4)?;
    let directory = |index: usize| {
        let at = directories_at + index * 8;
        let (rva, size) = (u32_at(&optional, at)?, u32_at(&optional, at + 4)?);
        (index < listed as usize && rva != 0 && size != 0).then_some((rva, u64::from(size)))
    };
    for (rva, size) in KEPT.into_iter().filter_map(directory) {
        headers.extend(place(rva, size));
    }
    if let Some((rva, _)) = directory(TLS) {
        headers.extend(place(rva, TLS_SIZE));
    }
    if let Some((rva, size)) = directory(DEBUG) {
        const ENTRY: u64 = 28;
        let len = size.min(MOST_DEBUG_ENTRIES * ENTRY);
        let entries = memory.up_to(base.checked_add(rva.into())?, len);
        // What an entry describes, the CodeView record first of all: its size, and where it is in memory.
        headers.extend(entries.chunks_exact(28).filter_map(|entry| {
            let (size, rva) = (u32_at(entry, 16)?, u32_at(entry, 20)?);
            (rva != 0).then(|| place(rva, size.into())).flatten()
        }));
    }

    let table_at = nt.checked_add(FILE_HEADER)?.checked_add(optional_size)?;
    let table = memory.exactly(table_at, u64::from(count) * SECTION as u64)?;
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
