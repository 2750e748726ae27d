//! DbgHelp's list of memory ranges, with its way of subtracting. It needs neither target nor
//! callback.

use std::collections::{BTreeMap, BTreeSet};

use dumpwright_target::AddressRange;

/// Ranges of memory to be written. They are disjoint unless something was removed.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Disjoint blocks, as start and end.
    blocks: BTreeMap<u64, u64>,
    /// Bogus blocks that removals have left at removed heads, and pieces of them, as start and end.
    /// They overlap other blocks. Each has fewer than [`BOGUS`] bytes.
    bogus: BTreeSet<(u64, u64)>,
}

/// A removal that begins `overhang` bytes before a block leaves a bogus block of
/// `(BOGUS - overhang % BOGUS) % BOGUS` bytes. This was observed for overhangs of 1, 0x10, 0x100,
/// 0x800 and 0x1000 bytes. If the result was 0, there was no bogus block.
const BOGUS: u64 = 0x800;

impl Blocks {
    /// Adds a range. It becomes one block with everything that it overlaps or touches.
    pub fn add(&mut self, range: AddressRange) {
        let (mut start, mut end) = (range.start(), range.end());
        let bogus: Vec<_> = self
            .bogus_near(start, end)
            .filter(|(known, known_end)| *known <= range.end() && range.start() <= *known_end)
            .collect();
        for block in bogus {
            self.bogus.remove(&block);
            (start, end) = (start.min(block.0), end.max(block.1));
        }
        let before = self.blocks.range(..start).next_back();
        if let Some((known, known_end)) = before.filter(|(_, known_end)| start <= **known_end) {
            (start, end) = (*known, end.max(*known_end));
        }
        while let Some((known, known_end)) = self.blocks.range(start..=end).next() {
            let (known, known_end) = (*known, *known_end);
            self.blocks.remove(&known);
            end = end.max(known_end);
        }
        self.blocks.insert(start, end);
    }

    /// Removes a range as DbgHelp 6.3.9600 does. The removal is exact, with one exception: a cut
    /// that begins before a block and ends inside it leaves a bogus block at the removed head,
    /// which overlaps the rest.
    pub fn remove(&mut self, cut: AddressRange) {
        let from = self.blocks.range(..=cut.start()).next_back();
        let from = from.map_or(cut.start(), |(start, _)| *start);
        let blocks = self.blocks.range(from..cut.end());
        let blocks = blocks.map(|(start, end)| (*start, *end));
        let blocks: Vec<_> = blocks.filter(|(_, end)| cut.start() < *end).collect();
        let bogus = self.bogus_near(cut.start(), cut.end());
        let bogus: Vec<_> = bogus
            .filter(|(start, end)| *start < cut.end() && cut.start() < *end)
            .collect();
        for (start, end) in blocks {
            self.blocks.remove(&start);
            let (head, left, rest) = divide(start, end, cut);
            self.bogus.extend(head);
            self.blocks.extend(left);
            self.blocks.extend(rest);
        }
        for block in bogus {
            self.bogus.remove(&block);
            let (head, left, rest) = divide(block.0, block.1, cut);
            self.bogus.extend(head.into_iter().chain(left).chain(rest));
        }
    }

    /// Returns the bogus blocks that may overlap or touch a range.
    fn bogus_near(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let from = start.saturating_sub(BOGUS);
        self.bogus.range((from, 0)..=(end, u64::MAX)).copied()
    }

    /// Returns the blocks in ascending order.
    pub fn into_sorted(self) -> Vec<AddressRange> {
        let all = self.blocks.into_iter().chain(self.bogus);
        let mut sorted: Vec<_> = all
            .filter_map(|(start, end)| AddressRange::new(start, end))
            .collect();
        sorted.sort_unstable();
        sorted
    }
}

/// Start and end of a block; `None` if there is none.
type BlockPart = Option<(u64, u64)>;

/// Returns what a removal leaves of a block that it overlaps: the bogus head, the part before the
/// cut, and the part after it.
fn divide(start: u64, end: u64, cut: AddressRange) -> (BlockPart, BlockPart, BlockPart) {
    let some = |start: u64, end: u64| (start < end).then_some((start, end));
    let head = (cut.start() < start && cut.end() < end).then(|| {
        let size = (BOGUS - (start - cut.start()) % BOGUS) % BOGUS;
        some(start, start.saturating_add(size))
    });
    (head.flatten(), some(start, cut.start()), some(cut.end(), end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> AddressRange {
        AddressRange::new(start, end).expect("not empty")
    }

    fn after(cut: (u64, u64)) -> Vec<(u64, u64)> {
        let mut blocks = Blocks::default();
        blocks.add(range(0x1000, 0x2000));
        blocks.remove(range(cut.0, cut.1));
        let left = blocks.into_sorted();
        left.iter().map(|block| (block.start(), block.len())).collect()
    }

    /// The recorded scenarios 04-rem-*.
    #[test]
    fn cuts_leave_what_they_left_in_windows() {
        assert_eq!(after((0x1000, 0x2000)), []);
        assert_eq!(after((0x1400, 0x1500)), [(0x1000, 0x400), (0x1500, 0xb00)]);
        assert_eq!(after((0x1f00, 0x2100)), [(0x1000, 0xf00)]);
        assert_eq!(after((0x1000, 0x1100)), [(0x1100, 0xf00)]);
        assert_eq!(after((0xf00, 0x1100)), [(0x1000, 0x700), (0x1100, 0xf00)]);
        assert_eq!(after((0, 0x1100)), [(0x1100, 0xf00)]);
        assert_eq!(after((0x800, 0x1100)), [(0x1100, 0xf00)]);
        assert_eq!(after((0xfff, 0x1001)), [(0x1000, 0x7ff), (0x1001, 0xfff)]);
    }

    #[test]
    fn what_overlaps_or_touches_is_one_block() {
        let mut blocks = Blocks::default();
        for (start, end) in [(10, 20), (40, 50), (20, 30), (25, 41), (60, 70)] {
            blocks.add(range(start, end));
        }
        assert_eq!(blocks.into_sorted(), [range(10, 50), range(60, 70)]);
    }

    /// A model of the list that searches all of it for each range.
    #[derive(Default)]
    struct Model(Vec<AddressRange>);

    impl Model {
        fn add(&mut self, range: AddressRange) {
            let mut joined = range;
            self.0.retain(|block| {
                let belongs = block.start() <= joined.end() && joined.start() <= block.end();
                if belongs {
                    let (start, end) = (block.start().min(joined.start()), block.end().max(joined.end()));
                    joined = AddressRange::new(start, end).expect("grew");
                }
                !belongs
            });
            self.0.push(joined);
        }

        fn remove(&mut self, cut: AddressRange) {
            let mut left = Vec::new();
            for block in self.0.drain(..) {
                if cut.intersect(block).is_none() {
                    left.push(block);
                    continue;
                }
                left.extend(AddressRange::new(block.start(), cut.start()));
                if cut.start() < block.start() && cut.end() < block.end() {
                    let size = (BOGUS - (block.start() - cut.start()) % BOGUS) % BOGUS;
                    left.extend(AddressRange::at(block.start(), size));
                }
                left.extend(AddressRange::new(cut.end(), block.end()));
            }
            self.0 = left;
        }
    }

    fn arbitrary_ranges(most: usize) -> impl Strategy<Value = Vec<AddressRange>> {
        let range = (0_u64..0x4000, 1_u64..0xa00);
        let range = range.prop_map(|(start, len)| AddressRange::at(start, len).expect("not empty"));
        prop::collection::vec(range, 0..most)
    }

    proptest! {
        /// Ranges are added first and then some are removed, as in the dialogue.
        #[test]
        fn blocks_are_those_of_a_list(added in arbitrary_ranges(12), removed in arbitrary_ranges(4)) {
            let (mut blocks, mut model) = (Blocks::default(), Model::default());
            for range in added {
                blocks.add(range);
                model.add(range);
            }
            for cut in removed {
                blocks.remove(cut);
                model.remove(cut);
            }
            model.0.sort_unstable();
            // The same block twice has no meaning.
            model.0.dedup();
            prop_assert_eq!(blocks.into_sorted(), model.0);
        }
    }
}
