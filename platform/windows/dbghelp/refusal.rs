//! Why `MiniDumpWriteDump` has made no dump.

use std::{error, fmt, io};

use dumpwright_callback::Hresult;
use dumpwright_target::{Fault, FaultKind};

use super::{DbgHelp, Order};

/// No dump: the code that was left, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the function left in the thread's last error. Microsoft's leaves an HRESULT there, or the status that a callback
    /// answered; Wine's a code of Win32 or nothing.
    pub status: Hresult,
    /// What was done to what, why it failed, and what can be done about it.
    pub fault: Fault,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl error::Error for Refusal {}

/// What codes of DbgHelp mean beyond the system's words: seen with 6.3.9600 where nothing else is said.
const MEANINGS: &[(Hresult, FaultKind, &str, &str)] = &[
    (
        Hresult::INVALID_ARGUMENT,
        FaultKind::Unsupported,
        "it does not know all bits of this type, or there is no process of this id",
        "look whether the process still runs; for later type bits use a later DbgHelp or --backend dumpwright",
    ),
    (
        Hresult::ACCESS_DENIED,
        FaultKind::NotPermitted,
        "the process may not be examined, or has ended",
        "run as the same user or as an administrator; protected processes cannot be dumped",
    ),
    (
        Hresult::INVALID_HANDLE,
        FaultKind::System,
        "there is no file to write to, and the callback has not taken over the output",
        "give a file, or answer IoStart with S_FALSE",
    ),
    (
        Hresult::PARTIAL_COPY,
        FaultKind::Unreadable,
        "memory that was to be in the dump cannot be read, or the process has changed its memory meanwhile",
        "try again, add with-ignore-inaccessible-memory, answer ReadMemoryFailure with S_OK, or use --backend dumpwright",
    ),
    (
        // ERROR_NOACCESS.
        Hresult(0x8007_03E6),
        FaultKind::Malformed,
        "the pointers of the exception lead nowhere",
        "say rightly in whose memory they are",
    ),
    (
        // ERROR_PROC_NOT_FOUND.
        Hresult(0x8007_007F),
        FaultKind::Unsupported,
        "IsProcessSnapshot was answered with S_FALSE, and this system has no snapshots",
        "do not answer it; a snapshot is asked for with --hold clone",
    ),
    (
        Hresult::INVALID_DATA,
        FaultKind::System,
        "the two passes over the memory never agreed",
        "answer IncludeVmRegion the same in both",
    ),
    (
        Hresult::CANCELLED,
        FaultKind::System,
        "the callback has cancelled it",
        "",
    ),
    (
        Hresult::E_ABORT,
        FaultKind::System,
        "the callback has answered Module or Thread with FALSE",
        "clear the flags to leave something out",
    ),
];

impl Refusal {
    /// The function has returned FALSE with this code.
    pub(super) fn new(dbghelp: &DbgHelp, order: &Order<'_>, status: Hresult) -> Self {
        // Wine's leaves nothing for most failures.
        let status = if status == Hresult::S_OK {
            Hresult::E_FAIL
        } else {
            status
        };
        let name = dbghelp
            .file()
            .file_name()
            .unwrap_or_default()
            .display()
            .to_string();
        let operation = format!("dump process {} with {name}", order.subject.id());
        let known = MEANINGS.iter().find(|(code, ..)| *code == as_hresult(status));
        let fault = match known {
            Some((_, kind, meaning, advice)) => {
                let fault = Fault::new(*kind, operation, format!("{meaning} ({status})"));
                if advice.is_empty() {
                    fault
                } else {
                    fault.advise(*advice)
                }
            }
            None => Fault::new(FaultKind::System, operation, words(status)),
        };
        Self {
            status,
            fault: fault.with_os_code(status.0.cast_signed()),
        }
    }

    /// What was asked for cannot be told to the function.
    pub(super) fn argument(order: &Order<'_>, reason: &str) -> Self {
        let operation = format!("dump process {}", order.subject.id());
        Self {
            status: Hresult::INVALID_ARGUMENT,
            fault: Fault::new(FaultKind::Unsupported, operation, reason),
        }
    }

    /// A callback wanted a dump while it was asked about another one.
    pub(super) fn from_inside(order: &Order<'_>) -> Self {
        let reason = "DbgHelp does one thing at a time, and this is called by a callback of its";
        Self::argument(order, reason)
    }
}

/// Codes of Win32 as Microsoft's function has them.
fn as_hresult(status: Hresult) -> Hresult {
    match status.0 {
        code @ 2..=0xFFFF => Hresult(0x8007_0000 | code),
        code => Hresult(code),
    }
}

/// The system's words for a code.
fn words(status: Hresult) -> String {
    let code = match status.0 {
        // HRESULTs that carry a code of Win32; the system has words for that one.
        hresult if hresult >> 16 == 0x8007 => hresult & 0xFFFF,
        code => code,
    };
    format!("{} ({status})", io::Error::from_raw_os_error(code.cast_signed()))
}
