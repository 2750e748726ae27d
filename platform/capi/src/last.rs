//! The results of the calling thread's last call: error code, message and report.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};

use dumpwright::target::Severity;
use dumpwright::{Error, Hresult, Report};

use crate::boundary::{UNEXPECTED, contain, contain_or};
use crate::{Bool, FALSE, TRUE};

#[cfg_attr(target_os = "linux", path = "last/linux.rs")]
#[cfg_attr(windows, path = "last/windows.rs")]
mod system;

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// An HRESULT, or a Windows error code where DbgHelp uses those (`MiniDumpReadDumpStream`).
    pub code: u32,
    pub message: String,
}

impl Failure {
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A failure because of an invalid argument (E_INVALIDARG).
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(Hresult::INVALID_ARGUMENT.0, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.hresult().0, error.to_string())
    }
}

/// `dumpwright_diagnostic`: severity and text.
#[repr(C)]
pub struct CDiagnostic {
    severity: i32,
    text: *const c_char,
}

/// `dumpwright_report`: a [`Report`] for C programs. New members are added only at the end; `size`
/// tells which members there are.
#[repr(C)]
pub struct CReport {
    size: usize,
    complete: Bool,
    dump_type: u32,
    bytes: u64,
    memory_bytes: u64,
    memory_ranges: u32,
    threads: u32,
    modules: u32,
    pause_microseconds: u32,
    hold: *const c_char,
    diagnostic_count: usize,
    diagnostics: *const CDiagnostic,
    tracer: *const c_char,
}

/// A report, and the owners of all that its pointers point to.
struct KeptReport {
    report: CReport,
    _hold: CString,
    _tracer: Option<CString>,
    _diagnostics: Vec<CDiagnostic>,
    _texts: Vec<CString>,
}

/// The results that need a destructor: see [`CODE`].
struct Last {
    message: Option<CString>,
    report: Option<Box<KeptReport>>,
}

thread_local! {
    /// The error code of the last call. It has no destructor and so outlives [`LAST`]. When a
    /// thread ends, its thread-local variables are destroyed before the destructors of
    /// `pthread_key_create` run, and these may write a dump.
    #[allow(
        clippy::missing_const_for_thread_local,
        reason = "it is const; clippy does not see that for targets whose thread-local variables have keys"
    )]
    static CODE: Cell<u32> = const { Cell::new(0) };
    #[allow(
        clippy::missing_const_for_thread_local,
        reason = "it is const; clippy does not see that for targets whose thread-local variables have keys"
    )]
    static LAST: RefCell<Last> = const {
        RefCell::new(Last { message: None, report: None })
    };
}

/// The message of a failure whose own message could not be stored.
const NO_MESSAGE: &CStr =
    c"the error message could not be stored: the thread is ending, or there is a defect in dumpwright";

/// Ends a call: stores its error code and message, and returns its result as a BOOL. On failure
/// this also sets the system's last error.
pub(crate) fn conclude(outcome: Result<(), Failure>) -> Bool {
    let kept = contain(|| {
        let (code, message) = match outcome {
            Ok(()) => (0, None),
            Err(failure) => (failure.code, Some(text(&failure.message))),
        };
        // This fails if the thread is ending and `LAST` has been destroyed.
        let _ = LAST.try_with(|last| last.borrow_mut().message = message);
        Ok(code)
    });
    let code = kept.unwrap_or_else(|failure| {
        let _ = LAST.try_with(|last| last.borrow_mut().message = None);
        failure.code
    });
    let _ = CODE.try_with(|last| last.set(code));
    if code == 0 {
        return TRUE;
    }
    system::set_last_error(code);
    FALSE
}

/// Ends a call that writes a dump: like [`conclude`], and stores the report.
pub(crate) fn conclude_dump(outcome: Result<Report, Failure>) -> Bool {
    let report = contain(|| outcome.map(|report| keep(&report)));
    let outcome = contain(|| {
        let (report, outcome) = match report {
            Ok(report) => (Some(report), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        let _ = LAST.try_with(|last| last.borrow_mut().report = report);
        outcome
    });
    conclude(outcome)
}

/// Copies a report into the structures that C programs see.
fn keep(report: &Report) -> Box<KeptReport> {
    let texts: Vec<CString> = report
        .diagnostics
        .iter()
        .map(|diagnostic| text(&diagnostic.to_string()))
        .collect();
    let severities = report
        .diagnostics
        .iter()
        .map(|diagnostic| match diagnostic.severity {
            Severity::Note => 0,
            Severity::LeftOut => 1,
            Severity::Missing => 2,
        });
    let diagnostics: Vec<CDiagnostic> = severities
        .zip(&texts)
        .map(|(severity, text)| CDiagnostic {
            severity,
            text: text.as_ptr(),
        })
        .collect();
    let hold = text(report.holding.hold);
    let tracer = report.holding.tracer.map(text);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Box::new(KeptReport {
        report: CReport {
            size: size_of::<CReport>(),
            complete: report.is_complete().into(),
            dump_type: report.dump_type.bits(),
            bytes: report.bytes,
            memory_bytes: report.memory_bytes,
            memory_ranges: count(report.memory_ranges),
            threads: count(report.threads),
            modules: count(report.modules),
            pause_microseconds: u32::try_from(report.holding.pause.as_micros()).unwrap_or(u32::MAX),
            hold: hold.as_ptr(),
            diagnostic_count: diagnostics.len(),
            diagnostics: diagnostics.as_ptr(),
            tracer: tracer.as_deref().map_or(std::ptr::null(), CStr::as_ptr),
        },
        _hold: hold,
        _tracer: tracer,
        _diagnostics: diagnostics,
        _texts: texts,
    })
}

/// Converts a text to a C string. NUL characters, of which the library's texts have none, are
/// dropped.
fn text(text: &str) -> CString {
    let bytes = text.bytes().filter(|byte| *byte != 0).collect::<Vec<_>>();
    CString::new(bytes).unwrap_or_default()
}

/// Returns the error code of this thread's last call, or 0 if it succeeded.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_last_error() -> u32 {
    contain_or(UNEXPECTED, || CODE.try_with(Cell::get).unwrap_or(UNEXPECTED))
}

/// Returns the error message of this thread's last call, or "" if it succeeded. It is valid until
/// the thread's next call that stores an outcome.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_last_error_message() -> *const c_char {
    const NONE: &CStr = c"";
    contain_or(NO_MESSAGE.as_ptr(), || {
        let kept = LAST.try_with(|last| last.borrow().message.as_deref().map(CStr::as_ptr));
        let absent = match CODE.try_with(Cell::get) {
            Ok(0) => NONE,
            _ => NO_MESSAGE,
        };
        kept.ok().flatten().unwrap_or(absent.as_ptr())
    })
}

/// Returns the report about this thread's last dump, or NULL if it failed or there was none. It is
/// valid until the thread's next call that writes a dump.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_last_report() -> *const CReport {
    contain_or(std::ptr::null(), || {
        let report = LAST.try_with(|last| last.borrow().report.as_ref().map(|kept| &raw const kept.report));
        match report {
            Ok(Some(report)) => report,
            _ => std::ptr::null(),
        }
    })
}
