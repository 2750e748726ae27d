//! Headers and debug records of a PE image in memory.

use crate::memory::{Memory, half_at, int_at};

/// Images have few debug records; a longer directory is none.
const MOST_DEBUG_RECORDS: usize = 64;
/// A CodeView record is a path and 24 bytes, a miscellaneous one a path and 12; paths have at most 32767 letters, of up to three bytes
/// each.
const LONGEST_RECORD: usize = 3 * 0x8000 + 24;

/// IMAGE_DEBUG_TYPE_CODEVIEW.
const CODEVIEW: u32 = 2;
/// IMAGE_DEBUG_TYPE_MISC.
const MISC: u32 = 4;
/// IMAGE_DIRECTORY_ENTRY_RESOURCE.
pub(super) const RESOURCES: usize = 2;
/// IMAGE_DIRECTORY_ENTRY_DEBUG.
const DEBUG: usize = 6;

/// What the headers of an image say.
#[derive(Debug)]
pub(super) struct Image<'a, M> {
    memory: &'a M,
    base: u64,
    /// Size in memory, in bytes.
    pub(super) size: u32,
    pub(super) checksum: u32,
    pub(super) timestamp: u32,
    /// Address (from the base) and size of each data directory.
    directories: Vec<[u32; 2]>,
}

impl<'a, M: Memory> Image<'a, M> {
    /// Reads the headers at `base`.
    ///
    /// # Errors
    /// They make no sense; says why.
    pub(super) fn parse(memory: &'a M, base: u64) -> Result<Self, &'static str> {
        /// Of the optional header: what both formats have, and the directories of the longer one.
        const LONGEST: usize = 112 + 16 * 8;
        let dos = memory.array::<64>(base).ok_or("they cannot be read")?;
        if &dos[..2] != b"MZ" {
            return Err("they do not begin with MZ");
        }
        let at = base.checked_add(int_at(&dos, 60).into());
        let head = at.and_then(|at| memory.array::<24>(at));
        let (at, head) = at
            .zip(head)
            .ok_or("the PE header lies where nothing can be read")?;
        if &head[..4] != b"PE\0\0" {
            return Err("there is no PE header");
        }
        let len = usize::from(half_at(&head, 20)).min(LONGEST);
        let optional = memory
            .bytes(at.wrapping_add(24), len)
            .ok_or("the optional header cannot be read")?;
        let magic = optional.get(..2).map(|bytes| half_at(bytes, 0));
        let directories = match magic {
            Some(0x20b) => 112,
            Some(0x10b) => 96,
            _ => return Err("the optional header is of no known kind"),
        };
        if len < directories {
            return Err("the optional header is too short");
        }
        // Behind that many, or behind the header, there are none.
        let count = int_at(&optional, directories - 4).min(16) as usize;
        let pairs = optional[directories..].chunks_exact(8).take(count);
        Ok(Self {
            memory,
            base,
            size: int_at(&optional, 56),
            checksum: int_at(&optional, 64),
            timestamp: int_at(&head, 8),
            directories: pairs.map(|pair| [int_at(pair, 0), int_at(pair, 4)]).collect(),
        })
    }

    /// A data directory, unless it is empty.
    pub(super) fn directory(&self, number: usize) -> Option<[u32; 2]> {
        let directory = *self.directories.get(number)?;
        directory.iter().all(|word| *word != 0).then_some(directory)
    }

    /// Bytes of the image; `None` unless all of them lie inside it and can be read.
    pub(super) fn bytes(&self, at: u32, len: usize) -> Option<Vec<u8>> {
        let end = u64::from(at).checked_add(len as u64)?;
        if end > u64::from(self.size) {
            return None;
        }
        self.memory.bytes(self.base.checked_add(at.into())?, len)
    }

    /// The CodeView record that names the image's PDB, as it is; empty if there is none.
    ///
    /// Two kinds are known to readers: with a GUID (`RSDS`, PDB 7.0), and with a time stamp (`NB10`, PDB 2.0).
    pub(super) fn cv_record(&self) -> Vec<u8> {
        self.debug_record(CODEVIEW, |record| {
            let least = match record.get(..4) {
                Some(b"RSDS") => 24,
                Some(b"NB10") => 16,
                _ => return false,
            };
            record.len() > least
        })
    }

    /// The miscellaneous debug record (`IMAGE_DEBUG_MISC`, of times before CodeView records), as it is; empty if there is none.
    pub(super) fn misc_record(&self) -> Vec<u8> {
        self.debug_record(MISC, |record| {
            // Its second word is its length.
            record.len() > 12 && (13..=record.len()).contains(&(int_at(record, 4) as usize))
        })
    }

    /// The first debug record of this type that is sound.
    fn debug_record(&self, kind: u32, is_sound: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        /// Bytes of IMAGE_DEBUG_DIRECTORY.
        const ENTRY: usize = 28;
        let Some([at, len]) = self.directory(DEBUG) else {
            return Vec::new();
        };
        let len = (len as usize / ENTRY).min(MOST_DEBUG_RECORDS) * ENTRY;
        let entries = self.bytes(at, len).unwrap_or_default();
        let records = entries
            .chunks_exact(ENTRY)
            .filter(|entry| int_at(entry, 12) == kind)
            .filter_map(|entry| {
                // An address of 0 says that the record is in the file only.
                let (len, at) = (int_at(entry, 16) as usize, int_at(entry, 20));
                (at != 0 && len <= LONGEST_RECORD).then(|| self.bytes(at, len))?
            });
        records
            .into_iter()
            .find(|record| is_sound(record))
            .unwrap_or_default()
    }
}
