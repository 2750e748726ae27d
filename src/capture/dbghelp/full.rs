//! All memory: two passes over the regions. The second pass reads.

use std::collections::BTreeSet;

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Diagnostic, Frozen, Region, Subject};

use super::{Room, fetch, without_untouched_runs};
use crate::capture::full::{ATTEMPTS, Asking};
use crate::capture::regions::{RegionWalk, split_at_holes};
use crate::capture::{Bytes, CapturedMemory, Negotiated, Piece, Snapshot};
use crate::error::remedy;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// The number of unreadable regions after which a further one no longer restarts both passes.
/// DbgHelp has no such limit; with thousands of unreadable regions it would read all memory
/// thousands of times.
const MOST_RESTARTS: usize = 64;

/// The result of an attempt.
struct Attempt {
    pieces: Vec<Piece>,
    diagnostics: Vec<Diagnostic>,
    /// Whether both passes agree.
    is_agreed: bool,
}

/// Why a pass did not finish.
pub(super) enum Stopped {
    /// A read failed.
    Unreadable {
        /// The start of the region.
        region: u64,
        chunk: AddressRange,
        status: Hresult,
    },
    By(Error),
}

/// Makes both passes, and reads in the second.
///
/// If they differ, both are repeated, for at most five attempts. If a read fails, the dump fails.
/// With 0x20000, both passes are repeated instead, and the whole region gets an entry without
/// bytes. The callback is not asked about the failure.
///
/// Up to `limit` bytes are read here. The rest is deferred, and long runs of untouched memory are
/// left out.
pub(in crate::capture) fn full(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    own: &[Region],
    negotiated: &Negotiated,
    limit: u64,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let own = &split_at_holes(frozen, own, Region::is_dumpable, &mut snapshot.diagnostics)[..];
    begin(snapshot, own, negotiated, dialogue)?;
    let dump_type = snapshot.terms.dump_type;
    let goes_on = dump_type.contains(DumpType::IGNORE_INACCESSIBLE_MEMORY)
        && !dump_type.contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY);
    let mut inaccessible = BTreeSet::new();
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        let restarts = goes_on && inaccessible.len() < MOST_RESTARTS;
        match attempt(
            frozen,
            own,
            &mut inaccessible,
            goes_on && !restarts,
            limit,
            dialogue,
        ) {
            Ok(attempt) if attempt.is_agreed => {
                snapshot.diagnostics.extend(losses(&attempt.pieces));
                if !attempt.diagnostics.is_empty() {
                    // Memory that was left out may end inside a region.
                    snapshot.map.cut_at(&attempt.pieces);
                }
                snapshot.diagnostics.extend(attempt.diagnostics);
                snapshot.memory = CapturedMemory::new(attempt.pieces, true);
                return Ok(());
            }
            Ok(_) => attempts += 1,
            // This ends, because it is another region each time.
            Err(Stopped::Unreadable { region, .. }) if goes_on => {
                inaccessible.insert(region);
            }
            Err(Stopped::Unreadable {
                chunk: range, status, ..
            }) => {
                return Err(Error::Unreadable {
                    range,
                    status,
                    remedy: remedy::full_memory(dump_type),
                });
            }
            Err(Stopped::By(error)) => return Err(error),
        }
    }
    Err(Error::PassesDisagree)
}

/// Does what precedes the passes over the regions.
pub(super) fn begin(
    snapshot: &mut Snapshot,
    own: &[Region],
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    negotiated.begin_writing(dialogue)?;
    // DbgHelp writes the lists of threads and modules first, and sends Cancel before each entry.
    for _ in 0..snapshot.threads.kept().len() + snapshot.modules.len() {
        dialogue.service().poll_cancel()?;
    }
    if snapshot.terms.dump_type.contains(DumpType::WITH_FULL_MEMORY_INFO) {
        snapshot.map.set_regions(RegionWalk::over(own).all(dialogue)?);
    }
    Ok(())
}

/// Makes both passes.
///
/// With `keeps_going`, a region that turns out to be unreadable is immediately listed with no bytes
/// and added to `inaccessible`.
fn attempt(
    frozen: &mut dyn Frozen,
    own: &[Region],
    inaccessible: &mut BTreeSet<u64>,
    keeps_going: bool,
    limit: u64,
    dialogue: &mut Dialogue<'_>,
) -> Result<Attempt, Stopped> {
    let mut sizes = Vec::new();
    pass(own, dialogue, |_, _, range| {
        sizes.push(range);
        Ok(())
    })?;
    let mut parts = Vec::new();
    let mut pieces = Vec::new();
    let mut diagnostics = Vec::new();
    let mut room = Room(limit);
    pass(own, dialogue, |dialogue, region, range| {
        parts.push(range);
        let mut present = vec![range];
        if !inaccessible.contains(&region) {
            present = without_untouched_runs(frozen, range, &mut diagnostics);
        }
        for range in present {
            let bytes = if inaccessible.contains(&region) {
                Bytes::Lost
            } else if !room.take(range.len()) {
                Bytes::Deferred
            } else {
                match fetch(frozen, dialogue.service(), range) {
                    Ok(bytes) => Bytes::Fetched(bytes),
                    Err(_) if keeps_going => {
                        inaccessible.insert(region);
                        Bytes::Lost
                    }
                    Err(failed) => return Err(failed),
                }
            };
            pieces.push(Piece { range, bytes });
        }
        Ok(())
    })?;
    Ok(Attempt {
        pieces,
        diagnostics,
        is_agreed: sizes == parts,
    })
}

/// Makes one pass over the address space. Calls `take` with each part that is to be dumped and the
/// start of its region.
pub(super) fn pass(
    own: &[Region],
    dialogue: &mut Dialogue<'_>,
    mut take: impl FnMut(&mut Dialogue<'_>, u64, AddressRange) -> Result<(), (AddressRange, Hresult)>,
) -> Result<(), Stopped> {
    let mut asking = Asking::default();
    let mut walk = RegionWalk::over(own);
    loop {
        dialogue.service().poll_cancel()?;
        let Some(region) = walk.next(dialogue)? else {
            return Ok(());
        };
        if !region.is_dumpable() {
            continue;
        }
        let start = region.range.start();
        for range in asking.parts(&region, dialogue) {
            take(dialogue, start, range).map_err(|(chunk, status)| Stopped::Unreadable {
                region: start,
                chunk,
                status,
            })?;
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::By(error)
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::By(error) => error,
            Stopped::Unreadable {
                chunk: range, status, ..
            } => Self::Unreadable {
                range,
                status,
                remedy: remedy::ALLOW_LOSSES,
            },
        }
    }
}

fn losses(pieces: &[Piece]) -> impl Iterator<Item = Diagnostic> {
    let lost = pieces.iter().filter(|piece| piece.bytes == Bytes::Lost);
    lost.map(|piece| {
        Diagnostic::missing(
            Subject::Memory(piece.range),
            "a page of the region cannot be read",
        )
    })
}
