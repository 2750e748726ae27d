//! Where the call frame information of an ELF image ends, which only the information itself says.
//!
//! Program headers name the index (`.eh_frame_hdr`), the index says where the information (`.eh_frame`) begins, and the
//! information ends with a record of length 0. Source: Linux Standard Base, "Exception Frames".

use dumpwright_target::AddressRange;
use goblin::container::{Container, Ctx};

use super::Memory;

/// The largest seen (browsers) have some 20 MiB.
const LONGEST: u64 = 64 << 20;

/// Records are read in pieces of this size.
const CHUNK: u64 = 64 << 10;

/// The call frame information that the `index` refers to; it does not pass `end`, the end of its segment.
pub(super) fn eh_frame(
    memory: &mut Memory<'_>,
    index: AddressRange,
    end: u64,
    ctx: Ctx,
) -> Option<AddressRange> {
    const VERSION: u8 = 1;
    let head = memory.up_to(index.start(), 12);
    if *head.first()? != VERSION {
        return None;
    }
    let at = pointer(*head.get(1)?, head.get(4..)?, index.start(), ctx)?;
    let all = AddressRange::new(at, end.min(at.saturating_add(LONGEST)))?.intersect(memory.image)?;
    AddressRange::new(at, records_end(memory, all, ctx))
}

/// The first address behind the record of length 0, or the end of what could be read.
fn records_end(memory: &mut Memory<'_>, all: AddressRange, ctx: Ctx) -> u64 {
    /// A length of all ones says that the real one follows in 64 bits.
    const LONG: u32 = u32::MAX;
    let mut at = all.start();
    let (mut chunk_at, mut chunk) = (at, Vec::new());
    // Each record is longer than 4 bytes, so this ends.
    while at < all.end() {
        if at.saturating_add(12) > chunk_at.saturating_add(chunk.len() as u64) {
            (chunk_at, chunk) = (at, memory.up_to(at, CHUNK.min(all.end() - at)));
        }
        let from = usize::try_from(at - chunk_at).unwrap_or(usize::MAX);
        let Some(short) = chunk.get(from..).and_then(|rest| rest.first_chunk()) else {
            return at;
        };
        let short = match ctx.le.is_little() {
            true => u32::from_le_bytes(*short),
            false => u32::from_be_bytes(*short),
        };
        let (head, len) = match short {
            0 => return at.saturating_add(4),
            LONG => {
                let Some(long) = chunk.get(from + 4..).and_then(|rest| rest.first_chunk()) else {
                    return at;
                };
                match ctx.le.is_little() {
                    true => (12, u64::from_le_bytes(*long)),
                    false => (12, u64::from_be_bytes(*long)),
                }
            }
            short => (4, short.into()),
        };
        match at.checked_add(head).and_then(|body| body.checked_add(len)) {
            Some(next) if next <= all.end() => at = next,
            // It makes no sense from here on.
            _ => return all.end(),
        }
    }
    at
}

/// An encoded pointer (`DW_EH_PE_…`) that stands 4 bytes into the index at `index`.
fn pointer(encoding: u8, bytes: &[u8], index: u64, ctx: Ctx) -> Option<u64> {
    let word = |bytes: &[u8]| {
        let mut buffer = [0; 8];
        match ctx.le.is_little() {
            true => buffer[..bytes.len()].copy_from_slice(bytes),
            false => {
                for (to, from) in buffer.iter_mut().zip(bytes.iter().rev()) {
                    *to = *from;
                }
            }
        }
        u64::from_le_bytes(buffer)
    };
    let signed = |value: u64, bits: u32| (value << (64 - bits)).cast_signed() >> (64 - bits);
    let value = match encoding & 0x0f {
        0x00 => match ctx.container {
            Container::Big => word(bytes.get(..8)?),
            Container::Little => word(bytes.get(..4)?),
        },
        0x02 => word(bytes.get(..2)?),
        0x03 => word(bytes.get(..4)?),
        0x04 | 0x0c => word(bytes.get(..8)?),
        0x0a => signed(word(bytes.get(..2)?), 16).cast_unsigned(),
        0x0b => signed(word(bytes.get(..4)?), 32).cast_unsigned(),
        _ => return None,
    };
    match encoding & 0xf0 {
        0x00 => Some(value),
        0x10 => Some(index.wrapping_add(4).wrapping_add(value)),
        0x30 => Some(index.wrapping_add(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{elf, tests::parts_of};

    /// The last record of a module that ends where addresses end: no sum may pass that.
    #[test]
    fn records_may_end_with_the_address_space() {
        const LAST: u32 = 0x2ff8;
        let mut bytes = elf::tests::image();
        // The first segment holds all of the image, and the unwind information is its last 8 bytes.
        bytes[64 + 40..64 + 48].copy_from_slice(&0x3000_u64.to_le_bytes());
        bytes[0x504..0x508].copy_from_slice(&(LAST - 0x504).to_le_bytes());
        let base = u64::MAX - bytes.len() as u64;
        let start = base + u64::from(LAST);
        for (length, found) in [(0_u32, 4), (4, 8), (5, 8), (u32::MAX, 8)] {
            bytes[LAST as usize..][..4].copy_from_slice(&length.to_le_bytes());
            bytes[LAST as usize + 4..][..4].copy_from_slice(&[0xff; 4]);
            let headers = parts_of(base, &bytes).expect("sound headers").headers;
            let frames: Vec<_> = headers.iter().filter(|part| part.start() == start).collect();
            match length {
                // Its 64-bit length is cut off, so there is no record.
                u32::MAX => assert!(frames.is_empty(), "{frames:?}"),
                _ => assert_eq!(frames.iter().map(|part| part.len()).collect::<Vec<_>>(), [found]),
            }
        }
    }
}
