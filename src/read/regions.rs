//! The regions of the address space: MemoryInfoListStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::hex;
use super::list::List;
use super::stream_type;

/// The size of `MINIDUMP_MEMORY_INFO` in bytes.
pub(super) const REGION_SIZE: u64 = 48;

/// A region of the address space. The values are those of Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryRegion {
    /// The file offset of the record.
    pub record_offset: u64,
    /// The first address of the region.
    #[serde(serialize_with = "hex")]
    pub base: u64,
    /// The first address of the allocation to which the region belongs.
    #[serde(serialize_with = "hex")]
    pub allocation_base: u64,
    /// The protection that the memory was allocated with. See [`protect`](Self::protect) for the
    /// values.
    #[serde(serialize_with = "hex")]
    pub allocation_protect: u32,
    /// The size in bytes.
    pub size: u64,
    /// The state: 0x1000 committed, 0x2000 reserved, 0x10000 free.
    #[serde(serialize_with = "hex")]
    pub state: u32,
    /// The protection: 1 no access, 2 read, 4 read and write, 8 copy on write, 0x10 execute, 0x20
    /// execute and read, 0x40 execute, read and write, 0x80 execute and copy on write. Additional
    /// bits are 0x100 for guard pages and 0x200 for memory that is not cached.
    #[serde(serialize_with = "hex")]
    pub protect: u32,
    /// The type: 0x20000 private, 0x40000 mapped, 0x1000000 image.
    #[serde(serialize_with = "hex")]
    pub kind: u32,
}

impl Dump {
    /// Returns the regions of MemoryInfoListStream in the order of the file. Empty if the dump has
    /// no such stream.
    ///
    /// # Errors
    ///
    /// The list is malformed, lies outside the file, or has more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries.
    pub fn memory_regions(&self) -> Result<Vec<MemoryRegion>, ReadError> {
        self.iter_memory_regions()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::memory_regions`].
    ///
    /// # Errors
    ///
    /// The list is malformed or lies outside the file.
    pub fn iter_memory_regions(&self) -> Result<List<'_, MemoryRegion>, ReadError> {
        let Some(entry) = self.stream(stream_type::MEMORY_INFO_LIST) else {
            return Ok(List::empty(self));
        };
        let table = self.sized_list(entry, true, REGION_SIZE)?;
        List::new(self, table, REGION_SIZE, |record_offset, record| MemoryRegion {
            record_offset,
            base: record.u64(0),
            allocation_base: record.u64(8),
            allocation_protect: record.u32(16),
            size: record.u64(24),
            state: record.u32(32),
            protect: record.u32(36),
            kind: record.u32(40),
        })
    }
}
