//! The functions for requests that exist on Linux only, and file names on Linux.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{CRequest, RequestTarget, set};
use crate::last::Failure;
use crate::output::Output;
use crate::process::NamedProcess;
use crate::{Bool, handle};

/// Converts a file name. Any bytes without NUL are a file name on Linux.
#[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
pub(super) fn path(name: &CStr, _: &str) -> Result<PathBuf, Failure> {
    Ok(OsStr::from_bytes(name.to_bytes()).into())
}

/// Sets the output: an open descriptor, which may be 0.
///
/// # Safety
/// See [`set`]. The descriptor stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_fd(request: *mut CRequest, descriptor: i32) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            if descriptor < 0 {
                return Err(Failure::argument(format!(
                    "{descriptor} is not a file descriptor: it is negative"
                )));
            }
            let file = handle::of_descriptor(descriptor);
            (request.output, request.file) = (Output::of_handle(file), file);
            Ok(())
        })
    }
}

/// Sets the process to be dumped: that of a process descriptor, which never refers to a later
/// process with the same id.
///
/// # Safety
/// See [`set`]. The descriptor stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_pidfd(request: *mut CRequest, pidfd: i32) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            NamedProcess::of_reference(pidfd)?;
            request.target = Some(RequestTarget::Reference(pidfd));
            Ok(())
        })
    }
}
