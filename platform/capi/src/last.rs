//! What the calling thread's last call has left: error code, message, report.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use dumpwright::target::Gravity;
use dumpwright::{Error, Hresult, Report};

use crate::{Bool, FALSE, TRUE};

#[cfg_attr(target_os = "linux", path = "last/linux.rs")]
#[cfg_attr(windows, path = "last/windows.rs")]
mod system;

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// An HRESULT, or one of Windows' plain error codes where DbgHelp has those.
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

    /// The caller's arguments make no sense.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(Hresult::INVALID_ARGUMENT.0, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.hresult().0, error.to_string())
    }
}

/// How much a remark matters, how it reads.
#[repr(C)]
pub struct Remark {
    gravity: i32,
    text: *const c_char,
}

/// What C programs see of a [`Report`]. Members are only ever added, at the end; `size` says which there are.
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
    remark_count: usize,
    remarks: *const Remark,
}

/// A report with all that its pointers lead to.
struct KeptReport {
    report: CReport,
    _hold: CString,
    _remarks: Vec<Remark>,
    _texts: Vec<CString>,
}

struct Last {
    code: u32,
    message: Option<CString>,
    report: Option<Box<KeptReport>>,
}

thread_local! {
    #[allow(
        clippy::missing_const_for_thread_local,
        reason = "it is const; clippy does not see that for targets whose thread-local variables have keys"
    )]
    static LAST: RefCell<Last> = const {
        RefCell::new(Last { code: 0, message: None, report: None })
    };
}

/// Ends a call: keeps what it has left and makes Windows' BOOL of it. On failure the code is the system's last error as well.
pub(crate) fn conclude(outcome: Result<(), Failure>) -> Bool {
    let (code, message) = match outcome {
        Ok(()) => (0, None),
        Err(failure) => (failure.code, Some(text(&failure.message))),
    };
    let failed = message.is_some();
    LAST.with_borrow_mut(|last| (last.code, last.message) = (code, message));
    if failed {
        system::set_last_error(code);
        FALSE
    } else {
        TRUE
    }
}

/// The same for a call that makes a dump, and so has a report.
pub(crate) fn conclude_dump(outcome: Result<Report, Failure>) -> Bool {
    let (report, outcome) = match outcome {
        Ok(report) => (Some(keep(&report)), Ok(())),
        Err(failure) => (None, Err(failure)),
    };
    LAST.with_borrow_mut(|last| last.report = report);
    conclude(outcome)
}

fn keep(report: &Report) -> Box<KeptReport> {
    let texts: Vec<CString> = report
        .remarks
        .iter()
        .map(|remark| text(&remark.to_string()))
        .collect();
    let gravities = report.remarks.iter().map(|remark| match remark.gravity {
        Gravity::Note => 0,
        Gravity::LeftOut => 1,
        Gravity::Missing => 2,
    });
    let remarks: Vec<Remark> = gravities
        .zip(&texts)
        .map(|(gravity, text)| Remark {
            gravity,
            text: text.as_ptr(),
        })
        .collect();
    let hold = text(report.holding.hold);
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
            remark_count: remarks.len(),
            remarks: remarks.as_ptr(),
        },
        _hold: hold,
        _remarks: remarks,
        _texts: texts,
    })
}

/// A text for C, which ends at its first NUL; there is none in ours.
fn text(text: &str) -> CString {
    let bytes = text.bytes().filter(|byte| *byte != 0).collect::<Vec<_>>();
    CString::new(bytes).unwrap_or_default()
}

/// The code that this thread's last call has failed with; 0 if it has not.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_last_error() -> u32 {
    LAST.with_borrow(|last| last.code)
}

/// Why this thread's last call has failed, in English; "" if it has not. Good until the thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_last_error_message() -> *const c_char {
    const NONE: &CStr = c"";
    LAST.with_borrow(|last| last.message.as_deref().unwrap_or(NONE).as_ptr())
}

/// What this thread's last dump holds and lacks; NULL if there is none. Good until the thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_last_report() -> *const CReport {
    LAST.with_borrow(|last| {
        last.report
            .as_ref()
            .map_or(std::ptr::null(), |kept| &raw const kept.report)
    })
}
