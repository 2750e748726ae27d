//! All readable memory: which regions, in which order. Nothing is read here, only promised.

use dumpwright_callback::{MemoryInfo, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Content, Exclusion, Frozen, Region, Remark, Subject};

use super::ranges::stack_ranges;
use super::{Bytes, Piece, Snapshot};
use crate::Error;
use crate::memory::reader;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Dialogue;
use crate::protocol::vm_region::to_info;

/// How often both passes over the regions are tried, as DbgHelp 6.3.9600 does.
pub(super) const ATTEMPTS: usize = 5;

/// Untouched memory is zero and costs nothing as a hole, but a reservation of terabytes (address sanitisers,
/// some runtimes) would make a file larger than file systems allow. Longer runs than this are left out
/// and said so.
const LONGEST_UNTOUCHED_RUN: u64 = 1 << 30;

/// Regions begin and end at pages; answers to IncludeVmRegion have to as well.
const PAGE: u64 = 4096;

/// Promises all memory that the type, the program and the callback want dumped.
///
/// Stacks come first, so that a dump cut off in its middle still has them and readers without
/// Memory64List find them through the thread list.
pub(super) fn choose(
    frozen: &mut dyn Frozen,
    snapshot: &mut Snapshot,
    map: &[Region],
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    snapshot.remarks.extend(exclusions(map));
    let regions: Vec<_> = map.iter().filter(|region| region.is_dumpable()).collect();
    let ranges = if dialogue.has_callback() {
        agreed(&regions, dialogue)?
    } else {
        regions.iter().map(|region| region.range).collect()
    };
    let mut present = Vec::new();
    for range in ranges {
        present.extend(existing(frozen, range, &mut snapshot.remarks));
    }
    let all = RangeSet::union_of_overlapping(present);
    let stacks =
        RangeSet::union_of_overlapping(stack_ranges(snapshot, ThreadWriteFlags::THREAD)).intersect(&all);
    let others = all.subtract(&stacks);
    snapshot.pieces = stacks
        .iter()
        .chain(others.iter())
        .map(|range| Piece {
            range,
            bytes: Bytes::Promised,
        })
        .collect();
    snapshot.large = true;
    snapshot.regions = snapshot
        .regions
        .take()
        .map(|regions| cut(regions, &snapshot.pieces));
    Ok(())
}

/// The same map with an entry beginning wherever a captured range begins.
///
/// udmp-parser 0.7.0 refuses a full dump with a range that begins inside an entry. A region cut in two, both with the
/// allocation base of the whole, says the same.
fn cut(regions: Vec<Region>, pieces: &[Piece]) -> Vec<Region> {
    let mut starts: Vec<_> = pieces.iter().map(|piece| piece.range.start()).collect();
    starts.sort_unstable();
    let mut entries = Vec::with_capacity(regions.len());
    for region in regions {
        let from = starts.partition_point(|start| *start <= region.range.start());
        let inside = starts[from..]
            .iter()
            .take_while(|start| **start < region.range.end());
        let mut at = region.range.start();
        for border in inside.copied().chain([region.range.end()]) {
            let range = AddressRange::new(at, border).expect("starts are ascending and differ");
            entries.push(Region {
                range,
                ..region.clone()
            });
            at = border;
        }
    }
    entries
}

/// What is left out because of the kind of region, one remark a reason.
fn exclusions(map: &[Region]) -> Vec<Remark> {
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
                Remark::left_out(
                    Subject::Process,
                    format!("{bytes} bytes in {count} regions: {}", exclusion.reason()),
                )
            })
        })
        .collect()
}

/// The ranges on which both passes of IncludeVmRegion agree.
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

/// One pass over the regions.
fn pass(regions: &[&Region], dialogue: &mut Dialogue<'_>) -> Result<Vec<AddressRange>, Error> {
    let mut asking = Asking::default();
    let mut ranges = Vec::new();
    for region in regions {
        dialogue.service().poll_cancel()?;
        ranges.extend(asking.parts(region, dialogue));
    }
    Ok(ranges)
}

/// One pass of IncludeVmRegion: whether the callback still wants to hear of regions.
pub(super) struct Asking(bool);

impl Default for Asking {
    fn default() -> Self {
        Self(true)
    }
}

impl Asking {
    /// The parts of a region that are to be dumped. What lies behind an answered part is offered again.
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
                // No more questions; everything left is dumped. An answer that grew, moved or is not aligned to
                // pages is taken for the same.
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

/// The parts of a range that have bytes.
fn existing(frozen: &mut dyn Frozen, range: AddressRange, remarks: &mut Vec<Remark>) -> Vec<AddressRange> {
    let mut parts: Vec<AddressRange> = Vec::new();
    reader::survey(frozen, range, |part, content| match content {
        Content::Zero if part.len() > LONGEST_UNTOUCHED_RUN => remarks.push(Remark::left_out(
            Subject::Memory(part),
            format!(
                "untouched, therefore zero: {} bytes that would only be a hole",
                part.len()
            ),
        )),
        Content::Readable | Content::Zero => match parts.last_mut() {
            Some(last) if last.end() == part.start() => {
                *last = AddressRange::new(last.start(), part.end()).expect("grew");
            }
            _ => parts.push(part),
        },
        Content::Unreadable(reason) => remarks.push(Remark::missing(Subject::Memory(part), reason)),
        Content::Nothing(reason) => remarks.push(Remark::left_out(Subject::Memory(part), reason)),
    });
    parts
}
