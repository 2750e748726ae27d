//! An index of ranges by address. It needs neither target nor callback.

use std::collections::HashMap;

/// An index of ranges, which may overlap. It finds the best range that contains an address: the one
/// with the lowest rank, and among equal ranks the one with the lowest number.
///
/// A range is stored as the aligned blocks of 2^n bytes that it consists of, at most two of each
/// size. Adding a range and finding one therefore take at most about a hundred steps, no matter how
/// many ranges there are and how they overlap.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeIndex {
    /// Rank and number of the best range, by level (the block has 2^level bytes) and address of a
    /// block.
    blocks: HashMap<(u32, u64), (u64, usize)>,
    /// The levels that occur, one bit each.
    levels: u128,
}

impl RangeIndex {
    /// Adds a range of addresses, from `first` to `last` inclusive.
    pub fn insert(&mut self, first: u64, last: u64, rank: u64, number: usize) {
        let mut at = first;
        while at <= last {
            // The largest block that its address and the rest of the range permit.
            let aligned = if at == 0 { u64::BITS } else { at.trailing_zeros() };
            let level = match (last - at).checked_add(1) {
                Some(rest) => aligned.min(rest.ilog2()),
                None => u64::BITS,
            };
            let new = (rank, number);
            let best = self.blocks.entry((level, at)).or_insert(new);
            *best = new.min(*best);
            self.levels |= 1 << level;
            let Some(next) = (at | inside(level)).checked_add(1) else {
                break;
            };
            at = next;
        }
    }

    /// Returns the number of the best range that contains `address`.
    pub fn find(&self, address: u64) -> Option<usize> {
        let mut levels = self.levels;
        let mut best: Option<(u64, usize)> = None;
        while levels != 0 {
            let level = levels.trailing_zeros();
            levels &= levels - 1;
            if let Some(found) = self.blocks.get(&(level, address & !inside(level))) {
                best = Some(best.map_or(*found, |best| best.min(*found)));
            }
        }
        best.map(|(_, number)| number)
    }
}

/// Returns the bits of an address that select a byte inside a block of 2^level bytes.
fn inside(level: u32) -> u64 {
    1_u64.checked_shl(level).map_or(u64::MAX, |size| size - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_whole_address_space_is_a_range_like_others() {
        let mut index = RangeIndex::default();
        index.insert(0, u64::MAX, 5, 0);
        index.insert(u64::MAX, u64::MAX, 1, 1);
        index.insert(7, 7, 1, 2);
        let found = [0, 6, 7, 8, u64::MAX - 1, u64::MAX].map(|address| index.find(address));
        assert_eq!(found, [Some(0), Some(0), Some(2), Some(0), Some(0), Some(1)]);
        assert_eq!(RangeIndex::default().find(0), None);
    }

    proptest! {
        /// The model is a search through the list.
        #[test]
        fn finds_what_a_search_through_the_list_finds(
            ranges in prop::collection::vec((0_u64..200, 0_u64..70, 0_u64..4), 0..20),
            shift in prop::sample::select(vec![0, 0x7fff_ffff_ff80, u64::MAX - 300]),
        ) {
            let mut index = RangeIndex::default();
            for (number, (first, len, rank)) in ranges.iter().enumerate() {
                index.insert(shift + first, shift + first + len, *rank, number);
            }
            for address in 0..300 {
                let holding = ranges.iter().enumerate().filter(|(_, (first, len, _))| {
                    (*first..=first + len).contains(&address)
                });
                let model = holding.min_by_key(|(number, (_, _, rank))| (*rank, *number));
                prop_assert_eq!(index.find(shift + address), model.map(|(number, _)| number));
            }
        }
    }
}
