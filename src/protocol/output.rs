//! The output that a callback has taken over.

use dumpwright_callback::{Ask, Hresult};

/// The bytes that IoWriteAll has passed, each at its offset.
#[derive(Debug, Default)]
pub(crate) struct CallbackFile {
    bytes: Vec<u8>,
    /// The total number of bytes that writes have skipped.
    skipped: u64,
}

/// E_OUTOFMEMORY.
const OUT_OF_MEMORY: Hresult = Hresult(0x8007_000E);

/// The maximum size of the output in bytes. All of it is kept in memory.
const MOST: u64 = 16 << 30;

/// The maximum number of bytes that writes may skip. No known dump writer skips more of the file
/// and fills it in later. The limit keeps a wrong offset from allocating memory for bytes that are
/// never written.
const MOST_SKIPPED: u64 = 256 << 20;

impl CallbackFile {
    /// Stores the bytes of IoWriteAll; ignores other callback types. If the bytes cannot be stored,
    /// sets the status to E_OUTOFMEMORY, which fails the dump.
    pub fn take(&mut self, ask: &mut Ask<'_>) {
        let Ask::IoWriteAll {
            offset,
            bytes,
            status,
            ..
        } = ask
        else {
            return;
        };
        if !self.keep(*offset, bytes) {
            **status = OUT_OF_MEMORY;
        }
    }

    fn keep(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let len = self.bytes.len() as u64;
        let skipped = self.skipped + offset.saturating_sub(len);
        let end = offset.saturating_add(bytes.len() as u64);
        if skipped > MOST_SKIPPED || end > MOST {
            return false;
        }
        let (Ok(start), Ok(end)) = (usize::try_from(offset), usize::try_from(end)) else {
            return false;
        };
        let more = end.saturating_sub(self.bytes.len());
        if self.bytes.try_reserve(more).is_err() {
            return false;
        }
        self.skipped = skipped;
        self.bytes.resize(end.max(self.bytes.len()), 0);
        self.bytes[start..end].copy_from_slice(bytes);
        true
    }

    /// Returns the output so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &mut CallbackFile, offset: u64, bytes: &[u8]) -> Hresult {
        let mut status = Hresult::S_OK;
        output.take(&mut Ask::IoWriteAll {
            handle: 0,
            offset,
            bytes,
            status: &mut status,
        });
        status
    }

    #[test]
    fn writers_may_skip_and_come_back() {
        let mut output = CallbackFile::default();
        assert_eq!(write(&mut output, 4, b"body"), Hresult::S_OK);
        assert_eq!(write(&mut output, 0, b"head"), Hresult::S_OK);
        assert_eq!(output.bytes(), b"headbody");
    }

    #[test]
    fn a_damaged_offset_is_an_error_and_takes_no_memory() {
        let mut output = CallbackFile::default();
        for offset in [1 << 30, 15 << 30, 1 << 40, u64::MAX] {
            assert_eq!(write(&mut output, offset, b"x"), OUT_OF_MEMORY);
        }
        // Many small skips fail as well.
        let mut next = 0;
        while write(&mut output, next, b"x") == Hresult::S_OK {
            next += 64 << 20;
        }
        assert_eq!(next, 5 * (64 << 20));
        assert!(output.bytes().len() as u64 <= MOST_SKIPPED + 8);
    }
}
