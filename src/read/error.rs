//! Why a dump, or a part of it, could not be read.

use std::io;
use std::path::PathBuf;

/// Why a dump, or a part of it, could not be read.
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
    /// The system could not deliver bytes that the file should have.
    #[error("cannot read {what}, {length} bytes at offset {offset:#x}: {source}")]
    Io {
        /// What was being read.
        what: &'static str,
        /// File offset.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not begin as a minidump does.
    #[error("not a minidump: {reason}")]
    NotAMinidump {
        /// What is there instead.
        reason: String,
    },
    /// Something is said to lie where the file has no bytes.
    #[error(
        "{what} should be {length} bytes at offset {offset:#x}, but the file ends at {file_length:#x}: \
         it is damaged or cut short"
    )]
    Outside {
        /// What was looked for.
        what: &'static str,
        /// File offset.
        offset: u64,
        /// Bytes wanted.
        length: u64,
        /// Length of the file.
        file_length: u64,
    },
    /// The bytes are there and contradict themselves.
    #[error("{what} at offset {offset:#x} is malformed: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// File offset.
        offset: u64,
        /// The contradiction.
        reason: String,
    },
}
