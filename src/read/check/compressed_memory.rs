//! Rules about compressed memory.

use super::super::compressed_memory::{CompressedBucket, CompressedMemory, CompressedRegion};
use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::memory::{MemoryMap, MemoryPlace};
use super::{Findings, Rule};

/// The part of a file that WinDbg's engine maps at a time, in bytes.
const WINDOW: u32 = 16 << 20;

/// The most bytes that are decompressed. In a hostile file, a few bytes may become any number.
const MOST_DECOMPRESSED: u64 = 4 << 30;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let memory = findings.read(Rule::CompressedMemoryMalformed, dump.compressed_memory())?;
    let Some(memory) = memory.flatten() else {
        return Ok(());
    };
    header(dump, findings, &memory);
    let buckets = dump.iter_compressed_buckets();
    let regions = dump.iter_compressed_regions();
    let buckets = findings.list(Rule::CompressedMemoryMalformed, outside_is_malformed(buckets))?;
    let regions = findings.list(Rule::CompressedMemoryMalformed, outside_is_malformed(regions))?;
    let Some((buckets, regions)) = buckets.zip(regions) else {
        return Ok(());
    };
    let buckets = buckets.collect::<Result<Vec<_>, _>>()?;
    let regions = regions.collect::<Result<Vec<_>, _>>()?;
    sizes(findings, &memory, &buckets);
    order(findings, &regions);
    let mut is_sound = true;
    for region in &regions {
        if let Some(reason) = region.contradiction(&buckets) {
            findings.add(Rule::CompressedMemoryMalformed, region.record_offset, reason);
            is_sound = false;
        }
    }
    if is_sound && buckets.len() as u64 == memory.buckets {
        contents(dump, findings, &buckets, &regions)?;
    }
    Ok(())
}

/// Turns the error that a table lies outside the file into one that is a violation.
fn outside_is_malformed<T>(list: Result<T, ReadError>) -> Result<T, ReadError> {
    list.map_err(|error| match error {
        ReadError::Outside { what, offset, .. } => ReadError::Malformed {
            what,
            offset,
            reason: "it extends past the end of the file".to_owned(),
        },
        other => other,
    })
}

fn header(dump: &Dump, findings: &mut Findings, memory: &CompressedMemory) {
    let end = memory.stream_offset.checked_add(memory.stream_size);
    if end != Some(dump.len()) {
        let text = format!(
            "the stream has {:#x} bytes at {:#x}, but the file ends at {:#x}",
            memory.stream_size,
            memory.stream_offset,
            dump.len()
        );
        findings.add(Rule::CompressedMemoryEnd, memory.record_offset + 40, text);
    }
}

fn sizes(findings: &mut Findings, memory: &CompressedMemory, buckets: &[CompressedBucket]) {
    for bucket in buckets {
        if u64::from(bucket.size) > memory.transfer_size {
            let text = format!(
                "a bucket has {:#x} bytes, but MaxTransferSize is {:#x}",
                bucket.size, memory.transfer_size
            );
            findings.add(Rule::CompressedTransferSize, bucket.record_offset, text);
        }
        if bucket.compressed_size > WINDOW {
            let text = format!("a bucket has {:#x} compressed bytes", bucket.compressed_size);
            findings.add(Rule::CompressedBucketLarge, bucket.record_offset, text);
        }
    }
    let sum: u64 = buckets.iter().map(|bucket| u64::from(bucket.size)).sum();
    if memory.bytes_read < sum {
        let text = format!(
            "the writer has read {:#x} bytes of {sum:#x} in the buckets",
            memory.bytes_read
        );
        findings.add(Rule::CompressedMemoryUnread, memory.record_offset + 56, text);
    }
}

fn order(findings: &mut Findings, regions: &[CompressedRegion]) {
    for pair in regions.windows(2) {
        let [before, region] = pair else { continue };
        let end = before.address.checked_add(before.size.into());
        if end.is_none_or(|end| region.address < end) {
            let text = format!(
                "the region at {:#x} starts before the end of the one at {:#x}",
                region.address, before.address
            );
            findings.add(Rule::CompressedRegionOrder, region.record_offset, text);
        }
    }
}

/// Decompresses all buckets, and compares them with the memory lists.
fn contents(
    dump: &Dump,
    findings: &mut Findings,
    buckets: &[CompressedBucket],
    regions: &[CompressedRegion],
) -> Result<(), ReadError> {
    let store = dump.bucket_store()?;
    // There are other rules for memory lists that cannot be read.
    let ranges = dump.memory_ranges().unwrap_or_default();
    let listed = MemoryMap::new(&ranges, &[], Vec::new());
    let mut left = dump.len();
    let mut of_bucket = regions;
    for (number, bucket) in (0..).zip(buckets) {
        if store.decompressed() > MOST_DECOMPRESSED {
            return Ok(());
        }
        // The regions of a bucket follow one another, in every dump that was seen.
        let count = of_bucket
            .iter()
            .take_while(|region| region.bucket == u64::from(number))
            .count();
        let (own, later) = of_bucket.split_at(count);
        of_bucket = later;
        let differs = store.with_bucket(dump, number, |plain| {
            own.iter().find_map(|region| {
                let from = region.offset_in_bucket as usize;
                let bytes = &plain[from..from + region.size as usize];
                difference(dump, &listed, region.address, bytes, &mut left)
            })
        });
        let differs = match differs {
            Err(ReadError::Outside { offset, .. }) => {
                let text = format!("the bytes of a bucket, at {offset:#x}, lie outside the file");
                findings.add(Rule::CompressedBucketBroken, bucket.record_offset, text);
                continue;
            }
            differs => findings.read(Rule::CompressedBucketBroken, differs)?.flatten(),
        };
        if let Some(address) = differs {
            let text = format!("the byte at address {address:#x} differs from the one in the memory list");
            findings.add(Rule::CompressedMemoryDiffers, bucket.record_offset, text);
        }
    }
    Ok(())
}

/// Returns the first address at which a memory list has another byte. Bytes that cannot be read are
/// not compared, and not more than `left` bytes of the file.
fn difference(dump: &Dump, listed: &MemoryMap, address: u64, bytes: &[u8], left: &mut u64) -> Option<u64> {
    let last = address.checked_add(bytes.len() as u64 - 1)?;
    listed.within(address, last).find_map(|(at, place, size)| {
        let MemoryPlace::File(offset) = place else {
            return None;
        };
        *left = left.checked_sub(size)?;
        let other = dump.bytes("captured memory", offset, size).ok()?;
        let from = usize::try_from(at - address).ok()?;
        let own = bytes[from..].iter();
        let place = own.zip(&other).position(|(own, other)| own != other)?;
        Some(at + place as u64)
    })
}
