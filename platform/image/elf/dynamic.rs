//! The dynamic section and its strings.

use dumpwright_target::{AddressRange, Memory, MemoryExt};
use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{DT_NULL, DT_SONAME, DT_STRSZ, DT_STRTAB, Dyn};
use scroll::Pread;

use super::{Elf, PT_DYNAMIC};
use crate::limits::{LONGEST_DYNAMIC, LONGEST_NAME, LONGEST_STRINGS};

impl Elf {
    /// Returns the address range of the dynamic section in memory.
    #[must_use]
    pub fn dynamic(&self) -> Option<AddressRange> {
        self.place_cut(self.segment(PT_DYNAMIC)?, LONGEST_DYNAMIC)
    }

    /// Returns the address range of the dynamic section's strings in memory. They include the
    /// image's own name.
    pub fn strings(&self, memory: &mut dyn Memory) -> Option<AddressRange> {
        let entries = self.dynamic_entries(memory)?;
        let size = last(&entries, DT_STRSZ).unwrap_or(0);
        let at = self.in_memory(last(&entries, DT_STRTAB)?);
        AddressRange::at(at, size.min(LONGEST_STRINGS))
    }

    /// Returns the name by which other images refer to this one (`DT_SONAME`), from memory. Returns
    /// `None` if it is not a valid file name.
    pub fn soname(&self, memory: &mut dyn Memory) -> Option<String> {
        let entries = self.dynamic_entries(memory)?;
        let strings = self.in_memory(last(&entries, DT_STRTAB)?);
        let at = strings.checked_add(last(&entries, DT_SONAME)?)?;
        let name = memory.string(at, LONGEST_NAME + 1).ok()?;
        let name = String::from_utf8(name).ok()?;
        (!name.is_empty() && name.len() <= LONGEST_NAME && !name.contains('/')).then_some(name)
    }

    /// Converts an address in the dynamic section to an address in memory.
    ///
    /// glibc's dynamic linker replaces the address from the file by the address in memory. Other
    /// linkers (musl) do not, and nothing replaces it in the vDSO. The address has been replaced if
    /// the address minus the bias lies in a segment. Comparing the address with the load address
    /// would prove nothing, because an image may also be loaded below the address for which it was
    /// linked.
    pub(super) fn in_memory(&self, address: u64) -> u64 {
        let linked = address.wrapping_sub(self.bias());
        let is_written = self
            .loads()
            .any(|segment| linked.wrapping_sub(segment.p_vaddr) < segment.p_memsz);
        match is_written {
            true => address,
            false => address.wrapping_add(self.bias()),
        }
    }

    /// Returns the value of a tag of the dynamic section.
    pub(super) fn dynamic_value(&self, memory: &mut dyn Memory, tag: u64) -> Option<u64> {
        last(&self.dynamic_entries(memory)?, tag)
    }

    fn dynamic_entries(&self, memory: &mut dyn Memory) -> Option<Vec<Dyn>> {
        let section = self.dynamic()?;
        let bytes = memory.up_to(section.start(), usize::try_from(section.len()).ok()?);
        Some(entries(&bytes, self.ctx).collect())
    }
}

/// Returns the size in bytes of an entry of a dynamic section, which consists of a tag and a value.
pub(super) fn entry_size(ctx: Ctx) -> usize {
    match ctx.container {
        Container::Big => 16,
        Container::Little => 8,
    }
}

/// Returns the entries of a dynamic section, up to its end mark.
pub(super) fn entries(section: &[u8], ctx: Ctx) -> impl Iterator<Item = Dyn> {
    section.chunks_exact(entry_size(ctx)).map_while(move |entry| {
        let entry: Dyn = entry.pread_with(0, ctx).ok()?;
        (entry.d_tag != DT_NULL).then_some(entry)
    })
}

/// Returns the value of a tag. If there are several entries with it, the last one counts, as for
/// the dynamic linker.
fn last(entries: &[Dyn], tag: u64) -> Option<u64> {
    let found = entries.iter().rev().find(|entry| entry.d_tag == tag)?;
    Some(found.d_val)
}
