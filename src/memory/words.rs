//! The words of stacks, which may be addresses.

use dumpwright_target::{AddressRange, Frozen};

use super::reader;
use crate::protocol::dialogue::Service;

/// Stacks are read in pieces of this size.
const CHUNK: u64 = 64 << 10;

/// Calls `each` with every aligned word of `range`; what cannot be read has none. A word has as many bytes as a pointer of
/// the target, 4 or 8.
pub(crate) fn each_word(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    range: AddressRange,
    word: u64,
    mut each: impl FnMut(u64),
) {
    let aligned = range
        .start()
        .checked_next_multiple_of(word)
        .and_then(|start| AddressRange::new(start, range.end() - range.end() % word));
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("small")];
    for chunk in aligned.into_iter().flat_map(|range| range.chunks(CHUNK)) {
        let bytes = &mut buffer[..usize::try_from(chunk.len()).expect("at most CHUNK")];
        let lost = match reader::read(frozen, service, chunk, bytes) {
            Ok(()) => Vec::new(),
            // One bad page hides no others.
            Err(_) => reader::read_pages(frozen, service, chunk, bytes, 0),
        };
        let mut at = chunk.start();
        for value in bytes.chunks_exact(usize::try_from(word).expect("small")) {
            if !lost.iter().any(|(range, _)| range.contains(at)) {
                each(number(value));
            }
            at = at.saturating_add(word);
        }
    }
}

/// The word of the target at this address, 4 or 8 bytes; `None` if it cannot be read.
pub(crate) fn word_at(frozen: &mut dyn Frozen, at: u64, word: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let bytes = &mut bytes[..usize::try_from(word).expect("small")];
    let count = frozen.read(at, bytes).ok()?;
    (count == bytes.len()).then(|| number(bytes))
}

/// A little-endian number of at most 8 bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}
