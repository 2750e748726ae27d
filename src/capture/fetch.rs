//! Reads the memory that is to be read before the layout.

use dumpwright_target::{AddressRange, Diagnostic, Memory, Subject};

use super::{Bytes, CapturedMemory, Piece, Snapshot};
use crate::Error;
use crate::error::remedy;
use crate::memory::buffer::PageBuffer;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Service;

/// Ranges that will be in the dump.
pub(super) struct Chosen {
    /// Stacks. They are read before the target is resumed, whatever their size.
    pub stacks: RangeSet,
    /// All other memory.
    pub others: RangeSet,
}

/// A MemoryList holds less than 4 GiB. This many bytes below 4 GiB are reserved for everything else
/// in the file that must lie there.
pub(super) const ROOM_FOR_TABLES: u64 = 256 << 20;

/// Turns ranges into pieces. Reads all stacks, and up to `limit` bytes of the others. The rest is
/// deferred.
pub(super) fn fetch(
    memory: &mut dyn Memory,
    snapshot: &mut Snapshot,
    chosen: Chosen,
    limit: u64,
    service: &mut Service<'_>,
) -> Result<(), Error> {
    let mut pieces = Vec::new();
    for range in chosen.stacks.iter() {
        service.poll_cancel()?;
        // An unreadable page of a stack is left out without a call. DbgHelp fails the dump instead.
        pieces.extend(fetch_range(memory, service, range, &mut snapshot.diagnostics));
    }
    let stacks = pieces.len();
    let mut fetched = 0;
    for range in chosen.others.iter() {
        service.poll_cancel()?;
        fetched += range.len();
        if fetched > limit {
            pieces.push(Piece {
                range,
                bytes: Bytes::Deferred,
            });
            continue;
        }
        let mut bytes = buffer(range);
        match reader::read(memory, service, range, &mut bytes) {
            Ok(()) => pieces.push(Piece {
                range,
                bytes: Bytes::Fetched(bytes),
            }),
            Err(status) => match service.read_memory_failure(range, status) {
                Some(true) => snapshot.diagnostics.push(Diagnostic::left_out(
                    Subject::Memory(range),
                    "unreadable, and the callback dropped it",
                )),
                Some(false) => {
                    let remedy = remedy::CALLBACK;
                    return Err(Error::Unreadable {
                        range,
                        status,
                        remedy,
                    });
                }
                None => pieces.extend(fetch_range(memory, service, range, &mut snapshot.diagnostics)),
            },
        }
    }
    let is_large = needs_wide_list(&pieces);
    // A large dump begins with the stacks, like a dump of all memory, so that the thread list can
    // refer to them.
    let ascending = if is_large { stacks } else { 0 };
    pieces[ascending..].sort_by_key(|piece| piece.range);
    snapshot.memory = CapturedMemory::new(pieces, is_large);
    Ok(())
}

/// Whether there is too much memory for a MemoryList.
pub(super) fn needs_wide_list(pieces: &[Piece]) -> bool {
    let total: u64 = pieces.iter().map(Piece::len).sum();
    total > u64::from(u32::MAX) - ROOM_FOR_TABLES
}

/// Reads a range without the pages that cannot be read.
fn fetch_range(
    memory: &mut dyn Memory,
    service: &mut Service<'_>,
    range: AddressRange,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Piece> {
    let mut bytes = buffer(range);
    if reader::read(memory, service, range, &mut bytes).is_ok() {
        return vec![Piece {
            range,
            bytes: Bytes::Fetched(bytes),
        }];
    }
    let lost = reader::read_pages(memory, service, range, &mut bytes, 0);
    let mut pieces = Vec::new();
    let mut good = |start, end| {
        if let Some(good) = AddressRange::new(start, end) {
            let from = usize::try_from(good.start() - range.start()).expect("inside the buffer");
            let to = usize::try_from(good.end() - range.start()).expect("inside the buffer");
            pieces.push(Piece {
                range: good,
                bytes: Bytes::Fetched(PageBuffer::of(good.start(), &bytes[from..to])),
            });
        }
    };
    let mut start = range.start();
    for (gap, status) in lost {
        good(start, gap.start());
        start = gap.end();
        diagnostics.push(Diagnostic::missing(
            Subject::Memory(gap),
            format!("cannot be read ({status})"),
        ));
    }
    good(start, range.end());
    pieces
}

fn buffer(range: AddressRange) -> PageBuffer {
    let len = usize::try_from(range.len()).expect("a piece is at most 64 MiB");
    PageBuffer::new(range.start(), len)
}
