use std::sync::Arc;

use dumpwright_target::{AddressRange, Content};

/// The contents of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// These bytes, followed by zeros.
    Bytes(Vec<u8>),
    /// Every aligned word of 8 bytes contains its own address. Any piece of it shows where it comes
    /// from, and gigabytes of it need no memory.
    Counting,
    /// This byte, repeated.
    Fill(u8),
    /// Bytes that look random. They depend on this seed and on their offset in the region.
    Pattern(u64),
    /// Never touched and therefore zero.
    Untouched,
    /// Other contents, with some bytes replaced.
    Overlaid(Overlaid),
}

/// Contents in which some bytes are replaced. [`SimProcess::put`](crate::SimProcess::put) makes
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlaid {
    /// The region to which `below` belongs. It can be larger than the region that has these
    /// contents.
    origin: AddressRange,
    below: Arc<Contents>,
    /// Addresses and bytes. Later entries replace earlier ones.
    put: Vec<(u64, Vec<u8>)>,
}

impl Contents {
    /// Returns these contents, which belong to a region at `origin`, for a part of that region. The
    /// bytes keep their addresses.
    #[must_use]
    pub(crate) fn laid_out_for(self, origin: AddressRange) -> Self {
        Self::Overlaid(Overlaid {
            origin,
            below: Arc::new(self),
            put: Vec::new(),
        })
    }

    /// Returns these contents of a region at `origin`, with `bytes` at address `at`.
    #[must_use]
    pub(crate) fn put(self, origin: AddressRange, at: u64, bytes: Vec<u8>) -> Self {
        match self {
            Self::Overlaid(mut overlaid) => {
                overlaid.put.push((at, bytes));
                Self::Overlaid(overlaid)
            }
            plain => plain.laid_out_for(origin).put(origin, at, bytes),
        }
    }

    pub(crate) fn survey(&self) -> Content {
        match self {
            Self::Untouched => Content::Zero,
            Self::Overlaid(overlaid) if overlaid.put.is_empty() => overlaid.below.survey(),
            Self::Bytes(_) | Self::Counting | Self::Fill(_) | Self::Pattern(_) | Self::Overlaid(_) => {
                Content::Readable
            }
        }
    }

    /// Fills `into` with the bytes at address `at` of a region with these contents.
    pub(crate) fn read(&self, region: AddressRange, at: u64, into: &mut [u8]) {
        match self {
            Self::Untouched => into.fill(0),
            Self::Fill(byte) => into.fill(*byte),
            Self::Bytes(bytes) => {
                let from = usize::try_from(at - region.start())
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let count = into.len().min(bytes.len() - from);
                into[..count].copy_from_slice(&bytes[from..from + count]);
                into[count..].fill(0);
            }
            Self::Counting => words(at, into, |address| address),
            Self::Pattern(seed) => words(at - region.start(), into, |offset| {
                scramble(seed.wrapping_add(offset))
            }),
            Self::Overlaid(overlaid) => {
                overlaid.below.read(overlaid.origin, at, into);
                for (start, bytes) in &overlaid.put {
                    lay(bytes, *start, into, at);
                }
            }
        }
    }
}

/// Fills a buffer with the little-endian words of the aligned positions from `at` on.
fn words(at: u64, into: &mut [u8], word: impl Fn(u64) -> u64) {
    let mut at = at;
    let mut rest = into;
    while !rest.is_empty() {
        let bytes = word(at & !7).to_le_bytes();
        let skip = usize::try_from(at % 8).expect("less than eight");
        let count = rest.len().min(8 - skip);
        rest[..count].copy_from_slice(&bytes[skip..skip + count]);
        rest = &mut rest[count..];
        at += count as u64;
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014). It maps adjacent numbers to very
/// different ones.
fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Copies the part of `bytes` (at address `start`) that overlaps `into` (at address `at`).
fn lay(bytes: &[u8], start: u64, into: &mut [u8], at: u64) {
    let (Some(from), Some(to)) = (
        AddressRange::at(start, bytes.len() as u64),
        AddressRange::at(at, into.len() as u64),
    ) else {
        return;
    };
    let Some(common) = from.intersect(to) else { return };
    let index = |base: u64| usize::try_from(common.start() - base).expect("inside a buffer");
    let len = usize::try_from(common.len()).expect("inside a buffer");
    into[index(at)..index(at) + len].copy_from_slice(&bytes[index(start)..index(start) + len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(contents: &Contents, region: AddressRange, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xEE; len];
        contents.read(region, at, &mut bytes);
        bytes
    }

    #[test]
    fn every_piece_of_any_contents_is_the_piece_of_the_whole() {
        let region = AddressRange::at(0x1000, 64).unwrap();
        for contents in [
            Contents::Bytes(b"some text".to_vec()),
            Contents::Counting,
            Contents::Fill(0xCC),
            Contents::Pattern(7),
            Contents::Untouched,
            Contents::Counting
                .put(region, 0x1003, vec![1, 2, 3, 4, 5, 6, 7, 8, 9])
                .put(region, 0x1005, vec![0xFF]),
            Contents::Pattern(7).laid_out_for(region),
        ] {
            let whole = read(&contents, region, 0x1000, 64);
            for start in 0..64_usize {
                for end in start..64 {
                    let piece = read(&contents, region, 0x1000 + start as u64, end - start);
                    assert_eq!(piece, whole[start..end], "{contents:?} {start}..{end}");
                }
            }
        }
    }

    #[test]
    fn what_is_put_later_lies_on_top() {
        let region = AddressRange::at(0x1000, 16).unwrap();
        let contents = Contents::Fill(0)
            .put(region, 0x1002, vec![1; 4])
            .put(region, 0x1003, vec![2; 2]);
        assert_eq!(read(&contents, region, 0x1000, 8), [0, 0, 1, 2, 2, 1, 0, 0]);
        assert_eq!(contents.survey(), Content::Readable);
    }

    #[test]
    fn patterns_depend_on_the_seed_and_not_on_the_address() {
        let [here, there] = [0x1000, 0x9000].map(|start| AddressRange::at(start, 64).unwrap());
        let one = read(&Contents::Pattern(1), here, 0x1000, 64);
        assert_eq!(one, read(&Contents::Pattern(1), there, 0x9000, 64));
        assert_ne!(one, read(&Contents::Pattern(2), here, 0x1000, 64));
    }
}
