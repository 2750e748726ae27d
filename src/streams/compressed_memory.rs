//! CompressedMemory: all memory, in buckets that are compressed with LZ4.
//!
//! Microsoft has not published the format. This is what the DbgHelp of January 2026 was seen to
//! write, and what WinDbg's engine of the same date opens:
//!
//! * The stream is a header of 192 bytes. It contains the file offsets of two tables and of the
//!   compressed bytes. All of this lies between the header and the end of the file.
//! * A bucket is memory of one or more regions, compressed as one LZ4 block: the raw block format,
//!   without a frame and without a size. Buckets may share their bytes.
//! * A region is a range of addresses, and the place of its bytes in a decompressed bucket. Regions
//!   are sorted by address; those of a bucket follow one another.
//!
//! The header is reserved here, as zeros. `emit/compressed.rs` appends everything else, and writes
//! the header last.

use scroll::{Pwrite, SizeWith};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;

/// `CompressedMemoryStream`, which minidump-common does not know.
pub(super) const STREAM_TYPE: u32 = 25;

/// The size of a region, as the header states it.
pub(crate) const REGION_SIZE: u64 = 32;
/// The size of a bucket, as the header states it.
pub(crate) const BUCKET_SIZE: u64 = 40;

/// The largest bucket. LZ4 may enlarge it, by 1 byte in 255, and WinDbg's engine cannot map more
/// than 16 MiB of compressed bytes.
pub(crate) const LARGEST_BUCKET: u32 = 15 << 20;

/// The header, at the place that the directory states.
#[derive(Debug, Clone, Copy, Pwrite, SizeWith)]
pub(crate) struct CompressedHeader {
    /// 192.
    pub header_size: u32,
    /// 2.
    pub version: u32,
    /// `!!pmdz!!`.
    pub signature: [u8; 8],
    /// Differs between dumps.
    pub dump_id: u64,
    pub process_id: u64,
    /// The largest bucket before compression. WinDbg's engine hangs if a bucket is larger.
    pub transfer_size: u64,
    /// The file offset of this header.
    pub stream_offset: u64,
    /// From this header to the end of the file. WinDbg's engine refuses any other size.
    pub stream_size: u64,
    /// The sum of the sizes of all buckets before compression.
    pub plain_bytes: u64,
    /// The sum of the sizes of all buckets after compression.
    pub compressed_bytes: u64,
    /// What compression saved, in percent.
    pub rate: u64,
    pub region_count: u64,
    pub regions_offset: u64,
    /// 32.
    pub region_size: u64,
    pub bucket_count: u64,
    pub buckets_offset: u64,
    /// 40.
    pub bucket_size: u64,
    pub data_offset: u64,
    pub data_size: u64,
    /// 1: LZ4.
    pub library: u32,
    pub reserved: [u8; 44],
}

impl CompressedHeader {
    pub const SIZE: u32 = 192;
    pub const VERSION: u32 = 2;
    pub const SIGNATURE: [u8; 8] = *b"!!pmdz!!";
    pub const LZ4: u32 = 1;
}

/// A range of memory in a bucket.
#[derive(Debug, Clone, Copy, Pwrite, SizeWith)]
pub(crate) struct RegionRecord {
    /// The number of this region, counted from 0.
    pub id: u64,
    pub base: u64,
    pub bucket: u64,
    pub size: u32,
    /// Where its bytes begin in the bucket.
    pub inside: u32,
}

/// A piece of memory that is compressed as a whole.
#[derive(Debug, Clone, Copy, Pwrite, SizeWith)]
pub(crate) struct BucketRecord {
    /// The number of this bucket, counted from 0.
    pub id: u64,
    pub plain_size: u32,
    pub compressed_size: u32,
    /// The file offset of its LZ4 block.
    pub offset: u64,
    pub first_region: u64,
    pub region_count: u64,
}

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.memory().compressed().is_some()
}

pub(super) fn plan<'a>(_: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    plan.reserved(format::size::<CompressedHeader>())
}

/// This test catches a structure that does not have the size that its header states. Tests of whole
/// dumps compare the places of the fields.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_stated_sizes() {
        assert_eq!(
            format::size::<CompressedHeader>(),
            CompressedHeader::SIZE as usize
        );
        assert_eq!(format::size::<RegionRecord>() as u64, REGION_SIZE);
        assert_eq!(format::size::<BucketRecord>() as u64, BUCKET_SIZE);
    }
}
