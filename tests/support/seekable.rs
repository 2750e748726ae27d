//! An independent reader of zstd's seekable format, for tests.
//!
//! It finds the frames by their own headers (RFC 8878) and compares them with the seek table, which
//! it reads as the description of the format says ("Zstandard Seekable Format", version 0.1.0). It
//! shares nothing with dumpwright's code, and does not decompress.

use std::ops::Range;

/// A frame of a seekable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekableFrame {
    /// Where the frame is in the file.
    pub place: Range<usize>,
    /// The size of its decompressed bytes.
    pub size: u64,
    /// Whether the frame ends with a checksum.
    pub has_checksum: bool,
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// Returns the frame that starts at `start`, which must state its decompressed size.
fn frame(file: &[u8], start: usize) -> SeekableFrame {
    let field = |at: usize, len: usize| number(&file[at..at + len]);
    assert_eq!(field(start, 4), 0xFD2F_B528, "the magic number at {start:#x}");
    let descriptor = file[start + 4];
    let is_single_segment = descriptor & 0x20 != 0;
    let has_checksum = descriptor & 0x04 != 0;
    let mut at = start + 5 + usize::from(!is_single_segment) + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (len, added) = match descriptor >> 6 {
        0 if is_single_segment => (1, 0),
        1 => (2, 256),
        2 => (4, 0),
        3 => (8, 0),
        _ => panic!("the frame at {start:#x} does not state its size"),
    };
    let size = field(at, len) + added;
    at += len;
    loop {
        let header = field(at, 3);
        // A block that repeats one byte has only that byte.
        let len = match header >> 1 & 3 {
            1 => 1,
            kind => {
                assert_ne!(kind, 3, "a reserved type of block");
                (header >> 3) as usize
            }
        };
        at += 3 + len;
        if header & 1 != 0 {
            break;
        }
    }
    SeekableFrame {
        place: start..at + 4 * usize::from(has_checksum),
        size,
        has_checksum,
    }
}

/// Returns the frames of a seekable file without its table.
///
/// # Panics
///
/// If the file is malformed, or if the table contradicts the frames.
pub fn frames(file: &[u8]) -> Vec<SeekableFrame> {
    let footer = file.len() - 9;
    assert_eq!(number(&file[footer + 5..]), 0x8F92_EAB1, "the end of the table");
    let descriptor = file[footer + 4];
    assert_eq!(descriptor & 0x7F, 0, "the descriptor");
    let entry = if descriptor & 0x80 == 0 { 8 } else { 12 };
    let count = number(&file[footer..footer + 4]) as usize;
    let table = footer - count * entry;
    assert_eq!(
        number(&file[table - 8..table - 4]),
        0x184D_2A5E,
        "a skippable frame"
    );
    assert_eq!(number(&file[table - 4..table]) as usize, file.len() - table);
    let mut found = Vec::new();
    let mut at = 0;
    for entry in file[table..footer].chunks(entry) {
        let frame = frame(file, at);
        at = frame.place.end;
        assert_eq!(number(&entry[..4]) as usize, frame.place.len(), "{frame:?}");
        assert_eq!(number(&entry[4..8]), frame.size, "{frame:?}");
        found.push(frame);
    }
    assert_eq!(at, table - 8, "all frames are in the table");
    found
}
