//! Reads all memory and appends it as a CompressedMemoryStream. The header is written last.

use dumpwright_target::{AddressRange, Content, Frozen};

use super::buckets::Buckets;
use super::{BUFFER, DumpWriter, LossCause, Lost, join, still};
use crate::Error;
use crate::capture::{Bytes, MemoryToCompress, Piece};
use crate::memory::buffer::PageBuffer;
use crate::memory::reader::{self, Failures};
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Service;
use crate::streams::compressed_memory::CompressedHeader;

/// The memory of the stream.
pub(super) struct CompressionSource<'s> {
    pub compressed: &'s MemoryToCompress,
    /// Memory that was read before.
    pub pieces: &'s [Piece],
    pub failures: Failures,
}

/// Appends all buckets and both tables. Returns the header, which lacks the id of the process and
/// the place of the stream.
///
/// Memory that cannot be read is left out, and added to `lost`.
pub(super) fn append(
    source: &CompressionSource<'_>,
    frozen: &mut Option<&mut dyn Frozen>,
    service: &mut Service<'_>,
    writer: &mut DumpWriter<'_, '_>,
    lost: &mut Vec<Lost>,
) -> Result<CompressedHeader, Error> {
    let mut buckets = Buckets::new(source.compressed.settings, writer.at);
    let mut buffer = PageBuffer::new(0, usize::try_from(BUFFER).expect("small"));
    // A range that was read before has bytes.
    let read = source.pieces.iter().filter_map(|piece| match &piece.bytes {
        Bytes::Fetched(bytes) => Some((piece.range, Some(bytes))),
        Bytes::Deferred | Bytes::Lost => None,
    });
    let deferred = source.compressed.ranges.iter().map(|range| (*range, None));
    let mut ranges: Vec<_> = read.chain(deferred).collect();
    ranges.sort_unstable_by_key(|(range, _)| *range);
    for (range, bytes) in ranges {
        buckets.begin(range.len(), &mut |bytes| {
            writer.append(bytes, still(frozen), service)
        })?;
        if let Some(bytes) = bytes {
            buckets.add(range.start(), bytes, &mut |bytes| {
                writer.append(bytes, still(frozen), service)
            })?;
            continue;
        }
        let Some(frozen) = frozen.as_deref_mut() else {
            unreachable!("a target with deferred memory stays frozen until it is written")
        };
        deferred_range(
            source,
            range,
            frozen,
            service,
            writer,
            &mut buckets,
            &mut buffer,
            lost,
        )?;
    }
    buckets.finish(&mut |bytes| writer.append(bytes, still(frozen), service))
}

/// Reads a range and puts it into buckets.
#[expect(
    clippy::too_many_arguments,
    reason = "everything that is in use while memory is read"
)]
fn deferred_range(
    source: &CompressionSource<'_>,
    range: AddressRange,
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    writer: &mut DumpWriter<'_, '_>,
    buckets: &mut Buckets,
    buffer: &mut [u8],
    lost: &mut Vec<Lost>,
) -> Result<(), Error> {
    // A callback that takes the Vm callback types gets every byte, also zeros that need no read.
    let see_all = service.wants_reads();
    for window in range.chunks(reader::SURVEY_WINDOW) {
        for extent in frozen.survey(window) {
            if extent.content == Content::Zero && !see_all {
                buckets.add_zeros(extent.range, &mut |bytes| {
                    writer.append(bytes, Some(&mut *frozen), service)
                })?;
                continue;
            }
            for chunk in extent.range.chunks(BUFFER) {
                if source.compressed.polls {
                    service.poll_cancel()?;
                }
                if let (false, Some(reason)) = (see_all, frozen.resumed_early()) {
                    join(lost, chunk, LossCause::Resumed(reason));
                    continue;
                }
                let len = usize::try_from(chunk.len()).expect("at most BUFFER");
                let bytes = &mut buffer[..len];
                let gaps = match buckets.room(chunk.start(), len) {
                    Some(place) => {
                        let gaps = reader::read_or_lose(frozen, service, chunk, place, 0, source.failures)?;
                        if gaps.is_empty() {
                            buckets.added(chunk.start(), len, &mut |bytes| {
                                writer.append(bytes, Some(&mut *frozen), service)
                            })?;
                            continue;
                        }
                        bytes.copy_from_slice(place);
                        gaps
                    }
                    None => reader::read_or_lose(frozen, service, chunk, bytes, 0, source.failures)?,
                };
                for (gap, status) in &gaps {
                    join(lost, *gap, LossCause::of(*status, frozen));
                }
                let gaps = RangeSet::union(gaps.into_iter().map(|(gap, _)| gap));
                for part in RangeSet::union([chunk]).subtract(&gaps).iter() {
                    let index = |at: u64| usize::try_from(at - chunk.start()).expect("inside the buffer");
                    let bytes = &bytes[index(part.start())..index(part.end())];
                    buckets.add(part.start(), bytes, &mut |bytes| {
                        writer.append(bytes, Some(&mut *frozen), service)
                    })?;
                }
            }
        }
    }
    Ok(())
}
