//! Sets of addresses. Pure: no target, no callback.

use dumpwright_target::AddressRange;

/// A set of addresses as ascending, disjoint ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<AddressRange>,
}

impl RangeSet {
    /// The union of these ranges; what overlaps or touches becomes one range.
    pub fn union(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        Self::join(ranges, |last, next| next.start() <= last.end())
    }

    /// The union of these ranges; what overlaps becomes one range, what only touches stays apart.
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

    /// What is in this set and not in the other.
    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.ranges.len());
        let mut cuts = other.ranges.iter().copied().peekable();
        for range in &self.ranges {
            let mut start = range.start();
            while let Some(cut) = cuts.peek().copied() {
                if cut.start() >= range.end() {
                    break;
                }
                if cut.end() > start {
                    left.extend(AddressRange::new(start, cut.start()));
                    start = start.max(cut.end());
                }
                if cut.end() > range.end() {
                    // It reaches into the next range too.
                    break;
                }
                cuts.next();
            }
            left.extend(AddressRange::new(start, range.end()));
        }
        Self { ranges: left }
    }

    /// What is in both sets.
    pub fn intersect(&self, other: &Self) -> Self {
        self.subtract(&self.subtract(other))
    }

    /// The same addresses in ranges of at most `size` bytes.
    pub fn split(&self, size: u64) -> Self {
        Self {
            ranges: self.ranges.iter().flat_map(|range| range.chunks(size)).collect(),
        }
    }

    /// Whether `address` is in the set.
    pub fn contains(&self, address: u64) -> bool {
        let index = self.ranges.partition_point(|range| range.end() <= address);
        self.ranges
            .get(index)
            .is_some_and(|range| range.contains(address))
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.ranges.iter().copied()
    }
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
            prop_assert_eq!(elements(&one.split(size)), elements(&one));
            prop_assert!(one.split(size).iter().all(|part| part.len() <= size));
        }
    }
}
