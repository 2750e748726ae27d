//! An independent reader of CompressedMemoryStream, for tests.
//!
//! It was written from a description of what Microsoft's DbgHelp of 2026 writes and WinDbg's engine
//! requires, and decodes LZ4 blocks itself, as the description of the block format says ("LZ4 Block
//! Format Description"). It shares nothing with dumpwright's code, and panics at everything that
//! would make WinDbg's engine refuse the file.

use std::collections::BTreeMap;

/// The stream of a dump.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The file offset of the header.
    pub offset: usize,
    pub dump_id: u64,
    pub process_id: u64,
    pub transfer_size: u64,
    pub bytes_read: u64,
    pub compressed_bytes: u64,
    pub rate: u64,
    pub stream_size: u64,
    pub data_size: u64,
    pub regions: Vec<Region>,
    pub buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub address: u64,
    pub size: usize,
    pub bucket: usize,
    pub inside: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub size: usize,
    pub compressed_size: usize,
    pub offset: usize,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn size_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64_at(bytes, at)).unwrap()
}

/// Returns size and offset of the stream with this type, if the dump has it.
pub fn entry(file: &[u8], stream_type: u32) -> Option<(usize, usize)> {
    assert_eq!(&file[..4], b"MDMP");
    let (count, directory) = (u32_at(file, 8) as usize, u32_at(file, 12) as usize);
    let mut entries = file[directory..directory + 12 * count].chunks_exact(12);
    let entry = entries.find(|entry| u32_at(entry, 0) == stream_type)?;
    Some((u32_at(entry, 4) as usize, u32_at(entry, 8) as usize))
}

/// Reads the stream, and checks everything that WinDbg's engine requires.
pub fn stream(file: &[u8]) -> Stream {
    let (size, offset) = entry(file, 25).expect("a CompressedMemoryStream");
    assert_eq!(size, 0xC0, "DataSize");
    let header = &file[offset..offset + size];
    assert_eq!(u32_at(header, 0), 0xC0, "the size of the header");
    assert_eq!(u32_at(header, 4), 2, "the version");
    assert_eq!(&header[8..16], b"!!pmdz!!");
    assert_eq!(size_at(header, 40), offset, "the offset of the stream");
    assert_eq!(
        offset + size_at(header, 48),
        file.len(),
        "the stream ends with the file"
    );
    assert_eq!(
        (u64_at(header, 96), u64_at(header, 120)),
        (32, 40),
        "sizes of entries"
    );
    assert_eq!(u32_at(header, 144), 1, "LZ4");
    assert!(header[148..].iter().all(|byte| *byte == 0));
    assert_ne!(u64_at(header, 16), 0, "the dump id");
    assert_eq!(u64_at(file, 24) & 0x400_0002, 0x400_0000, "the flags of the dump");

    let table = |count: usize, offset: usize, size: usize| -> Vec<&[u8]> {
        file[offset..offset + count * size].chunks_exact(size).collect()
    };
    let regions = table(size_at(header, 80), size_at(header, 88), 32);
    let buckets = table(size_at(header, 104), size_at(header, 112), 40);
    let (data, data_size) = (size_at(header, 128), size_at(header, 136));
    let transfer_size = u64_at(header, 32);
    let mut sum = (0, 0);
    let mut next_region = 0;
    for (id, bucket) in buckets.iter().enumerate() {
        assert_eq!(size_at(bucket, 0), id);
        let (plain, compressed) = (u32_at(bucket, 8), u32_at(bucket, 12));
        assert!(
            u64::from(plain) <= transfer_size,
            "the engine hangs at a larger bucket"
        );
        assert!(compressed <= 16 << 20, "the engine's window");
        let place = size_at(bucket, 16);
        assert!(data <= place && place + compressed as usize <= data + data_size);
        assert_eq!(
            size_at(bucket, 24),
            next_region,
            "the first region of bucket {id}"
        );
        next_region += size_at(bucket, 32);
        sum = (sum.0 + u64::from(plain), sum.1 + u64::from(compressed));
    }
    assert_eq!(next_region, regions.len());
    let mut end = 0;
    for (id, region) in regions.iter().enumerate() {
        assert_eq!(size_at(region, 0), id);
        assert!(u64_at(region, 8) >= end, "regions ascend");
        end = u64_at(region, 8) + u64::from(u32_at(region, 24));
        let bucket = buckets[size_at(region, 16)];
        let of_bucket = size_at(bucket, 24)..size_at(bucket, 24) + size_at(bucket, 32);
        assert!(of_bucket.contains(&id), "region {id} is one of its bucket's");
        assert!(u32_at(region, 24) > 0 && u32_at(region, 28) + u32_at(region, 24) <= u32_at(bucket, 8));
    }
    let (bytes_read, compressed_bytes) = (u64_at(header, 56), u64_at(header, 64));
    assert_eq!((bytes_read, compressed_bytes), sum);
    let left = compressed_bytes * 100 / bytes_read.max(1);
    assert_eq!(u64_at(header, 72), 100_u64.saturating_sub(left), "the rate");
    Stream {
        offset,
        dump_id: u64_at(header, 16),
        process_id: u64_at(header, 24),
        transfer_size,
        bytes_read,
        compressed_bytes,
        rate: u64_at(header, 72),
        stream_size: u64_at(header, 48),
        data_size: data_size as u64,
        regions: regions
            .iter()
            .map(|region| Region {
                address: u64_at(region, 8),
                bucket: size_at(region, 16),
                size: u32_at(region, 24) as usize,
                inside: u32_at(region, 28) as usize,
            })
            .collect(),
        buckets: buckets
            .iter()
            .map(|bucket| Bucket {
                size: u32_at(bucket, 8) as usize,
                compressed_size: u32_at(bucket, 12) as usize,
                offset: size_at(bucket, 16),
            })
            .collect(),
    }
}

impl Stream {
    /// Calls `each` with the address and the bytes of each region.
    pub fn each_region(&self, file: &[u8], mut each: impl FnMut(u64, &[u8])) {
        let mut last: Option<(&Bucket, Vec<u8>)> = None;
        for region in &self.regions {
            let bucket = &self.buckets[region.bucket];
            if last.as_ref().is_none_or(|(known, _)| *known != bucket) {
                let block = &file[bucket.offset..bucket.offset + bucket.compressed_size];
                last = Some((bucket, lz4_block(block, bucket.size)));
            }
            let (_, plain) = last.as_ref().unwrap();
            each(region.address, &plain[region.inside..region.inside + region.size]);
        }
    }
}

/// Returns all compressed memory, with neighbouring regions joined, by address.
pub fn memory(file: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let mut memory: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    stream(file).each_region(file, |address, bytes| match memory.last_entry() {
        Some(mut last) if *last.key() + last.get().len() as u64 == address => {
            last.get_mut().extend_from_slice(bytes);
        }
        _ => {
            memory.insert(address, bytes.to_vec());
        }
    });
    memory
}

/// Returns bytes of memory, or `None` if not all of them are there.
pub fn bytes_at(memory: &BTreeMap<u64, Vec<u8>>, address: u64, length: usize) -> Option<&[u8]> {
    let (start, bytes) = memory.range(..=address).next_back()?;
    let from = usize::try_from(address - start).ok()?;
    bytes.get(from..)?.get(..length)
}

/// Decompresses one LZ4 block, which must have `size` bytes.
///
/// A block consists of sequences: a token with two lengths of 4 bits, more bytes of the first
/// length, literals, and then a match: its offset back in 16 bits, and more bytes of the second
/// length, which is 4 less than the match. A length goes on as long as a byte is 255. The last
/// sequence has only literals.
pub fn lz4_block(block: &[u8], size: usize) -> Vec<u8> {
    let mut plain = Vec::with_capacity(size);
    let mut at = 0;
    let length = |at: &mut usize, nibble: u8| {
        let mut length = usize::from(nibble);
        if nibble == 15 {
            loop {
                let more = block[*at];
                *at += 1;
                length += usize::from(more);
                if more != 255 {
                    break;
                }
            }
        }
        length
    };
    loop {
        let token = block[at];
        at += 1;
        let literals = length(&mut at, token >> 4);
        plain.extend_from_slice(&block[at..at + literals]);
        at += literals;
        if at == block.len() {
            break;
        }
        let back = usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
        at += 2;
        let matched = length(&mut at, token & 15) + 4;
        assert!((1..=plain.len()).contains(&back), "a match begins in the block");
        let from = plain.len() - back;
        // A match may reach into the bytes that it makes: it repeats them.
        let mut left = matched;
        while left > 0 {
            let now = left.min(plain.len() - from);
            plain.extend_from_within(from..from + now);
            left -= now;
        }
    }
    assert_eq!(plain.len(), size, "the size of the bucket");
    plain
}
