//! Looking for bytes anywhere in the file.

use super::dump::Dump;
use super::error::ReadError;

/// Bytes of the file held at a time.
const WINDOW: usize = 1 << 20;

impl Dump {
    /// The file offset of the first place where the needle stands; an empty needle stands at 0. The whole file is
    /// looked through in pieces, memory and everything else.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn find(&self, needle: &[u8]) -> Result<Option<u64>, ReadError> {
        let Some(&first) = needle.first() else {
            return Ok(Some(0));
        };
        let mut window = Vec::new();
        let mut start = 0;
        // Consecutive windows share one byte less than the needle has, so that none can hide on a border.
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

    /// Whether the file holds these bytes nowhere: the question to ask about a secret.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn contains_nowhere(&self, needle: &[u8]) -> Result<bool, ReadError> {
        Ok(self.find(needle)?.is_none())
    }
}
