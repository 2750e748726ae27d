//! Process snapshots: taken by this crate or supplied by a caller, and their content.
//!
//! The functions exist since Windows 8.1 (`processsnapshot.h`) and are looked up at run time. A
//! snapshot has a copy of the process's memory, which is itself a process (without threads), and
//! the registers of the process's threads.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};

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

use crate::error::fault;
use crate::nt::bound;
use crate::registers;

/// The handle of a snapshot. It is not a kernel handle; only the snapshot functions accept it.
type Hpss = *mut c_void;
/// The handle of a position in a snapshot (`HPSSWALK`).
type HpssWalk = *mut c_void;

/// The maximum number of threads that are read from a snapshot.
const MOST_THREADS: usize = 1 << 20;

/// What a snapshot captures: memory, threads with their registers, and handles with all facts about
/// them, as in Microsoft's documentation of process snapshots. `PSS_CREATE_RELEASE_SECTION` is
/// omitted, because the system then no longer reports the name of the copy's program.
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

/// The functions that read snapshots.
#[derive(Clone, Copy)]
struct Looking {
    query: unsafe extern "system" fn(Hpss, i32, *mut c_void, u32) -> u32,
    walk: unsafe extern "system" fn(Hpss, i32, HpssWalk, *mut c_void, u32) -> u32,
    create_marker: unsafe extern "system" fn(*const c_void, *mut HpssWalk) -> u32,
    free_marker: unsafe extern "system" fn(HpssWalk) -> u32,
}

impl Looking {
    fn bind() -> Option<Self> {
        Some(Self {
            query: bound!(
                Kernel32,
                c"PssQuerySnapshot",
                fn(Hpss, i32, *mut c_void, u32) -> u32
            )?,
            walk: bound!(
                Kernel32,
                c"PssWalkSnapshot",
                fn(Hpss, i32, HpssWalk, *mut c_void, u32) -> u32
            )?,
            create_marker: bound!(
                Kernel32,
                c"PssWalkMarkerCreate",
                fn(*const c_void, *mut HpssWalk) -> u32
            )?,
            free_marker: bound!(Kernel32, c"PssWalkMarkerFree", fn(HpssWalk) -> u32)?,
        })
    }
}

/// A thread of a snapshot.
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

/// A snapshot that somebody else owns and keeps at least for `'s`.
#[derive(Debug, Clone)]
pub(crate) struct GivenSnapshot<'s> {
    handle: usize,
    /// The id of the process that the snapshot was taken of.
    pub(crate) process_id: u32,
    /// The priority class, such as `NORMAL_PRIORITY_CLASS`.
    pub(crate) priority_class: u32,
    /// The handle of the copy of the process's memory, or 0 if there is none.
    memory: usize,
    kept: PhantomData<&'s ProcessSnapshot>,
}

impl<'s> GivenSnapshot<'s> {
    /// Reads the facts of a snapshot. Returns `None` if this system has no snapshots, or if the
    /// handle is not a snapshot.
    ///
    /// # Safety
    /// The handle is that of a snapshot that is not freed during `'s`, or a handle that the
    /// system's functions recognise as invalid.
    pub(crate) unsafe fn of(handle: Hpss) -> Option<Self> {
        let functions = Looking::bind()?;
        let mut process = PSS_PROCESS_INFORMATION::default();
        // SAFETY: the caller guarantees that the handle is that of a snapshot or is recognised as
        // invalid. The structure of this class is written to a local variable of its size.
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
        // SAFETY: the system has just confirmed that the handle is that of a snapshot. The
        // structure of this class is written to a local variable of its size.
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
            kept: PhantomData,
        })
    }

    /// Returns the copy of the process's memory, which is itself a process.
    pub(crate) fn memory(&self) -> Option<BorrowedHandle<'s>> {
        // SAFETY: the system supplied this handle with the snapshot, and keeps it open until the
        // snapshot is freed, which does not happen before the end of `'s`.
        let borrow =
            || unsafe { BorrowedHandle::borrow_raw(std::ptr::with_exposed_provenance_mut(self.memory)) };
        (self.memory != 0).then(borrow)
    }

    /// Returns the threads of the snapshot.
    ///
    /// # Errors
    /// The snapshot was taken without threads, or is broken.
    pub(crate) fn threads(&self) -> Result<Vec<ThreadEntry>, Fault> {
        let operation = || format!("list the threads in the snapshot of process {}", self.process_id);
        let missing = || {
            Fault::new(
                FaultKind::System,
                operation(),
                "this system has no process snapshots",
            )
        };
        let functions = Looking::bind().ok_or_else(missing)?;
        let handle = std::ptr::with_exposed_provenance_mut(self.handle);
        let mut marker: HpssWalk = std::ptr::null_mut();
        // SAFETY: without an allocator, the marker is allocated on the system's heap. Its handle is
        // written to a local variable.
        let code = unsafe { (functions.create_marker)(std::ptr::null(), &raw mut marker) };
        if code != 0 {
            return Err(fault(operation(), code));
        }
        let mut threads = Vec::new();
        let end = loop {
            let mut entry = PSS_THREAD_ENTRY::default();
            // SAFETY: the snapshot is not freed during `'s`, and the marker was created above and
            // is not freed yet. The structure of this class is written to a local variable of its
            // size.
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
            // SAFETY: the system has filled the entry. Its registers belong to the snapshot, which
            // is not freed during `'s`.
            threads.push(unsafe { thread(&entry) });
        };
        // SAFETY: the marker was created above and is freed once.
        unsafe { (functions.free_marker)(marker) };
        match end {
            // ERROR_NO_MORE_ITEMS.
            259 => Ok(threads),
            _ if !threads.is_empty() => Ok(threads),
            // ERROR_NOT_FOUND means that the snapshot was taken without threads.
            code => Err(fault(operation(), code)),
        }
    }
}

/// Converts a thread of a snapshot.
///
/// # Safety
/// The entry was filled by the system, and its snapshot is not freed during the call.
unsafe fn thread(entry: &PSS_THREAD_ENTRY) -> ThreadEntry {
    let has_registers =
        !entry.ContextRecord.is_null() && usize::from(entry.SizeOfContextRecord) >= size_of::<CONTEXT>();
    let registers = has_registers.then(|| {
        let mut bytes = vec![0_u8; size_of::<CONTEXT>()];
        // SAFETY: the entry declares that the record has at least this many bytes. The record
        // belongs to the snapshot, which is not freed in the meantime. Bytes need no alignment.
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

/// Converts a time to units of 100 ns.
pub(crate) fn units(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// A snapshot of a process. The system takes it almost instantly, and the process keeps running.
/// The snapshot is freed when this value is dropped.
///
/// To dump it with Microsoft's `MiniDumpWriteDump`, pass [`handle`](Self::handle) instead of the
/// process's handle, pass the id of the process, and answer IsProcessSnapshot with S_FALSE in the
/// callback.
#[derive(Debug)]
pub struct ProcessSnapshot {
    handle: usize,
    process_id: u32,
    free: unsafe extern "system" fn(HANDLE, Hpss) -> u32,
}

impl ProcessSnapshot {
    /// Takes a snapshot of a process. Returns `None` if the system has no snapshots (before Windows
    /// 8.1).
    ///
    /// # Errors
    /// The system could not take the snapshot.
    pub(crate) fn capture(process: BorrowedHandle<'_>, id: u32) -> Result<Option<Self>, Fault> {
        let functions = bound!(
            Kernel32,
            c"PssCaptureSnapshot",
            fn(HANDLE, u32, u32, *mut Hpss) -> u32
        )
        .zip(bound!(Kernel32, c"PssFreeSnapshot", fn(HANDLE, Hpss) -> u32));
        let Some((capture, free)) = functions else {
            return Ok(None);
        };
        let mut handle: Hpss = std::ptr::null_mut();
        // SAFETY: the signature is that of processsnapshot.h. The process's handle is open as long
        // as it is borrowed, and the snapshot's handle is written to a local variable.
        let code = unsafe { capture(process.as_raw_handle(), CAPTURED, CONTEXT_ALL, &raw mut handle) };
        if code != 0 {
            return Err(fault(format!("take a snapshot of process {id}"), code));
        }
        Ok(Some(Self {
            handle: handle.expose_provenance(),
            process_id: id,
            free,
        }))
    }

    /// Returns the system's handle of the snapshot (`HPSS`). It is not a process handle.
    #[must_use]
    pub fn handle(&self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.handle)
    }

    /// Returns the id of the process that the snapshot was taken of.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Reads the facts of the snapshot.
    pub(crate) fn look(&self) -> Option<GivenSnapshot<'_>> {
        // SAFETY: the system supplied this handle for this snapshot. The snapshot is freed when
        // `self` is dropped, and so not while it is borrowed.
        unsafe { GivenSnapshot::of(self.handle()) }
    }
}

impl Drop for ProcessSnapshot {
    fn drop(&mut self) {
        // SAFETY: the signature is that of processsnapshot.h. The snapshot was taken by this
        // process and is freed once. Everything that belongs to it was borrowed from `self` and is
        // no longer in use.
        let code = unsafe { (self.free)(GetCurrentProcess(), self.handle()) };
        if code != 0 {
            tracing::debug!(code, "the snapshot could not be freed");
        }
    }
}

/// The copy of a process's memory in a snapshot that this crate took. Dropping this value frees the
/// snapshot.
#[derive(Debug)]
pub(crate) struct MemoryCopy {
    /// The snapshot that the handle belongs to.
    _snapshot: ProcessSnapshot,
    handle: usize,
}

impl MemoryCopy {
    /// Returns the copy in this snapshot, or `None` if there is none.
    pub(crate) fn of(snapshot: ProcessSnapshot) -> Option<Self> {
        let handle = snapshot.look()?.memory;
        if handle == 0 {
            return None;
        }
        Some(Self {
            _snapshot: snapshot,
            handle,
        })
    }
}

impl AsHandle for MemoryCopy {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: the handle belongs to the snapshot and is open until the snapshot is freed, which
        // happens when `self` is dropped.
        unsafe { BorrowedHandle::borrow_raw(std::ptr::with_exposed_provenance_mut(self.handle)) }
    }
}

#[cfg(test)]
mod tests;
