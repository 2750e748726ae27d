//! The loss trailer: what a dump lost while it was being written.
//!
//! A file written front to back has announced a range before its bytes are read. When such a read fails and the dump
//! goes on, the range keeps its place, filled with 0xDD, and the trailer behind the last byte of memory names it. It
//! can't be a stream, because streams lie below 4 GiB; readers accept bytes behind the last that they know of.
//!
//! Layout, little-endian: `DWLOSSES`, u32 version 1, u32 count, count times { u64 start, u64 length, u32 reason,
//! u32 0 }, u64 length of the whole trailer (both marks included), `DWLOSEND` as the last bytes of the file.

use serde::Serialize;

use super::dump::{Dump, Table};
use super::error::ReadError;
use super::fields::{Fields, hex};

const HEAD_MARK: &[u8; 8] = b"DWLOSSES";
const END_MARK: &[u8; 8] = b"DWLOSEND";
/// Marks, version, count and length.
const FIXED_SIZE: u64 = 32;
const ENTRY_SIZE: u64 = 24;
const WHAT: &str = "the loss trailer";

/// A range of the target's memory that is in the memory list and could not be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// File offset of the trailer's entry.
    pub record_offset: u64,
    /// First address.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// Why.
    pub reason: LossReason,
}

impl Loss {
    /// Whether the loss and a range have a byte in common.
    #[must_use]
    pub fn touches(&self, address: u64, length: u64) -> bool {
        let (Some(own), Some(other)) = (self.length.checked_sub(1), length.checked_sub(1)) else {
            return false;
        };
        self.start <= address.saturating_add(other) && address <= self.start.saturating_add(own)
    }
}

/// Why memory was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LossReason {
    /// 1: the read failed.
    ReadFailed,
    /// 2: the target had gone.
    TargetExited,
    /// A number that this version does not know.
    Other(u32),
}

impl std::fmt::Display for LossReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ReadFailed => f.write_str("read failed"),
            Self::TargetExited => f.write_str("target exited"),
            Self::Other(number) => write!(f, "reason {number}"),
        }
    }
}

impl Dump {
    /// What the dump says it lost. Empty for dumps without a trailer, other writers' dumps among them.
    ///
    /// # Errors
    ///
    /// The file ends as a trailer ends, and the rest of it contradicts that.
    pub fn losses(&self) -> Result<Vec<Loss>, ReadError> {
        let Some((offset, size)) = self.loss_trailer()? else {
            return Ok(Vec::new());
        };
        let malformed = |reason: &str| {
            Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason: reason.to_owned(),
            })
        };
        let head = self.bytes(WHAT, offset, 16)?;
        let fields = Fields(&head);
        if !head.starts_with(HEAD_MARK) {
            return malformed("its length does not lead to its beginning");
        }
        if fields.u32(8) != 1 {
            return malformed("its version is not 1, the one that this reader knows");
        }
        let count = u64::from(fields.u32(12));
        if count * ENTRY_SIZE + FIXED_SIZE != size {
            return malformed("its count and its length disagree");
        }
        let table = Table {
            what: WHAT,
            start: offset + 16,
            count,
            stride: ENTRY_SIZE,
        };
        self.entries(table, ENTRY_SIZE, |record_offset, entry| Loss {
            record_offset,
            start: entry.u64(0),
            length: entry.u64(8),
            reason: match entry.u32(16) {
                1 => LossReason::ReadFailed,
                2 => LossReason::TargetExited,
                other => LossReason::Other(other),
            },
        })
    }

    /// Offset and size of the trailer; `None` if there is none.
    ///
    /// The mark alone proves nothing: a process that handles such dumps has it in its own memory, and memory may be
    /// the last thing in the file. What counts is a mark behind the end of the memory.
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
        let size = Fields(&tail).u64(0);
        if size < FIXED_SIZE || size > room {
            let reason = format!("a length of {size} bytes, where {room} lie behind the memory");
            return Err(ReadError::Malformed {
                what: WHAT,
                offset: self.len() - 16,
                reason,
            });
        }
        Ok(Some((self.len() - size, size)))
    }
}
