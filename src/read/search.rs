//! A search for bytes in the whole file.

use super::dump::Dump;
use super::error::ReadError;

/// The number of bytes of the file that are searched at a time.
const WINDOW: usize = 1 << 20;

impl Dump {
    /// Returns the file offset of the first occurrence of `needle`, or `None` if it does not occur.
    /// An empty needle occurs at offset 0. The search covers the whole file, not only the captured
    /// memory, and reads it in chunks.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn find(&self, needle: &[u8]) -> Result<Option<u64>, ReadError> {
        let Some(&first) = needle.first() else {
            return Ok(Some(0));
        };
        let mut window = Vec::new();
        let mut start = 0;
        // Consecutive windows overlap by one byte less than the length of the needle, so that an
        // occurrence across a boundary is found.
        let step = WINDOW as u64;
        while start < self.len() {
            let size = (step + needle.len() as u64 - 1).min(self.len() - start);
            window.resize(size as usize, 0);
            self.fill("the file", start, &mut window)?;
            let mut from = 0;
            while let Some(found) = window[from..].iter().position(|byte| *byte == first) {
                let at = from + found;
                if window[at..].starts_with(needle) {
                    return Ok(Some(start + at as u64));
                }
                from = at + 1;
            }
            start += step;
        }
        Ok(None)
    }

    /// Returns whether `needle` occurs nowhere in the file. Use it to check that a dump does not
    /// contain a secret.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn contains_nowhere(&self, needle: &[u8]) -> Result<bool, ReadError> {
        Ok(self.find(needle)?.is_none())
    }
}
