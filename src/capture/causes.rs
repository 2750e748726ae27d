//! Why memory is in the dump. This is traced only for an explanation.

use dumpwright_target::{AddressRange, Region, RegionKind};

use super::Snapshot;
use super::ranges::stack_ranges;
use crate::explanation::{MemoryCause, Share};
use crate::memory::set::RangeSet;
use dumpwright_callback::ThreadWriteFlags;

/// The memory that was chosen for each cause.
#[derive(Default)]
pub(crate) struct Causes {
    /// `None` if nobody wants to know.
    found: Option<Vec<(MemoryCause, AddressRange)>>,
}

impl Causes {
    /// Traces causes if `wanted` is set.
    pub fn new(wanted: bool) -> Self {
        Self {
            found: wanted.then(Vec::new),
        }
    }

    /// Notes that these ranges were chosen for this cause.
    pub fn note(&mut self, cause: MemoryCause, ranges: &[AddressRange]) {
        if let Some(found) = &mut self.found {
            found.extend(ranges.iter().map(|range| (cause, *range)));
        }
    }

    /// Notes the regions that a dump of all memory includes, by their kind.
    pub fn note_regions<'r>(&mut self, regions: impl IntoIterator<Item = &'r Region>) {
        let Some(found) = &mut self.found else { return };
        found.extend(regions.into_iter().map(|region| {
            let cause = match region.kind {
                Some(RegionKind::Image) => MemoryCause::Modules,
                Some(RegionKind::Mapped) => MemoryCause::Mapped,
                _ => MemoryCause::Private,
            };
            (cause, region.range)
        }));
    }
}

impl Snapshot {
    /// Divides the memory of the dump among the causes. Memory with several causes counts for the
    /// first of them, in the order of [`MemoryCause`].
    pub fn shares(&self) -> Vec<Share> {
        let pieces = self.memory.pieces().iter().filter(|piece| piece.len() > 0);
        let compressed = self.memory.compressed();
        let compressed = compressed
            .iter()
            .flat_map(|compressed| compressed.ranges.iter().copied());
        let all = pieces.map(|piece| piece.range).chain(compressed);
        let mut left = RangeSet::union_of_overlapping(all.collect::<Vec<_>>());
        let mut found = self.causes.found.clone().unwrap_or_default();
        let stacks = stack_ranges(self, ThreadWriteFlags::THREAD);
        found.extend(stacks.into_iter().map(|range| (MemoryCause::Stacks, range)));
        found.push((
            MemoryCause::Other,
            AddressRange::new(0, u64::MAX).expect("not empty"),
        ));
        let shares = MemoryCause::ALL.into_iter().filter_map(|cause| {
            let ranges = found
                .iter()
                .filter(|(of, _)| *of == cause)
                .map(|(_, range)| *range);
            let ranges = RangeSet::union(ranges);
            let share = left.intersect(&ranges);
            left = left.subtract(&ranges);
            let bytes = share.iter().map(AddressRange::len).sum();
            (bytes > 0).then(|| Share {
                cause,
                bytes,
                ranges: share.iter().count(),
            })
        });
        shares.collect()
    }
}
