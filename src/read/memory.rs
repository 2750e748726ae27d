//! Captured memory.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, hex};
use super::losses::Loss;
use super::stream_type;

/// Bytes of `MINIDUMP_MEMORY_DESCRIPTOR` and of `MINIDUMP_MEMORY_DESCRIPTOR64`.
pub(super) const RANGE_SIZE: u64 = 16;
/// Bytes in front of the descriptors of Memory64ListStream.
pub(super) const MEMORY64_HEADER: u64 = 16;

/// One range of MemoryListStream or Memory64ListStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryRange {
    /// File offset of the range's descriptor.
    pub record_offset: u64,
    /// First address.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Where the file holds them.
    pub file_offset: u64,
}

impl Dump {
    /// The ranges of MemoryListStream, then those of Memory64ListStream, in the file's order.
    ///
    /// # Errors
    ///
    /// A list is damaged or lies outside the file. That the bytes of a range lie inside is seen when they are read.
    pub fn memory_ranges(&self) -> Result<Vec<MemoryRange>, ReadError> {
        let mut ranges = self.memory_list()?;
        ranges.extend(self.memory64_list()?);
        Ok(ranges)
    }

    pub(super) fn memory_list(&self) -> Result<Vec<MemoryRange>, ReadError> {
        let Some(entry) = self.stream(stream_type::MEMORY_LIST) else {
            return Ok(Vec::new());
        };
        self.entries(
            self.counted_list(entry, RANGE_SIZE)?,
            RANGE_SIZE,
            |record_offset, record| MemoryRange {
                record_offset,
                address: record.u64(0),
                size: record.u32(8).into(),
                file_offset: record.u32(12).into(),
            },
        )
    }

    pub(super) fn memory64_list(&self) -> Result<Vec<MemoryRange>, ReadError> {
        const WHAT: &str = "Memory64ListStream";
        let Some(entry) = self.stream(stream_type::MEMORY64_LIST) else {
            return Ok(Vec::new());
        };
        let (offset, size) = (u64::from(entry.rva), u64::from(entry.size));
        let head = self.prefix(WHAT, offset, size, MEMORY64_HEADER)?;
        let (count, base) = (Fields(&head).u64(0), Fields(&head).u64(8));
        let fits = count
            .checked_mul(RANGE_SIZE)
            .and_then(|all| all.checked_add(MEMORY64_HEADER))
            .is_some_and(|all| all <= size);
        if !fits {
            let reason = format!("{count} ranges do not fit into its {size} bytes");
            return Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason,
            });
        }
        // The data of the ranges lie one behind the other; only the first offset is stored. Sizes that run past
        // 2^64 stay there and are refused when read.
        let mut next = base;
        let table = super::dump::Table {
            what: WHAT,
            start: offset + MEMORY64_HEADER,
            count,
            stride: RANGE_SIZE,
        };
        self.entries(table, RANGE_SIZE, |record_offset, record| {
            let range = MemoryRange {
                record_offset,
                address: record.u64(0),
                size: record.u64(8),
                file_offset: next,
            };
            next = next.saturating_add(range.size);
            range
        })
    }

    /// The file offset behind the last byte of memory; `None` for dumps without memory.
    pub(super) fn memory_end(&self) -> Result<Option<u64>, ReadError> {
        let Some(entry) = self.stream(stream_type::MEMORY64_LIST) else {
            let ends = self.memory_list()?.into_iter();
            return Ok(ends
                .map(|range| range.file_offset.saturating_add(range.size))
                .max());
        };
        let ranges = self.memory64_list()?;
        match ranges.last() {
            Some(last) => Ok(Some(last.file_offset.saturating_add(last.size))),
            None => {
                let head = self.prefix("Memory64ListStream", entry.rva.into(), entry.size.into(), 16)?;
                Ok(Some(Fields(&head).u64(8)))
            }
        }
    }

    /// The captured bytes from `address` on. Adjacent ranges are read as one. `None` unless every byte was captured;
    /// bytes that the dump names as lost are not captured, although the file holds a fill pattern in their place
    /// ([`Dump::lost`] tells the two apart).
    ///
    /// # Errors
    ///
    /// The memory list is damaged, or the bytes it names lie outside the file.
    pub fn memory(&self, address: u64, length: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(pieces) = self.memory_map()?.locate(address, length) else {
            return Ok(None);
        };
        for (offset, size) in &pieces {
            self.require("captured memory", *offset, *size)?;
        }
        let mut bytes = Vec::new();
        for (offset, size) in pieces {
            let read = self.bytes("captured memory", offset, size)?;
            if bytes.is_empty() {
                bytes = read
            } else {
                bytes.extend(read)
            }
        }
        Ok(Some(bytes))
    }

    /// Whether every byte of the range was captured and none of it was lost.
    ///
    /// # Errors
    ///
    /// The memory list is damaged.
    pub fn has_memory(&self, address: u64, length: u64) -> Result<bool, ReadError> {
        Ok(self.memory_map()?.locate(address, length).is_some())
    }

    /// What was lost of a range while it was being captured: the entries of the loss trailer that touch it.
    ///
    /// # Errors
    ///
    /// The memory list or the loss trailer is damaged.
    pub fn lost(&self, address: u64, length: u64) -> Result<Vec<Loss>, ReadError> {
        let losses = &self.memory_map()?.losses;
        Ok(losses
            .iter()
            .filter(|loss| loss.touches(address, length))
            .copied()
            .collect())
    }
}

/// Addresses to file offsets: disjoint pieces, ascending.
pub(super) struct MemoryMap {
    pieces: Vec<Piece>,
    losses: Vec<Loss>,
}

/// Both ends are inclusive, so that the last byte of the address space is nothing special.
struct Piece {
    first: u64,
    last: u64,
    file_offset: u64,
}

impl MemoryMap {
    /// Empty ranges and ranges that run past the end of the address space are left out; where ranges overlap, the one
    /// that starts first has the byte.
    pub(super) fn new(ranges: &[MemoryRange], losses: Vec<Loss>) -> Self {
        let mut pieces: Vec<Piece> = ranges
            .iter()
            .filter_map(|range| {
                let last = range.address.checked_add(range.size.checked_sub(1)?)?;
                Some(Piece {
                    first: range.address,
                    last,
                    file_offset: range.file_offset,
                })
            })
            .collect();
        pieces.sort_by_key(|piece| piece.first);
        let mut covered_to: Option<u64> = None;
        pieces.retain_mut(|piece| {
            if let Some(covered) = covered_to
                && piece.first <= covered
            {
                if piece.last <= covered {
                    return false;
                }
                let skip = covered + 1 - piece.first;
                piece.first += skip;
                piece.file_offset = piece.file_offset.saturating_add(skip);
            }
            covered_to = Some(piece.last);
            true
        });
        Self { pieces, losses }
    }

    pub(super) fn losses_touch(&self, address: u64, length: u64) -> bool {
        self.losses.iter().any(|loss| loss.touches(address, length))
    }

    /// The pieces of the file (offset and size) that together are the range; `None` unless all of it was captured.
    pub(super) fn locate(&self, address: u64, length: u64) -> Option<Vec<(u64, u64)>> {
        if length == 0 {
            return Some(Vec::new());
        }
        let last = address.checked_add(length - 1)?;
        if self.losses_touch(address, length) {
            return None;
        }
        let mut found = Vec::new();
        let mut next = address;
        for piece in &self.pieces[self.pieces.partition_point(|piece| piece.last < address)..] {
            if piece.first > next {
                return None;
            }
            let end = piece.last.min(last);
            let skip = next - piece.first;
            found.push((piece.file_offset.saturating_add(skip), end - next + 1));
            if end == last {
                return Some(found);
            }
            next = end + 1;
        }
        None
    }
}
