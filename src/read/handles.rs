//! Handles: HandleDataStream and HandleOperationListStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, hex, hex_list};
use super::list::List;
use super::stream_type;
use super::strings::TextBudget;

/// The size of `MINIDUMP_HANDLE_DESCRIPTOR`, the first version, in bytes.
pub(super) const HANDLE_SIZE: u64 = 32;
/// The size of `MINIDUMP_HANDLE_DESCRIPTOR_2` in bytes.
pub(super) const HANDLE_2_SIZE: u64 = 40;
/// The size of `AVRF_HANDLE_OPERATION` with its 32 return addresses, in bytes.
pub(super) const OPERATION_SIZE: u64 = 288;
/// The size of `MINIDUMP_HANDLE_OBJECT_INFORMATION` in bytes.
const INFORMATION_SIZE: u64 = 12;
/// The maximum number of bytes of information blocks that are read for one list of handles. The
/// blocks of a hundred thousand handles have less.
pub(super) const MOST_INFORMATION_BYTES: u64 = 16 << 20;
/// The maximum number of information blocks that are read for one handle. There are only nine types
/// of blocks, and the chain in a hostile file may be circular.
const MOST_INFORMATION: usize = 32;

/// A handle. In dumps of Linux processes, a file descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handle {
    /// The file offset of the descriptor.
    pub record_offset: u64,
    /// The value of the handle.
    pub handle: u64,
    /// The file offset of the name of the object's type, or 0 if it has none.
    pub type_name_rva: u32,
    /// The name of the object's type, such as `File`, `Event` or `Socket`. `None` if it is absent
    /// or cannot be read.
    pub type_name: Option<String>,
    /// The file offset of the object's name, or 0 if it has none.
    pub object_name_rva: u32,
    /// The name of the object. `None` if it is absent or cannot be read.
    pub object_name: Option<String>,
    /// The attributes of the handle.
    #[serde(serialize_with = "hex")]
    pub attributes: u32,
    /// The access rights, as a Windows access mask.
    #[serde(serialize_with = "hex")]
    pub granted_access: u32,
    /// The number of handles to the object. In dumps that DbgHelp wrote, this includes the
    /// duplicate that DbgHelp itself made.
    pub handle_count: u32,
    /// The number of references to the object.
    pub pointer_count: u32,
    /// The file offset of the first information block, or 0 if there is none. Always 0 in the first
    /// version of the descriptor.
    pub object_info_rva: u32,
    /// The information blocks of the object. Blocks that cannot be read, and all blocks after them,
    /// are absent.
    pub object_information: Vec<ObjectInformation>,
}

/// A block of information about the object of a handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectInformation {
    /// The file offset of the block.
    pub record_offset: u64,
    /// The type of the block (`MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`): 1 thread, 2 and 3 mutant,
    /// 4 and 5 process, 6 event, 7 section, 8 semaphore.
    pub info_type: u32,
    /// The contents of the block, at most 4096 bytes.
    #[serde(serialize_with = "hex_list")]
    pub bytes: Vec<u8>,
}

/// An operation on a handle, recorded by Application Verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandleOperation {
    /// The file offset of the record.
    pub record_offset: u64,
    /// The value of the handle.
    pub handle: u64,
    /// The id of the process that performed the operation.
    pub process_id: u32,
    /// The id of the thread that performed the operation.
    pub thread_id: u32,
    /// The operation: 1 open, 2 close, 3 a bad reference.
    pub operation_type: u32,
    /// The index of the operation in Application Verifier's record.
    pub index: u32,
    /// The return addresses of the calls that led to the operation, innermost first, at most 32.
    #[serde(serialize_with = "hex_list")]
    pub return_addresses: Vec<u64>,
}

impl Dump {
    /// Returns the handles in the order of the file. Both versions of the descriptor are supported.
    /// Empty if the dump has no HandleDataStream.
    ///
    /// A name or an information block that cannot be read is absent from its handle.
    ///
    /// # Errors
    ///
    /// The list itself is malformed, lies outside the file, or has more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries.
    pub fn handles(&self) -> Result<Vec<Handle>, ReadError> {
        self.iter_handles()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::handles`].
    ///
    /// # Errors
    ///
    /// The list itself is malformed or lies outside the file.
    pub fn iter_handles(&self) -> Result<List<'_, Handle>, ReadError> {
        let mut names = TextBudget::new(self);
        let mut name = move |rva: u32| {
            if rva == 0 {
                None
            } else {
                self.string_at(rva.into(), &mut names).ok()
            }
        };
        let mut information_left = self.len().min(MOST_INFORMATION_BYTES);
        self.handle_list(move |mut handle| {
            handle.type_name = name(handle.type_name_rva);
            handle.object_name = name(handle.object_name_rva);
            (handle.object_information, _) =
                self.object_information(handle.object_info_rva, &mut information_left);
            handle
        })
    }

    /// Returns an iterator over the handles without their names and information blocks, which are
    /// elsewhere in the file.
    pub(super) fn handle_records(&self) -> Result<List<'_, Handle>, ReadError> {
        self.handle_list(|handle| handle)
    }

    fn handle_list<'d>(
        &'d self,
        mut make: impl FnMut(Handle) -> Handle + 'd,
    ) -> Result<List<'d, Handle>, ReadError> {
        let Some(entry) = self.stream(stream_type::HANDLE_DATA) else {
            return Ok(List::empty(self));
        };
        let table = self.sized_list(entry, false, HANDLE_SIZE)?;
        let take = table.stride.min(HANDLE_2_SIZE);
        List::new(self, table, take, move |record_offset, record| {
            make(Handle {
                record_offset,
                handle: record.u64(0),
                type_name_rva: record.u32(8),
                type_name: None,
                object_name_rva: record.u32(12),
                object_name: None,
                attributes: record.u32(16),
                granted_access: record.u32(20),
                handle_count: record.u32(24),
                pointer_count: record.u32(28),
                object_info_rva: record.u32(32),
                object_information: Vec::new(),
            })
        })
    }

    /// Returns the chain of information blocks that starts at `rva`. `left` is the number of bytes
    /// that may still be read for all handles together, so that a hostile file with overlapping
    /// blocks uses no more memory than other files of its length.
    ///
    /// Also returns the file offset of the block that could not be read, or 0 if the chain ends.
    pub(super) fn object_information(&self, rva: u32, left: &mut u64) -> (Vec<ObjectInformation>, u32) {
        const WHAT: &str = "information about an object";
        /// The maximum size of a block that is kept, in bytes. No known type has more than 40.
        const LARGEST: u64 = 4096;
        let mut blocks = Vec::new();
        let mut next = rva;
        while next != 0 && blocks.len() < MOST_INFORMATION {
            let mut head = [0; INFORMATION_SIZE as usize];
            if self.fill(WHAT, next.into(), &mut head).is_err() {
                break;
            }
            let head = FieldReader(&head);
            let size = u64::from(head.u32(8)).min(LARGEST);
            let Some(rest) = left.checked_sub(INFORMATION_SIZE + size) else {
                break;
            };
            *left = rest;
            let Ok(bytes) = self.bytes(WHAT, u64::from(next) + INFORMATION_SIZE, size) else {
                break;
            };
            blocks.push(ObjectInformation {
                record_offset: next.into(),
                info_type: head.u32(4),
                bytes,
            });
            next = head.u32(0);
        }
        (blocks, next)
    }

    /// Returns the recorded operations on handles, in the order of the file. Empty if the dump has
    /// no HandleOperationListStream.
    ///
    /// # Errors
    ///
    /// The list is malformed, lies outside the file, or has more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries.
    pub fn handle_operations(&self) -> Result<Vec<HandleOperation>, ReadError> {
        self.iter_handle_operations()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::handle_operations`].
    ///
    /// # Errors
    ///
    /// The list is malformed or lies outside the file.
    pub fn iter_handle_operations(&self) -> Result<List<'_, HandleOperation>, ReadError> {
        let Some(entry) = self.stream(stream_type::HANDLE_OPERATION_LIST) else {
            return Ok(List::empty(self));
        };
        let table = self.sized_list(entry, false, OPERATION_SIZE)?;
        List::new(self, table, OPERATION_SIZE, |record_offset, record| {
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
