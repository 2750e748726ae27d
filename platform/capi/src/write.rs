//! `MiniDumpWriteDump`.

use dumpwright::{DumpType, Request};
use dumpwright_abi::native::{MINIDUMP_EXCEPTION_INFORMATION, MINIDUMP_USER_STREAM_INFORMATION};

use crate::boundary::contain;
use crate::callback::{CFunction, CallbackInformation};
use crate::last::{Failure, conclude_dump};
use crate::order::{Order, Subjected, default_lint, default_policy, default_profile};
use crate::output::Output;
use crate::process::NamedProcess;
use crate::{Bool, RawHandle, exception, streams};

/// Writes a minidump. `dumpwright.h` has the documentation.
///
/// # Safety
/// Each of the last three pointers is NULL or points to a valid structure. The callback can be
/// called.
#[unsafe(no_mangle)]
pub unsafe extern "system-unwind" fn MiniDumpWriteDump(
    process: RawHandle,
    process_id: u32,
    file: RawHandle,
    dump_type: u32,
    exception: *const MINIDUMP_EXCEPTION_INFORMATION,
    user_streams: *const MINIDUMP_USER_STREAM_INFORMATION,
    callback: *const CallbackInformation,
) -> Bool {
    let order = || -> Result<Order, Failure> {
        let target = NamedProcess::new(process, process_id);
        let policy = default_policy()?;
        let request = Request::new(DumpType::from_bits_retain(dump_type));
        let request = match &policy {
            Some(policy) => policy.request(request),
            None => request,
        };
        let mut request = request
            .profile(default_profile()?)
            .file_handle(file.addr() as u64);
        // SAFETY: guaranteed by the caller.
        let (exception, streams, callback) = unsafe {
            (
                exception::from_pointer(exception, || target.client())?,
                streams::from_pointer(user_streams)?,
                CFunction::from_pointer(callback),
            )
        };
        if let Some(exception) = exception {
            request = request.exception(exception);
        }
        for (stream_type, bytes) in streams {
            request = request.user_stream(stream_type, bytes);
        }
        Ok(Order {
            target: Subjected::Process(target),
            request,
            callback,
            policy,
            output: Output::of_handle(file),
            budget: None,
            transcript: None,
            lint: default_lint(),
        })
    };
    conclude_dump(contain(order).and_then(Order::carry_out))
}
