//! What these tests would catch: parts of an image that are found at other addresses than its
//! headers say, a wrong version or debug record, and malformed tables that cost more than their own
//! content.

use dumpwright_target::{Pieces, Window};

use super::*;
use crate::samples::{
    DEBUG_AT, DIRECTORIES, MISC_AT, OPTIONAL, RESOURCES_AT, RSDS_AT, VERSION_AT, pe, put_words,
};

const BASE: u64 = 0x1_4000_0000;

fn parsed(bytes: &[u8]) -> (Pe, Pieces) {
    let mut memory = Pieces::one(BASE, bytes.to_vec());
    let image = Pe::read(&mut memory, BASE).expect("sound").expect("an image");
    (image, memory)
}

fn from_base(ranges: impl IntoIterator<Item = AddressRange>) -> Vec<(u64, u64)> {
    let ranges = ranges.into_iter();
    ranges.map(|range| (range.start() - BASE, range.len())).collect()
}

#[test]
fn sections_are_exact_and_tables_are_found() {
    let (image, mut memory) = parsed(&pe(BASE));
    assert_eq!(
        (image.size(), image.checksum(), image.timestamp()),
        (0x4000, 0xabcd, 0x1234_5678)
    );
    let sections = image.sections(&mut memory).expect("sound");
    let with = |is_wanted: fn(&Section) -> bool| {
        let wanted = sections.iter().filter(|section| is_wanted(section));
        from_base(wanted.map(|section| section.range))
    };
    assert_eq!(with(|section| section.is_code), [(0x1000, 0x123)]);
    assert_eq!(with(|section| section.is_data), [(0x2000, 0x345)]);
    assert_eq!(with(|_| true).len(), 3);
    assert_eq!(from_base(image.headers()), [(0, 0x400)]);
    for (table, found) in [
        (DirectoryEntry::Exports, Some((0x3100, 0x40))),
        (DirectoryEntry::Imports, None),
        (DirectoryEntry::Resources, Some((0x3800, 0x300))),
        (DirectoryEntry::Debug, Some((0x3200, 84))),
        (DirectoryEntry::ThreadLocal, Some((0x3300, 0x28))),
    ] {
        assert_eq!(from_base(image.directory(table)).pop(), found, "{table:?}");
    }
    assert_eq!(
        from_base(image.debug_records(&mut memory)),
        [(0x3600, 4), (0x3400, 30), (0x3500, 16)]
    );
    let variables = image.thread_local(&mut memory, 0x4000).expect("has some");
    assert_eq!(variables, ThreadLocal { index: 7, size: 0x40 });
    assert_eq!(image.thread_local(&mut memory, 0x2f), None, "more than the image");
}

#[test]
fn records_and_version_are_read_unchanged() {
    let bytes = pe(BASE);
    let (image, mut memory) = parsed(&bytes);
    assert_eq!(image.cv_record(&mut memory), bytes[RSDS_AT..RSDS_AT + 30]);
    assert_eq!(image.misc_record(&mut memory), bytes[MISC_AT..MISC_AT + 16]);
    let version = image.version(&mut memory).expect("has one");
    assert_eq!(version[..4], [0xfeef_04bd, 0x1_0000, 0x1_0002, 0x3_0004]);
    // The older type of record.
    let mut older = bytes;
    older[RSDS_AT..RSDS_AT + 4].copy_from_slice(b"NB10");
    let (image, mut memory) = parsed(&older);
    assert_eq!(&image.cv_record(&mut memory)[..4], b"NB10");
}

/// In 32-bit images, the optional header and the pointers are shorter.
#[test]
fn the_flags_of_the_image_are_those_at_the_documented_offset() {
    let mut bytes = pe(BASE);
    bytes[OPTIONAL + 70..OPTIONAL + 72].copy_from_slice(&0x4160_u16.to_le_bytes());
    assert_eq!(parsed(&bytes).0.dll_characteristics(), 0x4160);
}

#[test]
fn images_of_32_bits_are_understood() {
    let mut bytes = pe(BASE);
    bytes[OPTIONAL + 70..OPTIONAL + 72].copy_from_slice(&0x140_u16.to_le_bytes());
    let tables = bytes[DIRECTORIES..DIRECTORIES + 128].to_vec();
    put_words(&mut bytes, OPTIONAL, &[0x10b]);
    put_words(&mut bytes, OPTIONAL + 92, &[16]);
    bytes[OPTIONAL + 96..OPTIONAL + 96 + 128].copy_from_slice(&tables);
    put_words(&mut bytes, 0x3300, &[0x50_2000, 0x50_2008, 0x50_2100, 0, 4]);
    let base = 0x50_0000;
    let mut memory = Pieces::one(base, bytes);
    let image = Pe::read(&mut memory, base).expect("sound").expect("an image");
    assert_eq!((image.size(), image.checksum()), (0x4000, 0xabcd));
    assert_eq!(image.dll_characteristics(), 0x140);
    assert!(image.version(&mut memory).is_some());
    let variables = image.thread_local(&mut memory, 0x4000).expect("has some");
    assert_eq!(variables, ThreadLocal { index: 7, size: 12 });
}

#[test]
fn other_data_is_none_and_a_malformed_image_is_an_error() {
    let malformed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = pe(BASE);
        change(&mut bytes);
        let found = Pe::read(&mut Pieces::one(BASE, bytes), BASE);
        found.expect_err("malformed").to_string()
    };
    assert!(malformed(&|bytes| bytes.clear()).contains("the headers cannot be read"));
    assert!(malformed(&|bytes| bytes.truncate(0x20)).contains("DOS header cannot be read"));
    assert!(malformed(&|bytes| put_words(bytes, 60, &[u32::MAX])).contains("the PE header cannot be read"));
    assert!(malformed(&|bytes| bytes[0x80] = 0).contains("no PE header"));
    assert!(malformed(&|bytes| bytes[0x94] = 100).contains("too short"));
    assert!(malformed(&|bytes| bytes[0x94] = 0).contains("too short"));
    assert!(malformed(&|bytes| bytes.truncate(0xa0)).contains("optional header cannot be read"));
    assert!(malformed(&|bytes| bytes[OPTIONAL] = 0).contains("unknown magic number"));
    let nothing = Pe::read(&mut Pieces::one(BASE, b"\x7fELF".to_vec()), BASE);
    assert!(nothing.expect("something else").is_none());
    let mut bytes = pe(BASE);
    bytes[0x86] = 97;
    let (image, mut memory) = parsed(&bytes);
    let text = image.sections(&mut memory).unwrap_err().to_string();
    assert_eq!(text, "there are 97 sections, more than the 96 that Windows loads");
}

#[test]
fn a_malformed_table_costs_only_its_own_content() {
    type Lie = (usize, &'static [u32]);
    let lies: &[Lie] = &[
        // A debug directory outside of the image, and one with a huge size.
        (DIRECTORIES + 6 * 8, &[0x3fff, 28]),
        (DIRECTORIES + 6 * 8, &[u32::MAX, u32::MAX]),
        // Records that are only in the file, too long, outside of the image, or without a name.
        (DEBUG_AT + 28 + 16, &[30, 0]),
        (DEBUG_AT + 28 + 16, &[u32::MAX]),
        (DEBUG_AT + 28 + 16, &[0x1000]),
        (DEBUG_AT + 28 + 16, &[24]),
        (DEBUG_AT + 28 + 16, &[3]),
        (RSDS_AT, &[0]),
    ];
    let image_range = AddressRange::at(BASE, 0x4000).expect("not empty");
    for (at, words) in lies {
        let mut bytes = pe(BASE);
        put_words(&mut bytes, *at, words);
        let (image, mut memory) = parsed(&bytes);
        let memory = &mut Window::new(&mut memory, image_range);
        assert!(image.cv_record(memory).is_empty(), "{at:#x} {words:x?}");
        assert!(image.version(memory).is_some());
    }
    let version_lies: &[Lie] = &[
        // Resources outside of the image or at its very end, and a directory with more entries than
        // there is room for.
        (DIRECTORIES + 2 * 8, &[0x3ff8]),
        (DIRECTORIES + 2 * 8, &[u32::MAX]),
        (RESOURCES_AT + 12, &[0xffff_ffff]),
        // A type without names, data instead of a directory, and a directory instead of data.
        (RESOURCES_AT + 28, &[0x80]),
        (RESOURCES_AT + 28, &[0xffff_ffff]),
        (RESOURCES_AT + 0x60 + 20, &[0x8000_0000]),
        (RESOURCES_AT + 0x60 + 20, &[0x7fff_fff0]),
        // A version outside of the image, too short, or without its signature or key.
        (RESOURCES_AT + 0x80, &[0x3fc0, 92]),
        (RESOURCES_AT + 0x80, &[VERSION_AT as u32, 91]),
        (VERSION_AT + 40, &[0]),
        (VERSION_AT, &[0]),
        (VERSION_AT + 8, &[0]),
    ];
    for (at, words) in version_lies {
        let mut bytes = pe(BASE);
        put_words(&mut bytes, *at, words);
        let (image, mut memory) = parsed(&bytes);
        let memory = &mut Window::new(&mut memory, image_range);
        assert_eq!(image.version(memory), None, "{at:#x} {words:x?}");
        assert!(!image.cv_record(memory).is_empty());
    }
    // A directory that contains itself is followed only three levels deep.
    let mut bytes = pe(BASE);
    put_words(&mut bytes, RESOURCES_AT + 12, &[1 << 16, 16, 0x8000_0000]);
    let (image, mut memory) = parsed(&bytes);
    assert_eq!(image.version(&mut memory), None);
}

/// Invalid version data under many names and languages costs a limited number of reads.
#[test]
fn resources_that_repeat_are_not_followed() {
    struct Counted(Pieces, usize);
    impl Memory for Counted {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, dumpwright_target::Fault> {
            self.1 += into.len();
            self.0.read(at, into)
        }
    }
    let mut bytes = pe(BASE);
    bytes.resize(0x4_0000, 0);
    put_words(&mut bytes, DIRECTORIES + 2 * 8, &[0x1_0000, 0x3_0000]);
    // One type with 4000 names. All names share a directory of 4000 languages, and all languages
    // share one data entry.
    put_words(&mut bytes, 0x1_0000 + 12, &[1 << 16, 16, 0x8000_0100]);
    for (at, to) in [(0x1_0100, 0x8001_0000_u32), (0x2_0000, 0x2_0000)] {
        put_words(&mut bytes, at + 12, &[4000 << 16]);
        for index in 0..4000 {
            put_words(&mut bytes, at + 16 + index * 8, &[1, to]);
        }
    }
    let mut memory = Counted(Pieces::one(BASE, bytes), 0);
    let image = Pe::read(&mut memory, BASE).expect("sound").expect("an image");
    assert_eq!(image.version(&mut memory), None);
    // Reading the languages of each name would take more.
    assert!(memory.1 < 1 << 20, "{} bytes", memory.1);
}
