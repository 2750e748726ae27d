use dumpwright_target::{AddressRange, Content};

/// What the bytes of a region are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// These, then zeros.
    Bytes(Vec<u8>),
    /// Every aligned 8 bytes hold their own address: any piece of it tells where it comes from, and
    /// gigabytes of it cost nothing.
    Counting,
    /// Never touched, therefore zero.
    Untouched,
}

impl Contents {
    pub(crate) fn survey(&self) -> Content {
        match self {
            Self::Untouched => Content::Zero,
            Self::Bytes(_) | Self::Counting => Content::Readable,
        }
    }

    /// The bytes at `at` of a region that begins at `start`.
    pub(crate) fn read(&self, region: AddressRange, at: u64, into: &mut [u8]) {
        match self {
            Self::Untouched => into.fill(0),
            Self::Bytes(bytes) => {
                let from = usize::try_from(at - region.start())
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let count = into.len().min(bytes.len() - from);
                into[..count].copy_from_slice(&bytes[from..from + count]);
                into[count..].fill(0);
            }
            Self::Counting => {
                let mut at = at;
                let mut rest = into;
                while !rest.is_empty() {
                    let word = (at & !7).to_le_bytes();
                    let skip = usize::try_from(at % 8).expect("less than eight");
                    let count = rest.len().min(8 - skip);
                    rest[..count].copy_from_slice(&word[skip..skip + count]);
                    rest = &mut rest[count..];
                    at += count as u64;
                }
            }
        }
    }
}
