//! The system's own writer of dumps: `MiniDumpWriteDump`, of the DbgHelp that Windows has or of another one.
//!
//! A [`Callback`] stands behind its callback function, so that one callback works with this writer and with dumpwright's.

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

use dumpwright_callback::abi::native::{
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

use self::conversation::Conversation;
use self::exception::Pointers;
pub use self::process::{Process, Subject};
pub use self::refusal::Refusal;
pub use self::version::FileVersion;
use crate::access::last_fault;

/// `MiniDumpWriteDump`, with pointers to structures of `dumpwright_callback::abi`.
type WriteDump = unsafe extern "system" fn(
    *mut c_void,
    u32,
    *mut c_void,
    u32,
    *const MINIDUMP_EXCEPTION_INFORMATION,
    *const MINIDUMP_USER_STREAM_INFORMATION,
    *const MINIDUMP_CALLBACK_INFORMATION,
) -> i32;

/// All functions of DbgHelp are for one thread at a time, says its documentation; so all calls wait for each other, whichever DLL they are
/// of.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The thread that is inside DbgHelp, or 0. What it runs of ours meanwhile is a callback.
static INSIDE: AtomicU32 = AtomicU32::new(0);

/// A DbgHelp. It stays loaded until the program ends, as whatever it has loaded itself does.
#[derive(Debug, Clone)]
pub struct DbgHelp {
    write: WriteDump,
    file: PathBuf,
    version: Option<FileVersion>,
}

/// What is to be dumped and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The process, or a snapshot of one.
    pub subject: Subject<'a>,
    /// The file that is written to, from its position on; `None` if the callback takes over the output.
    pub file: Option<BorrowedHandle<'a>>,
    /// `MINIDUMP_TYPE`. What this DbgHelp does not know it refuses.
    pub dump_type: u32,
    /// What happened to the process.
    pub exception: Option<Crash<'a>>,
    /// Streams of the caller's own: type and bytes.
    pub user_streams: &'a [(u32, &'a [u8])],
}

/// What happened to a process.
#[derive(Debug, Clone, Copy)]
pub enum Crash<'a> {
    /// As it is told here.
    Told(&'a Exception),
    /// As the process has it in its memory.
    InTarget {
        /// The thread it happened in.
        thread_id: u32,
        /// The address of its `EXCEPTION_POINTERS`.
        pointers: u64,
    },
}

impl DbgHelp {
    /// The one that Windows has.
    ///
    /// # Errors
    /// It has none with `MiniDumpWriteDump`.
    pub fn system() -> Result<Self, Fault> {
        // From Windows 10 on the first one forwards to the second one; both have the function under the same name.
        let load = |name: &str| Self::find(name.encode_utf16().collect(), LOAD_LIBRARY_SEARCH_SYSTEM32, name);
        load("dbghelp.dll").or_else(|first| load("dbgcore.dll").map_err(|_| first))
    }

    /// The one in this file. What it needs is looked for beside it, then in the system's folder.
    ///
    /// # Errors
    /// The file is not there, is no DLL of this program's kind, or has no `MiniDumpWriteDump`.
    pub fn load(file: &Path) -> Result<Self, Fault> {
        let shown = file.display().to_string();
        let absolute = std::path::absolute(file)
            .map_err(|error| Fault::new(FaultKind::System, format!("load {shown}"), error.to_string()))?;
        let flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32;
        Self::find(absolute.as_os_str().encode_wide().collect(), flags, &shown)
    }

    fn find(mut name: Vec<u16>, flags: u32, shown: &str) -> Result<Self, Fault> {
        name.push(0);
        // SAFETY: the name ends with NUL. What the DLL does when it is loaded is the caller's wish.
        let module = unsafe { LoadLibraryExW(name.as_ptr(), ptr::null_mut(), flags) };
        if module.is_null() {
            return Err(last_fault(format!("load {shown}"))
                .advise("name a DbgHelp of this program's kind (64-bit), or use --backend dumpwright"));
        }
        // SAFETY: the module stays loaded; the name ends with NUL.
        let Some(function) = (unsafe { GetProcAddress(module, c"MiniDumpWriteDump".as_ptr().cast()) }) else {
            let reason = "it has no MiniDumpWriteDump, or forwards it to a DLL that is not there";
            let fault = Fault::new(FaultKind::Unsupported, format!("use {shown}"), reason);
            return Err(fault.with_os_code(ERROR_PROC_NOT_FOUND.cast_signed()));
        };
        // The function may lie in another DLL, which the first one forwards to; that one's version counts.
        let module = module_of(function as *const c_void).unwrap_or(module);
        Ok(Self {
            // SAFETY: the function of this name has these parameters, in all versions of DbgHelp.
            write: unsafe {
                std::mem::transmute::<unsafe extern "system" fn() -> isize, WriteDump>(function)
            },
            file: file_name(module).unwrap_or_else(|| shown.into()),
            // SAFETY: the module stays loaded.
            version: unsafe { version::of(module) },
        })
    }

    /// The file that the function lies in.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// That file's version, from its resources.
    #[must_use]
    pub fn version(&self) -> Option<FileVersion> {
        self.version
    }

    /// Calls `MiniDumpWriteDump`. The target's threads run again when this returns.
    ///
    /// # Errors
    /// There is no dump; what was written to the file is of no use.
    ///
    /// # Panics
    /// When the callback panics, with that panic. DbgHelp is answered FALSE, and Cancel with TRUE, until it returns; no panic passes through it.
    pub fn write_dump(&self, order: Order<'_>, callback: Option<&mut dyn Callback>) -> Result<(), Refusal> {
        // SAFETY: asks nothing of its caller.
        let this_thread = unsafe { GetCurrentThreadId() };
        if INSIDE.load(Ordering::Relaxed) == this_thread {
            return Err(Refusal::from_inside(&order));
        }
        let pointers = order.exception.map(Pointers::new).transpose();
        let pointers = pointers.map_err(|reason| Refusal::argument(&order, reason))?;
        let list = user_streams(&order)?;
        let streams = MINIDUMP_USER_STREAM_INFORMATION {
            UserStreamCount: u32::try_from(list.len())
                .map_err(|_| Refusal::argument(&order, "there are more than 2^32 user streams"))?,
            UserStreamArray: list.as_ptr().expose_provenance() as u64,
        };
        let mut conversation = Conversation::new(callback, order.subject.is_snapshot());
        let information = conversation.as_mut().map(Conversation::information);
        let exception = pointers.as_ref().map(Pointers::information);
        let file = order.file.map_or(ptr::null_mut(), |file| file.as_raw_handle());

        let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        INSIDE.store(this_thread, Ordering::Relaxed);
        // SAFETY: handles are open as long as they are borrowed. The structures and whatever they point to outlive the call: they are locals
        // of this function. The function of the callback lets no panic pass.
        let (done, code) = unsafe {
            SetLastError(0);
            let done = (self.write)(
                order.subject.handle(),
                order.subject.id(),
                file,
                order.dump_type,
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
        Err(Refusal::new(self, &order, Hresult(code)))
    }
}

/// The caller's streams as C has them.
fn user_streams(order: &Order<'_>) -> Result<Vec<MINIDUMP_USER_STREAM>, Refusal> {
    let one = |(stream_type, bytes): &(u32, &[u8])| {
        let size = u32::try_from(bytes.len());
        let size = size.map_err(|_| Refusal::argument(order, "a user stream has 4 GiB or more"))?;
        Ok(MINIDUMP_USER_STREAM {
            Type: *stream_type,
            BufferSize: size,
            Buffer: bytes.as_ptr().expose_provenance() as u64,
        })
    };
    order.user_streams.iter().map(one).collect()
}

/// The DLL that this address lies in.
fn module_of(address: *const c_void) -> Option<HMODULE> {
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let mut module = ptr::null_mut();
    // SAFETY: with this flag the second parameter is any address.
    let found = unsafe { GetModuleHandleExW(flags, address.cast(), &mut module) };
    (found != 0).then_some(module)
}

/// The file of a DLL.
fn file_name(module: HMODULE) -> Option<PathBuf> {
    const LONGEST: usize = 1 << 15;
    let mut buffer = vec![0; MAX_PATH as usize];
    loop {
        let room = u32::try_from(buffer.len()).expect("short");
        // SAFETY: writes at most so many units to the buffer.
        let len = unsafe { GetModuleFileNameW(module, buffer.as_mut_ptr(), room) } as usize;
        match len {
            0 => return None,
            len if len < buffer.len() => return Some(OsString::from_wide(&buffer[..len]).into()),
            _ if buffer.len() < LONGEST => buffer.resize(LONGEST, 0),
            _ => return None,
        }
    }
}
