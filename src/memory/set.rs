//! Sets of addresses. They need neither target nor callback.

use std::collections::BTreeMap;
use std::ops::Bound;

use dumpwright_target::AddressRange;

/// A set of addresses, stored as ascending, disjoint ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<AddressRange>,
}

impl RangeSet {
    /// Returns the union of these ranges. Ranges that overlap or touch become one range.
    pub fn union(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        Self::join(ranges, |last, next| next.start() <= last.end())
    }

    /// Returns the union of these ranges. Ranges that overlap become one range; ranges that only
    /// touch stay separate.
    pub fn union_of_overlapping(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        Self::join(ranges, |last, next| next.start() < last.end())
    }

    fn join(
        ranges: impl IntoIterator<Item = AddressRange>,
        belong_together: impl Fn(AddressRange, AddressRange) -> bool,
    ) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<AddressRange> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match joined.last_mut() {
                Some(last) if belong_together(*last, next) => {
                    let end = last.end().max(next.end());
                    *last = AddressRange::new(last.start(), end).expect("grew");
                }
                _ => joined.push(next),
            }
        }
        Self { ranges: joined }
    }

    /// Returns the addresses that are in this set but not in `other`.
    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.ranges.len());
        let mut cuts = &other.ranges[..];
        for range in &self.ranges {
            let mut start = range.start();
            // A binary search, because a few ranges are often cut by many.
            cuts = &cuts[cuts.partition_point(|cut| cut.end() <= start)..];
            for cut in cuts.iter().take_while(|cut| cut.start() < range.end()) {
                left.extend(AddressRange::new(start, cut.start()));
                start = cut.end();
            }
            left.extend(AddressRange::new(start, range.end()));
        }
        Self { ranges: left }
    }

    /// Returns the addresses that are in both sets.
    pub fn intersect(&self, other: &Self) -> Self {
        self.subtract(&self.subtract(other))
    }

    /// Returns the same addresses in ranges of at most `size` bytes.
    pub fn split(&self, size: u64) -> Self {
        Self {
            ranges: self.ranges.iter().flat_map(|range| range.chunks(size)).collect(),
        }
    }

    /// Whether `address` is in the set.
    pub fn contains(&self, address: u64) -> bool {
        self.first_behind(address)
            .is_some_and(|range| range.contains(address))
    }

    /// Returns the parts of `range` that are in the set, in ascending order.
    pub fn parts_in(&self, range: AddressRange) -> impl Iterator<Item = AddressRange> + '_ {
        let from = self.index_behind(range.start());
        self.ranges[from..]
            .iter()
            .map_while(move |own| own.intersect(range))
    }

    /// Whether any address of `range` is in the set.
    pub fn meets(&self, range: AddressRange) -> bool {
        self.parts_in(range).next().is_some()
    }

    /// Returns the first range that ends after `address`.
    pub fn first_behind(&self, address: u64) -> Option<AddressRange> {
        self.ranges.get(self.index_behind(address)).copied()
    }

    /// Returns the index of the first range that ends after `address`, or the number of ranges if
    /// there is none.
    pub fn index_behind(&self, address: u64) -> usize {
        self.ranges.partition_point(|range| range.end() <= address)
    }

    /// Returns the ranges in ascending order.
    pub fn into_ranges(self) -> Vec<AddressRange> {
        self.ranges
    }

    /// Returns the ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.ranges.iter().copied()
    }
}

/// A set of addresses to which ranges are added one by one. The time to add a range hardly depends
/// on the number of ranges.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cover {
    /// Disjoint ranges that do not touch, as start and end.
    ranges: BTreeMap<u64, u64>,
}

impl Cover {
    /// Adds a range. Returns the parts of it that were not in the set, in ascending order.
    pub fn add(&mut self, range: AddressRange) -> Vec<AddressRange> {
        let mut fresh = Vec::new();
        let (mut start, mut end) = (range.start(), range.end());
        // Everything below this address is in the set or in `fresh`.
        let mut at = start;
        let before = self.ranges.range(..=start).next_back();
        if let Some((known, known_end)) = before.filter(|(_, known_end)| **known_end >= start) {
            start = *known;
            at = *known_end;
            end = end.max(*known_end);
        }
        let behind = (Bound::Excluded(range.start()), Bound::Included(range.end()));
        while let Some((known, known_end)) = self.ranges.range(behind).next() {
            let (known, known_end) = (*known, *known_end);
            fresh.extend(AddressRange::new(at, known));
            at = known_end;
            end = end.max(known_end);
            self.ranges.remove(&known);
        }
        fresh.extend(AddressRange::new(at, range.end()));
        self.ranges.insert(start, end);
        fresh
    }

    /// Whether all of `range` is in the set.
    pub fn covers(&self, range: AddressRange) -> bool {
        let before = self.ranges.range(..=range.start()).next_back();
        before.is_some_and(|(_, end)| range.end() <= *end)
    }

    /// Returns the ranges in ascending order.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = AddressRange> + '_ {
        let ranges = self.ranges.iter();
        ranges.map(|(start, end)| AddressRange::new(*start, *end).expect("never empty"))
    }
}

/// Returns for each range the parts that none of the ranges before it contains.
pub(crate) fn without_repetitions(
    ranges: impl IntoIterator<Item = AddressRange>,
) -> impl Iterator<Item = Vec<AddressRange>> {
    let mut seen = Cover::default();
    ranges.into_iter().map(move |range| seen.add(range))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> AddressRange {
        AddressRange::new(start, end).expect("not empty")
    }

    fn set(pairs: &[(u64, u64)]) -> RangeSet {
        RangeSet::union(pairs.iter().map(|(start, end)| range(*start, *end)))
    }

    #[test]
    fn touching_ranges_become_one_unless_kept_apart() {
        let ranges = [range(10, 20), range(20, 30), range(25, 40)];
        assert_eq!(
            set(&[(10, 20), (20, 30), (25, 40)]).iter().collect::<Vec<_>>(),
            [range(10, 40)]
        );
        let apart = RangeSet::union_of_overlapping(ranges);
        assert_eq!(apart.iter().collect::<Vec<_>>(), [range(10, 20), range(20, 40)]);
    }

    #[test]
    fn a_cut_may_split_and_may_reach_over_several_ranges() {
        let left = set(&[(0, 10), (20, 30), (40, 50)]).subtract(&set(&[(3, 5), (25, 45)]));
        assert_eq!(left, set(&[(0, 3), (5, 10), (20, 25), (45, 50)]));
    }

    fn arbitrary_pairs() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec(
            (0_u64..60, 1_u64..12).prop_map(|(start, len)| (start, start + len)),
            0..12,
        )
    }

    fn addresses(pairs: &[(u64, u64)]) -> BTreeSet<u64> {
        pairs.iter().flat_map(|(start, end)| *start..*end).collect()
    }

    proptest! {
        /// The model is a plain set of numbers.
        #[test]
        fn sets_of_ranges_are_sets_of_addresses(a in arbitrary_pairs(), b in arbitrary_pairs(), size in 1_u64..9) {
            let elements = |set: &RangeSet| set.iter().flat_map(|r| r.start()..r.end()).collect::<Vec<_>>();
            let (one, two) = (set(&a), set(&b));
            let (ones, twos) = (addresses(&a), addresses(&b));
            prop_assert_eq!(elements(&one), ones.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(elements(&one.subtract(&two)), ones.difference(&twos).copied().collect::<Vec<_>>());
            prop_assert_eq!(elements(&one.intersect(&two)), ones.intersection(&twos).copied().collect::<Vec<_>>());
            prop_assert!((0..80).all(|address| one.contains(address) == ones.contains(&address)));
            for address in 0..80 {
                let met = (address..address + size).any(|inside| ones.contains(&inside));
                prop_assert_eq!(one.meets(range(address, address + size)), met);
                let behind = one.iter().find(|range| range.end() > address);
                prop_assert_eq!(one.first_behind(address), behind);
            }
            prop_assert_eq!(elements(&one.split(size)), elements(&one));
            prop_assert!(one.split(size).iter().all(|part| part.len() <= size));
        }

        /// The model is a plain set of numbers.
        #[test]
        fn a_cover_is_the_set_of_all_that_was_added(pairs in arbitrary_pairs()) {
            let mut cover = Cover::default();
            let mut all = BTreeSet::new();
            for (start, end) in &pairs {
                let fresh: BTreeSet<_> = (*start..*end).filter(|address| all.insert(*address)).collect();
                let added = cover.add(range(*start, *end));
                let parts: Vec<_> = added.iter().flat_map(|part| part.start()..part.end()).collect();
                prop_assert_eq!(parts, fresh.into_iter().collect::<Vec<_>>());
                prop_assert!(cover.covers(range(*start, *end)));
            }
            let elements: Vec<_> = cover.iter().flat_map(|part| part.start()..part.end()).collect();
            prop_assert_eq!(elements, all.iter().copied().collect::<Vec<_>>());
            // Ranges that touch are joined.
            prop_assert_eq!(cover.iter().collect::<Vec<_>>(), set(&pairs).iter().collect::<Vec<_>>());
            for start in 0..75 {
                let is_covered = (start..start + 3).all(|address| all.contains(&address));
                prop_assert_eq!(cover.covers(range(start, start + 3)), is_covered);
            }
        }
    }
}
