//! The reasons why `MiniDumpWriteDump` has written no dump.

use std::{error, fmt, io};

use dumpwright_callback::Hresult;
use dumpwright_target::{Fault, FaultKind};

use super::{Arguments, DbgHelp};

/// The error of a failed `MiniDumpWriteDump`: its code, and what the code means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The thread's last error after the call. Microsoft's DLL stores an HRESULT there, or the
    /// status that a callback has answered. Wine's DLL stores a Win32 code or nothing.
    pub status: Hresult,
    /// The operation, the reason for the failure, and what the user can do.
    pub fault: Fault,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl error::Error for Refusal {}

/// The meanings of DbgHelp's error codes, where they are more specific than the system's message.
/// Unless something else is stated, they were observed with 6.3.9600.
const MEANINGS: &[(Hresult, FaultKind, &str, &str)] = &[
    (
        Hresult::INVALID_ARGUMENT,
        FaultKind::Unsupported,
        "it does not know all flags of this dump type, or there is no process with this id",
        "check that the process is still running; for newer flags use a newer DbgHelp or --backend dumpwright",
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
        "there is no output file, and the callback has not taken over the output",
        "pass a file, or answer IoStart with S_FALSE",
    ),
    (
        Hresult::PARTIAL_COPY,
        FaultKind::Unreadable,
        "selected memory cannot be read, or the process changed its memory during the dump",
        "try again, add with-ignore-inaccessible-memory, answer ReadMemoryFailure with S_OK, or use --backend dumpwright",
    ),
    (
        // ERROR_NOACCESS.
        Hresult(0x8007_03E6),
        FaultKind::Malformed,
        "the exception pointers are not valid addresses",
        "check whether they point into the target or into this process",
    ),
    (
        // ERROR_PROC_NOT_FOUND.
        Hresult(0x8007_007F),
        FaultKind::Unsupported,
        "IsProcessSnapshot was answered with S_FALSE, but this system has no process snapshots",
        "do not answer IsProcessSnapshot; use --hold clone to request a snapshot",
    ),
    (
        Hresult::INVALID_DATA,
        FaultKind::System,
        "the answers in the two passes over the memory regions never agreed",
        "give the same answers to IncludeVmRegion in both passes",
    ),
    (
        Hresult::CANCELLED,
        FaultKind::System,
        "the callback has cancelled the dump",
        "",
    ),
    (
        Hresult::E_ABORT,
        FaultKind::System,
        "the callback has answered Module or Thread with FALSE",
        "to leave a module or a thread out, clear its flags instead",
    ),
];

impl Refusal {
    /// Creates the error for a call that has returned FALSE with this code.
    pub(super) fn new(dbghelp: &DbgHelp, arguments: &Arguments<'_>, status: Hresult) -> Self {
        // Wine's DLL stores no code for most failures.
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
        let operation = format!("dump process {} with {name}", arguments.subject.id());
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

    /// Creates the error for a request that cannot be passed to the function.
    pub(super) fn argument(arguments: &Arguments<'_>, reason: &str) -> Self {
        let operation = format!("dump process {}", arguments.subject.id());
        Self {
            status: Hresult::INVALID_ARGUMENT,
            fault: Fault::new(FaultKind::Unsupported, operation, reason),
        }
    }

    /// Creates the error for a callback that requests another dump.
    pub(super) fn from_inside(arguments: &Arguments<'_>) -> Self {
        let reason = "DbgHelp writes one dump at a time, and this call comes from its callback";
        Self::argument(arguments, reason)
    }
}

/// Converts a Win32 code to the HRESULT that Microsoft's function would store.
fn as_hresult(status: Hresult) -> Hresult {
    match status.0 {
        code @ 2..=0xFFFF => Hresult(0x8007_0000 | code),
        code => Hresult(code),
    }
}

/// Returns the system's message for a code.
fn words(status: Hresult) -> String {
    let code = match status.0 {
        // An HRESULT that contains a Win32 code. The system has a message for the Win32 code.
        hresult if hresult >> 16 == 0x8007 => hresult & 0xFFFF,
        code => code,
    };
    format!("{} ({status})", io::Error::from_raw_os_error(code.cast_signed()))
}
