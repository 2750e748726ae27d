//! The list of ranges that DbgHelp keeps, with its way of subtracting. Pure: no target, no callback.

use dumpwright_target::AddressRange;

/// Ranges of memory to be written. Disjoint, unless something was removed.
#[derive(Debug, Default)]
pub(super) struct Blocks(Vec<AddressRange>);

impl Blocks {
    /// Adds a range; what it overlaps or touches becomes one block with it.
    pub fn add(&mut self, range: AddressRange) {
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

    /// Removes a range as 6.3.9600 does: exactly, except that a cut which begins before a block and ends inside it
    /// leaves a bogus block at the removed head, overlapping the rest.
    pub fn remove(&mut self, cut: AddressRange) {
        /// The bogus block's size: this less the overhang, modulo this. Observed for overhangs of 1, 0x10, 0x100,
        /// 0x800 and 0x1000 bytes; where it came out 0 there was no block.
        const BOGUS: u64 = 0x800;
        let mut left = Vec::with_capacity(self.0.len() + 1);
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

    /// The blocks, ascending.
    pub fn into_sorted(mut self) -> Vec<AddressRange> {
        self.0.sort_unstable();
        self.0
    }
}

#[cfg(test)]
mod tests {
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
}
