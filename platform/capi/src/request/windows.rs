//! What requests have on Windows only, and names of files there.

use std::ffi::CStr;
use std::path::PathBuf;

use super::{CRequest, Target, set};
use crate::last::Failure;
use crate::process::NamedProcess;
use crate::{Bool, Handle};

/// A name of a file is UTF-8, whatever the code page is.
pub(super) fn path(name: &CStr, what: &str) -> Result<PathBuf, Failure> {
    let name = name.to_str().map_err(|error| {
        Failure::argument(format!(
            "{what} is not UTF-8, as names of files have to be: {error}"
        ))
    })?;
    Ok(name.into())
}

/// Dumps the live process of a handle, which cannot be mistaken for a later one with the same id.
///
/// # Safety
/// See [`set`]. The handle stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_handle(request: *mut CRequest, process: Handle) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            NamedProcess::of_reference(process)?;
            request.target = Some(Target::Reference(process));
            Ok(())
        })
    }
}
