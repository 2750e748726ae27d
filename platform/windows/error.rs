//! Converts the system's errors to faults.

use dumpwright_target::{Diagnostic, Fault, FaultKind, Subject};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, GetLastError, NTSTATUS, RtlNtStatusToDosError};

/// Returns the calling thread's last error, a Win32 code.
pub(crate) fn last_error() -> u32 {
    // SAFETY: the function has no parameters and only reads an integer of the calling thread.
    unsafe { GetLastError() }
}

/// Returns the Win32 code that corresponds to an NTSTATUS.
pub(crate) fn win32_error(status: NTSTATUS) -> u32 {
    // SAFETY: the function maps an integer to an integer.
    unsafe { RtlNtStatusToDosError(status) }
}

/// Returns a fault whose reason is the calling thread's last error.
pub(crate) fn last_fault(operation: String) -> Fault {
    fault(operation, last_error())
}

/// Returns a fault whose reason is an NTSTATUS.
pub(crate) fn nt_fault(operation: String, status: NTSTATUS) -> Fault {
    fault(operation, win32_error(status))
}

/// Returns a fault whose reason is a Win32 code.
pub(crate) fn fault(operation: String, code: u32) -> Fault {
    let kind = match code {
        ERROR_ACCESS_DENIED => FaultKind::NotPermitted,
        _ => FaultKind::System,
    };
    Fault::new(kind, operation, reason(code)).with_os_code(code.cast_signed())
}

/// Collects the facts about one object that the system did not report.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    first: Option<Fault>,
    others: usize,
}

impl Losses {
    /// Returns the fact, or records why it is missing.
    pub(crate) fn keep<T>(&mut self, fact: Result<T, Fault>) -> Option<T> {
        fact.map_err(|fault| self.add(fault)).ok()
    }

    /// Records a missing fact.
    pub(crate) fn add(&mut self, fault: Fault) {
        match self.first {
            Some(_) => self.others += 1,
            None => self.first = Some(fault),
        }
    }

    /// Returns the diagnostic, if facts are missing.
    pub(crate) fn diagnostic(self, subject: Subject) -> Option<Diagnostic> {
        let first = self.first?;
        let reason = match self.others {
            0 => first.to_string(),
            others => format!("{first}; {others} more facts are missing"),
        };
        Some(Diagnostic::missing(subject, reason))
    }
}

/// Returns the system's message for a code, without the final full stop. It does not include the
/// code, which the fault has in a field of its own.
fn reason(code: u32) -> String {
    let error = std::io::Error::from_raw_os_error(code.cast_signed()).to_string();
    let words = error.split(" (os error ").next().unwrap_or(&error).trim_end();
    match words.strip_suffix('.').unwrap_or(words) {
        "" => format!("error {code}"),
        words => words.to_owned(),
    }
}

/// This test would catch: a reason that repeats the code; a kind that does not match the code.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_half_sentences() {
        let denied = fault("do it".to_owned(), ERROR_ACCESS_DENIED);
        assert_eq!(denied.kind, FaultKind::NotPermitted);
        assert!(
            !denied.reason.contains("os error") && !denied.reason.ends_with('.'),
            "{denied}"
        );
        assert_eq!(fault(String::new(), 0x1234_5678).os_code, Some(0x1234_5678));
    }
}
