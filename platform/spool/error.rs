//! Why an operation on a spool failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dumpwright_text::TextError;

use crate::settings::SpoolRate;

/// Why an operation on a spool failed. Nothing was lost then: the dumps that were in the spool are
/// still there, unless they had to make room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The folder cannot be used as a spool.
    #[error("{} cannot be used as a spool: {reason}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it, and what the user can do.
        reason: String,
    },
    /// The system refused an operation.
    #[error("cannot {operation} {}: {source}", .path.display())]
    System {
        /// The operation, such as `"create"`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The settings in `spool.toml` are invalid. No dump is admitted or removed until they are
    /// corrected.
    #[error("{0}")]
    Settings(TextError),
    /// Another process holds the lock of the folder.
    #[error(
        "another process has locked {} for {} s; end or continue it (lslocks shows the process)", .lock.display(), .waited.as_secs()
    )]
    Locked {
        /// The locked file.
        lock: PathBuf,
        /// For how long the lock was tried.
        waited: Duration,
    },
    /// There is no room for the dump within the limits.
    #[error("the spool has no room for a dump of {bytes} bytes: {reason}")]
    Full {
        /// The size of the dump.
        bytes: u64,
        /// Which limit forbids it, and why old dumps could not make room.
        reason: String,
    },
    /// The dump would exceed a limit on how many dumps are admitted in some time.
    #[error("the spool admits no dump for another {} s: {setting} = \"{rate}\"", .wait.as_secs() + 1)]
    TooOften {
        /// The name of the setting.
        setting: &'static str,
        /// Its value.
        rate: SpoolRate,
        /// The time until a dump is admitted again.
        wait: Duration,
    },
    /// The caller passed something invalid.
    #[error("{0}")]
    Invalid(String),
    /// There is no such dump in the spool.
    #[error("the spool has no dump \"{}\"", .name.escape_debug())]
    Absent {
        /// The name.
        name: String,
    },
    /// The dump is being read, for example because it is being sent.
    #[error("{name} is being read by another process; try again when it has finished")]
    InUse {
        /// The name of the dump.
        name: String,
    },
}
