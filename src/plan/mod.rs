//! The plan of a file: blocks that refer to each other by id. The layout gives them offsets.
//!
//! A stream states how large its records are, and how to write them once every offset is known.
//! Only [`layout`] computes offsets and converts them to the format's 32 bits. A value that does
//! not fit is refused there, before the first byte is written.

mod layout;

use std::borrow::Cow;

pub(crate) use layout::{Layout, Offsets, PlacedBlock, PlacedContent, capped, narrow};

use crate::Error;

/// The id of a block in a plan. In debug builds it contains the id of the plan, so that a block of
/// another plan is detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockId {
    index: usize,
    plan: PlanId,
}

/// The id of a plan; only in debug builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlanId {
    #[cfg(debug_assertions)]
    number: usize,
}

impl Default for PlanId {
    fn default() -> Self {
        #[cfg(debug_assertions)]
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        Self {
            #[cfg(debug_assertions)]
            number: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        }
    }
}

/// Writes a record once the offsets are known.
type WriteRecord<'a> = Box<dyn Fn(&Offsets) -> Result<Vec<u8>, Error> + 'a>;

enum BlockContent<'a> {
    /// Bytes that are known already.
    Bytes(Cow<'a, [u8]>),
    /// Bytes that contain offsets of other blocks.
    Record(WriteRecord<'a>),
    /// A piece of the target's memory, by its index in the snapshot.
    Piece(usize),
    /// Zeros, which are replaced when everything behind them has been written.
    Reserved,
}

struct Block<'a> {
    len: u64,
    align: u64,
    content: BlockContent<'a>,
}

/// The contents of a file, in the order of the file, except that memory comes last: memory makes
/// files large, and everything else must lie below 4 GiB.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    id: PlanId,
    blocks: Vec<Block<'a>>,
    directory: Vec<(u32, Option<BlockId>)>,
    /// The error with which the layout will fail, if there is one.
    refused: Option<Error>,
}

impl<'a> Plan<'a> {
    /// Adds a block of known bytes.
    pub fn bytes(&mut self, bytes: impl Into<Cow<'a, [u8]>>) -> BlockId {
        let bytes = bytes.into();
        self.add(bytes.len() as u64, 8, BlockContent::Bytes(bytes))
    }

    /// Adds a block of known bytes directly behind the block that was added before.
    pub fn packed(&mut self, bytes: impl Into<Cow<'a, [u8]>>) -> BlockId {
        let bytes = bytes.into();
        self.add(bytes.len() as u64, 1, BlockContent::Bytes(bytes))
    }

    /// Adds a block of `len` bytes that is written once the offsets are known.
    ///
    /// It is aligned to 8 bytes. The format requires less, but this helps readers that map the
    /// file.
    pub fn record(&mut self, len: usize, write: impl Fn(&Offsets) -> Result<Vec<u8>, Error> + 'a) -> BlockId {
        self.add(len as u64, 8, BlockContent::Record(Box::new(write)))
    }

    /// Adds a string as minidumps store it: the length in bytes, the text in UTF-16, and a NUL that
    /// the length does not include.
    ///
    /// The NUL is required: without it, Microsoft's debugger engine shows garbage after names.
    pub fn string(&mut self, text: &str) -> BlockId {
        let units: Vec<u16> = text.encode_utf16().collect();
        let len = match narrow(units.len() * 2, "a string") {
            Ok(len) => len,
            Err(error) => return self.refuse(error),
        };
        let mut bytes = Vec::with_capacity(units.len() * 2 + 6);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend(units.iter().chain([&0]).flat_map(|unit| unit.to_le_bytes()));
        self.add(bytes.len() as u64, 4, BlockContent::Bytes(bytes.into()))
    }

    /// Adds the block of a piece of memory: number `index` of the snapshot, with `len` bytes.
    pub fn piece(&mut self, index: usize, len: u64, align: u64) -> BlockId {
        self.add(len, align, BlockContent::Piece(index))
    }

    /// Adds a block of `len` zeros at the end of the layout. It is written when everything that
    /// follows it is known. A plan has at most one such block.
    pub fn reserved(&mut self, len: usize) -> BlockId {
        self.add(len as u64, 8, BlockContent::Reserved)
    }

    /// Makes the layout fail with this error. Returns an empty block in place of the one that the
    /// format cannot store.
    pub fn refuse(&mut self, error: Error) -> BlockId {
        self.refused.get_or_insert(error);
        self.bytes([].as_slice())
    }

    /// Lists a stream in the directory.
    pub fn stream(&mut self, stream_type: u32, block: BlockId) {
        self.directory.push((stream_type, Some(block)));
    }

    /// Whether the directory lists a stream of this type.
    pub fn has_stream(&self, stream_type: u32) -> bool {
        self.directory.iter().any(|(listed, _)| *listed == stream_type)
    }

    /// Sorts the directory by rank. The order of the streams' bytes in the file does not change,
    /// and streams of the same rank keep their order.
    pub fn sort_directory(&mut self, rank: impl Fn(u32) -> usize) {
        self.directory.sort_by_key(|(stream_type, _)| rank(*stream_type));
    }

    /// Adds a directory entry that readers skip: type 0, offset 0, size 0.
    pub fn unused(&mut self) {
        self.directory.push((0, None));
    }

    fn add(&mut self, len: u64, align: u64, content: BlockContent<'a>) -> BlockId {
        self.blocks.push(Block { len, align, content });
        BlockId {
            index: self.blocks.len() - 1,
            plan: self.id,
        }
    }
}
