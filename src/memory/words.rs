//! Reads the words of stacks, which may be addresses.

use dumpwright_target::{AddressRange, Memory, MemoryExt};

use super::reader;
use crate::Error;
use crate::protocol::dialogue::Service;

/// The size of the pieces in which stacks are read, in bytes.
const CHUNK: u64 = 64 << 10;

/// The number of pieces of one stack after which Cancel is sent. Most stacks are shorter. DbgHelp
/// does not send Cancel while it searches a stack.
const CHUNKS_BETWEEN_POLLS: usize = 16;

/// Calls `each` with every aligned word of `range`, except words that cannot be read. `word` is the
/// size of a word in bytes: that of a pointer of the target, 4 or 8.
///
/// # Errors
/// If the callback cancelled the dump.
pub(crate) fn each_word(
    memory: &mut dyn Memory,
    service: &mut Service<'_>,
    range: AddressRange,
    word: u64,
    mut each: impl FnMut(u64),
) -> Result<(), Error> {
    let aligned = range
        .start()
        .checked_next_multiple_of(word)
        .and_then(|start| AddressRange::new(start, range.end() - range.end() % word));
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("small")];
    let chunks = aligned.into_iter().flat_map(|range| range.chunks(CHUNK));
    for (index, chunk) in chunks.enumerate() {
        if index > 0 && index.is_multiple_of(CHUNKS_BETWEEN_POLLS) {
            service.poll_cancel()?;
        }
        let bytes = &mut buffer[..usize::try_from(chunk.len()).expect("at most CHUNK")];
        let lost = match reader::read(memory, service, chunk, bytes) {
            Ok(()) => Vec::new(),
            // An unreadable page does not affect the others.
            Err(_) => reader::read_pages(memory, service, chunk, bytes, 0),
        };
        let mut lost = lost.into_iter().map(|(range, _)| range).peekable();
        let mut at = chunk.start();
        for value in bytes.chunks_exact(usize::try_from(word).expect("small")) {
            while lost.next_if(|range| range.end() <= at).is_some() {}
            if lost.peek().is_none_or(|range| at < range.start()) {
                each(number(value));
            }
            at = at.saturating_add(word);
        }
    }
    Ok(())
}

/// Reads single words of the target. It reads a page at a time, so words in the same page cost one
/// read.
pub(crate) struct WordReader<'m> {
    memory: &'m mut dyn Memory,
    /// The size of a word in bytes, 4 or 8.
    word: u64,
    /// The readable start of the page that was read last.
    page: Vec<u8>,
    /// The address of that page.
    start: u64,
}

impl<'m> WordReader<'m> {
    /// Creates a reader of words of `word` bytes, 4 or 8.
    pub fn new(memory: &'m mut dyn Memory, word: u64) -> Self {
        Self {
            memory,
            word,
            page: Vec::new(),
            start: 0,
        }
    }

    /// Returns the word at `address`; `None` if it cannot be read.
    pub fn at(&mut self, address: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        let inside = address % PAGE;
        // A word that crosses the end of a page, or whose page cannot be read from its beginning,
        // is read separately.
        if inside + self.word > PAGE {
            return self.memory.word(address, self.word).ok();
        }
        if self.page.is_empty() || self.start != address - inside {
            self.start = address - inside;
            self.page.resize(usize::try_from(PAGE).expect("small"), 0);
            let count = self.memory.read(self.start, &mut self.page).unwrap_or(0);
            self.page.truncate(count);
        }
        let from = usize::try_from(inside).expect("inside a page");
        let to = from + usize::try_from(self.word).expect("small");
        match self.page.get(from..to) {
            Some(bytes) => Some(number(bytes)),
            None => self.memory.word(address, self.word).ok(),
        }
    }
}

/// Returns a little-endian number of at most 8 bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}
