//! Handles: HandleDataStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::hex;
use super::stream_type;
use super::strings::TextBudget;

/// Bytes of `MINIDUMP_HANDLE_DESCRIPTOR`, the first version.
pub(super) const HANDLE_SIZE: u64 = 32;
/// Bytes of `MINIDUMP_HANDLE_DESCRIPTOR_2`.
pub(super) const HANDLE_2_SIZE: u64 = 40;

/// One handle; on Linux, one file descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handle {
    /// File offset of the descriptor.
    pub record_offset: u64,
    /// Its value.
    pub handle: u64,
    /// File offset of the type's name, 0 for none.
    pub type_name_rva: u32,
    /// `File`, `Event`, `Socket`, …
    pub type_name: Option<String>,
    /// File offset of the object's name, 0 for none.
    pub object_name_rva: u32,
    /// The object's name; `None` if it has none or it can't be read.
    pub object_name: Option<String>,
    /// Attributes of the handle.
    #[serde(serialize_with = "hex")]
    pub attributes: u32,
    /// Rights, as Windows' access mask.
    #[serde(serialize_with = "hex")]
    pub granted_access: u32,
    /// Handles to the object, the writer's own duplicate included in dumps by DbgHelp.
    pub handle_count: u32,
    /// References to the object.
    pub pointer_count: u32,
    /// File offset of the first information block, 0 for none (always 0 in the first version).
    pub object_info_rva: u32,
}

impl Dump {
    /// The handles in the file's order, from either version of the descriptor.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn handles(&self) -> Result<Vec<Handle>, ReadError> {
        let Some(entry) = self.stream(stream_type::HANDLE_DATA) else {
            return Ok(Vec::new());
        };
        let table = self.sized_list(entry, false, HANDLE_SIZE)?;
        let mut names = TextBudget::new(self);
        let mut name = |rva: u32| {
            if rva == 0 {
                None
            } else {
                self.string_at(rva.into(), &mut names).ok()
            }
        };
        self.entries(table, table.stride.min(HANDLE_2_SIZE), |record_offset, record| {
            let (type_name_rva, object_name_rva) = (record.u32(8), record.u32(12));
            Handle {
                record_offset,
                handle: record.u64(0),
                type_name_rva,
                type_name: name(type_name_rva),
                object_name_rva,
                object_name: name(object_name_rva),
                attributes: record.u32(16),
                granted_access: record.u32(20),
                handle_count: record.u32(24),
                pointer_count: record.u32(28),
                object_info_rva: record.u32(32),
            }
        })
    }
}
