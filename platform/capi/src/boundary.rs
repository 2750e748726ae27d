//! Keeps panics of this library from reaching C code.
//!
//! Every exported function does its work in [`contain`], in one piece or in several. Only calls of
//! the caller's own functions (callbacks, writers) are outside of it. They may throw. Their
//! exception has to continue to the caller of the exported function, and `catch_unwind` would end
//! the process when a foreign exception reached it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::last::Failure;

/// `E_UNEXPECTED`: the error code of a call that panicked.
pub(crate) const UNEXPECTED: u32 = 0x8000_FFFF;

/// Runs `body` and turns a panic in it into a failure with [`UNEXPECTED`].
///
/// What `body` changes must be in a valid state wherever it may panic. So setters change a request
/// in their last statement, and a dump owns all that it works with.
pub(crate) fn contain<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let body = || {
        #[cfg(test)]
        rehearsal::enter();
        body()
    };
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(defect(&*panic)))
}

/// Runs `body` like [`contain`], for functions that cannot report a failure. Returns `fallback`
/// after a panic.
pub(crate) fn contain_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    contain(|| Ok(body())).unwrap_or(fallback)
}

/// Returns the failure that a panic is reported as.
pub(crate) fn defect(panic: &(dyn Any + Send)) -> Failure {
    let reason = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    Failure::new(
        UNEXPECTED,
        format!("a defect in dumpwright; please report it: {reason}"),
    )
}

/// Deliberate panics, in tests of this crate only: one in each contained piece of each exported
/// function.
#[cfg(test)]
pub(crate) mod rehearsal {
    use std::cell::Cell;

    thread_local! {
        /// How many more pieces this thread completes before it panics in one. `None` means that it
        /// does not panic.
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Called at the beginning of a piece. Panics if this is the chosen one.
    pub(super) fn enter() {
        match LEFT.get() {
            Some(0) => {
                LEFT.set(None);
                panic!("rehearsed");
            }
            left => LEFT.set(left.map(|left| left - 1)),
        }
    }

    /// Calls `function` with a panic in its piece number `piece`, counted from 0. Returns `None` if
    /// it has no such piece.
    fn with_panic_in<T>(piece: u32, function: impl FnOnce() -> T) -> Option<T> {
        LEFT.set(Some(piece));
        let result = function();
        LEFT.take().is_none().then_some(result)
    }

    /// Calls `function` once for each of its pieces, with a panic in that piece, and passes its
    /// result to `judge`. Returns the number of pieces.
    pub(crate) fn panics<T>(mut function: impl FnMut() -> T, judge: impl Fn(T)) -> u32 {
        let mut pieces = 0;
        while let Some(result) = with_panic_in(pieces, &mut function) {
            judge(result);
            pieces += 1;
        }
        pieces
    }
}

/// These tests would catch: an exported function that lets a panic through, which ends the process,
/// or that hides it; an exported function that is not tested here.
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::{CStr, c_void};
    use std::ptr::{null, null_mut};

    use super::rehearsal::panics;
    use super::*;
    use crate::last::{dumpwright_last_error, dumpwright_last_error_message, dumpwright_last_report};
    use crate::read::MiniDumpReadDumpStream;
    use crate::request::system::*;
    use crate::request::*;
    use crate::write::MiniDumpWriteDump;
    use crate::{Bool, FALSE, RawHandle};

    /// Fails unless the last call has reported a panic.
    fn is_reported(result: Bool) {
        assert_eq!(result, FALSE);
        assert_eq!(dumpwright_last_error(), UNEXPECTED);
        // SAFETY: the function returns a C string that is valid until the next call.
        let message = unsafe { CStr::from_ptr(dumpwright_last_error_message()) };
        let message = message.to_str().expect("messages are UTF-8");
        assert!(message.contains("a defect in dumpwright"), "{message}");
    }

    unsafe extern "C-unwind" fn write(_: *mut c_void, _: u64, _: *const c_void, _: usize) -> Bool {
        1
    }

    #[test]
    fn no_exported_function_lets_a_panic_through() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let names = every_function();
        std::panic::set_hook(hook);
        assert_eq!(names, declared());
    }

    /// Makes every exported function panic in each of its pieces. Returns the functions' names.
    fn every_function() -> BTreeSet<String> {
        let scenario = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/cases/plain/scenario.toml\0"
        );
        let scenario = CStr::from_bytes_with_nul(scenario.as_bytes()).expect("one NUL, at its end");
        let request = dumpwright_request_create(0);
        let mut names = BTreeSet::new();
        macro_rules! setters {
            ($($name:ident($($argument:expr),*);)*) => {$(
                // SAFETY: the request comes from `dumpwright_request_create`, and the arguments are
                // valid for the function.
                let pieces = panics(|| unsafe { $name(request, $($argument),*) }, is_reported);
                assert!(pieces > 0, stringify!($name));
                names.insert(stringify!($name).to_owned());
            )*};
        }
        setters! {
            dumpwright_request_process(1);
            dumpwright_request_file(null_mut());
            dumpwright_request_path(c"/nowhere/a.dmp".as_ptr(), FALSE);
            dumpwright_request_callback(null());
            dumpwright_request_exception(null());
            dumpwright_request_user_streams(null());
            dumpwright_request_profile(c"documented".as_ptr());
            dumpwright_request_hold(c"stop".as_ptr());
            dumpwright_request_budget(0);
            dumpwright_request_max_pause(0);
            dumpwright_request_max_clone(0);
            dumpwright_request_find_crash(1);
            dumpwright_request_policy(null());
            dumpwright_request_transcript(null());
            dumpwright_request_lint(1);
            dumpwright_request_time(1);
            dumpwright_request_scenario(scenario.as_ptr());
            dumpwright_request_writer(Some(write), null_mut());
            dumpwright_dump();
        }
        #[cfg(target_os = "linux")]
        setters! {
            dumpwright_request_pidfd(0);
            dumpwright_request_fd(0);
        }
        #[cfg(windows)]
        setters! {
            dumpwright_request_handle(null_mut());
        }
        let mut called = |name: &str, pieces: u32| {
            assert!(pieces > 0, "{name}");
            names.insert(name.to_owned());
        };
        let nobody: RawHandle = std::ptr::without_provenance_mut(0x7fff_fff0);
        // SAFETY: all pointers are NULL, which the function allows.
        let dump = || unsafe { MiniDumpWriteDump(nobody, 0, null_mut(), 0, null(), null(), null()) };
        called("MiniDumpWriteDump", panics(dump, is_reported));
        // SAFETY: as above.
        let read = || unsafe { MiniDumpReadDumpStream(null_mut(), 3, null_mut(), null_mut(), null_mut()) };
        called("MiniDumpReadDumpStream", panics(read, is_reported));
        #[cfg(target_os = "linux")]
        {
            use crate::crash::*;
            // SAFETY: all pointers are NULL, which the functions allow.
            unsafe {
                let install = || dumpwright_crash_install(null(), null());
                called("dumpwright_crash_install", panics(install, is_reported));
                let annotate = || dumpwright_crash_annotate(null(), null());
                called("dumpwright_crash_annotate", panics(annotate, is_reported));
                let translate = || dumpwright_exception_from_siginfo(null(), null(), null_mut(), null_mut());
                called(
                    "dumpwright_exception_from_siginfo",
                    panics(translate, is_reported),
                );
            }
            let stack = panics(|| dumpwright_crash_signal_stack(), is_reported);
            called("dumpwright_crash_signal_stack", stack);
        }
        let made = |made: *mut CRequest| assert!(made.is_null());
        called(
            "dumpwright_request_create",
            panics(|| dumpwright_request_create(0), made),
        );
        // A panic would leave a request unfreed, so NULL is freed here.
        // SAFETY: NULL may be freed.
        let free = || unsafe { dumpwright_request_free(null_mut()) };
        called("dumpwright_request_free", panics(free, |()| ()));
        let code = |code| assert_eq!(code, UNEXPECTED);
        called("dumpwright_last_error", panics(|| dumpwright_last_error(), code));
        let message = panics(
            || dumpwright_last_error_message(),
            |message: *const _| assert!(!message.is_null()),
        );
        called("dumpwright_last_error_message", message);
        let report = panics(
            || dumpwright_last_report(),
            |report: *const _| assert!(report.is_null()),
        );
        called("dumpwright_last_report", report);
        // SAFETY: the request was created above and is not used any more.
        unsafe { dumpwright_request_free(request) };
        names
    }

    /// Returns the names of the functions that the header declares for this system.
    fn declared() -> BTreeSet<String> {
        let elsewhere: &[&str] = match cfg!(windows) {
            true => &[
                "dumpwright_request_pidfd",
                "dumpwright_request_fd",
                "dumpwright_crash_install",
                "dumpwright_crash_annotate",
                "dumpwright_crash_signal_stack",
                "dumpwright_exception_from_siginfo",
            ],
            false => &["dumpwright_request_handle"],
        };
        include_str!("../include/dumpwright.h")
            .lines()
            .filter(|line| !line.starts_with([' ', '#', '/']) && !line.starts_with("static"))
            .filter(|line| !line.starts_with("typedef"))
            .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
            .filter(|name| name.starts_with("MiniDump") || name.starts_with("dumpwright_"))
            .filter(|name| !elsewhere.contains(name))
            .map(str::to_owned)
            .collect()
    }
}
