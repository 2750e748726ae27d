//! The memory of the dump, in pieces.

use dumpwright_target::AddressRange;

use crate::memory::buffer::PageBuffer;
use crate::protocol::dialogue::Compression;

/// The memory of the dump. It is set where the memory is chosen; filters change the bytes that have
/// been read.
#[derive(Default)]
pub(crate) struct CapturedMemory {
    pieces: Vec<Piece>,
    is_large: bool,
    compressed: Option<MemoryToCompress>,
}

/// The memory of a CompressedMemoryStream: the pieces, and these ranges.
pub(crate) struct MemoryToCompress {
    /// What is read while the file is written, in ascending order.
    pub ranges: Vec<AddressRange>,
    /// How it is compressed.
    pub settings: Compression,
    /// Whether the pieces are in a MemoryList as well.
    pub lists_pieces: bool,
    /// Whether to poll Cancel while it is read.
    pub polls: bool,
}

impl CapturedMemory {
    /// Takes pieces in the order of the file. `is_large` means that they go into a Memory64List,
    /// because they are too large for a MemoryList or because all memory was wanted.
    pub(super) fn new(pieces: Vec<Piece>, is_large: bool) -> Self {
        Self {
            pieces,
            is_large,
            compressed: None,
        }
    }

    /// Takes memory that is compressed, and pieces that were read already.
    pub(super) fn of_compressed(pieces: Vec<Piece>, compressed: MemoryToCompress) -> Self {
        Self {
            pieces,
            is_large: false,
            compressed: Some(compressed),
        }
    }

    /// The memory that is compressed, if the dump has a CompressedMemoryStream.
    pub fn compressed(&self) -> Option<&MemoryToCompress> {
        self.compressed.as_ref()
    }

    /// Whether the pieces go into a MemoryList.
    pub fn has_list(&self) -> bool {
        match &self.compressed {
            Some(compressed) => compressed.lists_pieces,
            None => !self.is_large,
        }
    }

    /// The pieces, in the order of the file.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether the pieces go into a Memory64List.
    pub fn is_large(&self) -> bool {
        self.is_large
    }

    /// Whether some of the memory is deferred.
    pub fn is_deferred(&self) -> bool {
        let compressed = self.compressed.as_ref();
        compressed.is_some_and(|compressed| !compressed.ranges.is_empty())
            || self.pieces.iter().any(|piece| piece.bytes == Bytes::Deferred)
    }

    /// The piece with this number, for filters.
    pub(super) fn piece_mut(&mut self, number: usize) -> &mut Piece {
        &mut self.pieces[number]
    }
}

/// A piece of the target's memory in the dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub range: AddressRange,
    pub bytes: Bytes,
}

/// The state of a piece's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// Read already. The target is no longer needed for them.
    Fetched(PageBuffer),
    /// To be read while the file is written.
    Deferred,
    /// Known to be unreadable. The range is listed with no bytes.
    Lost,
}

impl Piece {
    /// The number of its bytes in the file.
    pub fn len(&self) -> u64 {
        match self.bytes {
            Bytes::Fetched(_) | Bytes::Deferred => self.range.len(),
            Bytes::Lost => 0,
        }
    }
}

/// An index that finds the pieces that contain an address or overlap a range, by number.
pub(crate) struct PieceIndex {
    /// Range and number of each piece that has bytes, in ascending order.
    pieces: Vec<(AddressRange, usize)>,
    /// For each piece, the highest end of it and all pieces before it. Pieces can overlap after a
    /// RemoveMemory in DbgHelp's way.
    reach: Vec<u64>,
}

impl PieceIndex {
    pub fn of(pieces: &[Piece]) -> Self {
        let numbered = pieces.iter().zip(0..).filter(|(piece, _)| piece.len() > 0);
        let mut pieces: Vec<_> = numbered.map(|(piece, number)| (piece.range, number)).collect();
        pieces.sort_unstable();
        let mut highest = 0;
        let reach = pieces.iter().map(|(range, _)| {
            highest = range.end().max(highest);
            highest
        });
        let reach = reach.collect();
        Self { pieces, reach }
    }

    /// Returns the first piece, in the order of the file, that contains `address`.
    pub fn at(&self, address: u64) -> Option<usize> {
        let holding = AddressRange::at(address, 1).map(|byte| self.meeting(byte));
        holding.into_iter().flatten().min()
    }

    /// Returns all pieces that have bytes in `range`.
    pub fn meeting(&self, range: AddressRange) -> impl Iterator<Item = usize> {
        let from = self.reach.partition_point(|end| *end <= range.start());
        self.pieces[from..]
            .iter()
            .take_while(move |(piece, _)| piece.start() < range.end())
            .filter(move |(piece, _)| piece.intersect(range).is_some())
            .map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_in_any_order_and_where_they_overlap() {
        let piece = |start, end, bytes| Piece {
            range: AddressRange::new(start, end).unwrap(),
            bytes,
        };
        let pieces = [
            piece(50, 60, Bytes::Deferred),
            piece(10, 40, Bytes::Deferred),
            piece(12, 14, Bytes::Deferred),
            piece(70, 80, Bytes::Lost),
            piece(35, 45, Bytes::Deferred),
        ];
        let index = PieceIndex::of(&pieces);
        for address in 0..90 {
            let holding = |piece: &Piece| piece.len() > 0 && piece.range.contains(address);
            assert_eq!(index.at(address), pieces.iter().position(holding), "{address}");
        }
        let mut met: Vec<_> = index.meeting(AddressRange::new(13, 51).unwrap()).collect();
        met.sort_unstable();
        assert_eq!(met, [0, 1, 2, 4]);
    }
}
