//! Small valid images for tests.

use goblin::elf::program_header::{PT_DYNAMIC, PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE};

/// Writes the lower `size` bytes of a number.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// Writes numbers of four bytes each, one after the other.
pub(crate) fn put_words(bytes: &mut [u8], at: usize, words: &[u32]) {
    for (index, word) in words.iter().enumerate() {
        put(bytes, at + index * 4, (*word).into(), 4);
    }
}

/// The build id of the ELF image.
pub(crate) const BUILD_ID: [u8; 4] = [0xb1, 0x1d, 0x1d, 0x07];

/// A small shared object of x86-64, linked for the address `linked`.
///
/// It has headers, notes, names and unwind tables up to 0x800, code at 0x1000, and data from 0x2010
/// to 0x2410, which includes the dynamic section. The sections after that are not loaded.
pub(crate) fn elf(linked: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x3000];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    put(&mut bytes, 16, 3, 2);
    put(&mut bytes, 18, 62, 2);
    put(&mut bytes, 20, 1, 4);
    put(&mut bytes, 32, 64, 8);
    put(&mut bytes, 40, 0x2800, 8);
    put(&mut bytes, 52, 64, 2);
    put(&mut bytes, 54, 56, 2);
    put(&mut bytes, 56, 6, 2);
    put(&mut bytes, 58, 64, 2);
    put(&mut bytes, 60, 3, 2);
    put(&mut bytes, 62, 2, 2);
    // Type, flags, location, size in memory.
    let segments: [(u32, u32, u64, u64); 6] = [
        (PT_LOAD, 4, 0, 0x800),
        (PT_LOAD, 5, 0x1000, 0x234),
        (PT_LOAD, 6, 0x2010, 0x400),
        (PT_NOTE, 4, 0x300, 0x24),
        (PT_DYNAMIC, 6, 0x2020, 0x40),
        (PT_GNU_EH_FRAME, 4, 0x500, 0x14),
    ];
    for (index, (kind, flags, place, size)) in segments.into_iter().enumerate() {
        let at = 64 + index * 56;
        put(&mut bytes, at, kind.into(), 4);
        put(&mut bytes, at + 4, flags.into(), 4);
        put(&mut bytes, at + 8, place, 8);
        put(&mut bytes, at + 16, linked.wrapping_add(place), 8);
        put(&mut bytes, at + 32, size, 8);
        put(&mut bytes, at + 40, size, 8);
        put(&mut bytes, at + 48, 4, 8);
    }
    // A note of another type, then the build id.
    put_words(&mut bytes, 0x300, &[4, 0, 1]);
    bytes[0x30c..0x310].copy_from_slice(b"GNU\0");
    put_words(&mut bytes, 0x310, &[4, 4, 3]);
    bytes[0x31c..0x320].copy_from_slice(b"GNU\0");
    bytes[0x320..0x324].copy_from_slice(&BUILD_ID);
    // The unwind index: the version, the encodings, and the distance from this last field to the
    // tables. The tables are a CIE, an FDE and the end mark.
    bytes[0x500..0x504].copy_from_slice(&[1, 0x1b, 0x03, 0x3b]);
    put(&mut bytes, 0x504, 0x540 - 0x504, 4);
    put(&mut bytes, 0x540, 0x14, 4);
    put(&mut bytes, 0x558, 0x1c, 4);
    // DT_STRTAB, DT_STRSZ, DT_SONAME.
    let strings = linked.wrapping_add(0x600);
    for (index, word) in [5, strings, 10, 0x42, 14, 7].into_iter().enumerate() {
        put(&mut bytes, 0x2020 + index * 8, word, 8);
    }
    bytes[0x607..0x613].copy_from_slice(b"libsmall.so\0");
    // Sections: none, `.text`, `.shstrtab`.
    for (index, name, kind, place, size) in [(1, 1, 1, 0x1000, 0x234), (2, 7, 3, 0x28c0, 0x11)] {
        let at = 0x2800 + index * 64;
        put(&mut bytes, at, name, 4);
        put(&mut bytes, at + 4, kind, 4);
        put(&mut bytes, at + 24, place, 8);
        put(&mut bytes, at + 32, size, 8);
    }
    bytes[0x28c0..0x28d1].copy_from_slice(b"\0.text\0.shstrtab\0");
    bytes[0x1000..0x1010].copy_from_slice(&[0xcc; 16]);
    bytes
}

/// The locations of the parts of the PE image.
pub(crate) const OPTIONAL: usize = 0x98;
pub(crate) const DIRECTORIES: usize = OPTIONAL + 112;
pub(crate) const DEBUG_AT: usize = 0x3200;
pub(crate) const RSDS_AT: usize = 0x3400;
pub(crate) const MISC_AT: usize = 0x3500;
pub(crate) const RESOURCES_AT: usize = 0x3800;
pub(crate) const VERSION_AT: usize = 0x3a00;

/// A small library of x86-64 loaded at `base`.
///
/// It has code, writable data, and read-only data with debug records, a version and thread-local
/// variables.
pub(crate) fn pe(base: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x4000];
    bytes[..2].copy_from_slice(b"MZ");
    put_words(&mut bytes, 0x3c, &[0x80]);
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    put_words(&mut bytes, 0x84, &[0x0003_8664, 0x1234_5678, 0, 0, 0x2022_00f0]);
    put_words(&mut bytes, OPTIONAL, &[0x20b]);
    put_words(&mut bytes, OPTIONAL + 56, &[0x4000, 0x400, 0xabcd]);
    put_words(&mut bytes, OPTIONAL + 108, &[16]);
    for (index, rva, size) in [
        (0, 0x3100, 0x40),
        (2, RESOURCES_AT, 0x300),
        (6, DEBUG_AT, 3 * 28),
        (9, 0x3300, 0x28),
    ] {
        put_words(&mut bytes, DIRECTORIES + index * 8, &[rva as u32, size]);
    }
    for (index, (size, rva, flags)) in [
        (0x123_u32, 0x1000_u32, 0x6000_0020_u32),
        (0x345, 0x2000, 0xC000_0040),
        (0xc00, 0x3000, 0x4000_0040),
    ]
    .into_iter()
    .enumerate()
    {
        let at = OPTIONAL + 0xf0 + index * 40;
        put_words(&mut bytes, at + 8, &[size, rva]);
        put_words(&mut bytes, at + 36, &[flags]);
    }
    // A record of another type, the PDB record and a miscellaneous record. Each has a type, a size,
    // an address in memory and an offset in the file.
    put_words(&mut bytes, DEBUG_AT + 12, &[12, 4, 0x3600, 0x600]);
    put_words(&mut bytes, DEBUG_AT + 28 + 12, &[2, 30, RSDS_AT as u32, 0x300]);
    put_words(&mut bytes, DEBUG_AT + 56 + 12, &[4, 16, MISC_AT as u32, 0x400]);
    bytes[RSDS_AT..RSDS_AT + 4].copy_from_slice(b"RSDS");
    bytes[RSDS_AT + 24..RSDS_AT + 30].copy_from_slice(b"a.pdb\0");
    put_words(&mut bytes, MISC_AT, &[1, 16, 0, 0x6465_6362]);
    // The initial values are in the data section, followed by the index. There are no callbacks,
    // and 16 bytes of zeros follow the values.
    for (index, word) in [base + 0x2000, base + 0x2030, base + 0x2100, 0, 0x10]
        .into_iter()
        .enumerate()
    {
        put(&mut bytes, 0x3300 + index * 8, word, 8);
    }
    put_words(&mut bytes, 0x2100, &[7]);
    // Types 3 and 16. Type 16 has the names 2 (empty) and 1. Name 1 has one language.
    put_words(
        &mut bytes,
        RESOURCES_AT + 12,
        &[2 << 16, 3, 0x8000_0200, 16, 0x8000_0020],
    );
    put_words(
        &mut bytes,
        RESOURCES_AT + 0x20 + 12,
        &[2 << 16, 1, 0x8000_0060, 2, 0x8000_0040],
    );
    put_words(&mut bytes, RESOURCES_AT + 0x60 + 12, &[1 << 16, 0x409, 0x80]);
    put_words(&mut bytes, RESOURCES_AT + 0x80, &[VERSION_AT as u32, 92]);
    put(&mut bytes, VERSION_AT + 2, 52, 2);
    for (index, unit) in "VS_VERSION_INFO".encode_utf16().enumerate() {
        put(&mut bytes, VERSION_AT + 6 + index * 2, unit.into(), 2);
    }
    put_words(
        &mut bytes,
        VERSION_AT + 40,
        &[0xfeef_04bd, 0x1_0000, 0x1_0002, 0x3_0004],
    );
    bytes
}
