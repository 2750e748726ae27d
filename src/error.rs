use std::io;
use std::path::{Path, PathBuf};

use dumpwright_callback::{AskKind, Hresult};
use dumpwright_target::{AddressRange, Fault, FaultKind};

use crate::protocol::{Difference, ScriptError, TextError};

/// An error that prevents a dump.
///
/// Losses in a dump that was written are not errors. They are diagnostics in the
/// [`Report`](crate::Report).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target could not be frozen, or a fact that every dump needs could not be obtained.
    #[error("{0}")]
    Target(#[from] Fault),
    /// The requested dump type is invalid or not supported.
    #[error("dump type {bits:#x} is not possible: {reason}")]
    InvalidType {
        /// The requested bits.
        bits: u32,
        /// What is wrong with the bits.
        reason: String,
    },
    /// The request contradicts itself or cannot be represented in the file format.
    #[error("the request is invalid: {0}")]
    InvalidRequest(String),
    /// The callback cancelled the dump.
    #[error("the callback cancelled the dump")]
    Cancelled,
    /// The callback returned `false` for a callback type for which that aborts the dump.
    #[error("the callback aborted the dump: it answered {} with FALSE", .0.name())]
    Aborted(AskKind),
    /// The callback answered with a status that fails the dump.
    #[error("the callback failed the dump: it answered {} with status {status}{}", .ask.name(), advice(*.ask, *.status))]
    Refused {
        /// The callback type.
        ask: AskKind,
        /// The status that the callback answered with.
        status: Hresult,
    },
    /// The callback said that the target is a process snapshot, but it is not one.
    #[error(
        "the callback answered IsProcessSnapshot with S_FALSE, but the target is not a process snapshot; leave the \
         status unchanged"
    )]
    NoSnapshot,
    /// The caller gave no file, and the callback did not take over the output.
    #[error(
        "there is no file to write to: the file handle is 0, and the callback did not answer IoStart with S_FALSE to \
         take over the output"
    )]
    NoOutput,
    /// The callback's answers in the two passes of IncludeVmRegion differed in each of five
    /// attempts.
    #[error(
        "the callback's answers in the two passes of IncludeVmRegion differ; answer for each region in the same way in \
         both passes"
    )]
    PassesDisagree,
    /// Selected memory could not be read, and the dump must not continue without it.
    #[error("cannot read memory {range} ({status}); {remedy}")]
    Unreadable {
        /// The range that could not be read.
        range: AddressRange,
        /// The reason.
        status: Hresult,
        /// What the user can do so that the dump continues without the range.
        remedy: &'static str,
    },
    /// The script is invalid, or it refers to something that the target does not have.
    #[error("{0}")]
    Script(#[from] ScriptError),
    /// The policy file is invalid.
    #[error("{0}")]
    Policy(TextError),
    /// The dialogue differs from the transcript that is played back.
    #[error("the dialogue differs from {file}: {difference}")]
    OtherDialogue {
        /// The name of the transcript.
        file: String,
        /// The first difference.
        difference: Difference,
    },
    /// A part of the dump does not fit into the file format.
    #[error("{what} does not fit into a minidump: {reason}")]
    TooLarge {
        /// The part.
        what: String,
        /// The limit that it exceeds.
        reason: String,
    },
    /// The system's DbgHelp failed.
    #[error("{fault}")]
    DbgHelp {
        /// The status that DbgHelp left in the thread's last error.
        status: Hresult,
        /// The operation, the meaning of the status, and what the user can do.
        fault: Fault,
    },
    /// The dump could not be written.
    #[error("cannot {operation} {}: {source}", .path.as_ref().map_or_else(|| "the output".to_owned(), |path| path.display().to_string()))]
    Output {
        /// The operation that failed, such as `"write to"`.
        operation: &'static str,
        /// The file, if the output is a file.
        path: Option<PathBuf>,
        /// The system's reason.
        source: io::Error,
    },
}

/// Returns advice about a status that the callback probably did not intend as a failure.
fn advice(ask: AskKind, status: Hresult) -> &'static str {
    match ask {
        AskKind::IoWriteAll if status.is_success() => {
            "; after writing the bytes, set the status to S_OK (0), not to S_FALSE or the number of bytes"
        }
        AskKind::IoWriteAll | AskKind::IoFinish if status == Hresult::E_FAIL => {
            "; this is the prefilled status: set it to S_OK on success"
        }
        _ => "",
    }
}

/// The system's error number for a file that is not open: EBADF, on Windows ERROR_INVALID_HANDLE.
const NOT_OPEN: i32 = if cfg!(windows) { 6 } else { 9 };

/// Converts a Win32 error code to an HRESULT, as `HRESULT_FROM_WIN32` does. DbgHelp reports the
/// system's errors in this form. Returns `None` on other systems.
fn of_windows(code: Option<i32>) -> Option<Hresult> {
    let code = code.filter(|code| cfg!(windows) && (1..=0xFFFF).contains(code))?;
    Some(Hresult(0x8007_0000 | code.cast_unsigned()))
}

/// Texts that say what the user can do so that a dump continues without unreadable memory.
pub(crate) mod remedy {
    /// For memory that ReadMemoryFailure is sent for.
    pub(crate) const CALLBACK: &str =
        "to continue without it, use a callback that answers ReadMemoryFailure with S_OK";
    /// For full memory in the DbgHelp profiles, which do not send ReadMemoryFailure for it.
    const IGNORE_INACCESSIBLE: &str = "to continue without it, add the dump type \
                                                  ignore-inaccessible-memory (0x20000) or use the profile documented";
    /// For stacks in the DbgHelp profiles, which do not send ReadMemoryFailure for them.
    pub(crate) const DOCUMENTED: &str =
        "it belongs to a stack, and only the profile documented continues without a part of a stack";
    /// For dumps whose type makes unreadable memory an error.
    pub(crate) const ALLOW_LOSSES: &str = "to continue without it, remove the dump type \
                                           no-ignore-inaccessible-memory (0x2000000)";

    /// Returns the text for full memory in the DbgHelp profiles: full memory needs the dump type
    /// 0x20000, which 0x2000000 excludes.
    pub(crate) fn full_memory(dump_type: crate::DumpType) -> &'static str {
        match dump_type.contains(crate::DumpType::NO_IGNORE_INACCESSIBLE_MEMORY) {
            true => ALLOW_LOSSES,
            false => IGNORE_INACCESSIBLE,
        }
    }
}

impl Error {
    /// Returns the status that `MiniDumpWriteDump` leaves in the thread's last error for this
    /// failure.
    ///
    /// For failures that DbgHelp 6.3.9600 has too, the values are those that it was observed to
    /// leave.
    #[must_use]
    pub fn hresult(&self) -> Hresult {
        match self {
            Self::Target(fault) => match fault.kind {
                FaultKind::NotPermitted | FaultKind::AlreadyTraced | FaultKind::Gone | FaultKind::Zombie => {
                    Hresult::ACCESS_DENIED
                }
                FaultKind::NoSuchProcess => Hresult::INVALID_ARGUMENT,
                FaultKind::Unsupported | FaultKind::OwnProcess | FaultKind::KernelThread => {
                    Hresult::NOT_SUPPORTED
                }
                FaultKind::Unreadable => Hresult::PARTIAL_COPY,
                _ => of_windows(fault.os_code).unwrap_or(Hresult::E_FAIL),
            },
            Self::InvalidType { .. } | Self::InvalidRequest(_) | Self::Script(_) | Self::Policy(_) => {
                Hresult::INVALID_ARGUMENT
            }
            Self::Cancelled => Hresult::CANCELLED,
            Self::Aborted(AskKind::Module | AskKind::Thread | AskKind::ThreadEx) => Hresult::E_ABORT,
            Self::Aborted(_) => Hresult::E_FAIL,
            Self::Refused { status, .. } | Self::Unreadable { status, .. } | Self::DbgHelp { status, .. } => {
                *status
            }
            // ERROR_PROC_NOT_FOUND, as on a system without the functions for process snapshots.
            Self::NoSnapshot => Hresult(0x8007_007F),
            Self::OtherDialogue { .. } => Hresult::E_FAIL,
            Self::NoOutput => Hresult::INVALID_HANDLE,
            Self::PassesDisagree => Hresult::INVALID_DATA,
            Self::TooLarge { .. } => Hresult::FILE_TOO_LARGE,
            Self::Output { source, .. } if source.raw_os_error() == Some(NOT_OPEN) => Hresult::INVALID_HANDLE,
            Self::Output { source, .. } => match source.kind() {
                io::ErrorKind::AlreadyExists => Hresult::FILE_EXISTS,
                io::ErrorKind::PermissionDenied => Hresult::ACCESS_DENIED,
                io::ErrorKind::StorageFull => Hresult::DISK_FULL,
                io::ErrorKind::FileTooLarge => Hresult::FILE_TOO_LARGE,
                _ => of_windows(source.raw_os_error()).unwrap_or(Hresult::E_FAIL),
            },
        }
    }

    /// Creates an error about a sink. `path` is the sink's file, if it has one.
    pub(crate) fn output(operation: &'static str, path: Option<&Path>, source: io::Error) -> Self {
        Self::Output {
            operation,
            path: path.map(Path::to_owned),
            source,
        }
    }
}
