//! Sections, which exist only in the file, and the hash of the code.

use dumpwright_target::{Memory, MemoryExt};
use goblin::elf::section_header::{SHT_NOBITS, SectionHeader};

use super::Elf;
use crate::limits::{HASHED_TEXT, LONGEST_SECTION_NAMES, MOST_ELF_SECTIONS};

impl Elf {
    /// Returns the hash that Breakpad's tools use as the identity of an image without a build id.
    ///
    /// It is the exclusive-or of the 16-byte blocks in the first page of the `.text` section. The
    /// image's first byte must be at address 0 of `file`.
    pub fn text_hash(&self, file: &mut dyn Memory) -> Option<Vec<u8>> {
        let text = self.text_section(file)?;
        hash(file, text.sh_offset, text.sh_size)
    }

    pub(super) fn text_section(&self, file: &mut dyn Memory) -> Option<SectionHeader> {
        const TEXT: &[u8] = b".text\0";
        let count = usize::from(self.header.e_shnum);
        let size = SectionHeader::size(self.ctx);
        let is_table = usize::from(self.header.e_shentsize) == size && self.header.e_shoff != 0;
        if !is_table || count == 0 || count > MOST_ELF_SECTIONS {
            return None;
        }
        let table = file.bytes(self.header.e_shoff, count * size).ok()?;
        let sections = SectionHeader::parse_from(&table, 0, count, self.ctx).ok()?;
        let names = sections.get(usize::from(self.header.e_shstrndx))?;
        let len = usize::try_from(names.sh_size.min(LONGEST_SECTION_NAMES)).ok()?;
        let names = file.up_to(names.sh_offset, len);
        sections
            .into_iter()
            .filter(|section| section.sh_type != SHT_NOBITS && section.sh_size > 0)
            .find(|section| {
                let name = names.get(section.sh_name..);
                name.is_some_and(|name| name.starts_with(TEXT))
            })
    }
}

/// Returns Breakpad's hash of the code at `at`, of which only the first page counts.
pub(super) fn hash(memory: &mut dyn Memory, at: u64, size: u64) -> Option<Vec<u8>> {
    let len = usize::try_from(size.min(HASHED_TEXT)).ok()?;
    let code = memory.bytes(at, len).ok()?;
    let mut hash = vec![0; 16];
    for lane in code.chunks(16) {
        for (sum, byte) in hash.iter_mut().zip(lane) {
            *sum ^= byte;
        }
    }
    Some(hash)
}
