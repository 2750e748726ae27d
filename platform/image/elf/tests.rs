//! What these tests would catch: parts of an image that are found at other addresses than its
//! headers say, a wrong identity or name, and headers that make a reader panic, loop, or allocate
//! memory without limit.

use dumpwright_target::Pieces;

use super::*;
use crate::limits::{LONGEST_NOTES, MOST_LINKS};
use crate::samples::{BUILD_ID, elf, put, put_words};

const BASE: u64 = 0x7000_0000;

fn parsed(bytes: &[u8]) -> (Elf, Pieces) {
    at(BASE, bytes)
}

fn at(base: u64, bytes: &[u8]) -> (Elf, Pieces) {
    let mut memory = Pieces::one(base, bytes.to_vec());
    let image = Elf::read(&mut memory, base).expect("sound").expect("an image");
    (image, memory)
}

fn from_base(ranges: impl IntoIterator<Item = AddressRange>) -> Vec<(u64, u64)> {
    let ranges = ranges.into_iter();
    ranges.map(|range| (range.start() - BASE, range.len())).collect()
}

#[test]
fn segments_are_exact_and_tables_are_found() {
    let (image, mut memory) = parsed(&elf(0));
    assert_eq!((image.bias(), image.size()), (BASE, 0x3000));
    assert_eq!(from_base(image.code()), [(0x1000, 0x234)]);
    assert_eq!(from_base(image.data()), [(0x2010, 0x400)]);
    assert_eq!(from_base(image.program_headers()), [(64, 6 * 56)]);
    assert_eq!(from_base(image.notes()), [(0x300, 0x24)]);
    assert_eq!(from_base(image.dynamic()), [(0x2020, 0x40)]);
    assert_eq!(from_base(image.strings(&mut memory)), [(0x600, 0x42)]);
    assert_eq!(from_base(image.frame_index()), [(0x500, 0x14)]);
    assert_eq!(from_base(image.frames(&mut memory)), [(0x540, 0x18 + 0x20 + 4)]);
    assert_eq!(image.build_id(&mut memory).as_deref(), Some(&BUILD_ID[..]));
    assert_eq!(image.soname(&mut memory).as_deref(), Some("libsmall.so"));
    // The same bytes as a file. The code is 16 bytes of 0xcc, followed by zeros.
    let mut file = Pieces::one(0, elf(0));
    assert_eq!(image.build_id_in_file(&mut file).as_deref(), Some(&BUILD_ID[..]));
    assert_eq!(image.text_hash(&mut file), Some(vec![0xcc; 16]));
}

/// glibc replaces the addresses from the file by addresses in memory, musl does not. Either library
/// may be loaded below the address for which it was linked.
#[test]
fn names_are_found_wherever_a_library_is_loaded() {
    for linked in [
        0,
        0x10_0000,
        BASE,
        BASE + 0x1000,
        BASE + 0x3_0000,
        u64::MAX - 0xffff,
    ] {
        for is_written in [false, true] {
            let mut bytes = elf(linked);
            if is_written {
                put(&mut bytes, 0x2028, BASE + 0x600, 8);
            } else if linked == BASE + 0x1000 {
                // An image that was linked for an address range in which it now lies looks as if
                // the addresses had been replaced.
                continue;
            }
            let (image, mut memory) = parsed(&bytes);
            let what = format!("linked for {linked:#x}, written: {is_written}");
            assert_eq!(image.bias(), BASE.wrapping_sub(linked), "{what}");
            assert_eq!(
                image.soname(&mut memory).as_deref(),
                Some("libsmall.so"),
                "{what}"
            );
            assert_eq!(from_base(image.strings(&mut memory)), [(0x600, 0x42)], "{what}");
        }
    }
}

#[test]
fn names_that_no_file_can_have_are_none() {
    for (text, named) in [
        (&b"x\0"[..], Some("x")),
        (b"\0", None),
        (b"a/b\0", None),
        (b"\xff\0", None),
        (&[b'n'; 0x200], None),
    ] {
        let mut bytes = elf(0);
        bytes[0x607..0x607 + text.len()].copy_from_slice(text);
        let (image, mut memory) = parsed(&bytes);
        assert_eq!(image.soname(&mut memory).as_deref(), named, "{text:?}");
    }
}

/// Many segments of a type that is followed cost no more than one.
#[test]
fn segments_that_repeat_are_not_followed() {
    let mut bytes = elf(0);
    let table = bytes.len();
    let first = bytes[64..64 + 6 * 56].to_vec();
    bytes.extend(&first);
    for (kind, address, size) in [
        (PT_NOTE, 0x300, 0x8000),
        (PT_DYNAMIC, 0x2020, 0x20),
        (PT_GNU_EH_FRAME, 0x500, 0x10),
    ] {
        for _ in 0..300 {
            let mut segment = [0; 56];
            put(&mut segment, 0, kind.into(), 4);
            put(&mut segment, 16, address, 8);
            put(&mut segment, 40, size, 8);
            bytes.extend(segment);
        }
    }
    bytes.resize(0x20000, 0);
    put(&mut bytes, 32, table as u64, 8);
    put(&mut bytes, 56, 906, 2);
    let (image, _) = parsed(&bytes);
    let notes: u64 = image.notes().into_iter().map(AddressRange::len).sum();
    assert_eq!(notes, LONGEST_NOTES);
    assert_eq!(from_base(image.dynamic()), [(0x2020, 0x40)]);
    assert_eq!(from_base(image.frame_index()), [(0x500, 0x14)]);
}

#[test]
fn other_data_is_none_and_a_malformed_image_is_an_error() {
    let read = |bytes: &[u8]| Elf::read(&mut Pieces::one(BASE, bytes.to_vec()), BASE);
    assert!(read(b"MZ\x90\0").expect("something else").is_none());
    for (bytes, what) in [
        (&b""[..], "cannot be read"),
        (b"\x7fELF", "the ELF header is cut off"),
    ] {
        assert!(read(bytes).unwrap_err().to_string().contains(what));
    }
    for (place, value, size, what) in [
        (54, 57, 2, "6 program headers of 57 bytes"),
        (56, 0xffff, 2, "65535 program headers of 56 bytes"),
        (56, 0, 2, "0 program headers"),
        (32, u64::MAX - 3, 8, "0xfffffffffffffffc cannot be read"),
        (32, 0x2ff0, 8, "0x2ff0 cannot be read"),
        (4, 9, 1, "the ELF header is malformed"),
        (5, 9, 1, "the ELF header is malformed"),
    ] {
        let mut bytes = elf(0);
        put(&mut bytes, place, value, size);
        let text = read(&bytes).unwrap_err().to_string();
        assert!(text.contains(what), "{place}: {text}");
    }
    let mut bytes = elf(0);
    (0..3).for_each(|index| put(&mut bytes, 64 + index * 56, 0, 4));
    assert!(
        read(&bytes)
            .unwrap_err()
            .to_string()
            .contains("no loadable segment")
    );
}

#[test]
fn a_size_reaches_to_the_end_of_the_highest_segment() {
    // A segment as large as the address space is cut at its end and does not wrap around.
    let mut bytes = elf(0);
    put(&mut bytes, 64 + 2 * 56 + 40, u64::MAX, 8);
    let (image, _) = parsed(&bytes);
    assert_eq!(image.size(), page_of(u64::MAX));
    assert_eq!(image.data().count(), 0);
}

/// The image begins with its header, even if another segment is below it.
#[test]
fn the_segment_with_the_header_is_the_first_one() {
    let mut bytes = elf(0x10_0000);
    put(&mut bytes, 64 + 56 + 16, 0x8_0000, 8);
    let (image, _) = parsed(&bytes);
    assert_eq!(image.bias(), BASE.wrapping_sub(0x10_0000));
    // If no segment contains the header, the lowest one counts.
    (0..3).for_each(|index| put(&mut bytes, 64 + index * 56 + 8, 0x1000, 8));
    let (image, _) = parsed(&bytes);
    assert_eq!(image.bias(), BASE.wrapping_sub(0x8_0000));
}

#[test]
fn malformed_notes_have_no_build_id() {
    for data in [
        &[0xff; 0x24][..],
        &[0; 0x24],
        &[
            4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, b'G', b'N', b'U', 0,
        ],
        // Longer than any build id.
        &[4, 0, 0, 0, 0x41, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0],
    ] {
        let mut bytes = elf(0);
        bytes[0x300..0x300 + data.len()].copy_from_slice(data);
        put(&mut bytes, 64 + 3 * 56 + 40, 0x100, 8);
        let (image, mut memory) = parsed(&bytes);
        assert_eq!(image.build_id(&mut memory), None, "{data:?}");
    }
}

#[test]
fn without_usable_section_names_there_is_no_hash() {
    for (place, value, size) in [
        (40, u64::MAX, 8),
        (40, 0, 8),
        (58, 63, 2),
        (60, 0xffff, 2),
        (62, 0xffff, 2),
        // The offset of the name, the offset and size of the table, the offset of the code.
        (0x2840, 0xffff_ffff, 4),
        (0x2880 + 24, u64::MAX, 8),
        (0x2880 + 32, 3, 8),
        (0x2840 + 24, u64::MAX, 8),
    ] {
        let mut bytes = elf(0);
        put(&mut bytes, place, value, size);
        let (image, _) = parsed(&bytes);
        assert_eq!(image.text_hash(&mut Pieces::one(0, bytes)), None, "{place:#x}");
    }
    // A table with a huge size is read as far as the file goes.
    let mut bytes = elf(0);
    put(&mut bytes, 0x2880 + 32, u64::MAX, 8);
    let (image, _) = parsed(&bytes);
    assert!(image.text_hash(&mut Pieces::one(0, bytes)).is_some());
}

/// The table of section names is read only once, however many sections there are.
#[test]
fn many_sections_cost_three_reads() {
    struct Counted(Pieces, usize);
    impl Memory for Counted {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, dumpwright_target::Fault> {
            self.1 += 1;
            self.0.read(at, into)
        }
    }
    let mut bytes = elf(0);
    let [none, text, names] = [0x2800, 0x2840, 0x2880].map(|at| bytes[at..at + 64].to_vec());
    let table = bytes.len() as u64;
    for section in std::iter::repeat_n(&names, 9_998).chain([&none, &text]) {
        bytes.extend(section);
    }
    put(&mut bytes, 40, table, 8);
    put(&mut bytes, 60, 10_000, 2);
    let (image, _) = parsed(&bytes);
    let mut file = Counted(Pieces::one(0, bytes), 0);
    assert!(image.text_hash(&mut file).is_some());
    assert_eq!(file.1, 3);
}

/// The last record of an image ends at the end of the address space: no addition may overflow.
#[test]
fn records_may_end_with_the_address_space() {
    const LAST: u32 = 0x2ff8;
    let mut bytes = elf(0);
    // The first segment contains the whole image, and the unwind information is its last 8 bytes.
    put(&mut bytes, 64 + 40, 0x3000, 8);
    put_words(&mut bytes, 0x504, &[LAST - 0x504]);
    let base = u64::MAX - bytes.len() as u64;
    for (length, found) in [(0_u32, Some(4)), (4, Some(8)), (5, Some(8)), (u32::MAX, None)] {
        put_words(&mut bytes, LAST as usize, &[length, u32::MAX]);
        let (image, mut memory) = at(base, &bytes);
        let frames = image.frames(&mut memory);
        // For a length of all ones, the 64-bit length is cut off, so there is no record.
        assert_eq!(frames.map(AddressRange::len), found, "{length:#x}");
        assert!(frames.is_none_or(|frames| frames.start() == base + u64::from(LAST)));
    }
}

#[test]
fn pointers_to_unwind_information_are_understood_in_every_encoding() {
    for (encoding, bytes, found) in [
        (0x03, &[0x40, 5, 0, 0x70][..], true),
        (0x04, &[0x40, 5, 0, 0x70, 0, 0, 0, 0], true),
        (0x00, &[0x40, 5, 0, 0x70, 0, 0, 0, 0], true),
        (0x12, &[0x3c, 0], true),
        (0x1a, &[0x3c, 0], true),
        (0x1b, &[0x3c, 0, 0, 0], true),
        (0x3b, &[0x40, 0, 0, 0], true),
        (0x2b, &[0x40, 0, 0, 0], false),
        (0x01, &[0x40, 0, 0, 0], false),
        (0xff, &[0; 8], false),
    ] {
        let mut image = elf(0);
        image[0x501] = encoding;
        image[0x504..0x504 + bytes.len()].copy_from_slice(bytes);
        let (parsed, mut memory) = parsed(&image);
        let frames = parsed.frames(&mut memory).map(AddressRange::start);
        assert_eq!(frames, found.then_some(BASE + 0x540), "{encoding:#x}");
    }
}

/// The sample with an unwind index of functions: their places and sizes.
fn with_functions(functions: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = elf(0);
    put_words(&mut bytes, 0x508, &[functions.len() as u32]);
    for (index, (start, size)) in functions.iter().enumerate() {
        let record = 0x700 + index * 16;
        let from_index = [*start, record as u64].map(|at| (at - 0x500) as u32);
        put_words(&mut bytes, 0x50c + index * 8, &from_index);
        put_words(
            &mut bytes,
            record,
            &[0, 0, (*start as usize - record - 8) as u32, *size],
        );
    }
    bytes
}

/// The hash of what is in memory: the sections, which follow the segments, are not.
fn hash_in_memory(bytes: &[u8]) -> Option<Vec<u8>> {
    let (image, mut memory) = parsed(&bytes[..0x2800]);
    image.text_hash_in_memory(&mut memory)
}

#[test]
fn code_in_memory_has_the_hash_of_the_file() {
    let bytes = with_functions(&[(0x1000, 0x20), (0x1040, 0x10)]);
    let (image, _) = parsed(&bytes);
    let in_file = image.text_hash(&mut Pieces::one(0, bytes.clone()));
    assert!(in_file.is_some());
    assert_eq!(hash_in_memory(&bytes), in_file);
    // The table of sections is in a segment.
    let mut bytes = elf(0);
    bytes.copy_within(0x2800..0x28d1, 0x640);
    put(&mut bytes, 40, 0x640, 8);
    put(&mut bytes, 0x640 + 2 * 64 + 24, 0x640 + 0xc0, 8);
    bytes[0x2800..].fill(0);
    assert_eq!(hash_in_memory(&bytes), in_file);
}

#[test]
fn what_linkers_put_before_and_behind_the_code_is_not_hashed() {
    const STUB: [u8; 6] = [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25];
    let expected = Some(vec![0xcc; 16]);
    // `.init` without unwind information, then stubs, then a gap.
    let mut bytes = with_functions(&[(0x1010, 0x10), (0x1020, 0x8), (0x1040, 0x10)]);
    bytes[0x1000..0x1060].fill(0);
    bytes[0x1000..0x1003].copy_from_slice(&[0x50, 0x58, 0xc3]);
    bytes[0x1010..0x1016].copy_from_slice(&STUB);
    bytes[0x1020..0x1026].copy_from_slice(&STUB);
    bytes[0x1040..0x1050].fill(0xcc);
    assert_eq!(hash_in_memory(&bytes), expected);
    // `.fini` ends the code.
    bytes[0x1080..0x1084].fill(0x90);
    assert_ne!(hash_in_memory(&bytes), expected);
    put(&mut bytes, 0x2050, 13, 8);
    put(&mut bytes, 0x2058, 0x1080, 8);
    assert_eq!(hash_in_memory(&bytes), expected);
    // `.init` alone.
    let mut bytes = with_functions(&[(0x1010, 0x10)]);
    bytes[0x1000..0x1010].copy_from_slice(&[0x50, 0x58, 0xc3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes[0x1010..0x1020].fill(0xcc);
    assert_eq!(hash_in_memory(&bytes), expected);
}

/// A debugger refuses a file whose hash differs.
#[test]
fn without_a_certain_start_or_end_there_is_no_hash() {
    let sound = with_functions(&[(0x1000, 0x20)]);
    assert!(hash_in_memory(&sound).is_some());
    for (what, place, value, size) in [
        ("another version of the index", 0x500, 2, 1),
        ("another encoding of its count", 0x502, 0x1b, 1),
        ("another encoding of its entries", 0x503, 0x1b, 1),
        ("no entries", 0x508, 0, 4),
        ("more entries than memory", 0x508, u64::from(u32::MAX), 4),
        ("a function outside the code", 0x50c, 0x300, 4),
        ("code that no function contains", 0x50c, 0xb10, 4),
        ("more code segments", 64 + 2 * 56 + 4, 7, 4),
        ("stubs behind the code", 0x2050, 2, 8),
        ("another section behind zeros", 0x1200, 1, 1),
    ] {
        let mut bytes = sound.clone();
        put(&mut bytes, place, value, size);
        // The size of the stubs.
        put(&mut bytes, 0x2058, 0x18, 8);
        assert_eq!(hash_in_memory(&bytes), None, "{what}");
    }
    // Code that is not resident.
    let (image, _) = parsed(&sound);
    let mut memory: Pieces = [
        (BASE, sound[..0x1008].to_vec()),
        (BASE + 0x1800, sound[0x1800..].to_vec()),
    ]
    .into_iter()
    .collect();
    assert_eq!(image.text_hash_in_memory(&mut memory), None);
}

#[test]
fn programs_of_go_begin_with_the_second_page() {
    let mut bytes = elf(0);
    bytes.splice(0x1000..0x1010, vec![0xcc; 0x1000]);
    // One segment of headers and code, no unwind index.
    put(&mut bytes, 64 + 4, 5, 4);
    put(&mut bytes, 64 + 32, 0x2000, 8);
    put(&mut bytes, 64 + 40, 0x2000, 8);
    put(&mut bytes, 64 + 56, 0, 4);
    put(&mut bytes, 64 + 5 * 56, 0, 4);
    assert_eq!(hash_in_memory(&bytes), None);
    bytes[0x30c..0x310].copy_from_slice(b"Go\0\0");
    assert_eq!(hash_in_memory(&bytes), Some(vec![0; 16]));
    bytes[0x1000] = 0xcd;
    assert_eq!(hash_in_memory(&bytes).expect("certain")[0], 1);
}

/// Compares with goblin's parser, which reads whole files, on this test program.
#[test]
fn goblin_reading_the_whole_file_agrees() {
    let bytes = std::fs::read(std::env::current_exe().expect("has a path")).expect("readable");
    if !bytes.starts_with(ELFMAG) {
        return;
    }
    let mut file = Pieces::one(0, bytes.clone());
    let image = Elf::read(&mut file, 0).expect("sound").expect("an image");
    let whole = goblin::elf::Elf::parse(&bytes).expect("sound");
    let id = whole.iter_note_headers(&bytes).and_then(|notes| {
        notes
            .map_while(Result::ok)
            .find(|note| note.n_type == goblin::elf::note::NT_GNU_BUILD_ID)
    });
    let id = id.map(|note| note.desc.to_vec());
    assert!(id.is_some());
    assert_eq!(image.build_id_in_file(&mut file), id);
    let text = whole
        .section_headers
        .iter()
        .find(|s| whole.shdr_strtab.get_at(s.sh_name) == Some(".text"));
    let text = text.expect("has code");
    let mut hash = [0; 16];
    for (i, byte) in bytes[text.sh_offset as usize..][..4096].iter().enumerate() {
        hash[i % 16] ^= byte;
    }
    assert_eq!(image.text_hash(&mut file).as_deref(), Some(&hash[..]));
    let loaded = image.clone().loaded_at(BASE);
    let segments = image.loads().map(|load| {
        let place = load.p_vaddr.wrapping_add(loaded.bias());
        (
            place,
            bytes[load.p_offset as usize..][..load.p_filesz as usize].to_vec(),
        )
    });
    let mut memory: Pieces = segments.collect();
    assert_eq!(
        loaded.text_hash_in_memory(&mut memory).as_deref(),
        Some(&hash[..])
    );
    let ends = image.loads().map(|segment| segment.p_vaddr + segment.p_memsz);
    assert_eq!(
        image.size(),
        ends.max().expect("has segments").next_multiple_of(4096)
    );
    assert!(image.loads().any(Elf::is_code));
}

/// A process with a list of loaded objects. Each value in `next` is the link of one entry.
///
/// The program headers are at 0x40 and the dynamic section is at 0x400 of the program. The
/// `r_debug` structure is at 0x1000, and entry `n` is at 0x1000 + n * 0x100. The name of each entry
/// ends where its memory ends.
fn process(next: &[u64]) -> Pieces {
    let mut program = vec![0; 0x800];
    for (index, (kind, place, size)) in [(PT_PHDR, 0x40, 0x70), (PT_DYNAMIC, 0x400, 0x30)]
        .into_iter()
        .enumerate()
    {
        let at = 0x40 + index * 56;
        put(&mut program, at, u64::from(kind), 4);
        put(&mut program, at + 16, place, 8);
        put(&mut program, at + 40, size, 8);
    }
    put(&mut program, 0x400, 21, 8);
    put(&mut program, 0x408, 0x1000, 8);
    let mut pieces = vec![(BASE, program), (0x8_0000_0ffe, b"xy".to_vec())];
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    pieces.push((0x1000, words(&[1, 0x1100, 2, 0, 3])));
    for (index, next) in (1..).zip(next) {
        let entry = [index, 0x8_0000_0ffe, 7, *next];
        pieces.push((0x1000 + 0x100 * index, words(&entry)));
    }
    pieces.into_iter().collect()
}

const PT_PHDR: u32 = 6;

fn linker(memory: &mut Pieces) -> Linker {
    loaded_objects(memory, BASE + 0x40, 2, 8)
}

#[test]
fn the_linkers_list_is_followed_to_its_end() {
    let Linker { debug, problems } = linker(&mut process(&[0x1200, 0x1300, 0]));
    let debug = debug.expect("is there");
    assert_eq!(problems, []);
    assert_eq!((debug.version, debug.brk, debug.ldbase), (1, 2, 3));
    assert_eq!((debug.dynamic, debug.dynamic_section.len()), (BASE + 0x400, 0x20));
    let links: Vec<_> = debug
        .links
        .iter()
        .map(|link| (link.addr, &*link.name, link.ld))
        .collect();
    assert_eq!(links, [(1, "xy", 7), (2, "xy", 7), (3, "xy", 7)]);
}

#[test]
fn lists_that_are_damaged_end() {
    for (next, count, words) in [
        (&[0x1200, 0x1300, 0x1100][..], 3, "contains a cycle at 0x1100"),
        (&[0x1100], 1, "contains a cycle at 0x1100"),
        (&[0x1200, 0xdead_0000], 2, "breaks off at 0xdead0000"),
    ] {
        let Linker { debug, problems } = linker(&mut process(next));
        assert_eq!(debug.expect("begins well").links.len(), count);
        assert_eq!(problems.len(), 1);
        let text = problems[0].to_string();
        assert!(problems[0].is_loss() && text.contains(words), "{text}");
    }
    let endless: Vec<_> = (0..MOST_LINKS as u64 + 2)
        .map(|index| 0x1200 + index * 0x100)
        .collect();
    let Linker { debug, problems } = linker(&mut process(&endless));
    assert_eq!(debug.expect("begins well").links.len(), MOST_LINKS);
    assert_eq!(problems, [ListProblem::TooMany]);
    let text = problems[0].to_string();
    assert!(text.contains("more than 65536 entries"), "{text}");
    // The list is being changed, then r_debug is cut off, then there is no memory at all.
    let mut memory = process(&[0]);
    put(memory.piece_mut(0x1000).expect("there"), 24, 1, 8);
    let changing = linker(&mut memory);
    assert_eq!(changing.problems, [ListProblem::Changing]);
    assert!(changing.debug.is_some() && !changing.problems[0].is_loss());
    memory.piece_mut(0x1000).expect("there").truncate(39);
    assert!(matches!(
        linker(&mut memory).problems[..],
        [ListProblem::Unreadable(_)]
    ));
    let Linker { debug, problems } = linker(&mut Pieces::default());
    assert_eq!(debug, None);
    assert!(matches!(problems[..], [ListProblem::Program(_)]), "{problems:?}");
}

/// The longest paths in the longest list would take a quarter of a gigabyte.
#[test]
fn paths_of_a_hostile_list_do_not_fill_the_memory() {
    let next: Vec<_> = (0..10_000).map(|index| 0x1200 + index * 0x100).collect();
    let mut memory: Vec<_> = vec![(0x8_0000_0ffe, vec![b'x'; 5000])];
    let sound = process(&next);
    memory.extend(sound.into_iter().filter(|(at, _)| *at != 0x8_0000_0ffe));
    let Linker { debug, problems } = linker(&mut memory.into_iter().collect());
    assert_eq!(problems, [ListProblem::Paths]);
    assert_eq!(debug.expect("begins well").links.len(), 1024);
}
