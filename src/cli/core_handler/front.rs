//! The beginning of a core: the headers and the notes.

use std::io::{self, Read};

/// The maximum number of bytes in front of the memory. A thread has less than 12 KiB.
const LONGEST: u64 = 256 << 20;

/// The type of a program header for notes (elf(5)).
const PT_NOTE: u32 = 4;

/// Reads a core up to the end of its notes, and nothing behind it. What was read is in `front` even
/// if this fails.
///
/// # Errors
/// It ends before, or it is not a core of the form that the kernel writes.
pub(super) fn read(core: &mut impl Read, front: &mut Vec<u8>) -> io::Result<()> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    up_to(core, front, 20)?;
    if front[..4] != *b"\x7fELF" || front[5] != 1 {
        return Err(malformed("it is not an ELF file for x86"));
    }
    let class = match front[4] {
        1 => CoreClass::NARROW,
        2 => CoreClass::WIDE,
        _ => return Err(malformed("its ELF class is not known")),
    };
    up_to(core, front, class.header)?;
    let table = class.word(front, class.programs_at);
    let count = u64::from(half(front, class.programs_at_count));
    // The first header is that of the notes, and the notes follow the table.
    let first_end = table.saturating_add(class.entry);
    if table < class.header || first_end > LONGEST {
        return Err(malformed("its program headers are elsewhere"));
    }
    up_to(core, front, first_end)?;
    let at = table as usize;
    if count == 0 || u32_at(front, at) != PT_NOTE {
        return Err(malformed("its first program header is not that of the notes"));
    }
    let start = class.word(front, at + class.offset);
    let size = class.word(front, at + class.size);
    let end = start.saturating_add(size);
    if start < first_end || end > LONGEST {
        return Err(malformed("its notes are too long"));
    }
    up_to(core, front, end)
}

/// Reads until `front` has this length.
fn up_to(core: &mut impl Read, front: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let missing = length.saturating_sub(front.len() as u64);
    if core.take(missing).read_to_end(front)? as u64 == missing {
        return Ok(());
    }
    let what = format!("it ends after {} bytes, before the end of its notes", front.len());
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
}

/// Where the fields are (elf(5)).
struct CoreClass {
    /// The size of the ELF header.
    header: u64,
    programs_at: usize,
    programs_at_count: usize,
    /// The size of a program header.
    entry: u64,
    /// The places in a program header of the offset and the size of its contents.
    offset: usize,
    size: usize,
    is_wide: bool,
}

impl CoreClass {
    const NARROW: Self = Self {
        header: 52,
        programs_at: 28,
        programs_at_count: 44,
        entry: 32,
        offset: 4,
        size: 16,
        is_wide: false,
    };
    const WIDE: Self = Self {
        header: 64,
        programs_at: 32,
        programs_at_count: 56,
        entry: 56,
        offset: 8,
        size: 32,
        is_wide: true,
    };

    fn word(&self, bytes: &[u8], at: usize) -> u64 {
        let low = u64::from(u32_at(bytes, at));
        match self.is_wide {
            true => low | u64::from(u32_at(bytes, at + 4)) << 32,
            false => low,
        }
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    u16::from_le_bytes(found.unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_le_bytes(found.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    //! These tests catch bytes that are read behind the notes, and a pipe that is believed.

    use super::*;

    /// A core with notes at 128, of this size.
    fn core(class: u8, size: u32) -> Vec<u8> {
        let mut bytes = vec![0; 128 + size as usize + 100];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        let (table, at, count, offset, length) = match class {
            1 => (52, 28, 44, 4, 16),
            _ => (64, 32, 56, 8, 32),
        };
        bytes[at] = table;
        bytes[count] = 3;
        let entry = usize::from(table);
        bytes[entry] = 4;
        bytes[entry + offset] = 128;
        bytes[entry + length..entry + length + 4].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    #[test]
    fn nothing_behind_the_notes_is_read() {
        for class in [1, 2] {
            let bytes = core(class, 1000);
            let (mut rest, mut front) = (&bytes[..], Vec::new());
            read(&mut rest, &mut front).unwrap();
            assert_eq!((front.len(), rest.len()), (1128, 100));
        }
    }

    #[test]
    fn what_was_read_is_kept() {
        let whole = core(2, 1000);
        for length in [0, 10, 30, 100, 500] {
            let mut front = Vec::new();
            read(&mut &whole[..length], &mut front).unwrap_err();
            assert_eq!(front, whole[..length]);
        }
        let mut other = core(2, 10);
        other[64] = 1;
        let mut long = core(2, 10);
        long[64 + 39] = 1;
        for hostile in [vec![0; 200], long, other] {
            assert!(read(&mut &hostile[..], &mut Vec::new()).is_err());
        }
    }
}
