//! `dumpwright_request…`: dumps with what DbgHelp has not.

use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;

use dumpwright::native::sim::{Scenario, SimProcess};
use dumpwright::{DumpType, Profile, Request};
use dumpwright_callback::abi::native::{MINIDUMP_EXCEPTION_INFORMATION, MINIDUMP_USER_STREAM_INFORMATION};

use crate::callback::{CFunction, CallbackInformation, Parameter};
use crate::last::{Failure, conclude, conclude_dump};
use crate::order::{Order, Subjected, default_profile};
use crate::output::{Output, Writer};
use crate::process::{Client, HOLDS, NamedProcess, Reference};
use crate::{Bool, Handle, exception, streams};

#[cfg_attr(target_os = "linux", path = "request/linux.rs")]
#[cfg_attr(windows, path = "request/windows.rs")]
mod system;

/// A dump that is being described. C programs see its address only.
pub struct CRequest {
    dump_type: DumpType,
    target: Option<Target>,
    output: Output,
    /// What a callback is shown as the file.
    file: Handle,
    callback: Option<CFunction>,
    profile: Option<Profile>,
    exception: Option<dumpwright::target::Exception>,
    streams: Vec<(u32, Vec<u8>)>,
    budget: Option<u64>,
    transcript: Option<PathBuf>,
    time: Option<u32>,
    /// How a live process is held: one of [`HOLDS`].
    hold: &'static str,
}

/// Something that can be dumped again and again.
enum Target {
    Process(u32),
    Reference(Reference),
    Simulated(Box<SimProcess>),
}

impl CRequest {
    fn order(&self) -> Result<Order, Failure> {
        let target = match &self.target {
            Some(Target::Process(id)) => Subjected::Process(NamedProcess::of_id(*id).held(self.hold)),
            Some(Target::Reference(reference)) => {
                Subjected::Process(NamedProcess::of_reference(*reference)?.held(self.hold))
            }
            Some(Target::Simulated(process)) => Subjected::Simulated(process.clone()),
            None => {
                return Err(Failure::argument(
                    "nothing to be dumped: call dumpwright_request_process or dumpwright_request_scenario first",
                ));
            }
        };
        let mut request = Request::new(self.dump_type)
            .profile(self.profile.map_or_else(default_profile, Ok)?)
            .file_handle(self.file.addr() as u64);
        if let Some(exception) = &self.exception {
            request = request.exception(exception.clone());
        }
        if let Some(time) = self.time {
            request = request.time(time);
        }
        for (stream_type, bytes) in &self.streams {
            request = request.user_stream(*stream_type, bytes.clone());
        }
        Ok(Order {
            target,
            request,
            callback: self.callback,
            output: self.output.clone(),
            budget: self.budget,
            transcript: self.transcript.clone(),
        })
    }

    /// The process whose memory `ClientPointers` are in.
    fn client(&self) -> Result<Option<Client>, Failure> {
        match &self.target {
            Some(Target::Process(id)) => Client::of_id(*id).map(Some),
            Some(Target::Reference(reference)) => NamedProcess::of_reference(*reference)?.client(),
            Some(Target::Simulated(_)) | None => Ok(None),
        }
    }
}

/// Sets something of a request that the caller has made, and ends the call.
///
/// # Safety
/// The pointer is NULL or comes from [`dumpwright_request_create`] and has not been freed.
unsafe fn set(request: *mut CRequest, change: impl FnOnce(&mut CRequest) -> Result<(), Failure>) -> Bool {
    // SAFETY: it is one of ours, as the caller says, and one thread at a time uses it.
    conclude(match unsafe { request.as_mut() } {
        Some(request) => change(request),
        None => Err(Failure::argument("the request is NULL")),
    })
}

/// # Safety
/// The pointer is NULL or leads to a text that ends with NUL.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a CStr, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{what} is NULL")));
    }
    // SAFETY: as the caller says.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// As [`text`].
unsafe fn path(path: *const c_char, what: &str) -> Result<PathBuf, Failure> {
    // SAFETY: as the caller says.
    let path = unsafe { text(path, what) }?;
    system::path(path, what)
}

/// A dump of this type, of nothing yet, to nowhere.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_request_create(dump_type: u32) -> *mut CRequest {
    Box::into_raw(Box::new(CRequest {
        dump_type: DumpType::from_bits_retain(dump_type),
        target: None,
        output: Output::of_handle(std::ptr::null_mut()),
        file: std::ptr::null_mut(),
        callback: None,
        profile: None,
        exception: None,
        streams: Vec::new(),
        budget: None,
        transcript: None,
        time: None,
        hold: HOLDS[0],
    }))
}

/// Ends a request. NULL is none.
///
/// # Safety
/// The pointer is NULL or comes from [`dumpwright_request_create`] and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_free(request: *mut CRequest) {
    if !request.is_null() {
        // SAFETY: it was made by Box::into_raw, and is freed once, as the caller says.
        drop(unsafe { Box::from_raw(request) });
    }
}

/// Dumps the live process of this id.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_process(request: *mut CRequest, process_id: u32) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            if process_id == 0 {
                return Err(Failure::argument("no process has the id 0"));
            }
            request.target = Some(Target::Process(process_id));
            Ok(())
        })
    }
}

/// Dumps a simulated process.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_scenario(request: *mut CRequest, file: *const c_char) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            let process = Scenario::load(path(file, "the scenario's name")?)
                .map_err(|error| Failure::argument(error.to_string()))?;
            request.target = Some(Target::Simulated(Box::new(process)));
            Ok(())
        })
    }
}

/// Writes to an open file, as `MiniDumpWriteDump` does. 0 is none: the callback takes over the output then.
///
/// # Safety
/// See [`set`]. The file stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_file(request: *mut CRequest, file: Handle) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            (request.output, request.file) = (Output::of_handle(file), file);
            Ok(())
        })
    }
}

/// What callbacks are shown as the file when there is an output that is no file of the caller's.
const OWN_OUTPUT: Handle = std::ptr::without_provenance_mut(usize::MAX);

/// Writes to a new file, which has its name only when it is whole.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_path(
    request: *mut CRequest,
    file: *const c_char,
    replace: Bool,
) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            let path = path(file, "the file's name")?;
            let replace = replace != 0;
            (request.output, request.file) = (Output::Path { path, replace }, OWN_OUTPUT);
            Ok(())
        })
    }
}

/// Writes to a function, front to back.
///
/// # Safety
/// See [`set`]. The function can be called with the parameter as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_writer(
    request: *mut CRequest,
    writer: Option<Writer>,
    parameter: *mut c_void,
) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            let writer = writer.ok_or_else(|| Failure::argument("the function is NULL"))?;
            (request.output, request.file) = (Output::Function(writer, Parameter(parameter)), OWN_OUTPUT);
            Ok(())
        })
    }
}

/// Asks this callback. NULL: none.
///
/// # Safety
/// See [`set`]. The pointer is NULL or leads to such a structure, and the function can be called as long as the
/// request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_callback(
    request: *mut CRequest,
    callback: *const CallbackInformation,
) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            request.callback = CFunction::from_pointer(callback);
            Ok(())
        })
    }
}

/// Adds an exception, which is copied now. For `ClientPointers` the process must have been set before.
///
/// # Safety
/// See [`set`]. The pointer is NULL or leads to such a structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_exception(
    request: *mut CRequest,
    information: *const MINIDUMP_EXCEPTION_INFORMATION,
) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            request.exception = exception::from_pointer(information, || request.client())?;
            Ok(())
        })
    }
}

/// Sets the caller's own streams, which are copied now.
///
/// # Safety
/// See [`set`]. The pointer is NULL or leads to such a structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_user_streams(
    request: *mut CRequest,
    information: *const MINIDUMP_USER_STREAM_INFORMATION,
) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            request.streams = streams::from_pointer(information)?;
            Ok(())
        })
    }
}

/// Chooses whose behaviour is followed.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_profile(request: *mut CRequest, name: *const c_char) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            let name = text(name, "the profile's name")?.to_string_lossy();
            request.profile = Some(name.parse().map_err(Failure::argument)?);
            Ok(())
        })
    }
}

/// Chooses how a live process is held.
///
/// # Safety
/// See [`set`] and [`text`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_hold(request: *mut CRequest, name: *const c_char) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            let name = text(name, "the name of the way of holding")?.to_string_lossy();
            let known = HOLDS.iter().find(|hold| **hold == name);
            request.hold = known.ok_or_else(|| {
                Failure::argument(format!(
                    "\"{name}\" is no way of holding a process here; there is {}",
                    HOLDS.join(", ")
                ))
            })?;
            Ok(())
        })
    }
}

/// Limits the bytes of memory in the dump. 0: no limit.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_budget(request: *mut CRequest, bytes: u64) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            request.budget = (bytes != 0).then_some(bytes);
            Ok(())
        })
    }
}

/// Writes the dialogue to this file, as JSON lines. NULL: to none.
///
/// # Safety
/// See [`set`]; the pointer is NULL or leads to a text that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_transcript(request: *mut CRequest, file: *const c_char) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            request.transcript = if file.is_null() {
                None
            } else {
                Some(path(file, "the transcript's name")?)
            };
            Ok(())
        })
    }
}

/// Sets the time that stands in the dump's header, in seconds since 1970. Without it: the clock's, or the scenario's.
///
/// # Safety
/// See [`set`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_time(request: *mut CRequest, seconds: u32) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            request.time = Some(seconds);
            Ok(())
        })
    }
}

/// Makes the dump. The request stays, and can be used again.
///
/// # Safety
/// See [`set`]. Everything that the request was given is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dumpwright_dump(request: *mut CRequest) -> Bool {
    // SAFETY: it is NULL or one of ours, as the caller says. Nothing of it is used while callbacks run.
    let order = match unsafe { request.as_ref() } {
        Some(request) => request.order(),
        None => Err(Failure::argument("the request is NULL")),
    };
    conclude_dump(order.and_then(Order::carry_out))
}
