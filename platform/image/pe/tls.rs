//! Thread-local variables.

use dumpwright_target::{AddressRange, Memory, MemoryExt};

use super::{DirectoryEntry, Pe};
use crate::limits::{MOST_TLS_INDEXES, MOST_TLS_ZEROS};

/// The thread-local variables of an image. Each thread has a block with its own copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadLocal {
    /// The index of the block in each thread's array of blocks.
    pub index: u64,
    /// The size of a block in bytes.
    pub size: u64,
}

impl Pe {
    /// Returns the thread-local variables, or `None` if the image has none.
    ///
    /// `most` is the size of the image, which the size of the initial values cannot exceed.
    ///
    /// The fields of the directory (`IMAGE_TLS_DIRECTORY`) are absolute addresses: of the start and
    /// the end of the initial values, of the index that the loader assigned, and of the callbacks.
    /// They are followed by the number of zeros after the initial values.
    pub fn thread_local(&self, memory: &mut dyn Memory, most: u64) -> Option<ThreadLocal> {
        let directory = self.directory(DirectoryEntry::ThreadLocal)?.start();
        let pointer = self.pointer as u64;
        let mut word = |index: u64| memory.word(directory.checked_add(index * pointer)?, pointer).ok();
        let [begin, end, index_at] = [word(0)?, word(1)?, word(2)?];
        let zeros = memory.word(directory.checked_add(4 * pointer)?, 4).ok()?;
        let index = memory.word(index_at, 4).ok()?;
        let values = AddressRange::new(begin, end).map_or(0, AddressRange::len);
        let sound = values <= most && zeros <= MOST_TLS_ZEROS.into() && index < MOST_TLS_INDEXES.into();
        sound.then_some(ThreadLocal {
            index,
            size: values + zeros,
        })
    }
}
