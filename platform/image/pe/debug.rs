//! Debug records, which name the image's PDB.

use dumpwright_target::{AddressRange, Memory, MemoryExt};
use goblin::pe::debug::{
    IMAGE_DEBUG_DIRECTORY_SIZE, IMAGE_DEBUG_TYPE_CODEVIEW, IMAGE_DEBUG_TYPE_MISC, ImageDebugDirectory,
};
use scroll::{LE, Pread};

use super::{DirectoryEntry, Pe};
use crate::limits::{LONGEST_DEBUG_RECORD, MOST_DEBUG_ENTRIES};

/// A debug record in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DebugEntry {
    kind: u32,
    range: AddressRange,
}

impl Pe {
    /// Returns the address ranges of the debug records in memory. Records that are only in the file
    /// are not included.
    pub fn debug_records(&self, memory: &mut dyn Memory) -> Vec<AddressRange> {
        let entries = self.debug_entries(memory);
        entries.into_iter().map(|entry| entry.range).collect()
    }

    /// Returns the bytes of the CodeView record that names the image's PDB; empty if there is none.
    ///
    /// Readers support two kinds: with a GUID (`RSDS`, PDB 7.0) and with a time stamp (`NB10`, PDB
    /// 2.0).
    pub fn cv_record(&self, memory: &mut dyn Memory) -> Vec<u8> {
        self.debug_record(memory, IMAGE_DEBUG_TYPE_CODEVIEW, |record| {
            let least = match record.get(..4) {
                Some(b"RSDS") => 24,
                Some(b"NB10") => 16,
                _ => return false,
            };
            record.len() > least
        })
    }

    /// Returns the bytes of the miscellaneous debug record; empty if there is none.
    ///
    /// `IMAGE_DEBUG_MISC` is older than CodeView records.
    pub fn misc_record(&self, memory: &mut dyn Memory) -> Vec<u8> {
        self.debug_record(memory, IMAGE_DEBUG_TYPE_MISC, |record| {
            // The second word is the length of the record.
            let len = record.pread_with::<u32>(4, LE).unwrap_or(0);
            (13..=record.len()).contains(&(len as usize))
        })
    }

    /// Returns the first debug record of this type that is valid.
    fn debug_record(&self, memory: &mut dyn Memory, kind: u32, is_sound: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let entries = self.debug_entries(memory);
        entries
            .iter()
            .filter(|entry| entry.kind == kind && entry.range.len() <= LONGEST_DEBUG_RECORD as u64)
            .filter_map(|entry| {
                let len = usize::try_from(entry.range.len()).ok()?;
                memory.bytes(entry.range.start(), len).ok()
            })
            .find(|record| is_sound(record))
            .unwrap_or_default()
    }

    fn debug_entries(&self, memory: &mut dyn Memory) -> Vec<DebugEntry> {
        const LONGEST: usize = MOST_DEBUG_ENTRIES * IMAGE_DEBUG_DIRECTORY_SIZE;
        let Some(table) = self.directory(DirectoryEntry::Debug) else {
            return Vec::new();
        };
        let len = usize::try_from(table.len()).map_or(LONGEST, |len| len.min(LONGEST));
        let directory = memory.up_to(table.start(), len);
        let entries = directory.chunks_exact(IMAGE_DEBUG_DIRECTORY_SIZE);
        entries
            .filter_map(|entry| {
                let entry: ImageDebugDirectory = entry.pread_with(0, LE).ok()?;
                // An address of 0 means that the record is only in the file.
                let is_loaded = entry.address_of_raw_data != 0;
                let range = is_loaded.then(|| self.place(entry.address_of_raw_data, entry.size_of_data))?;
                Some(DebugEntry {
                    kind: entry.data_type,
                    range: range?,
                })
            })
            .collect()
    }
}
