//! Reading what is to be read before the layout.

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Frozen, Remark, Subject};

use super::{Bytes, Piece, Snapshot};
use crate::Error;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Service;

/// Ranges that will be in the dump.
pub(super) struct Chosen {
    /// Stacks. They come from the target before it runs on, whatever their size.
    pub stacks: RangeSet,
    /// Everything else.
    pub others: RangeSet,
}

/// A dump whose memory comes near 4 GiB needs a Memory64List; this much is left for everything else that
/// must lie below.
const ROOM_FOR_TABLES: u64 = 256 << 20;

/// Turns ranges into pieces: stacks and, up to `limit` bytes, others are fetched; the rest is promised.
pub(super) fn fetch(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    chosen: Chosen,
    limit: u64,
    service: &mut Service<'_>,
) -> Result<(), Error> {
    let mut pieces = Vec::new();
    for range in chosen.stacks.iter() {
        service.poll_cancel()?;
        // An unreadable stack page is left out without asking anybody (decided otherwise by DbgHelp, which fails).
        pieces.extend(fetch_range(frozen, service, range, &mut snapshot.remarks));
    }
    let stacks = pieces.len();
    let mut fetched = 0;
    for range in chosen.others.iter() {
        service.poll_cancel()?;
        fetched += range.len();
        if fetched > limit {
            pieces.push(Piece {
                range,
                bytes: Bytes::Promised,
            });
            continue;
        }
        let mut bytes = buffer(range);
        match reader::read(frozen, service, range, &mut bytes) {
            Ok(()) => pieces.push(Piece {
                range,
                bytes: Bytes::Fetched(bytes),
            }),
            Err(status) => match service.read_memory_failure(range, status) {
                Some(true) => snapshot.remarks.push(Remark::left_out(
                    Subject::Memory(range),
                    "unreadable, and the callback dropped it",
                )),
                Some(false) => return Err(Error::Unreadable { range, status }),
                None => pieces.extend(fetch_range(frozen, service, range, &mut snapshot.remarks)),
            },
        }
    }
    let total: u64 = pieces.iter().map(|piece| piece.range.len()).sum();
    snapshot.large = total > u64::from(u32::MAX) - ROOM_FOR_TABLES;
    // A large dump begins with the stacks, as one of all memory does: then the thread list can still refer to them.
    let ascending = if snapshot.large { stacks } else { 0 };
    pieces[ascending..].sort_by_key(|piece| piece.range);
    snapshot.pieces = pieces;
    Ok(())
}

/// Reads a range, leaving out the pages that cannot be read.
fn fetch_range(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    range: AddressRange,
    remarks: &mut Vec<Remark>,
) -> Vec<Piece> {
    let mut bytes = buffer(range);
    if reader::read(frozen, service, range, &mut bytes).is_ok() {
        return vec![Piece {
            range,
            bytes: Bytes::Fetched(bytes),
        }];
    }
    let lost = reader::read_pages(frozen, service, range, &mut bytes, 0);
    let mut pieces = Vec::new();
    let mut start = range.start();
    let end = AddressRange::at(range.end(), 1).map(|behind| (behind, Hresult::S_OK));
    for (gap, status) in lost.into_iter().chain(end) {
        if let Some(good) = AddressRange::new(start, gap.start()) {
            let from = usize::try_from(good.start() - range.start()).expect("inside the buffer");
            let to = usize::try_from(good.end() - range.start()).expect("inside the buffer");
            pieces.push(Piece {
                range: good,
                bytes: Bytes::Fetched(bytes[from..to].to_vec()),
            });
        }
        start = gap.end();
        if gap.start() < range.end() {
            remarks.push(Remark::missing(
                Subject::Memory(gap),
                format!("cannot be read ({status})"),
            ));
        }
    }
    pieces
}

fn buffer(range: AddressRange) -> Vec<u8> {
    vec![0; usize::try_from(range.len()).expect("a piece is at most 64 MiB")]
}
