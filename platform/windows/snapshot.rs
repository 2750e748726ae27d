//! Snapshots of processes: made by the system, given by a caller, and what they hold.
//!
//! The functions are Windows 8.1's (`processsnapshot.h`), and bound at run time. A snapshot has a copy of the process' memory,
//! which is a process itself (without threads), and the registers of its threads.

use std::ffi::c_void;

use dumpwright_target::{CpuContext, Fault, FaultKind, ThreadExit, ThreadTimes};
use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT;
use windows_sys::Win32::System::Diagnostics::ProcessSnapshotting::{
    PSS_CAPTURE_HANDLE_BASIC_INFORMATION, PSS_CAPTURE_HANDLE_NAME_INFORMATION, PSS_CAPTURE_HANDLE_TRACE,
    PSS_CAPTURE_HANDLE_TYPE_SPECIFIC_INFORMATION, PSS_CAPTURE_HANDLES, PSS_CAPTURE_THREAD_CONTEXT,
    PSS_CAPTURE_THREADS, PSS_CAPTURE_VA_CLONE, PSS_CREATE_BREAKAWAY, PSS_CREATE_BREAKAWAY_OPTIONAL,
    PSS_CREATE_USE_VM_ALLOCATIONS, PSS_PROCESS_INFORMATION, PSS_QUERY_PROCESS_INFORMATION,
    PSS_QUERY_VA_CLONE_INFORMATION, PSS_THREAD_ENTRY, PSS_THREAD_FLAGS_TERMINATED, PSS_VA_CLONE_INFORMATION,
    PSS_WALK_THREADS,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use crate::access::fault;
use crate::nt::bound;
use crate::registers;

/// `HPSS`.
type Handle = *mut c_void;

/// How many threads a snapshot may have.
const MOST_THREADS: usize = 1 << 20;

/// What is captured: memory, threads with their registers, and handles with all that is known of them, as Microsoft's
/// documentation of process snapshots does it. Without `PSS_CREATE_RELEASE_SECTION`, after which the system does
/// not tell the name of the copy's program any more.
const CAPTURED: u32 = PSS_CAPTURE_VA_CLONE
    | PSS_CAPTURE_HANDLES
    | PSS_CAPTURE_HANDLE_NAME_INFORMATION
    | PSS_CAPTURE_HANDLE_BASIC_INFORMATION
    | PSS_CAPTURE_HANDLE_TYPE_SPECIFIC_INFORMATION
    | PSS_CAPTURE_HANDLE_TRACE
    | PSS_CAPTURE_THREADS
    | PSS_CAPTURE_THREAD_CONTEXT
    | PSS_CREATE_BREAKAWAY
    | PSS_CREATE_BREAKAWAY_OPTIONAL
    | PSS_CREATE_USE_VM_ALLOCATIONS;

/// `CONTEXT_ALL` of x86-64.
const CONTEXT_ALL: u32 = 0x0010_001F;

const _: () = {
    assert!(size_of::<PSS_THREAD_ENTRY>() == 120);
    assert!(std::mem::offset_of!(PSS_THREAD_ENTRY, Win32StartAddress) == 88);
    assert!(std::mem::offset_of!(PSS_THREAD_ENTRY, ContextRecord) == 112);
    assert!(std::mem::offset_of!(PSS_PROCESS_INFORMATION, ProcessId) == 28);
};

/// The functions that look into snapshots.
#[derive(Clone, Copy)]
struct Looking {
    query: unsafe extern "system" fn(Handle, i32, *mut c_void, u32) -> u32,
    walk: unsafe extern "system" fn(Handle, i32, Handle, *mut c_void, u32) -> u32,
    create_marker: unsafe extern "system" fn(*const c_void, *mut Handle) -> u32,
    free_marker: unsafe extern "system" fn(Handle) -> u32,
}

impl Looking {
    fn bind() -> Option<Self> {
        Some(Self {
            query: bound!(
                c"kernel32.dll",
                c"PssQuerySnapshot",
                unsafe extern "system" fn(Handle, i32, *mut c_void, u32) -> u32
            )?,
            walk: bound!(
                c"kernel32.dll",
                c"PssWalkSnapshot",
                unsafe extern "system" fn(Handle, i32, Handle, *mut c_void, u32) -> u32
            )?,
            create_marker: bound!(
                c"kernel32.dll",
                c"PssWalkMarkerCreate",
                unsafe extern "system" fn(*const c_void, *mut Handle) -> u32
            )?,
            free_marker: bound!(
                c"kernel32.dll",
                c"PssWalkMarkerFree",
                unsafe extern "system" fn(Handle) -> u32
            )?,
        })
    }
}

/// A thread, as a snapshot has it.
#[derive(Debug, Clone)]
pub(crate) struct ThreadEntry {
    pub(crate) id: u32,
    pub(crate) teb: u64,
    pub(crate) priority: i32,
    pub(crate) suspend_count: u32,
    pub(crate) times: ThreadTimes,
    pub(crate) exit: Option<ThreadExit>,
    pub(crate) registers: Option<CpuContext>,
}

/// A snapshot that somebody keeps as long as this is used.
#[derive(Debug, Clone)]
pub(crate) struct GivenSnapshot {
    handle: usize,
    /// The process it was made of.
    pub(crate) process_id: u32,
    /// `NORMAL_PRIORITY_CLASS` and the like.
    pub(crate) priority_class: u32,
    /// The copy of its memory; null if it has none.
    memory: usize,
}

impl GivenSnapshot {
    /// Looks into a snapshot; `None` if this system has none, or the handle is not one.
    ///
    /// # Safety
    /// The handle is one of a snapshot, or one that the system's functions recognise as none.
    pub(crate) unsafe fn of(handle: Handle) -> Option<Self> {
        let functions = Looking::bind()?;
        let mut process = PSS_PROCESS_INFORMATION::default();
        // SAFETY: as the caller promises; the structure is the system's, and ours to be filled.
        let code = unsafe {
            (functions.query)(
                handle,
                PSS_QUERY_PROCESS_INFORMATION,
                (&raw mut process).cast(),
                size_of_val(&process) as u32,
            )
        };
        if code != 0 {
            tracing::debug!(code, "not a process snapshot");
            return None;
        }
        let mut copy = PSS_VA_CLONE_INFORMATION::default();
        // SAFETY: as above.
        let code = unsafe {
            (functions.query)(
                handle,
                PSS_QUERY_VA_CLONE_INFORMATION,
                (&raw mut copy).cast(),
                size_of_val(&copy) as u32,
            )
        };
        Some(Self {
            handle: handle.expose_provenance(),
            process_id: process.ProcessId,
            priority_class: process.PriorityClass,
            memory: if code == 0 {
                copy.VaCloneHandle.expose_provenance()
            } else {
                0
            },
        })
    }

    /// The copy of the process' memory, which is a process.
    pub(crate) fn memory(&self) -> Option<HANDLE> {
        (self.memory != 0).then(|| std::ptr::with_exposed_provenance_mut(self.memory))
    }

    /// Its threads.
    ///
    /// # Errors
    /// The snapshot was taken without threads, or is broken.
    pub(crate) fn threads(&self) -> Result<Vec<ThreadEntry>, Fault> {
        let operation = || format!("list the threads in the snapshot of process {}", self.process_id);
        let missing = || Fault::new(FaultKind::System, operation(), "this system has no snapshots");
        let functions = Looking::bind().ok_or_else(missing)?;
        let handle = std::ptr::with_exposed_provenance_mut(self.handle);
        let mut marker: Handle = std::ptr::null_mut();
        // SAFETY: without an allocator the marker comes from the system's heap; it goes to a local variable.
        let code = unsafe { (functions.create_marker)(std::ptr::null(), &raw mut marker) };
        if code != 0 {
            return Err(fault(operation(), code));
        }
        let mut threads = Vec::new();
        let end = loop {
            let mut entry = PSS_THREAD_ENTRY::default();
            // SAFETY: the snapshot is kept by whoever gave it, the marker was made above; the structure is the system's, and ours
            // to be filled.
            let code = unsafe {
                (functions.walk)(
                    handle,
                    PSS_WALK_THREADS,
                    marker,
                    (&raw mut entry).cast(),
                    size_of_val(&entry) as u32,
                )
            };
            if code != 0 || threads.len() == MOST_THREADS {
                break code;
            }
            // SAFETY: the system has filled the entry, and its registers belong to the snapshot.
            threads.push(unsafe { thread(&entry) });
        };
        // SAFETY: made above, and freed once.
        unsafe { (functions.free_marker)(marker) };
        match end {
            // ERROR_NO_MORE_ITEMS.
            259 => Ok(threads),
            _ if !threads.is_empty() => Ok(threads),
            // ERROR_NOT_FOUND: it was taken without threads.
            code => Err(fault(operation(), code)),
        }
    }
}

/// # Safety
/// The entry was filled by the system, and the snapshot it is of is not freed meanwhile.
unsafe fn thread(entry: &PSS_THREAD_ENTRY) -> ThreadEntry {
    let has_registers =
        !entry.ContextRecord.is_null() && usize::from(entry.SizeOfContextRecord) >= size_of::<CONTEXT>();
    let registers = has_registers.then(|| {
        let mut bytes = vec![0_u8; size_of::<CONTEXT>()];
        // SAFETY: the record has at least as many bytes, as it says, and belongs to the snapshot; it may stand at an address
        // that is not aligned.
        unsafe {
            std::ptr::copy_nonoverlapping(entry.ContextRecord.cast::<u8>(), bytes.as_mut_ptr(), bytes.len());
        };
        registers::from_bytes(bytes)
    });
    let has_ended = entry.Flags & PSS_THREAD_FLAGS_TERMINATED != 0;
    ThreadEntry {
        id: entry.ThreadId,
        teb: entry.TebBaseAddress.addr() as u64,
        priority: entry.Priority,
        suspend_count: entry.SuspendCount.into(),
        times: ThreadTimes {
            created: units(entry.CreateTime),
            kernel: units(entry.KernelTime),
            user: units(entry.UserTime),
            start_address: entry.Win32StartAddress.addr() as u64,
            affinity: entry.AffinityMask as u64,
        },
        exit: has_ended.then(|| ThreadExit {
            status: entry.ExitStatus,
            time: units(entry.ExitTime),
        }),
        registers,
    }
}

/// A time in units of 100 ns.
pub(crate) fn units(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// A snapshot of a process, made by the system in a moment while the process runs on. Freed when it is dropped.
///
/// To have Microsoft's `MiniDumpWriteDump` dump it, [`handle`](Self::handle) is given in place of the process' handle, with
/// the id of the process, and the callback answers IsProcessSnapshot with S_FALSE.
#[derive(Debug)]
pub struct ProcessSnapshot {
    handle: usize,
    process_id: u32,
    free: unsafe extern "system" fn(HANDLE, Handle) -> u32,
}

impl ProcessSnapshot {
    /// A snapshot of a process; `None` where the system has none (before Windows 8.1).
    pub(crate) fn capture(process: HANDLE, id: u32) -> Result<Option<Self>, Fault> {
        type Capture = unsafe extern "system" fn(HANDLE, u32, u32, *mut Handle) -> u32;
        let functions = bound!(c"kernel32.dll", c"PssCaptureSnapshot", Capture).zip(bound!(
            c"kernel32.dll",
            c"PssFreeSnapshot",
            unsafe extern "system" fn(HANDLE, Handle) -> u32
        ));
        let Some((capture, free)) = functions else {
            return Ok(None);
        };
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: a handle that is none, or lacks rights, is an error; the snapshot goes to a local variable.
        let code = unsafe { capture(process, CAPTURED, CONTEXT_ALL, &raw mut handle) };
        if code != 0 {
            return Err(fault(format!("take a snapshot of process {id}"), code));
        }
        Ok(Some(Self {
            handle: handle.expose_provenance(),
            process_id: id,
            free,
        }))
    }

    /// The system's handle of the snapshot (`HPSS`), which is no handle of a process.
    #[must_use]
    pub fn handle(&self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.handle)
    }

    /// The process it was made of.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// What it holds.
    pub(crate) fn look(&self) -> Option<GivenSnapshot> {
        // SAFETY: the handle is the one that the system has given for this snapshot.
        unsafe { GivenSnapshot::of(self.handle()) }
    }
}

impl Drop for ProcessSnapshot {
    fn drop(&mut self) {
        // SAFETY: the snapshot was made by us in this process, and is freed once.
        let code = unsafe { (self.free)(GetCurrentProcess(), self.handle()) };
        if code != 0 {
            tracing::debug!(code, "the snapshot could not be freed");
        }
    }
}

#[cfg(test)]
mod tests;
