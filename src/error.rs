use std::io;
use std::path::{Path, PathBuf};

use dumpwright_callback::{AskKind, Hresult};
use dumpwright_target::{AddressRange, Fault, FaultKind};

use crate::protocol::{Difference, ScriptError};

/// Why there is no dump.
///
/// What a dump that was written lacks is not an error but part of the [`Report`](crate::Report).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target could not be held or asked.
    #[error("{0}")]
    Target(#[from] Fault),
    /// The requested type is impossible.
    #[error("dump type {bits:#x} is not possible: {reason}")]
    InvalidType {
        /// The bits asked for.
        bits: u32,
        /// What is wrong with them.
        reason: String,
    },
    /// The request contradicts itself or the format.
    #[error("the request is not possible: {0}")]
    InvalidRequest(String),
    /// The callback cancelled the dump.
    #[error("the callback cancelled the dump")]
    Cancelled,
    /// The callback answered a question with `false` that must not be answered so.
    #[error("the callback aborted the dump: it answered {} with FALSE", .0.name())]
    Aborted(AskKind),
    /// The callback failed the dump by a status.
    #[error("the callback failed the dump: it answered {} with status {status}", .ask.name())]
    Refused {
        /// The question.
        ask: AskKind,
        /// The status it answered.
        status: Hresult,
    },
    /// The callback said that the target is a process snapshot, which this backend has none of.
    #[error("the callback answered IsProcessSnapshot with S_FALSE, but the target is no snapshot")]
    NoSnapshot,
    /// The caller gave no file, and the callback did not take over the output.
    #[error("there is no file to write to, and the callback did not answer IoStart with S_FALSE")]
    NoOutput,
    /// The two passes of IncludeVmRegion did not agree in any attempt.
    #[error("the callback's answers to the two IncludeVmRegion passes never agreed")]
    PassesDisagree,
    /// Selected memory could not be read, and the callback did not want to go on without it.
    #[error(
        "memory {range} cannot be read ({status}), and neither the dump's type nor a callback (S_OK to ReadMemoryFailure) lets the dump go on without it"
    )]
    Unreadable {
        /// What could not be read.
        range: AddressRange,
        /// Why.
        status: Hresult,
    },
    /// A script is none, or asked for what the target does not have.
    #[error("{0}")]
    Script(#[from] ScriptError),
    /// The dialogue is not the one that was to be played back.
    #[error("the dialogue is not that of {file}: {difference}")]
    OtherDialogue {
        /// The transcript.
        file: String,
        /// Where they part.
        difference: Difference,
    },
    /// Something does not fit into the format.
    #[error("{what} does not fit into a minidump: {reason}")]
    TooLarge {
        /// What.
        what: String,
        /// Which limit it passes.
        reason: String,
    },
    /// The system's DbgHelp made no dump.
    #[error("{fault}")]
    DbgHelp {
        /// What it left in the thread's last error.
        status: Hresult,
        /// What was done, what the status means, and what can be done about it.
        fault: Fault,
    },
    /// The dump could not be written.
    #[error("cannot {operation} {}: {source}", .path.as_ref().map_or_else(|| "the output".to_owned(), |path| path.display().to_string()))]
    Output {
        /// What was being done.
        operation: &'static str,
        /// To which file, if it is one.
        path: Option<PathBuf>,
        /// The system's reason.
        source: io::Error,
    },
}

/// What systems call a file that is not open: EBADF, on Windows ERROR_INVALID_HANDLE.
const NOT_OPEN: i32 = if cfg!(windows) { 6 } else { 9 };

/// What Windows says, as an HRESULT (`HRESULT_FROM_WIN32`), which is how DbgHelp passes it on.
fn of_windows(code: Option<i32>) -> Option<Hresult> {
    let code = code.filter(|code| cfg!(windows) && (1..=0xFFFF).contains(code))?;
    Some(Hresult(0x8007_0000 | code.cast_unsigned()))
}

impl Error {
    /// The status that `MiniDumpWriteDump` leaves for this failure in the thread's last error.
    ///
    /// Values as observed on DbgHelp 6.3.9600 where it has the same failure.
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
            Self::InvalidType { .. } | Self::InvalidRequest(_) | Self::Script(_) => Hresult::INVALID_ARGUMENT,
            Self::Cancelled => Hresult::CANCELLED,
            Self::Aborted(AskKind::Module | AskKind::Thread | AskKind::ThreadEx) => Hresult::E_ABORT,
            Self::Aborted(_) => Hresult::E_FAIL,
            Self::Refused { status, .. } | Self::Unreadable { status, .. } | Self::DbgHelp { status, .. } => {
                *status
            }
            // ERROR_PROC_NOT_FOUND: what a system without the snapshot functions answers.
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
                _ => of_windows(source.raw_os_error()).unwrap_or(Hresult::E_FAIL),
            },
        }
    }

    /// A failure of a sink, which may be a file.
    pub(crate) fn output(operation: &'static str, path: Option<&Path>, source: io::Error) -> Self {
        Self::Output {
            operation,
            path: path.map(Path::to_owned),
            source,
        }
    }
}
