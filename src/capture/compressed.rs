//! Chooses all readable memory for a CompressedMemoryStream. Reads only the stacks.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Content, Diagnostic, Frozen, Region, Subject};

use super::fetch::ROOM_FOR_TABLES;
use super::full::{Asking, exclusions, untouched};
use super::ranges::stack_ranges;
use super::selected::LARGEST_PIECE;
use super::{Bytes, CapturedMemory, MemoryToCompress, Negotiated, Piece, Snapshot};
use crate::Error;
use crate::memory::buffer::PageBuffer;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::{Dialogue, Service};

/// The most untouched memory in the dump, in bytes. Untouched memory is zero, and each bucket of it
/// takes 72 bytes of tables, 4.5 MiB in total with buckets of 4 MiB. What exceeds the limit is left
/// out and reported. Address sanitizers and some runtimes reserve terabytes.
const MOST_UNTOUCHED: u64 = 256 << 30;

/// The most bytes that are read at a time. A read that fails is asked about as a whole.
const CHUNK: u64 = 256 << 10;

/// Chooses all memory that the type, the program and the callback want dumped, and reads the
/// stacks.
///
/// The stacks are in a MemoryList as well as in the CompressedMemoryStream, because few readers
/// know the latter, and all readers can unwind with the former. They are read once, so that both
/// places have the same bytes, and the callback sees them once.
pub(super) fn choose(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    map: &[Region],
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let settings = dialogue.compressed_memory_start();
    snapshot.diagnostics.extend(exclusions(map));
    let regions = map.iter().filter(|region| region.is_dumpable());
    snapshot.causes.note_regions(regions.clone());
    let mut ranges = Vec::new();
    let mut asking = Asking::default();
    for region in regions {
        dialogue.service().poll_cancel()?;
        ranges.extend(asking.parts(region, dialogue));
    }
    let present = existing(frozen, ranges, &mut snapshot.diagnostics);
    let all = RangeSet::union_of_overlapping(present);
    let stacks = RangeSet::union_of_overlapping(stack_ranges(snapshot, ThreadWriteFlags::THREAD));
    let stacks = listable(stacks.intersect(&all).split(LARGEST_PIECE));
    let others = all.subtract(&stacks);
    let mut pieces = Vec::new();
    for stack in stacks.iter() {
        dialogue.service().poll_cancel()?;
        let service = dialogue.service();
        pieces.extend(fetch(
            frozen,
            service,
            stack,
            negotiated,
            &mut snapshot.diagnostics,
        )?);
    }
    snapshot.memory = CapturedMemory::of_compressed(
        pieces,
        MemoryToCompress {
            ranges: others.into_ranges(),
            settings,
            lists_pieces: true,
            polls: true,
        },
    );
    Ok(())
}

/// Returns the first stacks, as many as a MemoryList can hold.
fn listable(stacks: RangeSet) -> RangeSet {
    let mut room = u64::from(u32::MAX) - ROOM_FOR_TABLES;
    let kept = stacks.iter().take_while(|stack| {
        let left = room.checked_sub(stack.len());
        room = left.unwrap_or(0);
        left.is_some()
    });
    RangeSet::union_of_overlapping(kept.collect::<Vec<_>>())
}

/// Returns the parts of these ranges that have bytes, except untouched memory beyond the limit.
pub(super) fn existing(
    frozen: &mut dyn Frozen,
    ranges: impl IntoIterator<Item = AddressRange>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<AddressRange> {
    let mut room = MOST_UNTOUCHED;
    let mut parts: Vec<AddressRange> = Vec::new();
    for range in ranges {
        reader::survey(frozen, range, |part, content| {
            match content {
                Content::Readable => {}
                Content::Zero => match room.checked_sub(part.len()) {
                    Some(left) => room = left,
                    None => return diagnostics.push(untouched(part)),
                },
                Content::Unreadable(reason) => {
                    return diagnostics.push(Diagnostic::missing(Subject::Memory(part), reason));
                }
                Content::Nothing(reason) => {
                    return diagnostics.push(Diagnostic::left_out(Subject::Memory(part), reason));
                }
            }
            match parts.last_mut() {
                Some(last) if last.end() == part.start() && last.start() >= range.start() => {
                    *last = AddressRange::new(last.start(), part.end()).expect("grew");
                }
                _ => parts.push(part),
            }
        });
    }
    parts
}

/// Reads a stack. Pages that cannot be read split it.
fn fetch(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    stack: AddressRange,
    negotiated: &Negotiated,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Piece>, Error> {
    let len = usize::try_from(stack.len()).expect("a piece is at most 64 MiB");
    let mut bytes = PageBuffer::new(stack.start(), len);
    let index = |address: u64| usize::try_from(address - stack.start()).expect("inside the buffer");
    let mut lost = Vec::new();
    for chunk in stack.chunks(CHUNK) {
        let into = &mut bytes[index(chunk.start())..index(chunk.end())];
        lost.extend(reader::read_or_lose(
            frozen,
            service,
            chunk,
            into,
            0,
            negotiated.failures(),
        )?);
    }
    if lost.is_empty() {
        let (range, bytes) = (stack, Bytes::Fetched(bytes));
        return Ok(vec![Piece { range, bytes }]);
    }
    for (range, status) in &lost {
        let reason = format!("cannot be read ({status})");
        diagnostics.push(Diagnostic::missing(Subject::Memory(*range), reason));
    }
    let lost = RangeSet::union(lost.into_iter().map(|(range, _)| range));
    let read = RangeSet::union([stack]).subtract(&lost);
    let pieces = read.iter().map(|range| {
        let part = &bytes[index(range.start())..index(range.end())];
        let bytes = Bytes::Fetched(PageBuffer::of(range.start(), part));
        Piece { range, bytes }
    });
    Ok(pieces.collect())
}
