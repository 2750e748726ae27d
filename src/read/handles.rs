//! Handles: HandleDataStream, and HandleOperationListStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, hex, hex_list};
use super::stream_type;
use super::strings::TextBudget;

/// Bytes of `MINIDUMP_HANDLE_DESCRIPTOR`, the first version.
pub(super) const HANDLE_SIZE: u64 = 32;
/// Bytes of `MINIDUMP_HANDLE_DESCRIPTOR_2`.
pub(super) const HANDLE_2_SIZE: u64 = 40;
/// Bytes of `AVRF_HANDLE_OPERATION` with its 32 return addresses.
pub(super) const OPERATION_SIZE: u64 = 288;
/// Bytes of `MINIDUMP_HANDLE_OBJECT_INFORMATION`.
const INFORMATION_SIZE: u64 = 12;
/// More blocks of information about one object are not followed: there are nine kinds, and a chain may be a ring.
const MOST_INFORMATION: usize = 32;

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
    /// Information about the object, as much of it as can be read.
    pub object_information: Vec<ObjectInformation>,
}

/// A block of information about the object that a handle leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectInformation {
    /// File offset of the block.
    pub record_offset: u64,
    /// `MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`: 1 thread, 2 and 3 mutant, 4 and 5 process, 6 event, 7 section,
    /// 8 semaphore.
    pub info_type: u32,
    /// Its bytes, at most 4096.
    #[serde(serialize_with = "hex_list")]
    pub bytes: Vec<u8>,
}

/// Something that was done with a handle, recorded by Application Verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandleOperation {
    /// File offset of the record.
    pub record_offset: u64,
    /// The handle.
    pub handle: u64,
    /// The process that did it.
    pub process_id: u32,
    /// The thread that did it.
    pub thread_id: u32,
    /// 1 open, 2 close, 3 a bad reference.
    pub operation_type: u32,
    /// Its number in the record.
    pub index: u32,
    /// The calls that led there, the innermost first.
    #[serde(serialize_with = "hex_list")]
    pub return_addresses: Vec<u64>,
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
        let mut information_left = self.len();
        self.entries(table, table.stride.min(HANDLE_2_SIZE), |record_offset, record| {
            let (type_name_rva, object_name_rva) = (record.u32(8), record.u32(12));
            let object_info_rva = record.u32(32);
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
                object_info_rva,
                object_information: self.object_information(object_info_rva, &mut information_left),
            }
        })
    }

    /// The chain of blocks that begins at `rva`. What all handles together may take out of the file is bounded by its
    /// length.
    fn object_information(&self, rva: u32, left: &mut u64) -> Vec<ObjectInformation> {
        const WHAT: &str = "information about an object";
        /// No known kind has more than 40 bytes.
        const LARGEST: u64 = 4096;
        let mut blocks = Vec::new();
        let mut next = u64::from(rva);
        while next != 0 && blocks.len() < MOST_INFORMATION {
            let mut head = [0; INFORMATION_SIZE as usize];
            if self.fill(WHAT, next, &mut head).is_err() {
                break;
            }
            let head = Fields(&head);
            let size = u64::from(head.u32(8)).min(LARGEST);
            let Some(rest) = left.checked_sub(INFORMATION_SIZE + size) else {
                break;
            };
            *left = rest;
            let Ok(bytes) = self.bytes(WHAT, next + INFORMATION_SIZE, size) else {
                break;
            };
            blocks.push(ObjectInformation {
                record_offset: next,
                info_type: head.u32(4),
                bytes,
            });
            next = head.u32(0).into();
        }
        blocks
    }

    /// What was done with handles, in the file's order.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn handle_operations(&self) -> Result<Vec<HandleOperation>, ReadError> {
        let Some(entry) = self.stream(stream_type::HANDLE_OPERATION_LIST) else {
            return Ok(Vec::new());
        };
        let table = self.sized_list(entry, false, OPERATION_SIZE)?;
        self.entries(table, OPERATION_SIZE, |record_offset, record| {
            let depth = record.u32(24).min(32) as usize;
            HandleOperation {
                record_offset,
                handle: record.u64(0),
                process_id: record.u32(8),
                thread_id: record.u32(12),
                operation_type: record.u32(16),
                index: record.u32(28),
                return_addresses: (0..depth).map(|index| record.u64(32 + 8 * index)).collect(),
            }
        })
    }
}
