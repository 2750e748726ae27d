//! The functions for requests that exist on Windows only, and file names on Windows.

use std::ffi::CStr;
use std::path::PathBuf;

use super::{CRequest, RequestTarget, set};
use crate::last::Failure;
use crate::process::NamedProcess;
use crate::{Bool, RawHandle};

/// Converts a file name. File names are UTF-8, whatever the code page is.
pub(super) fn path(name: &CStr, what: &str) -> Result<PathBuf, Failure> {
    let name = name.to_str().map_err(|error| {
        Failure::argument(format!(
            "{what} is not valid UTF-8, as dumpwright requires on Windows: {error}"
        ))
    })?;
    Ok(name.into())
}

/// Sets the process to be dumped: that of a handle, which never refers to a later process with the
/// same id.
///
/// # Safety
/// See [`set`]. The handle stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_handle(request: *mut CRequest, process: RawHandle) -> Bool {
    // SAFETY: guaranteed by the caller.
    unsafe {
        set(request, |request| {
            NamedProcess::of_reference(process)?;
            request.target = Some(RequestTarget::Reference(process));
            Ok(())
        })
    }
}
