//! Compressed memory: CompressedMemoryStream, as the DbgHelp of 2026 and dumpwright write it.
//!
//! Microsoft has not published the format. The offsets here are those that were observed, in dumps
//! and in what WinDbg's engine accepts.
//!
//! Memory is cut into buckets. Each bucket is one LZ4 block, and contains regions: ranges of
//! addresses. Buckets are decompressed when one of their bytes is needed. The last ones are kept.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lz4_flex::block::decompress_into;
use serde::Serialize;

use super::dump::{Dump, StreamEntry, Table};
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::list::{List, reserve};
use super::stream_type;

/// The size of the header in bytes, and of the stream in the directory.
pub(super) const HEADER_SIZE: u64 = 0xC0;
const REGION_SIZE: u64 = 32;
const BUCKET_SIZE: u64 = 40;

/// The largest bucket that is decompressed. No writer makes larger ones.
const LARGEST_BUCKET: u32 = 64 << 20;

/// The most decompressed bytes that are kept, unless one bucket has more: eight buckets of the
/// usual size, because threads are often compared, and their stacks are in different buckets.
const CACHE: usize = 32 << 20;

/// LZ4 stores at most this many bytes in one.
const MOST_EXPANSION: u64 = 255;

const WHAT: &str = "CompressedMemoryStream";

/// The header of a CompressedMemoryStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CompressedMemory {
    /// The file offset of the header.
    pub record_offset: u64,
    /// A number that differs between dumps.
    #[serde(serialize_with = "hex")]
    pub dump_id: u64,
    /// The process id of the target.
    pub process_id: u64,
    /// MaxTransferSize: the largest bucket before compression, in bytes.
    pub transfer_size: u64,
    /// The file offset of the header, as the header has it.
    pub stream_offset: u64,
    /// The number of bytes from the header to the end of the file.
    pub stream_size: u64,
    /// The number of bytes of memory that the writer says that it has read. If the buckets have
    /// more, some reads failed. Microsoft's writer then leaves bytes of another region in their
    /// place.
    pub bytes_read: u64,
    /// The sum of the sizes of all buckets after compression, in bytes.
    pub compressed_bytes: u64,
    /// What compression saved, in percent of `bytes_read`.
    pub rate: u64,
    /// The number of regions.
    pub regions: u64,
    /// The number of buckets.
    pub buckets: u64,
    /// Where the two tables and the compressed bytes are in the file.
    #[serde(skip)]
    pub(super) places: TablePlaces,
}

/// File offsets, as the header has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TablePlaces {
    pub(super) regions: u64,
    pub(super) buckets: u64,
    pub(super) data: u64,
    pub(super) data_size: u64,
}

/// A range of memory in a CompressedMemoryStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CompressedRegion {
    /// The file offset of the entry.
    pub record_offset: u64,
    /// The first address of the region.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// The size in bytes.
    pub size: u32,
    /// The number of the bucket that contains it, counted from 0.
    pub bucket: u64,
    /// The offset of its bytes in the decompressed bucket.
    pub offset_in_bucket: u32,
}

/// A piece of memory that is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CompressedBucket {
    /// The file offset of the entry.
    pub record_offset: u64,
    /// The size before compression, in bytes.
    pub size: u32,
    /// The size after compression, in bytes.
    pub compressed_size: u32,
    /// The file offset of the compressed bytes. Several buckets may have the same.
    pub file_offset: u64,
    /// The number of its first region, counted from 0.
    pub first_region: u64,
    /// The number of its regions.
    pub regions: u64,
}

impl Dump {
    /// Returns the header of the compressed memory, or `None` if the dump has none.
    ///
    /// # Errors
    ///
    /// The stream lies outside the file, the file was not finished, or the header has sizes that no
    /// writer uses.
    pub fn compressed_memory(&self) -> Result<Option<CompressedMemory>, ReadError> {
        let Some(entry) = self.compressed_memory_entry() else {
            return Ok(None);
        };
        let offset = u64::from(entry.rva);
        let malformed = |reason: String| ReadError::Malformed {
            what: WHAT,
            offset,
            reason,
        };
        if u64::from(entry.size) != HEADER_SIZE {
            return Err(malformed(format!(
                "DataSize is {:#x} instead of {HEADER_SIZE:#x}",
                entry.size
            )));
        }
        let bytes = self.bytes(WHAT, offset, HEADER_SIZE)?;
        let fields = FieldReader(&bytes);
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(malformed(
                "its header is empty, because the writer has not finished the file".to_owned(),
            ));
        }
        for (name, size, exact) in [
            ("the header's size", u64::from(fields.u32(0)), HEADER_SIZE),
            ("the size of a region", fields.u64(96), REGION_SIZE),
            ("the size of a bucket", fields.u64(120), BUCKET_SIZE),
        ] {
            if size != exact {
                return Err(malformed(format!("{name} is {size:#x} instead of {exact:#x}")));
            }
        }
        Ok(Some(CompressedMemory {
            record_offset: offset,
            dump_id: fields.u64(16),
            process_id: fields.u64(24),
            transfer_size: fields.u64(32),
            stream_offset: fields.u64(40),
            stream_size: fields.u64(48),
            bytes_read: fields.u64(56),
            compressed_bytes: fields.u64(64),
            rate: fields.u64(72),
            regions: fields.u64(80),
            buckets: fields.u64(104),
            places: TablePlaces {
                regions: fields.u64(88),
                buckets: fields.u64(112),
                data: fields.u64(128),
                data_size: fields.u64(136),
            },
        }))
    }

    /// Returns the directory entry of the compressed memory. Both types have the same format.
    pub(super) fn compressed_memory_entry(&self) -> Option<StreamEntry> {
        let sql = || self.stream(stream_type::COMPRESSED_MEMORY_SQL);
        self.stream(stream_type::COMPRESSED_MEMORY).or_else(sql)
    }

    /// Returns an iterator over the regions of the compressed memory, in the order of the file.
    /// Empty if the dump has none.
    ///
    /// # Errors
    ///
    /// As for [`Dump::compressed_memory`], and if the table of regions lies outside the file.
    pub fn iter_compressed_regions(&self) -> Result<List<'_, CompressedRegion>, ReadError> {
        let Some(memory) = self.compressed_memory()? else {
            return Ok(List::empty(self));
        };
        let table = Table {
            what: "the table of compressed regions",
            start: memory.places.regions,
            count: memory.regions,
            stride: REGION_SIZE,
        };
        List::new(self, table, REGION_SIZE, |record_offset, entry| {
            CompressedRegion {
                record_offset,
                address: entry.u64(8),
                bucket: entry.u64(16),
                size: entry.u32(24),
                offset_in_bucket: entry.u32(28),
            }
        })
    }

    /// Returns an iterator over the buckets of the compressed memory, in the order of the file.
    /// Empty if the dump has none.
    ///
    /// # Errors
    ///
    /// As for [`Dump::compressed_memory`], and if the table of buckets lies outside the file.
    pub fn iter_compressed_buckets(&self) -> Result<List<'_, CompressedBucket>, ReadError> {
        let Some(memory) = self.compressed_memory()? else {
            return Ok(List::empty(self));
        };
        let table = Table {
            what: "the table of compressed buckets",
            start: memory.places.buckets,
            count: memory.buckets,
            stride: BUCKET_SIZE,
        };
        List::new(self, table, BUCKET_SIZE, |record_offset, entry| {
            CompressedBucket {
                record_offset,
                size: entry.u32(8),
                compressed_size: entry.u32(12),
                file_offset: entry.u64(16),
                first_region: entry.u64(24),
                regions: entry.u64(32),
            }
        })
    }

    /// Returns the file offset after the last byte of the compressed memory and its tables. `None`
    /// if the header cannot be read; there is another error for that.
    pub(super) fn compressed_memory_end(&self) -> Option<u64> {
        let memory = self.compressed_memory().ok().flatten()?;
        let TablePlaces {
            regions,
            buckets,
            data,
            data_size,
        } = memory.places;
        let ends = [
            memory.record_offset.saturating_add(HEADER_SIZE),
            regions.saturating_add(memory.regions.saturating_mul(REGION_SIZE)),
            buckets.saturating_add(memory.buckets.saturating_mul(BUCKET_SIZE)),
            data.saturating_add(data_size),
        ];
        ends.into_iter().max()
    }
}

impl CompressedRegion {
    /// Returns why the region cannot be in its bucket.
    pub(super) fn contradiction(&self, buckets: &[CompressedBucket]) -> Option<String> {
        let Self {
            address,
            size,
            bucket,
            offset_in_bucket,
            ..
        } = *self;
        let Some(found) = usize::try_from(bucket).ok().and_then(|at| buckets.get(at)) else {
            return Some(format!(
                "the bucket of the region at {address:#x} is {bucket}, but there are {}",
                buckets.len()
            ));
        };
        let end = u64::from(offset_in_bucket) + u64::from(size);
        if end > u64::from(found.size) {
            return Some(format!(
                "the size of the region at {address:#x} is {size:#x} at {offset_in_bucket:#x} of bucket {bucket}, which \
                 has {:#x} bytes",
                found.size
            ));
        }
        (size == 0 || address.checked_add(u64::from(size) - 1).is_none())
            .then(|| format!("the size of the region at {address:#x} is {size:#x}"))
    }
}

/// The buckets of a dump, and the decompressed bytes of some of them.
#[derive(Default)]
pub(super) struct BucketStore {
    buckets: Vec<CompressedBucket>,
    cache: Mutex<BucketCache>,
}

#[derive(Default)]
struct BucketCache {
    /// The last buckets, the one used last at the front: place and bytes. Buckets that share their
    /// bytes are kept once.
    kept: VecDeque<(BlockPlace, Vec<u8>)>,
    compressed: Vec<u8>,
    /// The number of bytes that were decompressed.
    decompressed: u64,
}

/// The place of an LZ4 block: its offset, and its sizes after and before compression.
type BlockPlace = (u64, u32, u32);

impl BucketStore {
    pub(super) fn new(dump: &Dump) -> Result<Self, ReadError> {
        Ok(Self {
            buckets: dump.iter_compressed_buckets()?.into_vec()?,
            cache: Mutex::default(),
        })
    }

    pub(super) fn buckets(&self) -> &[CompressedBucket] {
        &self.buckets
    }

    /// Returns how many bytes were decompressed so far.
    pub(super) fn decompressed(&self) -> u64 {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.decompressed
    }

    /// Calls `take` with the bytes of a bucket, after decompressing it if necessary.
    pub(super) fn with_bucket<T>(
        &self,
        dump: &Dump,
        number: u32,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, ReadError> {
        let bucket = &self.buckets[number as usize];
        let place = (bucket.file_offset, bucket.compressed_size, bucket.size);
        // A panic leaves it as valid as it was: buckets are added as a whole.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.kept.iter().position(|(kept, _)| *kept == place);
        let kept = match found.and_then(|at| cache.kept.remove(at)) {
            Some(kept) => kept,
            None => (place, cache.decompress(dump, bucket)?),
        };
        cache.kept.push_front(kept);
        Ok(take(&cache.kept[0].1))
    }
}

impl BucketCache {
    fn decompress(&mut self, dump: &Dump, bucket: &CompressedBucket) -> Result<Vec<u8>, ReadError> {
        const WHAT: &str = "a bucket of compressed memory";
        let CompressedBucket {
            record_offset,
            size,
            compressed_size,
            file_offset,
            ..
        } = *bucket;
        let malformed = |reason: String| ReadError::Malformed {
            what: WHAT,
            offset: record_offset,
            reason,
        };
        if size > LARGEST_BUCKET {
            return Err(malformed(format!(
                "its uncompressed size is {size:#x}; no writer makes buckets of more than {LARGEST_BUCKET:#x}"
            )));
        }
        if u64::from(compressed_size) * MOST_EXPANSION < u64::from(size) {
            return Err(malformed(format!(
                "its uncompressed size is {size:#x}, which its compressed size of {compressed_size:#x} cannot hold"
            )));
        }
        dump.require(WHAT, file_offset, compressed_size.into())?;
        // LZ4 enlarges what it cannot compress by 1 byte in 255, and a few more.
        let most = u64::from(size) + u64::from(size) / MOST_EXPANSION + 16;
        if u64::from(compressed_size) > most {
            return Err(malformed(format!(
                "its compressed size is {compressed_size:#x}, but {size:#x} bytes take at most {most:#x}"
            )));
        }
        let mut kept: usize = self.kept.iter().map(|(_, bytes)| bytes.len()).sum();
        while kept + size as usize > CACHE
            && let Some((_, bytes)) = self.kept.pop_back()
        {
            kept -= bytes.len();
        }
        self.compressed.clear();
        reserve(&mut self.compressed, WHAT, file_offset, compressed_size.into())?;
        self.compressed.resize(compressed_size as usize, 0);
        dump.fill(WHAT, file_offset, &mut self.compressed)?;
        let mut plain = Vec::new();
        reserve(&mut plain, WHAT, file_offset, size.into())?;
        plain.resize(size as usize, 0);
        self.decompressed += u64::from(size);
        match decompress_into(&self.compressed, &mut plain) {
            Ok(got) if got == plain.len() => Ok(plain),
            Ok(got) => Err(malformed(format!(
                "its uncompressed size is {size:#x}, but it has {got:#x} bytes"
            ))),
            Err(error) => Err(malformed(format!("its LZ4 block is damaged: {error}"))),
        }
    }
}
