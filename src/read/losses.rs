//! The loss trailer, which lists memory that was lost while the dump was being written.
//!
//! The writer writes the file from front to back, so the memory list is in the file before the
//! memory is read. If reading a range fails and the dump continues, the file contains the byte 0xDD
//! in place of the range, and a trailer after the last byte of memory lists the range. If the
//! process was resumed early and 64 MiB are filled already, the file contains zeros instead. The
//! trailer cannot be a stream, because streams must lie below 4 GiB. Readers accept additional
//! bytes at the end of the file.
//!
//! The trailer has these parts, all little-endian:
//!
//! * the bytes `DWLOSSES`
//! * the version, 1, as u32
//! * the number of entries, as u32
//! * the entries: start address (u64), length (u64), reason (u32), 0 (u32)
//! * the length of the whole trailer in bytes, including both marks, as u64
//! * the bytes `DWLOSEND`, which are the last bytes of the file

use serde::Serialize;

use super::dump::{Dump, Table};
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::list::List;

const HEAD_MARK: &[u8; 8] = b"DWLOSSES";
const END_MARK: &[u8; 8] = b"DWLOSEND";
/// The size of the marks, the version, the count and the length in bytes.
const FIXED_SIZE: u64 = 32;
const ENTRY_SIZE: u64 = 24;
const WHAT: &str = "the loss trailer";

/// A range of the target's memory that is in the memory list, but could not be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The file offset of the entry in the trailer.
    pub record_offset: u64,
    /// The first address of the range.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// The length in bytes.
    pub length: u64,
    /// The reason.
    pub reason: LossReason,
}

impl Loss {
    /// Returns whether the lost range and another range have at least one byte in common.
    #[must_use]
    pub fn touches(&self, address: u64, length: u64) -> bool {
        let (Some(own), Some(other)) = (self.length.checked_sub(1), length.checked_sub(1)) else {
            return false;
        };
        self.start <= address.saturating_add(other) && address <= self.start.saturating_add(own)
    }
}

/// The reason why memory was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LossReason {
    /// 1: the memory could not be read.
    ReadFailed,
    /// 2: the target had exited.
    TargetExited,
    /// 3: the target was resumed, or its clone was ended, before the memory was read, because a
    /// time limit had passed.
    TargetResumed,
    /// A reason that this version does not define.
    Other(u32),
}

impl std::fmt::Display for LossReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ReadFailed => f.write_str("read failed"),
            Self::TargetExited => f.write_str("target exited"),
            Self::TargetResumed => f.write_str("target resumed early"),
            Self::Other(number) => write!(f, "reason {number}"),
        }
    }
}

impl Dump {
    /// Returns the entries of the loss trailer. Empty for a dump without a trailer, such as any
    /// dump by another writer.
    ///
    /// # Errors
    ///
    /// The memory list is malformed or lies outside the file, the file ends with the mark of a
    /// trailer and the rest of the trailer is malformed, or one of the two has more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries.
    pub fn losses(&self) -> Result<Vec<Loss>, ReadError> {
        self.iter_losses()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::losses`].
    ///
    /// # Errors
    ///
    /// As for [`Dump::losses`], except that the trailer may have any number of entries.
    pub fn iter_losses(&self) -> Result<List<'_, Loss>, ReadError> {
        let Some((offset, size)) = self.loss_trailer()? else {
            return Ok(List::empty(self));
        };
        let malformed = |reason: &str| {
            Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason: reason.to_owned(),
            })
        };
        let head = self.bytes(WHAT, offset, 16)?;
        let fields = FieldReader(&head);
        if !head.starts_with(HEAD_MARK) {
            return malformed("there is no start mark where its length says that it starts");
        }
        if fields.u32(8) != 1 {
            return malformed("its version is not 1, the only version that this reader supports");
        }
        let count = u64::from(fields.u32(12));
        if count * ENTRY_SIZE + FIXED_SIZE != size {
            return malformed("its number of entries does not match its length");
        }
        let table = Table {
            what: WHAT,
            start: offset + 16,
            count,
            stride: ENTRY_SIZE,
        };
        List::new(self, table, ENTRY_SIZE, |record_offset, entry| Loss {
            record_offset,
            start: entry.u64(0),
            length: entry.u64(8),
            reason: match entry.u32(16) {
                1 => LossReason::ReadFailed,
                2 => LossReason::TargetExited,
                3 => LossReason::TargetResumed,
                other => LossReason::Other(other),
            },
        })
    }

    /// Returns the file offset and the size of the trailer, or `None` if there is none.
    ///
    /// A mark at the end of the file is not enough: memory may be the last part of the file, and a
    /// process that handles such dumps has the mark in its memory. The mark must lie after the end
    /// of the captured memory.
    pub(super) fn loss_trailer(&self) -> Result<Option<(u64, u64)>, ReadError> {
        let Some(memory_end) = self.memory_end()? else {
            return Ok(None);
        };
        let room = self.len().saturating_sub(memory_end);
        if room < 16 {
            return Ok(None);
        }
        let tail = self.bytes(WHAT, self.len() - 16, 16)?;
        if !tail.ends_with(END_MARK) {
            return Ok(None);
        }
        let size = FieldReader(&tail).u64(0);
        if size < FIXED_SIZE || size > room {
            let reason = format!("its length is {size} bytes, but {room} bytes follow the memory");
            return Err(ReadError::Malformed {
                what: WHAT,
                offset: self.len() - 16,
                reason,
            });
        }
        Ok(Some((self.len() - size, size)))
    }
}
