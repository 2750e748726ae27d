//! The errors of the reader.

use std::io;
use std::path::PathBuf;

/// The reason why a dump, or a part of it, could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system could not read bytes inside the file.
    #[error("cannot read {what}, {length} bytes at offset {offset:#x}: {source}")]
    Io {
        /// What was being read.
        what: &'static str,
        /// The file offset at which it starts.
        offset: u64,
        /// The number of bytes to read.
        length: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not start with a minidump header.
    #[error("not a minidump: {reason}")]
    NotAMinidump {
        /// What the file starts with instead.
        reason: String,
    },
    /// The file is compressed with zstd, and cannot be read at any offset.
    #[error("the file is compressed with zstd, but {reason}")]
    Compressed {
        /// What is wrong with it, and possibly what the user can do.
        reason: String,
    },
    /// An offset or a size in the dump refers to bytes outside the file.
    #[error(
        "{what} should be {length} bytes at offset {offset:#x}, but the file ends at {file_length:#x}: \
         it is damaged or truncated"
    )]
    Outside {
        /// What was to be read.
        what: &'static str,
        /// The file offset at which it should start.
        offset: u64,
        /// The number of bytes to read.
        length: u64,
        /// The length of the file in bytes.
        file_length: u64,
    },
    /// The bytes are inside the file, but they contradict the format.
    #[error("{what} at offset {offset:#x} is malformed: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// The file offset at which it starts.
        offset: u64,
        /// How it contradicts the format.
        reason: String,
    },
    /// A part of the dump is longer than the limit up to which the reader keeps such parts in
    /// memory.
    #[error("{what} at offset {offset:#x} has {length} {unit}; the reader supports at most {limit}")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// The file offset at which it starts.
        offset: u64,
        /// Its length.
        length: u64,
        /// The maximum length.
        limit: u64,
        /// What is counted, such as `bytes` or `entries`.
        unit: &'static str,
    },
    /// There is not enough memory for a part of the dump.
    #[error("{what} at offset {offset:#x} takes {length} bytes of memory, which are not available")]
    OutOfMemory {
        /// What was being read.
        what: &'static str,
        /// The file offset at which it starts.
        offset: u64,
        /// The number of bytes of memory.
        length: u64,
    },
}
