//! Chooses all readable memory: which regions, and in which order. Nothing is read here; all memory
//! is deferred.

use dumpwright_callback::{MemoryInfo, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Content, Diagnostic, Exclusion, Frozen, Region, Subject};

use super::ranges::stack_ranges;
use super::{Bytes, CapturedMemory, Piece, Snapshot};
use crate::Error;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Dialogue;
use crate::protocol::vm_region::to_info;

/// The number of attempts to get the same answers in both passes over the regions. DbgHelp 6.3.9600
/// makes the same number.
pub(super) const ATTEMPTS: usize = 5;

/// The longest run of untouched memory that is dumped, in bytes. Untouched memory is zero and takes
/// no space in the file, because it becomes a hole. But a reservation of terabytes (address
/// sanitizers, some runtimes) would make the file larger than file systems allow. Longer runs are
/// left out and reported, in dumps of chosen memory as well.
pub(super) const LONGEST_UNTOUCHED_RUN: u64 = 1 << 30;

/// Regions, and answers to IncludeVmRegion, begin and end at multiples of this.
const PAGE: u64 = 4096;

/// Defers all memory that the type, the program and the callback want dumped.
///
/// Stacks come first. A truncated dump then still has them, and readers that do not support the
/// Memory64List find them through the thread list.
pub(super) fn choose(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    map: &[Region],
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    snapshot.diagnostics.extend(exclusions(map));
    let regions: Vec<_> = map.iter().filter(|region| region.is_dumpable()).collect();
    snapshot.causes.note_regions(regions.iter().copied());
    let ranges = if dialogue.has_callback() {
        agreed(&regions, dialogue)?
    } else {
        regions.iter().map(|region| region.range).collect()
    };
    let mut present = Vec::new();
    for range in ranges {
        present.extend(existing(frozen, range, &mut snapshot.diagnostics));
    }
    let all = RangeSet::union_of_overlapping(present);
    let stacks =
        RangeSet::union_of_overlapping(stack_ranges(snapshot, ThreadWriteFlags::THREAD)).intersect(&all);
    let others = all.subtract(&stacks);
    let pieces: Vec<_> = stacks
        .iter()
        .chain(others.iter())
        .map(|range| Piece {
            range,
            bytes: Bytes::Deferred,
        })
        .collect();
    snapshot.map.cut_at(&pieces);
    snapshot.memory = CapturedMemory::new(pieces, true);
    Ok(())
}

/// Returns one diagnostic for each reason why regions are left out.
pub(super) fn exclusions(map: &[Region]) -> Vec<Diagnostic> {
    let all = [
        Exclusion::Device,
        Exclusion::Kernel,
        Exclusion::DontDump,
        Exclusion::WriteCombined,
    ];
    all.into_iter()
        .filter_map(|exclusion| {
            let regions = map.iter().filter(|region| region.exclusion == Some(exclusion));
            let (count, bytes) = regions.fold((0, 0), |(n, len), region| (n + 1, len + region.range.len()));
            (count > 0).then(|| {
                Diagnostic::left_out(
                    Subject::Process,
                    format!(
                        "{bytes} bytes in {count} region{}: {}",
                        if count == 1 { "" } else { "s" },
                        exclusion.reason()
                    ),
                )
            })
        })
        .collect()
}

/// Returns the ranges on which both passes of IncludeVmRegion agree.
fn agreed(regions: &[&Region], dialogue: &mut Dialogue<'_>) -> Result<Vec<AddressRange>, Error> {
    for _ in 0..ATTEMPTS {
        let sizes = pass(regions, dialogue)?;
        let data = pass(regions, dialogue)?;
        if sizes == data {
            return Ok(data);
        }
    }
    Err(Error::PassesDisagree)
}

/// Makes one pass over the regions and returns the wanted ranges.
fn pass(regions: &[&Region], dialogue: &mut Dialogue<'_>) -> Result<Vec<AddressRange>, Error> {
    let mut asking = Asking::default();
    let mut ranges = Vec::new();
    for region in regions {
        dialogue.service().poll_cancel()?;
        ranges.extend(asking.parts(region, dialogue));
    }
    Ok(ranges)
}

/// The state of one pass of IncludeVmRegion: whether the callback still wants calls.
pub(super) struct Asking(bool);

impl Default for Asking {
    fn default() -> Self {
        Self(true)
    }
}

impl Asking {
    /// Returns the parts of a region that are to be dumped. Whatever follows an answered part is
    /// offered again.
    pub fn parts(&mut self, region: &Region, dialogue: &mut Dialogue<'_>) -> Vec<AddressRange> {
        let mut parts = Vec::new();
        let mut rest = Some(region.range);
        while let Some(offered) = rest {
            let answer = self.ask(region, offered, dialogue);
            let part =
                answer.map(|answer| (AddressRange::at(answer.base_address, answer.region_size), answer));
            rest = match part {
                Some((_, answer)) if answer.region_size == 0 => None,
                Some((Some(part), _)) if offered.covers(part) && is_aligned(part) => {
                    parts.push(part);
                    AddressRange::new(part.end(), offered.end())
                }
                // The calls end, and everything left is dumped. The same applies if the answer lies
                // outside the offered range or is not aligned to pages.
                _ => {
                    self.0 = false;
                    parts.push(offered);
                    None
                }
            };
        }
        parts
    }

    fn ask(&self, region: &Region, offered: AddressRange, dialogue: &mut Dialogue<'_>) -> Option<MemoryInfo> {
        let offer = Region {
            range: offered,
            ..region.clone()
        };
        self.0
            .then(|| dialogue.include_vm_region(to_info(&offer)))
            .flatten()
    }
}

fn is_aligned(range: AddressRange) -> bool {
    range.start().is_multiple_of(PAGE) && range.end().is_multiple_of(PAGE)
}

/// Returns the parts of a range that have bytes.
fn existing(
    frozen: &mut dyn Frozen,
    range: AddressRange,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<AddressRange> {
    let mut parts: Vec<AddressRange> = Vec::new();
    reader::survey(frozen, range, |part, content| match content {
        Content::Zero if part.len() > LONGEST_UNTOUCHED_RUN => diagnostics.push(untouched(part)),
        Content::Readable | Content::Zero => match parts.last_mut() {
            Some(last) if last.end() == part.start() => {
                *last = AddressRange::new(last.start(), part.end()).expect("grew");
            }
            _ => parts.push(part),
        },
        Content::Unreadable(reason) => diagnostics.push(Diagnostic::missing(Subject::Memory(part), reason)),
        Content::Nothing(reason) => diagnostics.push(Diagnostic::left_out(Subject::Memory(part), reason)),
    });
    parts
}

/// Returns the diagnostic for a run of untouched memory that is left out because of its length.
pub(super) fn untouched(run: AddressRange) -> Diagnostic {
    Diagnostic::left_out(
        Subject::Memory(run),
        format!(
            "never touched and therefore zero: {} bytes that would only be a hole in the file",
            run.len()
        ),
    )
}
