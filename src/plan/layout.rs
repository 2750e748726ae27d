//! Order, alignment and offsets of the file's blocks. Only this file computes offsets and checks
//! their range.

use std::borrow::Cow;

use minidump_common::format::{
    MINIDUMP_DIRECTORY, MINIDUMP_HEADER, MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_SIGNATURE, MINIDUMP_VERSION,
};

use super::{BlockContent, BlockId, Plan, PlanId};
use crate::{DumpType, Error, format};

/// The offset of the directory, directly after the header. Microsoft's debugger engine refuses
/// files in which a stream begins before the end of the directory.
const DIRECTORY_OFFSET: u32 = 32;
const DIRECTORY_ENTRY: u64 = 12;

/// The offsets of all blocks.
#[derive(Debug)]
pub(crate) struct Offsets {
    plan: PlanId,
    /// Offset and length of each block.
    places: Vec<(u64, u64)>,
}

/// The file, from front to back.
pub(crate) struct Layout<'a> {
    /// The parts of the file in the order of their offsets. Only bytes for alignment lie between
    /// them.
    pub parts: Vec<PlacedBlock<'a>>,
    /// The length of the file, without what follows the reserved block.
    pub len: u64,
    /// The offset of the reserved block, which is the last part, if there is one.
    pub reserved: Option<u64>,
}

/// A part of the file.
pub(crate) struct PlacedBlock<'a> {
    /// The offset of the part.
    pub offset: u64,
    /// The content of the part.
    pub content: PlacedContent<'a>,
}

/// The content of a part of the file.
pub(crate) enum PlacedContent<'a> {
    /// These bytes.
    Bytes(Cow<'a, [u8]>),
    /// A piece of memory, by its index in the snapshot.
    Piece(usize),
}

impl Offsets {
    /// Returns offset and length of a block.
    fn place(&self, block: BlockId) -> (u64, u64) {
        debug_assert_eq!(self.plan, block.plan, "the block is one of this plan");
        self.places[block.index]
    }

    /// Returns the offset of a block, for fields that have 64 bits for it.
    pub fn rva64(&self, block: BlockId) -> u64 {
        self.place(block).0
    }

    /// Returns the offset of a block.
    pub fn rva(&self, block: BlockId) -> Result<u32, Error> {
        self.rva_inside(block, 0)
    }

    /// Returns the offset of a place inside a block.
    pub fn rva_inside(&self, block: BlockId, inside: u64) -> Result<u32, Error> {
        narrow(self.place(block).0 + inside, "the offset of a record")
    }

    /// Returns offset and size of a block.
    pub fn location(&self, block: BlockId) -> Result<MINIDUMP_LOCATION_DESCRIPTOR, Error> {
        Ok(MINIDUMP_LOCATION_DESCRIPTOR {
            rva: self.rva(block)?,
            data_size: narrow(self.place(block).1, "a block")?,
        })
    }
}

/// Converts an offset, a size or a count to the format's 32 bits.
///
/// # Errors
/// If it does not fit.
pub(crate) fn narrow(value: impl TryInto<u32> + Copy + std::fmt::Display, what: &str) -> Result<u32, Error> {
    value.try_into().map_err(|_| Error::TooLarge {
        what: what.to_owned(),
        reason: format!("{value} needs more than 32 bits"),
    })
}

/// Converts a number to the type `T` of a field. A number that is too large becomes `most`, because
/// refusing the whole dump would be worse. This is for the size of a module of more than 4 GiB (a
/// program with large arrays) and the number of processors. `capture::passed_limits` reports these
/// cases.
pub(crate) fn capped<T: TryFrom<u64>>(value: u64, most: T) -> T {
    T::try_from(value).unwrap_or(most)
}

impl<'a> Plan<'a> {
    /// Gives every block its offset and writes all records.
    ///
    /// # Errors
    /// If something does not fit into the format's 32 bits.
    pub fn layout(self, dump_type: DumpType, time: u32) -> Result<Layout<'a>, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let directory_len = self.directory.len() as u64 * DIRECTORY_ENTRY;
        let mut end = u64::from(DIRECTORY_OFFSET) + directory_len;
        let mut places = vec![(0, 0); self.blocks.len()];
        let mut order: Vec<_> = (0..self.blocks.len()).collect();
        order.sort_by_key(|index| match self.blocks[*index].content {
            BlockContent::Bytes(_) | BlockContent::Record(_) => 0,
            BlockContent::Piece(_) => 1,
            BlockContent::Reserved => 2,
        });
        for index in &order {
            let block = &self.blocks[*index];
            let offset = end.next_multiple_of(block.align);
            places[*index] = (offset, block.len);
            end = offset.checked_add(block.len).ok_or_else(|| Error::TooLarge {
                what: "the dump".to_owned(),
                reason: "its length needs more than 64 bits".to_owned(),
            })?;
        }
        let offsets = Offsets {
            plan: self.id,
            places,
        };
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
        let mut parts = vec![PlacedBlock {
            offset: 0,
            content: PlacedContent::Bytes(head.into()),
        }];
        let mut reserved = None;
        let mut blocks: Vec<_> = self.blocks.into_iter().map(Some).collect();
        for index in order {
            let block = blocks[index].take().expect("each block is placed once");
            let (offset, len) = offsets.places[index];
            let content = match block.content {
                BlockContent::Bytes(bytes) => PlacedContent::Bytes(bytes),
                BlockContent::Record(write) => PlacedContent::Bytes(write(&offsets)?.into()),
                BlockContent::Piece(piece) => PlacedContent::Piece(piece),
                BlockContent::Reserved => {
                    reserved = Some(offset);
                    PlacedContent::Bytes(vec![0; usize::try_from(len).expect("a header")].into())
                }
            };
            if let PlacedContent::Bytes(bytes) = &content {
                assert_eq!(bytes.len() as u64, len, "a record must have the planned length");
            }
            parts.push(PlacedBlock { offset, content });
        }
        Ok(Layout {
            parts,
            len: end,
            reserved,
        })
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
        // Header and one directory entry end at 44; the record at 48 is 4 bytes, the string 4 + 4 +
        // 2.
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

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "the block is one of this plan")]
    fn a_block_of_another_plan_is_refused() {
        let foreign = Plan::default().bytes([1, 2, 3].as_slice());
        let mut plan = Plan::default();
        plan.bytes([4, 5, 6].as_slice());
        plan.record(4, move |offsets| Ok(offsets.rva(foreign)?.to_le_bytes().to_vec()));
        let _ = plan.layout(DumpType::NORMAL, 0);
    }

    #[test]
    fn what_was_refused_while_planning_is_no_layout() {
        let mut plan = Plan::default();
        let error = narrow(5_u64 << 32, "something").unwrap_err();
        plan.refuse(error);
        let Err(Error::TooLarge { what, .. }) = plan.layout(DumpType::NORMAL, 0) else {
            panic!("a layout")
        };
        assert_eq!(what, "something");
    }
}
