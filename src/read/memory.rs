//! The captured memory: MemoryListStream, Memory64ListStream and CompressedMemoryStream.

use serde::Serialize;

use super::compressed_memory::CompressedRegion;
use super::dump::{Dump, Table};
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::list::{LIST_LIMIT, List, reserve};
use super::losses::Loss;
use super::stream_type;

/// The size of `MINIDUMP_MEMORY_DESCRIPTOR` and of `MINIDUMP_MEMORY_DESCRIPTOR64` in bytes.
pub(super) const RANGE_SIZE: u64 = 16;
/// The size of the header of Memory64ListStream in bytes.
pub(super) const MEMORY64_HEADER: u64 = 16;

/// How many bytes may be decompressed in one read, in addition to those that are read. Only in a
/// hostile file are buckets much larger than their regions.
const MOST_WASTED: u64 = 4 << 30;

/// A range of captured memory, from MemoryListStream or Memory64ListStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryRange {
    /// The file offset of the range's descriptor.
    pub record_offset: u64,
    /// The first address of the range.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// The size in bytes.
    pub size: u64,
    /// The file offset of the range's bytes.
    pub file_offset: u64,
}

impl Dump {
    /// Returns the ranges of MemoryListStream, followed by those of Memory64ListStream, each in the
    /// order of the file. Compressed memory is not among them, see
    /// [`Dump::iter_compressed_regions`].
    ///
    /// # Errors
    ///
    /// A list is malformed or lies outside the file, or both have more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries together. This method does not check whether the
    /// bytes of the ranges lie inside the file; reading them does.
    pub fn memory_ranges(&self) -> Result<Vec<MemoryRange>, ReadError> {
        self.iter_memory_ranges()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::memory_ranges`].
    ///
    /// # Errors
    ///
    /// A list is malformed or lies outside the file.
    pub fn iter_memory_ranges(&self) -> Result<List<'_, MemoryRange>, ReadError> {
        Ok(self.memory_list()?.chain(self.memory64_list()?))
    }

    pub(super) fn memory_list(&self) -> Result<List<'_, MemoryRange>, ReadError> {
        let Some(entry) = self.stream(stream_type::MEMORY_LIST) else {
            return Ok(List::empty(self));
        };
        let table = self.counted_list(entry, RANGE_SIZE)?;
        List::new(self, table, RANGE_SIZE, |record_offset, record| MemoryRange {
            record_offset,
            address: record.u64(0),
            size: record.u32(8).into(),
            file_offset: record.u32(12).into(),
        })
    }

    pub(super) fn memory64_list(&self) -> Result<List<'_, MemoryRange>, ReadError> {
        const WHAT: &str = "Memory64ListStream";
        let Some(entry) = self.stream(stream_type::MEMORY64_LIST) else {
            return Ok(List::empty(self));
        };
        let (offset, size) = (u64::from(entry.rva), u64::from(entry.size));
        let head = self.prefix(WHAT, offset, size, MEMORY64_HEADER)?;
        let (count, base) = (FieldReader(&head).u64(0), FieldReader(&head).u64(8));
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
        // The file contains the bytes of all ranges one after the other, and only the offset of the
        // first range is stored. An offset that would exceed 2^64 saturates; reading that range
        // fails.
        let mut next = base;
        let table = Table {
            what: WHAT,
            start: offset + MEMORY64_HEADER,
            count,
            stride: RANGE_SIZE,
        };
        List::new(self, table, RANGE_SIZE, move |record_offset, record| {
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

    /// Returns the file offset after the last byte of captured memory, or `None` if the dump has no
    /// memory.
    pub(super) fn memory_end(&self) -> Result<Option<u64>, ReadError> {
        Ok(self.listed_memory_end()?.max(self.compressed_memory_end()))
    }

    fn listed_memory_end(&self) -> Result<Option<u64>, ReadError> {
        let Some(entry) = self.stream(stream_type::MEMORY64_LIST) else {
            let mut end = None;
            for range in self.memory_list()?.bounded(LIST_LIMIT)? {
                let range = range?;
                end = end.max(Some(range.file_offset.saturating_add(range.size)));
            }
            return Ok(end);
        };
        let head = self.prefix("Memory64ListStream", entry.rva.into(), entry.size.into(), 16)?;
        let mut end = FieldReader(&head).u64(8);
        for range in self.memory64_list()?.bounded(LIST_LIMIT)? {
            end = end.saturating_add(range?.size);
        }
        Ok(Some(end))
    }

    /// Returns the captured bytes from `address` on, or `None` if not all of them were captured.
    ///
    /// The bytes may come from several adjacent ranges. Memory that the loss trailer lists was not
    /// captured, even though the file contains a fill pattern in its place. [`Dump::lost`] returns
    /// the losses in a range.
    ///
    /// # Errors
    ///
    /// The memory list, the loss trailer or a table of compressed memory is malformed or has more
    /// than [`LIST_LIMIT`](super::LIST_LIMIT) entries, the bytes lie outside the file or cannot be
    /// decompressed, or there is not enough memory for them.
    pub fn memory(&self, address: u64, length: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(pieces) = self.memory_map()?.locate(address, length) else {
            return Ok(None);
        };
        for (place, size) in pieces.clone() {
            if let MemoryPlace::File(offset) = place {
                self.require("captured memory", offset, size)?;
            }
        }
        let mut bytes = Vec::new();
        reserve(&mut bytes, "captured memory", address, length)?;
        let mut decompressed = None;
        for (place, size) in pieces {
            match place {
                MemoryPlace::File(offset) => {
                    let have = bytes.len();
                    bytes.resize(have + size as usize, 0);
                    self.fill("captured memory", offset, &mut bytes[have..])?;
                }
                MemoryPlace::Bucket { bucket, offset } => {
                    let store = self.bucket_store()?;
                    let before = *decompressed.get_or_insert_with(|| store.decompressed());
                    let (from, to) = (offset as usize, offset as usize + size as usize);
                    store.with_bucket(self, bucket, |plain| bytes.extend_from_slice(&plain[from..to]))?;
                    if store.decompressed() - before > length.saturating_add(MOST_WASTED) {
                        return Err(ReadError::Malformed {
                            what: "captured memory",
                            offset: address,
                            reason: "its buckets are much larger than the regions in them".to_owned(),
                        });
                    }
                }
            }
        }
        Ok(Some(bytes))
    }

    /// Returns whether every byte of the range was captured and none of them was lost.
    ///
    /// # Errors
    ///
    /// The memory list or the loss trailer is malformed.
    pub fn has_memory(&self, address: u64, length: u64) -> Result<bool, ReadError> {
        Ok(self.memory_map()?.locate(address, length).is_some())
    }

    /// Returns the entries of the loss trailer that overlap a range.
    ///
    /// # Errors
    ///
    /// The memory list or the loss trailer is malformed.
    pub fn lost(&self, address: u64, length: u64) -> Result<Vec<Loss>, ReadError> {
        let losses = &self.memory_map()?.losses;
        Ok(losses
            .iter()
            .filter(|loss| loss.touches(address, length))
            .copied()
            .collect())
    }
}

/// A map from addresses to file offsets. A lookup is a binary search, so that it is fast even if a
/// hostile file lists many ranges.
pub(super) struct MemoryMap {
    /// The captured memory: disjoint pieces, sorted by address.
    pieces: Vec<MemoryPiece>,
    /// The losses in the order of the file.
    losses: Vec<Loss>,
    /// An entry for each loss, sorted by address: the first address of the loss, and the highest
    /// last address of this loss and all losses before it.
    lost: Vec<(u64, u64)>,
}

/// Where captured bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryPlace {
    /// At this offset of the file.
    File(u64),
    /// At this offset of a decompressed bucket, which has this number.
    Bucket { bucket: u32, offset: u32 },
}

impl MemoryPlace {
    /// Returns the place that is `count` bytes further on.
    fn plus(self, count: u64) -> Self {
        match self {
            Self::File(offset) => Self::File(offset.saturating_add(count)),
            Self::Bucket { bucket, offset } => Self::Bucket {
                bucket,
                offset: offset.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)),
            },
        }
    }
}

/// A range of captured memory. Both ends are inclusive, so that the last byte of the address space
/// needs no special case.
#[derive(Clone)]
struct MemoryPiece {
    first: u64,
    last: u64,
    place: MemoryPlace,
    /// The last address up to which this piece and the following ones have no gap.
    run_last: u64,
}

impl MemoryPiece {
    /// A piece of `size` bytes. `None` if it is empty or runs past the end of the address space.
    fn new(address: u64, size: u64, place: MemoryPlace) -> Option<Self> {
        let last = address.checked_add(size.checked_sub(1)?)?;
        Some(Self {
            first: address,
            last,
            place,
            run_last: last,
        })
    }

    /// Returns the part of the piece from `first` to `last`, which are inside of it.
    fn part(&self, first: u64, last: u64) -> Self {
        Self {
            first,
            last,
            place: self.place.plus(first - self.first),
            run_last: last,
        }
    }
}

/// Sorts the pieces. If they overlap, the bytes come from the one that starts first.
fn disjoint(mut pieces: Vec<MemoryPiece>) -> Vec<MemoryPiece> {
    pieces.sort_by_key(|piece| piece.first);
    let mut covered_to: Option<u64> = None;
    pieces.retain_mut(|piece| {
        if let Some(covered) = covered_to
            && piece.first <= covered
        {
            if piece.last <= covered {
                return false;
            }
            *piece = piece.part(covered + 1, piece.last);
        }
        covered_to = Some(piece.last);
        true
    });
    pieces
}

/// Returns `pieces` and the parts of `others` that are in none of them, sorted. Both are sorted and
/// disjoint.
fn completed(pieces: Vec<MemoryPiece>, others: &[MemoryPiece]) -> Vec<MemoryPiece> {
    if others.is_empty() {
        return pieces;
    }
    let mut all = Vec::with_capacity(pieces.len() + others.len());
    let mut from = 0;
    for other in others {
        while pieces.get(from).is_some_and(|piece| piece.last < other.first) {
            from += 1;
        }
        let mut next = Some(other.first);
        for piece in pieces[from..]
            .iter()
            .take_while(|piece| piece.first <= other.last)
        {
            if let Some(first) = next.filter(|first| *first < piece.first) {
                all.push(other.part(first, piece.first - 1));
            }
            next = piece.last.checked_add(1);
        }
        if let Some(first) = next.filter(|first| *first <= other.last) {
            all.push(other.part(first, other.last));
        }
    }
    all.extend(pieces);
    all.sort_by_key(|piece| piece.first);
    all
}

impl MemoryMap {
    /// Creates the map. Empty ranges and ranges that run past the end of the address space are
    /// ignored. If ranges overlap, the bytes come from the one that starts first. Compressed
    /// regions count only where no range is.
    pub(super) fn new(ranges: &[MemoryRange], compressed: &[CompressedRegion], losses: Vec<Loss>) -> Self {
        let listed = ranges.iter().filter_map(|range| {
            let place = MemoryPlace::File(range.file_offset);
            MemoryPiece::new(range.address, range.size, place)
        });
        let compressed = compressed.iter().filter_map(|region| {
            let place = MemoryPlace::Bucket {
                bucket: u32::try_from(region.bucket).ok()?,
                offset: region.offset_in_bucket,
            };
            MemoryPiece::new(region.address, region.size.into(), place)
        });
        let compressed = disjoint(compressed.collect());
        let mut pieces = completed(disjoint(listed.collect()), &compressed);
        let mut behind: Option<(u64, u64)> = None;
        for piece in pieces.iter_mut().rev() {
            if let Some((first, run_last)) = behind
                && piece.last.checked_add(1) == Some(first)
            {
                piece.run_last = run_last;
            }
            behind = Some((piece.first, piece.run_last));
        }
        let lost = losses.iter().filter_map(|loss| {
            let more = loss.length.checked_sub(1)?;
            Some((loss.start, loss.start.saturating_add(more)))
        });
        let mut lost: Vec<_> = lost.collect();
        lost.sort_unstable();
        let mut highest = 0;
        for (_, last) in &mut lost {
            highest = highest.max(*last);
            *last = highest;
        }
        Self { pieces, losses, lost }
    }

    /// Returns whether any byte of a range was lost.
    pub(super) fn losses_touch(&self, address: u64, length: u64) -> bool {
        let Some(more) = length.checked_sub(1) else {
            return false;
        };
        let last = address.saturating_add(more);
        let begun = self.lost.partition_point(|(first, _)| *first <= last);
        begun > 0 && address <= self.lost[begun - 1].1
    }

    /// Returns the captured parts of a range, as addresses, places and sizes.
    pub(super) fn within(&self, address: u64, last: u64) -> impl Iterator<Item = (u64, MemoryPlace, u64)> {
        let from = self.pieces.partition_point(|piece| piece.last < address);
        let pieces = self.pieces[from..].iter();
        pieces
            .take_while(move |piece| piece.first <= last)
            .map(move |piece| {
                let (first, last) = (piece.first.max(address), piece.last.min(last));
                (first, piece.place.plus(first - piece.first), last - first + 1)
            })
    }

    /// Returns the places, with sizes, that together contain the range. `None` if any byte of it
    /// was not captured.
    ///
    /// This method is fast, because it is a binary search. The returned iterator takes one step for
    /// each part; in a hostile file, a range may have many parts.
    pub(super) fn locate(&self, address: u64, length: u64) -> Option<LocatedMemory<'_>> {
        if length == 0 {
            return Some(LocatedMemory::default());
        }
        let last = address.checked_add(length - 1)?;
        if self.losses_touch(address, length) {
            return None;
        }
        let from = self.pieces.partition_point(|piece| piece.last < address);
        let first = self.pieces.get(from)?;
        let is_whole = first.first <= address && last <= first.run_last;
        is_whole.then(|| LocatedMemory {
            pieces: &self.pieces[from..],
            wanted: Some((address, last)),
        })
    }
}

/// An iterator over the places, with sizes, that contain a range of memory, by ascending address.
#[derive(Clone, Default)]
pub(super) struct LocatedMemory<'m> {
    pieces: &'m [MemoryPiece],
    /// The first and the last address of the rest of the range.
    wanted: Option<(u64, u64)>,
}

impl Iterator for LocatedMemory<'_> {
    type Item = (MemoryPlace, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let (address, last) = self.wanted?;
        let (piece, behind) = self.pieces.split_first()?;
        let end = piece.last.min(last);
        self.pieces = behind;
        self.wanted = (end < last).then(|| (end + 1, last));
        Some((piece.place.plus(address - piece.first), end - address + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::losses::LossReason;
    use super::*;

    proptest! {
        /// Compares the map with a simple model that looks up each address separately.
        #[test]
        fn ranges_are_located_as_by_looking_up_each_address(
            ranges in prop::collection::vec((0_u64..60, 0_u64..12), 0..12),
            regions in prop::collection::vec((0_u64..60, 0_u32..12), 0..6),
            losses in prop::collection::vec((0_u64..60, 0_u64..6), 0..4),
            shift in prop::sample::select(vec![0, u64::MAX - 79]),
        ) {
            let list: Vec<_> = ranges
                .iter()
                .zip(0..)
                .map(|((start, size), index)| MemoryRange {
                    record_offset: 0,
                    address: shift + start,
                    size: *size,
                    file_offset: 1000 * index,
                })
                .collect();
            let compressed: Vec<_> = regions
                .iter()
                .zip(0..)
                .map(|((start, size), bucket)| CompressedRegion {
                    record_offset: 0,
                    address: shift + start,
                    size: *size,
                    bucket,
                    offset_in_bucket: 100,
                })
                .collect();
            let losses: Vec<_> = losses
                .iter()
                .map(|(start, length)| Loss {
                    record_offset: 0,
                    start: shift + start,
                    length: *length,
                    reason: LossReason::ReadFailed,
                })
                .collect();
            // If ranges overlap, the byte comes from the one that starts first, and from a
            // compressed region only if there is no other.
            let mut by_start = list.clone();
            by_start.sort_by_key(|range| range.address);
            let mut compressed_by_start = compressed.clone();
            compressed_by_start.sort_by_key(|region| region.address);
            let place = |address: u64| {
                let holds = |start: u64, size: u64| start <= address && address - start < size;
                let listed = by_start.iter().find(|range| holds(range.address, range.size));
                let region = compressed_by_start.iter().find(|region| holds(region.address, region.size.into()));
                match (listed, region) {
                    (Some(range), _) => Some(MemoryPlace::File(range.file_offset + (address - range.address))),
                    (None, Some(region)) => Some(MemoryPlace::Bucket {
                        bucket: region.bucket as u32,
                        offset: 100 + (address - region.address) as u32,
                    }),
                    (None, None) => None,
                }
            };
            let map = MemoryMap::new(&list, &compressed, losses.clone());
            for start in 0..75 {
                for length in 1..5 {
                    let address = shift + start;
                    let lost = losses.iter().any(|loss| loss.touches(address, length));
                    prop_assert_eq!(map.losses_touch(address, length), lost);
                    let model: Option<Vec<_>> = (0..length).map(|at| place(address + at)).collect();
                    let located = map.locate(address, length);
                    let bytes = located.map(|pieces| {
                        pieces
                            .flat_map(|(place, size)| (0..size).map(move |at| place.plus(at)))
                            .collect::<Vec<_>>()
                    });
                    prop_assert_eq!(bytes, model.filter(|_| !lost));
                }
            }
        }
    }
}
