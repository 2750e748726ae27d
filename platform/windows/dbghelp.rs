//! Calls `MiniDumpWriteDump` of the system's DbgHelp or of another one.
//!
//! A [`Callback`] is connected to DbgHelp's callback function, so the same callback works with
//! DbgHelp and with dumpwright's own writer.

mod conversation;
mod exception;
mod process;
mod refusal;
mod version;

use std::ffi::{OsString, c_void};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use dumpwright_abi::native::{
    MINIDUMP_CALLBACK_INFORMATION, MINIDUMP_EXCEPTION_INFORMATION, MINIDUMP_USER_STREAM,
    MINIDUMP_USER_STREAM_INFORMATION,
};
use dumpwright_callback::{Callback, Hresult};
use dumpwright_target::{Exception, Fault, FaultKind};
use windows_sys::Win32::Foundation::{ERROR_PROC_NOT_FOUND, GetLastError, HMODULE, MAX_PATH, SetLastError};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
    GetModuleHandleExW, GetProcAddress, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32,
    LoadLibraryExW,
};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

use self::conversation::DbgHelpConversation;
use self::exception::Pointers;
pub use self::process::{OpenProcess, ProcessOrSnapshot};
pub use self::refusal::Refusal;
pub use self::version::FileVersion;
use crate::error::last_fault;

/// The type of `MiniDumpWriteDump`, with pointers to the structures of `dumpwright_abi`.
type WriteDump = unsafe extern "system" fn(
    *mut c_void,
    u32,
    *mut c_void,
    u32,
    *const MINIDUMP_EXCEPTION_INFORMATION,
    *const MINIDUMP_USER_STREAM_INFORMATION,
    *const MINIDUMP_CALLBACK_INFORMATION,
) -> i32;

/// Serialises all calls to all DbgHelp DLLs, because its documentation says that the functions of
/// DbgHelp are single-threaded.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The id of the thread that is inside DbgHelp, or 0. If this crate is called on that thread, a
/// callback is the caller.
static INSIDE: AtomicU32 = AtomicU32::new(0);

/// A loaded DbgHelp. It stays loaded until the program ends, like the DLLs that it loads itself.
#[derive(Debug, Clone)]
pub struct DbgHelp {
    write: WriteDump,
    file: PathBuf,
    version: Option<FileVersion>,
}

/// The target and the output of a dump.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    /// The process or process snapshot to dump.
    pub subject: ProcessOrSnapshot<'a>,
    /// The output file. The dump is written from its current position on. `None` if the callback
    /// takes over the output.
    pub file: Option<BorrowedHandle<'a>>,
    /// The dump type (`MINIDUMP_TYPE`). DbgHelp refuses flags that its version does not know.
    pub dump_type: u32,
    /// The exception, if there was one.
    pub exception: Option<Crash<'a>>,
    /// The user streams: type and bytes.
    pub user_streams: &'a [(u32, &'a [u8])],
}

/// An exception of the target.
#[derive(Debug, Clone, Copy)]
pub enum Crash<'a> {
    /// The exception is supplied by the caller.
    Told(&'a Exception),
    /// The exception is in the memory of the target.
    InTarget {
        /// The id of the thread that raised the exception.
        thread_id: u32,
        /// The address of the `EXCEPTION_POINTERS`.
        pointers: u64,
    },
}

impl DbgHelp {
    /// Loads the system's DbgHelp.
    ///
    /// # Errors
    /// The system has no DLL with `MiniDumpWriteDump`.
    pub fn system() -> Result<Self, Fault> {
        // From Windows 10 on, the first DLL forwards the function to the second one. Both export it
        // with the same name.
        let load = |name: &str| Self::find(name.encode_utf16().collect(), LOAD_LIBRARY_SEARCH_SYSTEM32, name);
        load("dbghelp.dll").or_else(|first| load("dbgcore.dll").map_err(|_| first))
    }

    /// Loads a DbgHelp from a file. DLLs that it needs are searched in the folder of the file, then
    /// in the system's folder.
    ///
    /// # Errors
    /// The file does not exist, is not a DLL of this program's architecture, or does not have
    /// `MiniDumpWriteDump`.
    pub fn load(file: &Path) -> Result<Self, Fault> {
        let shown = file.display().to_string();
        let absolute = std::path::absolute(file)
            .map_err(|error| Fault::new(FaultKind::System, format!("load {shown}"), error.to_string()))?;
        let flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32;
        Self::find(absolute.as_os_str().encode_wide().collect(), flags, &shown)
    }

    fn find(mut name: Vec<u16>, flags: u32, shown: &str) -> Result<Self, Fault> {
        name.push(0);
        // SAFETY: the name ends with NUL. The DLL runs its own code when it is loaded; the caller
        // named it as a DbgHelp, and the flags exclude all folders except its own and the system's.
        let module = unsafe { LoadLibraryExW(name.as_ptr(), ptr::null_mut(), flags) };
        if module.is_null() {
            return Err(
                last_fault(format!("load {shown}")).advise("use a 64-bit DbgHelp, or --backend dumpwright")
            );
        }
        // SAFETY: the module was loaded above and is never freed, and the name ends with NUL.
        let Some(function) = (unsafe { GetProcAddress(module, c"MiniDumpWriteDump".as_ptr().cast()) }) else {
            let reason = "it has no MiniDumpWriteDump, or forwards it to a DLL that does not exist";
            let fault = Fault::new(FaultKind::Unsupported, format!("use {shown}"), reason);
            return Err(fault.with_os_code(ERROR_PROC_NOT_FOUND.cast_signed()));
        };
        // The function may be in another DLL, to which the first one forwards it. The version of
        // that DLL is reported.
        let module = module_of(function as *const c_void).unwrap_or(module);
        Ok(Self {
            // SAFETY: a call through either type is unsafe. The parameters are those in
            // minidumpapiset.h and in all versions of DbgHelp.
            write: unsafe {
                std::mem::transmute::<unsafe extern "system" fn() -> isize, WriteDump>(function)
            },
            file: file_name(module).unwrap_or_else(|| shown.into()),
            version: version::of(module),
        })
    }

    /// Returns the DLL that contains the function.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the version of that DLL, from its resources.
    #[must_use]
    pub fn version(&self) -> Option<FileVersion> {
        self.version
    }

    /// Calls `MiniDumpWriteDump`. The target's threads are running again when this function
    /// returns.
    ///
    /// # Errors
    /// There is no dump, and the content of the file is not usable.
    ///
    /// # Panics
    /// If the callback panics, this function panics with the same payload. Until DbgHelp returns,
    /// Cancel is answered with TRUE and every other question with FALSE. The panic does not unwind
    /// through DbgHelp.
    pub fn write_dump(
        &self,
        arguments: Arguments<'_>,
        callback: Option<&mut dyn Callback>,
    ) -> Result<(), Refusal> {
        // SAFETY: the function has no parameters and returns an integer.
        let this_thread = unsafe { GetCurrentThreadId() };
        if INSIDE.load(Ordering::Relaxed) == this_thread {
            return Err(Refusal::from_inside(&arguments));
        }
        let pointers = arguments.exception.map(Pointers::new).transpose();
        let pointers = pointers.map_err(|reason| Refusal::argument(&arguments, reason))?;
        let list = user_streams(&arguments)?;
        let streams = MINIDUMP_USER_STREAM_INFORMATION {
            UserStreamCount: u32::try_from(list.len())
                .map_err(|_| Refusal::argument(&arguments, "there are 2^32 user streams or more"))?,
            UserStreamArray: list.as_ptr().expose_provenance() as u64,
        };
        let conversation = DbgHelpConversation::new(callback, arguments.subject.is_snapshot());
        let information = conversation.as_ref().map(DbgHelpConversation::information);
        let exception = pointers.as_ref().map(Pointers::information);
        let file = arguments
            .file
            .map_or(ptr::null_mut(), |file| file.as_raw_handle());

        let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        INSIDE.store(this_thread, Ordering::Relaxed);
        // SAFETY: the function has this type. Handles are open as long as they are borrowed, and a
        // snapshot is not freed. The structures and everything that they point to are local or
        // borrowed by `arguments`, and outlive the call. The conversation is not accessed until the
        // call has returned. The callback function lets no panic unwind, and only one thread at a
        // time is in DbgHelp.
        let (done, code) = unsafe {
            SetLastError(0);
            let done = (self.write)(
                arguments.subject.handle(),
                arguments.subject.id(),
                file,
                arguments.dump_type,
                exception.as_ref().map_or(ptr::null(), ptr::from_ref),
                if list.is_empty() {
                    ptr::null()
                } else {
                    &raw const streams
                },
                information.as_ref().map_or(ptr::null(), ptr::from_ref),
            );
            (done != 0, GetLastError())
        };
        INSIDE.store(0, Ordering::Relaxed);
        drop(one);
        if let Some(conversation) = conversation {
            conversation.rethrow();
        }
        if done {
            return Ok(());
        }
        Err(Refusal::new(self, &arguments, Hresult(code)))
    }
}

/// Converts the user streams to C structures.
fn user_streams(arguments: &Arguments<'_>) -> Result<Vec<MINIDUMP_USER_STREAM>, Refusal> {
    let one = |(stream_type, bytes): &(u32, &[u8])| {
        let size = u32::try_from(bytes.len());
        let size = size.map_err(|_| Refusal::argument(arguments, "a user stream has 4 GiB or more"))?;
        Ok(MINIDUMP_USER_STREAM {
            Type: *stream_type,
            BufferSize: size,
            Buffer: bytes.as_ptr().expose_provenance() as u64,
        })
    };
    arguments.user_streams.iter().map(one).collect()
}

/// Returns the DLL that contains an address.
fn module_of(address: *const c_void) -> Option<HMODULE> {
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let mut module = ptr::null_mut();
    // SAFETY: with the first flag, the second parameter may be any address. With the second flag,
    // the module's reference count is not increased, and its handle, which is written to a local
    // variable, must not be freed.
    let found = unsafe { GetModuleHandleExW(flags, address.cast(), &mut module) };
    (found != 0).then_some(module)
}

/// Returns the file of a DLL.
fn file_name(module: HMODULE) -> Option<PathBuf> {
    const LONGEST: usize = 1 << 15;
    let mut buffer = vec![0; MAX_PATH as usize];
    loop {
        let room = u32::try_from(buffer.len()).expect("short");
        // SAFETY: the module is loaded. The system writes at most this number of units to the
        // buffer.
        let len = unsafe { GetModuleFileNameW(module, buffer.as_mut_ptr(), room) } as usize;
        match len {
            0 => return None,
            len if len < buffer.len() => return Some(OsString::from_wide(&buffer[..len]).into()),
            _ if buffer.len() < LONGEST => buffer.resize(LONGEST, 0),
            _ => return None,
        }
    }
}
