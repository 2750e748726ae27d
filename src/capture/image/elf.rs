//! ELF images: segments, notes, the dynamic section, unwind tables.

use dumpwright_target::AddressRange;
use goblin::container::{Container, Ctx};
use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_NULL, DT_STRSZ, DT_STRTAB, Dyn};
use goblin::elf::program_header::{PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE, ProgramHeader};
use scroll::Pread;
use scroll::ctx::SizeWith;

use super::{FIRST_PAGE, Memory, Parts, frames};

/// No linker makes more segments. (The largest count seen is below 20.)
const MOST_SEGMENTS: u64 = 1024;

/// Notes and dynamic sections are at most some hundred bytes; of longer ones so much is kept.
const LONGEST_TABLE: u64 = 64 << 10;

/// All notes of an image together. (Images have two or three.)
const LONGEST_NOTES: u64 = LONGEST_TABLE;

/// The strings behind a dynamic section: names of exported and imported symbols. The largest seen (a browser's library)
/// has some megabytes.
const LONGEST_STRINGS: u64 = 16 << 20;

pub(super) fn parts(memory: &mut Memory<'_>, start: &[u8]) -> Result<Parts, String> {
    let base = memory.image.start();
    let header =
        Elf::parse_header(start).map_err(|error| format!("its ELF header makes no sense: {error}"))?;
    let container = header.container().map_err(|error| error.to_string())?;
    let ctx = Ctx::new(container, header.endianness().map_err(|error| error.to_string())?);
    let (count, size) = (u64::from(header.e_phnum), ProgramHeader::size_with(&ctx) as u64);
    if u64::from(header.e_phentsize) != size || count == 0 || count > MOST_SEGMENTS {
        return Err(format!(
            "{count} program headers of {} bytes make no sense",
            header.e_phentsize
        ));
    }
    let table_at = base.wrapping_add(header.e_phoff);
    let table = memory
        .exactly(table_at, count * size)
        .ok_or("its program headers cannot be read")?;
    let segments: Vec<_> = (0..header.e_phnum.into())
        .filter_map(|index: usize| {
            let at = index * usize::try_from(size).ok()?;
            table.pread_with::<ProgramHeader>(at, ctx).ok()
        })
        .collect();
    let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    let lowest = loads()
        .map(|segment| segment.p_vaddr - segment.p_vaddr % FIRST_PAGE)
        .min()
        .ok_or("it has no segment that is loaded")?;
    // Where the image was loaded less where it was linked for; wraps, because a linker may choose any address.
    let bias = base.wrapping_sub(lowest);
    let place = |segment: &ProgramHeader, longest: u64| {
        AddressRange::at(bias.wrapping_add(segment.p_vaddr), segment.p_memsz.min(longest))
    };
    let with_flag = |flag: u32| {
        loads()
            .filter(move |segment| segment.p_flags & flag != 0)
            .filter_map(|segment| place(segment, u64::MAX))
    };

    let mut headers = Vec::new();
    headers.extend(AddressRange::at(base, FIRST_PAGE));
    headers.extend(AddressRange::at(table_at, count * size));
    // Loaders take one dynamic section and one unwind index; of hostile headers that name a thousand of them, which would
    // all be followed, only the first counts.
    let (mut dynamics, mut indexes, mut notes) = (0, 0, LONGEST_NOTES);
    for segment in &segments {
        match segment.p_type {
            PT_NOTE => {
                if let Some(note) = place(segment, notes) {
                    notes -= note.len();
                    headers.push(note);
                }
            }
            PT_DYNAMIC if dynamics == 0 => {
                dynamics += 1;
                let Some(dynamic) = place(segment, LONGEST_TABLE) else {
                    continue;
                };
                headers.push(dynamic);
                headers.extend(strings(memory, dynamic, bias, ctx));
            }
            PT_GNU_EH_FRAME if indexes == 0 => {
                indexes += 1;
                let Some(index) = place(segment, u64::MAX) else {
                    continue;
                };
                headers.push(index);
                let end = loads()
                    .filter_map(|load| place(load, u64::MAX))
                    .find(|load| load.contains(index.start()))
                    .map_or(index.end(), AddressRange::end);
                headers.extend(frames::eh_frame(memory, index, end, ctx));
            }
            _ => {}
        }
    }
    Ok(Parts {
        data: with_flag(PF_W).collect(),
        code: with_flag(PF_X).collect(),
        headers,
    })
}

/// The string table of a dynamic section: the module's own name (`DT_SONAME`) is in it.
fn strings(memory: &mut Memory<'_>, dynamic: AddressRange, bias: u64, ctx: Ctx) -> Option<AddressRange> {
    let bytes = memory.up_to(dynamic.start(), dynamic.len());
    let size = match ctx.container {
        Container::Big => 16,
        Container::Little => 8,
    };
    let entries = bytes.chunks_exact(size).map_while(|entry| {
        let entry: Dyn = entry.pread_with(0, ctx).ok()?;
        (entry.d_tag != DT_NULL).then_some(entry)
    });
    let (mut at, mut len) = (None, 0);
    for entry in entries {
        match entry.d_tag {
            DT_STRTAB => at = Some(entry.d_val),
            DT_STRSZ => len = entry.d_val,
            _ => {}
        }
    }
    // glibc writes addresses over the offsets, musl and the kernel (for the vdso) leave them.
    let at = at.map(|at| match memory.image.contains(at) {
        true => at,
        false => bias.wrapping_add(at),
    })?;
    AddressRange::at(at, len.min(LONGEST_STRINGS))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::parts_of;
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
        bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// A small shared object: code at 0x1000, data from 0x2010 to 0x2410, unwind tables, notes, a dynamic section.
    pub fn image() -> Vec<u8> {
        let mut bytes = vec![0; 0x3000];
        bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        put(&mut bytes, 16, 3, 2);
        put(&mut bytes, 18, 62, 2);
        put(&mut bytes, 20, 1, 4);
        put(&mut bytes, 32, 64, 8);
        put(&mut bytes, 52, 64, 2);
        put(&mut bytes, 54, 56, 2);
        put(&mut bytes, 56, 6, 2);
        // Type, flags, address, size in memory.
        let segments: [(u32, u32, u64, u64); 6] = [
            (PT_LOAD, 4, 0, 0x800),
            (PT_LOAD, 5, 0x1000, 0x234),
            (PT_LOAD, 6, 0x2010, 0x400),
            (PT_NOTE, 4, 0x300, 0x24),
            (PT_DYNAMIC, 6, 0x2020, 0x30),
            (PT_GNU_EH_FRAME, 4, 0x500, 0x14),
        ];
        for (index, (kind, flags, address, size)) in segments.into_iter().enumerate() {
            let at = 64 + index * 56;
            put(&mut bytes, at, kind.into(), 4);
            put(&mut bytes, at + 4, flags.into(), 4);
            put(&mut bytes, at + 16, address, 8);
            put(&mut bytes, at + 40, size, 8);
        }
        // The unwind index: version, and the tables as a distance from this word.
        bytes[0x500..0x504].copy_from_slice(&[1, 0x1b, 0x03, 0x3b]);
        put(&mut bytes, 0x504, 0x540 - 0x504, 4);
        // A CIE, an FDE, the end.
        put(&mut bytes, 0x540, 0x14, 4);
        put(&mut bytes, 0x558, 0x1c, 4);
        // DT_STRTAB, DT_STRSZ.
        put(&mut bytes, 0x2020, 5, 8);
        put(&mut bytes, 0x2028, 0x600, 8);
        put(&mut bytes, 0x2030, 10, 8);
        put(&mut bytes, 0x2038, 0x42, 8);
        bytes
    }

    fn starts(ranges: &[AddressRange]) -> Vec<(u64, u64)> {
        ranges.iter().map(|range| (range.start(), range.len())).collect()
    }

    #[test]
    fn segments_are_exact_and_tables_are_found() {
        let parts = parts_of(0x7000_0000, &image()).unwrap();
        assert_eq!(starts(&parts.code), [(0x7000_1000, 0x234)]);
        assert_eq!(starts(&parts.data), [(0x7000_2010, 0x400)]);
        assert_eq!(
            starts(&parts.headers),
            [
                (0x7000_0000, 0x1000),
                (0x7000_0040, 6 * 56),
                (0x7000_0300, 0x24),
                (0x7000_2020, 0x30),
                (0x7000_0600, 0x42),
                (0x7000_0500, 0x14),
                (0x7000_0540, 0x18 + 0x20 + 4),
            ]
        );
    }

    /// Many segments of the kinds that are followed cost no more than one of each.
    #[test]
    fn segments_that_repeat_are_not_followed() {
        let mut bytes = image();
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
        let headers = parts_of(0x7000_0000, &bytes).unwrap().headers;
        let at = |start: u64| {
            starts(&headers)
                .into_iter()
                .filter(move |part| part.0 == start)
                .map(|part| part.1)
        };
        assert_eq!(at(0x7000_0300).sum::<u64>(), LONGEST_NOTES);
        assert_eq!(at(0x7000_2020).collect::<Vec<_>>(), [0x30]);
        assert_eq!(at(0x7000_0600).collect::<Vec<_>>(), [0x42]);
        assert_eq!(at(0x7000_0500).collect::<Vec<_>>(), [0x14]);
        assert_eq!(at(0x7000_0540).count(), 1);
    }

    /// glibc relocates them, as d_ptr of a running program shows.
    #[test]
    fn relocated_addresses_in_the_dynamic_section_count_too() {
        let mut bytes = image();
        put(&mut bytes, 0x2028, 0x7000_0600, 8);
        let parts = parts_of(0x7000_0000, &bytes).unwrap();
        assert!(starts(&parts.headers).contains(&(0x7000_0600, 0x42)));
    }

    #[test]
    fn broken_headers_are_said_to_be() {
        for (at, value, size, what) in [
            (54, 57, 2, "program headers"),
            (56, 0xffff, 2, "program headers"),
            (32, u64::MAX - 3, 8, "cannot be read"),
            (32, 0x2ff0, 8, "cannot be read"),
        ] {
            let mut bytes = image();
            put(&mut bytes, at, value, size);
            let text = parts_of(0x7000_0000, &bytes).unwrap_err();
            assert!(text.contains(what), "{at}: {text}");
        }
    }
}
