//! The file as blocks that refer to each other by id; the layout gives them offsets.
//!
//! A stream says how large its records are and how to write them once every offset is known. Nobody
//! outside [`layout`] computes an offset, and nobody outside it narrows one: what does not fit into the
//! format's 32 bits is refused there, before the first byte is written.

mod layout;

use std::borrow::Cow;

pub(crate) use layout::{Layout, Offsets, PlacedContent, narrow};

use crate::Error;

/// Names a block of one plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockId(usize);

/// Writes a record once the offsets are known.
type WriteRecord<'a> = Box<dyn Fn(&Offsets) -> Result<Vec<u8>, Error> + 'a>;

enum Content<'a> {
    /// Bytes that are known already.
    Bytes(Cow<'a, [u8]>),
    /// Bytes that mention other blocks.
    Record(WriteRecord<'a>),
    /// A piece of the target's memory, by its index in the snapshot.
    Piece(usize),
}

struct Block<'a> {
    len: u64,
    align: u64,
    content: Content<'a>,
}

/// What a file will consist of, in the order in which it will stand there, except that memory comes
/// last: it is what makes files large, and everything else must lie below 4 GiB.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    blocks: Vec<Block<'a>>,
    directory: Vec<(u32, Option<BlockId>)>,
}

impl<'a> Plan<'a> {
    /// A block of known bytes.
    pub fn bytes(&mut self, bytes: impl Into<Cow<'a, [u8]>>) -> BlockId {
        let bytes = bytes.into();
        self.add(bytes.len() as u64, 8, Content::Bytes(bytes))
    }

    /// A block of `len` bytes that is written once the offsets are known.
    ///
    /// 8 bytes alignment is more than the format asks for; it is friendlier to readers that map the file.
    pub fn record(&mut self, len: usize, write: impl Fn(&Offsets) -> Result<Vec<u8>, Error> + 'a) -> BlockId {
        self.add(len as u64, 8, Content::Record(Box::new(write)))
    }

    /// A string as minidumps store it: length in bytes, UTF-16, and a NUL that the length does not count.
    ///
    /// The NUL matters: Microsoft's debugger engine shows garbage behind names without it.
    pub fn string(&mut self, text: &str) -> BlockId {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut bytes = Vec::with_capacity(units.len() * 2 + 6);
        let len = u32::try_from(units.len() * 2).expect("a text of the dumper's own fits into memory");
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend(units.iter().chain([&0]).flat_map(|unit| unit.to_le_bytes()));
        self.add(bytes.len() as u64, 4, Content::Bytes(bytes.into()))
    }

    /// The block of a piece of memory: the `index`th of the snapshot, of `len` bytes.
    pub fn piece(&mut self, index: usize, len: u64, align: u64) -> BlockId {
        self.add(len, align, Content::Piece(index))
    }

    /// Lists a stream in the directory.
    pub fn stream(&mut self, stream_type: u32, block: BlockId) {
        self.directory.push((stream_type, Some(block)));
    }

    /// Whether the directory lists a stream of this type.
    pub fn has_stream(&self, stream_type: u32) -> bool {
        self.directory.iter().any(|(listed, _)| *listed == stream_type)
    }

    /// Lists the streams in another order than that of their bytes in the file: by rank, those of one rank as they are.
    pub fn sort_directory(&mut self, rank: impl Fn(u32) -> usize) {
        self.directory.sort_by_key(|(stream_type, _)| rank(*stream_type));
    }

    /// An entry of the directory that readers skip: type 0, no place, no bytes.
    pub fn unused(&mut self) {
        self.directory.push((0, None));
    }

    fn add(&mut self, len: u64, align: u64, content: Content<'a>) -> BlockId {
        self.blocks.push(Block { len, align, content });
        BlockId(self.blocks.len() - 1)
    }
}
