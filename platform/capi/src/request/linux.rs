//! What requests have on Linux only, and names of files there.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{CRequest, Target, set};
use crate::Bool;
use crate::last::Failure;
use crate::process::NamedProcess;

/// A name of a file is whatever has no NUL in it.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(super) fn path(name: &CStr, _: &str) -> Result<PathBuf, Failure> {
    Ok(OsStr::from_bytes(name.to_bytes()).into())
}

/// Dumps the live process of a process descriptor, which cannot be mistaken for a later one with the same id.
///
/// # Safety
/// See [`set`]. The descriptor stays open as long as the request is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_request_pidfd(request: *mut CRequest, pidfd: i32) -> Bool {
    // SAFETY: as the caller says.
    unsafe {
        set(request, |request| {
            NamedProcess::of_reference(pidfd)?;
            request.target = Some(Target::Reference(pidfd));
            Ok(())
        })
    }
}
