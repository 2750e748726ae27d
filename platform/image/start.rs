//! The start of an image, read only once.

use dumpwright_target::{Fault, FaultKind, Memory, MemoryExt};

use crate::limits::FIRST_READ;

/// A memory that keeps a copy of the first bytes of an image.
///
/// The headers of an image are next to each other. Without the copy, each one would be a separate
/// read, which costs a system call and questions to the callback.
pub(crate) struct Start<'a> {
    memory: &'a mut dyn Memory,
    base: u64,
    bytes: Vec<u8>,
}

impl<'a> Start<'a> {
    /// Reads the first bytes at `base`, as many as are readable.
    pub(crate) fn of(memory: &'a mut dyn Memory, base: u64) -> Self {
        let bytes = memory.up_to(base, FIRST_READ);
        Self { memory, base, bytes }
    }
}

impl Memory for Start<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let known = at
            .checked_sub(self.base)
            .and_then(|from| self.bytes.get(usize::try_from(from).ok()?..));
        let known = match known {
            // If the copy ends early, the read of the next byte has already failed.
            Some([]) if self.bytes.len() < FIRST_READ => {
                let operation = format!("read memory at {at:#x}");
                return Err(Fault::new(
                    FaultKind::Unreadable,
                    operation,
                    "an earlier read ended here",
                ));
            }
            None | Some([]) => return self.memory.read(at, into),
            Some(known) => known,
        };
        let count = known.len().min(into.len());
        into[..count].copy_from_slice(&known[..count]);
        Ok(count)
    }
}
