//! Unwind tables.
//!
//! The program headers give the location of the index (`.eh_frame_hdr`). The index gives the start
//! of the call frame information (`.eh_frame`). The end of the call frame information can only be
//! found from its records: the last one has length 0. Source: Linux Standard Base, "Exception
//! Frames".

use dumpwright_target::{AddressRange, Memory, MemoryExt};
use goblin::container::Container;
use scroll::{Endian, Pread};

use super::{Elf, PT_GNU_EH_FRAME};
use crate::limits::LONGEST_FRAMES;

/// The size in bytes of the pieces in which records are read.
const CHUNK: u64 = 64 << 10;

impl Elf {
    /// Returns the address range of the index of the call frame information in memory.
    #[must_use]
    pub fn frame_index(&self) -> Option<AddressRange> {
        self.place(self.segment(PT_GNU_EH_FRAME)?)
    }

    /// Returns the address range of the call frame information to which the index refers. It does
    /// not extend past the end of the segment that contains the index.
    pub fn frames(&self, memory: &mut dyn Memory) -> Option<AddressRange> {
        const VERSION: u8 = 1;
        let index = self.frame_index()?;
        let end = self
            .loads()
            .filter_map(|load| self.place(load))
            .find(|load| load.contains(index.start()))
            .map_or(index.end(), AddressRange::end);
        let head = memory.up_to(index.start(), 12);
        if *head.first()? != VERSION {
            return None;
        }
        let at = self.pointer(*head.get(1)?, head.get(4..)?, index.start())?;
        let all = AddressRange::new(at, end.min(at.saturating_add(LONGEST_FRAMES)))?;
        AddressRange::new(at, records_end(memory, all, self.ctx.le))
    }

    /// Decodes a pointer (`DW_EH_PE_…`) at offset 4 of the index, which is at address `index`.
    fn pointer(&self, encoding: u8, bytes: &[u8], index: u64) -> Option<u64> {
        let endian = self.ctx.le;
        let value = match (encoding & 0x0f, self.ctx.container) {
            (0x00, Container::Big) | (0x04 | 0x0c, _) => bytes.pread_with::<u64>(0, endian).ok()?,
            (0x00, Container::Little) | (0x03, _) => bytes.pread_with::<u32>(0, endian).ok()?.into(),
            (0x02, _) => bytes.pread_with::<u16>(0, endian).ok()?.into(),
            (0x0a, _) => i64::from(bytes.pread_with::<i16>(0, endian).ok()?).cast_unsigned(),
            (0x0b, _) => i64::from(bytes.pread_with::<i32>(0, endian).ok()?).cast_unsigned(),
            _ => return None,
        };
        match encoding & 0xf0 {
            0x00 => Some(value),
            0x10 => Some(index.wrapping_add(4).wrapping_add(value)),
            0x30 => Some(index.wrapping_add(value)),
            _ => None,
        }
    }
}

/// Returns the first address after the record of length 0, or the end of what could be read.
fn records_end(memory: &mut dyn Memory, all: AddressRange, endian: Endian) -> u64 {
    /// A length of all ones means that the real length follows in 64 bits.
    const LONG: u32 = u32::MAX;
    let mut at = all.start();
    let (mut chunk_at, mut chunk) = (at, Vec::new());
    // Each record has more than 4 bytes, so this loop ends.
    while at < all.end() {
        if at.saturating_add(12) > chunk_at.saturating_add(chunk.len() as u64) {
            let len = usize::try_from(CHUNK.min(all.end() - at)).unwrap_or(0);
            (chunk_at, chunk) = (at, memory.up_to(at, len));
        }
        let from = usize::try_from(at - chunk_at).unwrap_or(usize::MAX);
        let Ok(short) = chunk.pread_with::<u32>(from, endian) else {
            return at;
        };
        let (head, len) = match short {
            0 => return at.saturating_add(4),
            LONG => match chunk.pread_with::<u64>(from + 4, endian) {
                Ok(long) => (12, long),
                Err(_) => return at,
            },
            short => (4, short.into()),
        };
        match at.checked_add(head).and_then(|body| body.checked_add(len)) {
            Some(next) if next <= all.end() => at = next,
            // The following bytes are not a record.
            _ => return all.end(),
        }
    }
    at
}
