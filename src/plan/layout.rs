//! Order, alignment, offsets, range checks: the one place that knows where things stand.

use std::borrow::Cow;

use minidump_common::format::{
    MINIDUMP_DIRECTORY, MINIDUMP_HEADER, MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_SIGNATURE, MINIDUMP_VERSION,
};

use super::{BlockId, Content, Plan};
use crate::{DumpType, Error, format};

/// Where the directory stands: right behind the header. Microsoft's debugger engine refuses files in
/// which a stream lies before the end of the directory.
const DIRECTORY_OFFSET: u32 = 32;
const DIRECTORY_ENTRY: u64 = 12;

/// Where every block stands.
#[derive(Debug)]
pub(crate) struct Offsets {
    /// Offset and length by block.
    places: Vec<(u64, u64)>,
}

/// The file, front to back.
pub(crate) struct Layout<'a> {
    /// Its parts in the order of their offsets, which leave no byte uncovered but alignment.
    pub parts: Vec<Placed<'a>>,
    /// Its length.
    pub len: u64,
}

/// A part of the file.
pub(crate) struct Placed<'a> {
    /// Where it begins.
    pub offset: u64,
    /// What it is.
    pub content: PlacedContent<'a>,
}

/// What a part of the file consists of.
pub(crate) enum PlacedContent<'a> {
    /// These bytes.
    Bytes(Cow<'a, [u8]>),
    /// A piece of memory, by its index in the snapshot.
    Piece(usize),
}

impl Offsets {
    /// The offset of a block, for the few places that have 64 bits for it.
    pub fn rva64(&self, block: BlockId) -> u64 {
        self.places[block.0].0
    }

    /// The offset of a block.
    pub fn rva(&self, block: BlockId) -> Result<u32, Error> {
        self.rva_inside(block, 0)
    }

    /// The offset of a place inside a block.
    pub fn rva_inside(&self, block: BlockId, inside: u64) -> Result<u32, Error> {
        narrow(self.places[block.0].0 + inside, "the offset of a record")
    }

    /// Offset and size of a block.
    pub fn location(&self, block: BlockId) -> Result<MINIDUMP_LOCATION_DESCRIPTOR, Error> {
        Ok(MINIDUMP_LOCATION_DESCRIPTOR {
            rva: self.rva(block)?,
            data_size: narrow(self.places[block.0].1, "a block")?,
        })
    }
}

/// The format's 32 bits for an offset, a size or a count, or the refusal.
pub(crate) fn narrow(value: impl TryInto<u32> + Copy + std::fmt::Display, what: &str) -> Result<u32, Error> {
    value.try_into().map_err(|_| Error::TooLarge {
        what: what.to_owned(),
        reason: format!("{value} is more than 32 bits can say"),
    })
}

impl<'a> Plan<'a> {
    /// Gives every block its place and writes all records.
    ///
    /// # Errors
    /// Something does not fit into the format's 32 bits.
    pub fn layout(self, dump_type: DumpType, time: u32) -> Result<Layout<'a>, Error> {
        let directory_len = self.directory.len() as u64 * DIRECTORY_ENTRY;
        let mut end = u64::from(DIRECTORY_OFFSET) + directory_len;
        let mut places = vec![(0, 0); self.blocks.len()];
        let is_memory = |index: &usize| matches!(self.blocks[*index].content, Content::Piece(_));
        let (memory, tables): (Vec<_>, Vec<_>) = (0..self.blocks.len()).partition(is_memory);
        let order: Vec<_> = tables.into_iter().chain(memory).collect();
        for index in &order {
            let block = &self.blocks[*index];
            let offset = end.next_multiple_of(block.align);
            places[*index] = (offset, block.len);
            end = offset.checked_add(block.len).ok_or_else(|| Error::TooLarge {
                what: "the dump".to_owned(),
                reason: "its length passes 64 bits".to_owned(),
            })?;
        }
        let offsets = Offsets { places };
        let mut head = format::bytes([MINIDUMP_HEADER {
            signature: MINIDUMP_SIGNATURE,
            version: MINIDUMP_VERSION,
            stream_count: narrow(self.directory.len(), "the number of streams")?,
            stream_directory_rva: DIRECTORY_OFFSET,
            checksum: 0,
            time_date_stamp: time,
            flags: dump_type.bits().into(),
        }]);
        for (stream_type, block) in &self.directory {
            let location = block
                .map(|block| offsets.location(block))
                .transpose()?
                .unwrap_or_default();
            head.extend(format::bytes([MINIDUMP_DIRECTORY {
                stream_type: *stream_type,
                location,
            }]));
        }
        let mut parts = vec![Placed {
            offset: 0,
            content: PlacedContent::Bytes(head.into()),
        }];
        let mut blocks: Vec<_> = self.blocks.into_iter().map(Some).collect();
        for index in order {
            let block = blocks[index].take().expect("each block is placed once");
            let (offset, len) = offsets.places[index];
            let content = match block.content {
                Content::Bytes(bytes) => PlacedContent::Bytes(bytes),
                Content::Record(write) => PlacedContent::Bytes(write(&offsets)?.into()),
                Content::Piece(piece) => PlacedContent::Piece(piece),
            };
            if let PlacedContent::Bytes(bytes) = &content {
                assert_eq!(bytes.len() as u64, len, "a record is as long as its plan said");
            }
            parts.push(Placed { offset, content });
        }
        Ok(Layout { parts, len: end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_learn_each_others_places_and_memory_comes_last() {
        let mut plan = Plan::default();
        let memory = plan.piece(0, 100, 1);
        let record = plan.record(4, move |offsets| Ok(offsets.rva(memory)?.to_le_bytes().to_vec()));
        plan.stream(5, record);
        let text = plan.string("hé");
        let layout = plan.layout(DumpType::NORMAL, 7).unwrap();
        let offsets: Vec<_> = layout.parts.iter().map(|part| part.offset).collect();
        // Header and one directory entry end at 44; the record at 48 is 4 bytes, the string 4 + 4 + 2.
        assert_eq!(offsets, [0, 48, 52, 62]);
        assert_eq!(layout.len, 162);
        let PlacedContent::Bytes(bytes) = &layout.parts[1].content else {
            panic!("a record")
        };
        assert_eq!(bytes.as_ref(), 62_u32.to_le_bytes());
        let PlacedContent::Bytes(bytes) = &layout.parts[2].content else {
            panic!("a string")
        };
        assert_eq!(bytes.as_ref(), b"\x04\0\0\0h\0\xe9\0\0\0");
        let _ = text;
    }

    #[test]
    fn what_lies_beyond_4_gib_and_needs_32_bits_is_refused() {
        let mut plan = Plan::default();
        plan.piece(0, 5 << 30, 1);
        let far = plan.piece(1, 10, 1);
        plan.record(4, move |offsets| Ok(offsets.rva(far)?.to_le_bytes().to_vec()));
        assert!(matches!(
            plan.layout(DumpType::NORMAL, 0),
            Err(Error::TooLarge { .. })
        ));
    }
}
