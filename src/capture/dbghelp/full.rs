//! All memory: two passes over the regions, the second of which reads.

use std::collections::BTreeSet;

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Frozen, Region, Remark, Subject};

use super::fetch;
use crate::capture::full::{ATTEMPTS, Asking};
use crate::capture::regions::Walk;
use crate::capture::{Bytes, Negotiated, Piece, Snapshot};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// A part of a region that is to be dumped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Part {
    range: AddressRange,
    /// Its region has turned out to be unreadable: it is listed with no bytes.
    is_lost: bool,
}

/// Why a pass did not come to its end.
enum Stopped {
    /// A read failed.
    Unreadable {
        /// Where the region begins.
        region: u64,
        chunk: AddressRange,
        status: Hresult,
    },
    By(Error),
}

/// Asks both passes, and reads in the second.
///
/// When they differ, both begin anew, five times at most. When a read fails, the dump fails, or, with 0x20000,
/// both begin anew and the whole region gets an entry without bytes. The callback is not asked about it.
pub(in crate::capture) fn full(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    own: &[Region],
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    negotiated.begin_writing(dialogue)?;
    let dump_type = snapshot.dump_type;
    // DbgHelp writes the lists of threads and modules first, polling before each entry.
    for _ in 0..snapshot.threads.len() + snapshot.modules.len() {
        dialogue.service().poll_cancel()?;
    }
    if dump_type.contains(DumpType::WITH_FULL_MEMORY_INFO) {
        snapshot.regions = Some(Walk::over(own).all(dialogue)?);
    }
    let goes_on = dump_type.contains(DumpType::IGNORE_INACCESSIBLE_MEMORY)
        && !dump_type.contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY);
    let mut inaccessible = BTreeSet::new();
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        match attempt(frozen, own, &inaccessible, dialogue) {
            Ok(Some(pieces)) => {
                snapshot.remarks.extend(losses(&pieces));
                snapshot.pieces = pieces;
                snapshot.large = true;
                return Ok(());
            }
            Ok(None) => attempts += 1,
            // Each time it is another region, so this ends.
            Err(Stopped::Unreadable { region, .. }) if goes_on => {
                inaccessible.insert(region);
            }
            Err(Stopped::Unreadable {
                chunk: range, status, ..
            }) => return Err(Error::Unreadable { range, status }),
            Err(Stopped::By(error)) => return Err(error),
        }
    }
    Err(Error::PassesDisagree)
}

/// Both passes; `None` if they differ.
fn attempt(
    frozen: &mut dyn Frozen,
    own: &[Region],
    inaccessible: &BTreeSet<u64>,
    dialogue: &mut Dialogue<'_>,
) -> Result<Option<Vec<Piece>>, Stopped> {
    let mut sizes = Vec::new();
    pass(own, inaccessible, dialogue, |_, part| {
        sizes.push(part);
        Ok(())
    })?;
    let mut parts = Vec::new();
    let mut pieces = Vec::new();
    pass(own, inaccessible, dialogue, |dialogue, part| {
        parts.push(part);
        let bytes = match part.is_lost {
            true => Bytes::Lost,
            false => Bytes::Fetched(fetch(frozen, dialogue.service(), part.range)?),
        };
        pieces.push(Piece {
            range: part.range,
            bytes,
        });
        Ok(())
    })?;
    Ok((sizes == parts).then_some(pieces))
}

/// One pass over the address space; `take` gets each part that is to be dumped.
fn pass(
    own: &[Region],
    inaccessible: &BTreeSet<u64>,
    dialogue: &mut Dialogue<'_>,
    mut take: impl FnMut(&mut Dialogue<'_>, Part) -> Result<(), (AddressRange, Hresult)>,
) -> Result<(), Stopped> {
    let mut asking = Asking::default();
    let mut walk = Walk::over(own);
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
            let is_lost = inaccessible.contains(&start);
            take(dialogue, Part { range, is_lost }).map_err(|(chunk, status)| Stopped::Unreadable {
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

fn losses(pieces: &[Piece]) -> impl Iterator<Item = Remark> {
    let lost = pieces.iter().filter(|piece| piece.bytes == Bytes::Lost);
    lost.map(|piece| {
        Remark::missing(
            Subject::Memory(piece.range),
            "a page of the region cannot be read",
        )
    })
}
