//! Reads an `EXCEPTION_RECORD` from bytes of a process's memory.

/// The size of a pointer in bytes. Every member of `EXCEPTION_RECORD` except the first two has this
/// size.
const WORD: usize = size_of::<usize>();

/// `EXCEPTION_MAXIMUM_PARAMETERS`.
const MAX_PARAMETERS: usize = 15;

/// Microsoft's `EXCEPTION_RECORD` (winnt.h) in the CPU family of this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionRecord {
    /// `ExceptionCode`.
    pub code: u32,
    /// `ExceptionFlags`.
    pub flags: u32,
    /// `ExceptionRecord`: the address of another record, or 0.
    pub record: u64,
    /// `ExceptionAddress`.
    pub address: u64,
    /// `ExceptionInformation`: as many parameters as `NumberParameters` says, at most 15.
    pub parameters: Vec<u64>,
}

impl ExceptionRecord {
    /// The size of the record in bytes: code and flags; record, address and number of parameters
    /// (32 bits, padded to a word); 15 parameters.
    pub const SIZE: usize = 8 + 3 * WORD + MAX_PARAMETERS * WORD;

    /// Parses the bytes of a record.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let number =
            |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("a range of four bytes"));
        let word = |at: usize| {
            usize::from_ne_bytes(bytes[at..at + WORD].try_into().expect("a range of one word")) as u64
        };
        let count = number(8 + 2 * WORD) as usize;
        Self {
            code: number(0),
            flags: number(4),
            record: word(8),
            address: word(8 + WORD),
            parameters: (0..count.min(MAX_PARAMETERS))
                .map(|index| word(8 + (3 + index) * WORD))
                .collect(),
        }
    }
}

/// These tests would catch: members at the wrong offsets; a parameter count that is not checked.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn members_are_read_at_their_offsets() {
        let mut words = [0_u64; ExceptionRecord::SIZE / 8];
        words[..4].copy_from_slice(&[0x0000_0081_c000_0005, 0x1111, 0x2222, 0xdead_beef_0000_0002]);
        words[4..]
            .iter_mut()
            .zip(1..)
            .for_each(|(word, value)| *word = value);
        let read = |words: [u64; ExceptionRecord::SIZE / 8]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            ExceptionRecord::from_bytes(&bytes.try_into().expect("of the record's size"))
        };
        let expected = ExceptionRecord {
            code: 0xc000_0005,
            flags: 0x81,
            record: 0x1111,
            address: 0x2222,
            parameters: vec![1, 2],
        };
        assert_eq!(read(words), expected);
        words[3] = 0xffff_ffff;
        assert_eq!(read(words).parameters, (1..16).collect::<Vec<_>>());
    }
}
