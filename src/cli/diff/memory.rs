//! Compares the captured memory of two dumps, in whatever stream it is.

use dumpwright::read::{Dump, ReadError};

use super::{DifferenceKind, DumpDifference};

/// Memory is compared in pages.
const PAGE: u64 = 4096;
/// The number of bytes that are read at a time.
const CHUNK: u64 = 1 << 20;

/// A range of addresses: its start and its end.
type AddressSpan = (u64, u64);

/// Returns the ranges that only one of the dumps has, and those whose bytes differ.
pub(super) fn differences(a: &Dump, b: &Dump) -> Result<Vec<DumpDifference>, ReadError> {
    let (ranges_a, ranges_b) = (captured(a)?, captured(b)?);
    let mut found = Vec::new();
    for (range, in_a, in_b) in pieces(&ranges_a, &ranges_b) {
        match (in_a, in_b) {
            (true, false) => found.push((range, DifferenceKind::OnlyInA, 0)),
            (false, true) => found.push((range, DifferenceKind::OnlyInB, 0)),
            _ => compare(a, b, range, &mut found)?,
        }
    }
    Ok(found.into_iter().map(difference).collect())
}

fn difference(((start, end), kind, bytes): (AddressSpan, DifferenceKind, u64)) -> DumpDifference {
    let size = Some(format!("{} bytes", end - start));
    let mut difference = DumpDifference {
        kind,
        key: format!("{start:#x}-{end:#x}"),
        field: None,
        a: None,
        b: None,
    };
    match kind {
        DifferenceKind::OnlyInA => difference.a = size,
        DifferenceKind::OnlyInB => difference.b = size,
        DifferenceKind::Differs => {
            difference.field = Some(format!("{bytes} of {} bytes differ", end - start));
        }
    }
    difference
}

/// Returns the captured ranges in ascending order, joined and without those that were lost.
fn captured(dump: &Dump) -> Result<Vec<AddressSpan>, ReadError> {
    let mut ranges = Vec::new();
    for range in dump.iter_memory_ranges()? {
        let range = range?;
        ranges.push((range.address, range.address.saturating_add(range.size)));
    }
    if dump.compressed_memory()?.is_some() {
        for region in dump.iter_compressed_regions()? {
            let region = region?;
            ranges.push((region.address, region.address.saturating_add(region.size.into())));
        }
    }
    let mut lost = Vec::new();
    for loss in dump.iter_losses()? {
        let loss = loss?;
        lost.push((loss.start, loss.start.saturating_add(loss.length)));
    }
    let kept = pieces(&joined(ranges), &joined(lost));
    Ok(joined(
        kept.into_iter()
            .filter(|(_, is_captured, is_lost)| *is_captured && !is_lost)
            .map(|(range, ..)| range)
            .collect(),
    ))
}

/// Sorts ranges, and joins those that touch.
fn joined(mut ranges: Vec<AddressSpan>) -> Vec<AddressSpan> {
    ranges.retain(|(start, end)| start < end);
    ranges.sort_unstable();
    let mut joined: Vec<AddressSpan> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// Divides two lists of joined ranges into pieces, each with whether it is in the lists.
fn pieces(a: &[AddressSpan], b: &[AddressSpan]) -> Vec<(AddressSpan, bool, bool)> {
    let ends = |ranges: &[AddressSpan]| {
        ranges
            .iter()
            .flat_map(|range| [range.0, range.1])
            .collect::<Vec<_>>()
    };
    let mut borders = [ends(a), ends(b)].concat();
    borders.sort_unstable();
    borders.dedup();
    let has = |ranges: &[AddressSpan], at: u64| {
        let index = ranges.partition_point(|range| range.1 <= at);
        ranges.get(index).is_some_and(|range| range.0 <= at)
    };
    let pairs = borders.windows(2).map(|pair| (pair[0], pair[1]));
    let pieces = pairs.map(|range| (range, has(a, range.0), has(b, range.0)));
    pieces.filter(|(_, in_a, in_b)| *in_a || *in_b).collect()
}

/// Compares a range that both dumps have, page by page. Neighbouring pages that differ are one
/// range.
fn compare(
    a: &Dump,
    b: &Dump,
    (start, end): AddressSpan,
    found: &mut Vec<(AddressSpan, DifferenceKind, u64)>,
) -> Result<(), ReadError> {
    let mut at = start;
    while at < end {
        let next = (at - at % CHUNK).saturating_add(CHUNK).min(end);
        let (left, right) = (a.memory(at, next - at)?, b.memory(at, next - at)?);
        let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
        if left != right {
            let mut page = at;
            while page < next {
                let behind = (page - page % PAGE).saturating_add(PAGE).min(next);
                let bytes = |all: &[u8]| {
                    let range = (page - at) as usize..(behind - at) as usize;
                    all.get(range).unwrap_or_default().to_vec()
                };
                let pairs = bytes(&left).into_iter().zip(bytes(&right));
                let count = pairs.filter(|(left, right)| left != right).count() as u64;
                if count > 0 {
                    add(found, (page, behind), count);
                }
                page = behind;
            }
        }
        at = next;
    }
    Ok(())
}

/// Adds a page that differs.
fn add(found: &mut Vec<(AddressSpan, DifferenceKind, u64)>, (start, end): AddressSpan, count: u64) {
    match found.last_mut() {
        Some((last, DifferenceKind::Differs, bytes)) if last.1 == start => {
            last.1 = end;
            *bytes += count;
        }
        _ => found.push(((start, end), DifferenceKind::Differs, count)),
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch ranges that are compared with others or not at all.

    use super::*;

    #[test]
    fn ranges_are_divided_at_all_borders() {
        let a = joined(vec![(50, 60), (10, 20), (20, 30)]);
        assert_eq!(a, [(10, 30), (50, 60)]);
        assert_eq!(
            pieces(&a, &[(5, 12), (50, 60), (70, 80)]),
            [
                ((5, 10), false, true),
                ((10, 12), true, true),
                ((12, 30), true, false),
                ((50, 60), true, true),
                ((70, 80), false, true),
            ]
        );
    }

    #[test]
    fn neighbouring_pages_are_one_range() {
        let mut found = vec![((0, 4096), DifferenceKind::OnlyInA, 0)];
        add(&mut found, (4096, 8192), 2);
        add(&mut found, (8192, 12288), 3);
        add(&mut found, (20480, 24576), 1);
        assert_eq!(found[1], ((4096, 12288), DifferenceKind::Differs, 5));
        assert_eq!(found.len(), 3);
    }
}
