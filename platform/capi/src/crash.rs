//! `dumpwright_crash_…`: a crash handler for the calling program, on Linux.
//!
//! `include/dumpwright.h` documents these functions for callers.

use std::cell::RefCell;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use dumpwright::crash::{self, CrashOptions, SignalStack};
use dumpwright::{DumpType, native};
use dumpwright_abi::ExceptionRecord;
use dumpwright_abi::native::CONTEXT;

use crate::boundary::contain;
use crate::last::{Failure, conclude};
use crate::{Bool, FALSE};

/// `dumpwright_crash_options`. New members are added only at the end; `size` tells which members
/// the caller knows.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CCrashOptions {
    size: usize,
    dump_type: u32,
    limit: u32,
    name: *const c_char,
    policy: *const c_char,
    server: *const c_char,
    quiet: Bool,
}

/// Returns a C string, or `None` if the pointer is NULL.
///
/// # Safety
/// The pointer is NULL or points to a C string, which lives as long as the result.
unsafe fn optional<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: guaranteed by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// Returns the name of a file. Any bytes without NUL are one.
fn file(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// Installs the crash handler.
///
/// # Safety
/// `folder` is NULL or a C string. `options` is NULL or points to a structure of the size that its
/// first member states, whose strings are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_crash_install(
    folder: *const c_char,
    options: *const CCrashOptions,
) -> Bool {
    conclude(contain(|| {
        // SAFETY: guaranteed by the caller.
        let folder = unsafe { optional(folder) };
        let folder = folder.ok_or_else(|| Failure::argument("the name of the folder is NULL"))?;
        let mut wanted = CrashOptions::new(file(folder));
        if !options.is_null() {
            // SAFETY: the caller guarantees that it has at least this member.
            let size = unsafe { (&raw const (*options).size).read_unaligned() };
            if size < size_of::<CCrashOptions>() {
                return Err(Failure::argument(format!(
                    "the member size of the options is {size}, not sizeof(dumpwright_crash_options)"
                )));
            }
            // SAFETY: the structure is at least as large, says the caller. So are its strings.
            let (options, name, policy, server) = unsafe {
                let options = options.read_unaligned();
                let texts = [options.name, options.policy, options.server].map(|text| optional(text));
                (options, texts[0], texts[1], texts[2])
            };
            wanted = wanted
                .dump_type(DumpType::from_bits_retain(options.dump_type))
                .announces(options.quiet == FALSE);
            if options.limit != 0 {
                wanted = wanted.limit(Duration::from_millis(options.limit.into()));
            }
            if let Some(name) = name {
                wanted = wanted.name(name.to_string_lossy());
            }
            if let Some(policy) = policy {
                wanted = wanted.policy(file(policy));
            }
            if let Some(server) = server {
                wanted = wanted.server(file(server));
            }
        }
        // The panics of this library are none of the program.
        Ok(crash::install(&wanted.panics(false))?)
    }))
}

/// Sets or removes a text that crash dumps of this process will have.
///
/// # Safety
/// Both are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_crash_annotate(key: *const c_char, value: *const c_char) -> Bool {
    conclude(contain(|| {
        // SAFETY: guaranteed by the caller.
        let (key, value) = unsafe { (optional(key), optional(value)) };
        let key = key
            .ok_or_else(|| Failure::argument("the key is NULL"))?
            .to_string_lossy();
        match value {
            None => crash::remove_annotation(&key),
            Some(value) => crash::annotate(&key, &value.to_string_lossy())
                .map_err(|error| Failure::argument(error.to_string()))?,
        }
        Ok(())
    }))
}

thread_local! {
    /// The alternate stack of a thread. It is removed when the thread ends.
    static STACK: RefCell<Option<SignalStack>> = const { RefCell::new(None) };
}

/// Gives the calling thread an alternate stack for signal handlers, if it has none.
#[unsafe(no_mangle)]
pub extern "C" fn dumpwright_crash_signal_stack() -> Bool {
    conclude(contain(|| {
        let failed = |reason: String| Failure::new(dumpwright::Hresult::E_FAIL.0, reason);
        let made = SignalStack::unless_present()
            .map_err(|error| failed(format!("cannot create a signal stack: {error}")))?;
        if let Some(made) = made {
            STACK
                .try_with(|stack| *stack.borrow_mut() = Some(made))
                .map_err(|_| failed("the thread is ending".to_owned()))?;
        }
        Ok(())
    }))
}

/// Translates the arguments of a signal handler.
///
/// # Safety
/// The pointers are NULL, or valid for a `siginfo_t`, a `ucontext_t`, an `EXCEPTION_RECORD` and a
/// `CONTEXT`. The member `fpregs` of the second one is NULL or points to 512 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dumpwright_exception_from_siginfo(
    siginfo: *const c_void,
    ucontext: *const c_void,
    record: *mut [u64; ExceptionRecord::SIZE / 8],
    context: *mut CONTEXT,
) -> Bool {
    conclude(contain(|| {
        if siginfo.is_null() || ucontext.is_null() || record.is_null() || context.is_null() {
            return Err(Failure::argument("a pointer is NULL"));
        }
        // SAFETY: the caller guarantees that they are valid. They may be unaligned.
        let (siginfo, ucontext) = unsafe {
            (
                siginfo.cast::<libc::siginfo_t>().read_unaligned(),
                ucontext.cast::<libc::ucontext_t>().read_unaligned(),
            )
        };
        let fxsave = ucontext.uc_mcontext.fpregs.cast::<[u8; 512]>();
        // SAFETY: the caller guarantees that it is NULL or valid.
        let fxsave = (!fxsave.is_null()).then(|| unsafe { fxsave.read_unaligned() });
        let exception = native::exception(0, &siginfo, &ucontext, fxsave.as_ref());
        let mut words = [0; ExceptionRecord::SIZE / 8];
        words[0] = u64::from(exception.code) | u64::from(exception.flags) << 32;
        words[2] = exception.address;
        words[3] = exception.parameters.len() as u64;
        words[4..][..exception.parameters.len()].copy_from_slice(&exception.parameters);
        let bytes: CONTEXT = exception.context.bytes().try_into().expect("of this processor");
        // SAFETY: the caller guarantees that both are valid for writes.
        unsafe {
            record.write_unaligned(words);
            context.write_unaligned(bytes);
        }
        Ok(())
    }))
}
