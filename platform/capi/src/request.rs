//! `dumpwright_request…` and `dumpwright_dump`: dumps with options that DbgHelp does not have.
//!
//! `include/dumpwright.h` documents these functions for callers.

use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;
use std::time::Duration;

use dumpwright::policy::PolicyFile;
use dumpwright::sim::{Scenario, SimProcess};
use dumpwright::{DumpType, Profile, Request};
use dumpwright_abi::native::{MINIDUMP_EXCEPTION_INFORMATION, MINIDUMP_USER_STREAM_INFORMATION};

use crate::boundary::{contain, contain_or};
use crate::callback::{CFunction, CallbackInformation, Parameter};
use crate::last::{Failure, conclude, conclude_dump};
use crate::order::{Order, Subjected, default_lint, default_policy, default_profile};
use crate::output::{Output, WriteFunction};
use crate::process::{Client, HOLDS, NamedProcess, Reference};
use crate::{Bool, FALSE, RawHandle, exception, streams};

#[cfg_attr(target_os = "linux", path = "request/linux.rs")]
#[cfg_attr(windows, path = "request/windows.rs")]
pub(crate) mod system;

/// The description of a dump. C programs see only its address.
pub struct CRequest {
    dump_type: DumpType,
    target: Option<RequestTarget>,
    output: Output,
    /// The file handle that callbacks receive.
    file: RawHandle,
    callback: Option<CFunction>,
    profile: Option<Profile>,
    exception: Option<dumpwright::target::Exception>,
    streams: Vec<(u32, Vec<u8>)>,
    budget: Option<u64>,
    /// `None` means that `DUMPWRIGHT_POLICY` decides.
    policy: Option<PolicyFile>,
    max_pause: Option<Duration>,
    max_clone: Option<Duration>,
    find_crash: bool,
    transcript: Option<PathBuf>,
    /// `None` means that `DUMPWRIGHT_LINT` decides.
    lint: Option<bool>,
    time: Option<u32>,
    /// The way in which a live process is held: one of [`HOLDS`].
    hold: &'static str,
}

/// The process to be dumped, in a form that can be used for several dumps.
enum RequestTarget {
    Process(u32),
    Reference(Reference),
    Simulated(Box<SimProcess>),
}

impl CRequest {
    fn order(&self) -> Result<Order, Failure> {
        let target = match &self.target {
            Some(RequestTarget::Process(id)) => Subjected::Process(NamedProcess::of_id(*id).held(self.hold)),
            Some(RequestTarget::Reference(reference)) => {
                Subjected::Process(NamedProcess::of_reference(*reference)?.held(self.hold))
            }
            Some(RequestTarget::Simulated(process)) => Subjected::Simulated(process.clone()),
            None => {
                return Err(Failure::argument(
                    "the request has no process to dump; call dumpwright_request_process or dumpwright_request_scenario first",
                ));
            }
        };
        let policy = match &self.policy {
            Some(policy) => Some(policy.clone()),
            None => default_policy()?,
        };
        let request = Request::new(self.dump_type);
        let request = match &policy {
            Some(policy) => policy.request(request),
            None => request,
        };
        let mut request = request
            .profile(self.profile.map_or_else(default_profile, Ok)?)
            .file_handle(self.file.addr() as u64)
            .find_crash(self.find_crash);
        if let Some(exception) = &self.exception {
            request = request.exception(exception.clone());
        }
        if let Some(time) = self.time {
            request = request.time(time);
        }
        if let Some(limit) = self.max_pause {
            request = request.max_pause(limit);
        }
        if let Some(limit) = self.max_clone {
            request = request.max_clone(limit);
        }
        for (stream_type, bytes) in &self.streams {
            request = request.user_stream(*stream_type, bytes.clone());
        }
        Ok(Order {
            target,
            request,
            callback: self.callback,
            policy,
            output: self.output.clone(),
            budget: self.budget,
            transcript: self.transcript.clone(),
            lint: self.lint.unwrap_or_else(default_lint),
        })
    }

    /// Returns the process whose memory contains the exception if `ClientPointers` is set. `None`
    /// if there is no live process.
    fn client(&self) -> Result<Option<Client>, Failure> {
        match &self.target {
            Some(RequestTarget::Process(id)) => Client::of_id(*id).map(Some),
            Some(RequestTarget::Reference(reference)) => NamedProcess::of_reference(*reference)?.client(),
            Some(RequestTarget::Simulated(_)) | None => Ok(None),
        }
    }
}

/// Changes a request, and keeps the outcome as the thread's last error.
///
/// # Safety
/// The pointer is NULL, or it comes from [`dumpwright_request_create`] and has not been freed. No
/// other thread uses the request.
unsafe fn set(request: *mut CRequest, change: impl FnOnce(&mut CRequest) -> Result<(), Failure>) -> Bool {
    // SAFETY: the caller guarantees that it is NULL or a valid request, and that no other thread
    // uses it.
    conclude(contain(|| match unsafe { request.as_mut() } {
        Some(request) => change(request),
        None => Err(Failure::argument("the request is NULL")),
    }))
}

/// Returns a C string. `what` names the parameter in the error if the pointer is NULL.
///
/// # Safety
/// The pointer is NULL or points to a C string, which lives as long as the result.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a CStr, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{what} is NULL")));
    }
    // SAFETY: guaranteed by the caller.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// Returns a file name.
///
/// # Safety
/// See [`text`].
unsafe fn path(path: *const c_char, what: &str) -> Result<PathBuf, Failure> {
    // SAFETY: guaranteed by the caller.
    let path = unsafe { text(path, what) }?;
    system::path(path, what)
}

/// Creates a request for a dump of this type, without a process and without an output. Returns NULL
/// after a panic.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_request_create(dump_type: u32) -> *mut CRequest {
    let request = || CRequest {
        dump_type: DumpType::from_bits_retain(dump_type),
        target: None,
        output: Output::of_handle(std::ptr::null_mut()),
        file: std::ptr::null_mut(),
        callback: None,
        profile: None,
        exception: None,
        streams: Vec::new(),
        budget: None,
        policy: None,
        max_pause: None,
        max_clone: None,
        find_crash: false,
        transcript: None,
        lint: None,
        time: None,
        hold: HOLDS[0],
    };
    contain_or(std::ptr::null_mut(), || Box::into_raw(Box::new(request())))
}

/// Frees a request. Does nothing if it is NULL.
///
/// # Safety
/// The pointer is NULL, or it comes from [`dumpwright_request_create`] and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_free(request: *mut CRequest) {
    contain_or((), || {
        if !request.is_null() {
            // SAFETY: it was made by Box::into_raw, and the caller guarantees that it is freed
            // once.
            drop(unsafe { Box::from_raw(request) });
        }
    });
}

/// Sets the process to be dumped: the live process with this id.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_process(request: *mut CRequest, process_id: u32) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            if process_id == 0 {
                return Err(Failure::argument("the process id is 0, which no process has"));
            }
            request.target = Some(RequestTarget::Process(process_id));
            Ok(())
        })
    }
}

/// Sets the process to be dumped: a simulated process.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_scenario(request: *mut CRequest, file: *const c_char) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let process = Scenario::load(path(file, "the name of the scenario's file")?)
                .map_err(|error| Failure::argument(error.to_string()))?;
            request.target = Some(RequestTarget::Simulated(Box::new(process)));
            Ok(())
        })
    }
}

/// Sets the output: an open file, as for `MiniDumpWriteDump`. NULL means that there is no file;
/// then the callback must write the dump.
///
/// # Safety
/// See [`set`]. The file stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_file(request: *mut CRequest, file: RawHandle) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            (request.output, request.file) = (Output::of_handle(file), file);
            Ok(())
        })
    }
}

/// The file handle that callbacks receive if there is an output, but no file handle of the caller:
/// `INVALID_HANDLE_VALUE`.
const OWN_OUTPUT: RawHandle = std::ptr::without_provenance_mut(usize::MAX);

/// Sets the output: a new file, which appears under its name only when the whole dump has been
/// written.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_path(
    request: *mut CRequest,
    file: *const c_char,
    replace: Bool,
) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let path = path(file, "the file name")?;
            let replace = replace != 0;
            (request.output, request.file) = (Output::Path { path, replace }, OWN_OUTPUT);
            Ok(())
        })
    }
}

/// Sets the output: a function, which receives the bytes in the order of offsets.
///
/// # Safety
/// See [`set`]. The function can be called with the parameter as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_writer(
    request: *mut CRequest,
    writer: Option<WriteFunction>,
    parameter: *mut c_void,
) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let writer = writer.ok_or_else(|| Failure::argument("the writer function is NULL"))?;
            (request.output, request.file) = (Output::Function(writer, Parameter(parameter)), OWN_OUTPUT);
            Ok(())
        })
    }
}

/// Sets the callback. NULL removes it.
///
/// # Safety
/// See [`set`]. The pointer is NULL or points to a valid structure, and the function can be called
/// as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_callback(
    request: *mut CRequest,
    callback: *const CallbackInformation,
) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.callback = CFunction::from_pointer(callback);
            Ok(())
        })
    }
}

/// Sets the exception, which is copied now. NULL removes it. If `ClientPointers` is set, the
/// process must have been set before.
///
/// # Safety
/// See [`set`]. The pointer is NULL or points to a valid structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_exception(
    request: *mut CRequest,
    information: *const MINIDUMP_EXCEPTION_INFORMATION,
) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.exception = exception::from_pointer(information, || request.client())?;
            Ok(())
        })
    }
}

/// Sets the caller's own streams, which are copied now. NULL removes them.
///
/// # Safety
/// See [`set`]. The pointer is NULL or points to a valid structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_user_streams(
    request: *mut CRequest,
    information: *const MINIDUMP_USER_STREAM_INFORMATION,
) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.streams = streams::from_pointer(information)?;
            Ok(())
        })
    }
}

/// Sets the profile.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_profile(request: *mut CRequest, name: *const c_char) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let name = text(name, "the name of the profile")?.to_string_lossy();
            request.profile = Some(name.parse().map_err(Failure::argument)?);
            Ok(())
        })
    }
}

/// Sets the way in which a live process is held.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_hold(request: *mut CRequest, name: *const c_char) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let name = text(name, "the name of the hold")?.to_string_lossy();
            let known = HOLDS.iter().find(|hold| **hold == name);
            request.hold = known.ok_or_else(|| {
                Failure::argument(format!(
                    "cannot hold a process by \"{name}\"; on this system use one of: {}",
                    HOLDS.join(", ")
                ))
            })?;
            Ok(())
        })
    }
}

/// Limits the time for which the process is suspended. 0 means no limit.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_max_pause(request: *mut CRequest, milliseconds: u32) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let limit = Duration::from_millis(milliseconds.into());
            request.max_pause = (milliseconds != 0).then_some(limit);
            Ok(())
        })
    }
}

/// Limits the time for which a clone of the process exists. 0 means the default, 10 minutes.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_max_clone(request: *mut CRequest, milliseconds: u32) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            let limit = Duration::from_millis(milliseconds.into());
            request.max_clone = (milliseconds != 0).then_some(limit);
            Ok(())
        })
    }
}

/// Chooses whether a crash that the program handles at the moment is looked for.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_find_crash(request: *mut CRequest, find: Bool) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.find_crash = find != FALSE;
            Ok(())
        })
    }
}

/// Limits the bytes of memory in the dump. 0 means no limit.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_budget(request: *mut CRequest, bytes: u64) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.budget = (bytes != 0).then_some(bytes);
            Ok(())
        })
    }
}

/// Sets the policy file, which is read now. NULL means that the environment variable
/// `DUMPWRIGHT_POLICY` decides.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_policy(request: *mut CRequest, file: *const c_char) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.policy = if file.is_null() {
                None
            } else {
                let file = path(file, "the name of the policy file")?;
                Some(PolicyFile::load(file).map_err(|error| Failure::argument(error.to_string()))?)
            };
            Ok(())
        })
    }
}

/// Sets the file for the transcript. NULL means that there is none.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_transcript(request: *mut CRequest, file: *const c_char) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.transcript = if file.is_null() {
                None
            } else {
                Some(path(file, "the name of the transcript's file")?)
            };
            Ok(())
        })
    }
}

/// Sets whether the answers of the callback are checked for misuse. By default, the environment
/// variable `DUMPWRIGHT_LINT` decides.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_lint(request: *mut CRequest, checks: Bool) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.lint = Some(checks != FALSE);
            Ok(())
        })
    }
}

/// Sets the time in the dump's header, in seconds since 1970. The default is the current time, or
/// the time in the scenario.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_time(request: *mut CRequest, seconds: u32) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            request.time = Some(seconds);
            Ok(())
        })
    }
}

/// Writes the dump. The request is unchanged and can be used again.
///
/// # Safety
/// See [`set`]. All handles, descriptors and functions that the request was given are still valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dumpwright_dump(request: *mut CRequest) -> Bool {
    // SAFETY: the caller guarantees that it is NULL or a valid request. The reference is not used
    // any more when callbacks run.
    let order = contain(|| match unsafe { request.as_ref() } {
        Some(request) => request.order(),
        None => Err(Failure::argument("the request is NULL")),
    });
    conclude_dump(order.and_then(Order::carry_out))
}

/// What this test would catch: a limit that does not reach the engine.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_for_a_crash_is_part_of_the_request() {
        let request = dumpwright_request_create(0);
        for (find, text) in [(1, "find_crash: true"), (FALSE, "find_crash: false")] {
            // SAFETY: the request was created above, and only this thread uses it.
            unsafe {
                assert_ne!(dumpwright_request_process(request, 1), FALSE);
                assert_ne!(dumpwright_request_find_crash(request, find), FALSE);
                let Ok(order) = (*request).order() else {
                    panic!("the request is complete")
                };
                assert!(format!("{:?}", order.request).contains(text));
            }
        }
        // SAFETY: the request is not used any more.
        unsafe { dumpwright_request_free(request) };
    }

    #[test]
    fn the_time_limits_are_part_of_the_request() {
        let request = dumpwright_request_create(0);
        let limited = |milliseconds| {
            // SAFETY: the request was created above, and only this thread uses it.
            unsafe {
                assert_ne!(dumpwright_request_process(request, 1), FALSE);
                assert_ne!(dumpwright_request_max_pause(request, milliseconds), FALSE);
                let Ok(order) = (*request).order() else {
                    panic!("the request is complete")
                };
                format!("{:?}", order.request)
            }
        };
        assert!(limited(500).contains("max_pause: Some(500ms)"));
        assert!(limited(0).contains("max_pause: None"));
        let with_clone = |milliseconds| {
            // SAFETY: as above.
            unsafe { assert_ne!(dumpwright_request_max_clone(request, milliseconds), FALSE) };
            limited(0)
        };
        assert!(with_clone(500).contains("max_clone: Some(500ms)"));
        assert!(with_clone(0).contains("max_clone: Some(600s)"));
        // SAFETY: the request is not used any more.
        unsafe { dumpwright_request_free(request) };
    }
}
