//! The address space: MemoryInfoListStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::hex;
use super::stream_type;

/// Bytes of `MINIDUMP_MEMORY_INFO`.
pub(super) const REGION_SIZE: u64 = 48;

/// One region of the address space, in Windows' terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryRegion {
    /// File offset of the record.
    pub record_offset: u64,
    /// First address.
    #[serde(serialize_with = "hex")]
    pub base: u64,
    /// First address of the allocation that the region belongs to.
    #[serde(serialize_with = "hex")]
    pub allocation_base: u64,
    /// Protection when it was allocated.
    #[serde(serialize_with = "hex")]
    pub allocation_protect: u32,
    /// Bytes.
    pub size: u64,
    /// 0x1000 committed, 0x2000 reserved, 0x10000 free.
    #[serde(serialize_with = "hex")]
    pub state: u32,
    /// 1 no access, 2 read, 4 read and write, 8 copy on write, 0x10 execute, 0x20 and read, 0x40 and write, 0x80 and
    /// copy on write; 0x100 guard, 0x200 not cached.
    #[serde(serialize_with = "hex")]
    pub protect: u32,
    /// 0x20000 private, 0x40000 mapped, 0x1000000 image.
    #[serde(serialize_with = "hex")]
    pub kind: u32,
}

impl Dump {
    /// The regions of MemoryInfoListStream in the file's order.
    ///
    /// # Errors
    ///
    /// The list is damaged or lies outside the file.
    pub fn memory_regions(&self) -> Result<Vec<MemoryRegion>, ReadError> {
        let Some(entry) = self.stream(stream_type::MEMORY_INFO_LIST) else {
            return Ok(Vec::new());
        };
        let table = self.sized_list(entry, true, REGION_SIZE)?;
        self.entries(table, REGION_SIZE, |record_offset, record| MemoryRegion {
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
