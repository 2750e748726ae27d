//! Its threads: found, held one by one, and let go.
//!
//! A thread is suspended when it has been chosen for the dump, and its registers are read at once. Suspending takes effect
//! some time after the call returns; reading the registers waits for it. Threads that are left out are never touched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dumpwright_target::{CpuContext, Fault, FaultKind, Holding, XStateLayout};
use windows_sys::Wdk::System::SystemInformation::{NtQuerySystemInformation, SystemProcessInformation};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_INVALID_PARAMETER, HANDLE, STATUS_INFO_LENGTH_MISMATCH, STILL_ACTIVE,
};
use windows_sys::Win32::System::Threading::{
    GetExitCodeThread, GetProcessIdOfThread, OpenThread, ResumeThread, SuspendThread, THREAD_ACCESS_RIGHTS,
    THREAD_GET_CONTEXT, THREAD_QUERY_INFORMATION, THREAD_SUSPEND_RESUME,
};

use crate::access::{Access, fault, last_error, last_fault};
use crate::patience::{Asker, NoRegisters};
use crate::snapshot::ThreadEntry;
use crate::{nt, threads};

/// A handle of a thread, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct ThreadHandle(HANDLE);

// SAFETY: handles are numbers, which mean the same to all threads; the system's functions that take them may be called by any.
unsafe impl Send for ThreadHandle {}
// SAFETY: as above.
unsafe impl Sync for ThreadHandle {}

impl ThreadHandle {
    /// Opens a thread of this process; another one may have got its number since it was listed.
    fn open(access: &Access, id: u32, rights: THREAD_ACCESS_RIGHTS) -> Result<Self, Fault> {
        let operation = || format!("open thread {id} of process {}", access.id);
        let gone = || ended_before(access, operation());
        // SAFETY: asks nothing of its caller.
        let handle = unsafe { OpenThread(rights, 0, id) };
        if handle.is_null() {
            return Err(match last_error() {
                ERROR_INVALID_PARAMETER => gone(),
                code => access.failure(operation(), code),
            });
        }
        let handle = Self(handle);
        // SAFETY: the handle is open.
        match unsafe { GetProcessIdOfThread(handle.0) } {
            owner if owner == access.id => Ok(handle),
            0 => Err(last_fault(operation())),
            _ => Err(gone()),
        }
    }

    pub(crate) fn get(&self) -> HANDLE {
        self.0
    }
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        // SAFETY: it was opened by us and is closed once.
        unsafe { CloseHandle(self.0) };
    }
}

/// A thread that is to be dumped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: u32,
    /// How often it had been suspended before.
    pub(crate) suspend_count: u32,
    pub(crate) registers: Result<CpuContext, Fault>,
    /// It had ended already, with this status; somebody keeps a handle of it.
    pub(crate) exit_status: Option<u32>,
    /// What a snapshot says of it, if it is one's.
    pub(crate) entry: Option<ThreadEntry>,
    /// Behind all others, because it is needed to let the thread go. `None` for threads of snapshots that have ended since.
    pub(crate) handle: Option<Arc<ThreadHandle>>,
    /// Whether it is to be resumed.
    suspended: bool,
}

/// The threads of one process. Dropping it lets them run on.
#[derive(Debug)]
pub(crate) struct Threads {
    held: Vec<Held>,
    /// The faults of those that could not even be opened.
    lost: Vec<(u32, Fault)>,
    asker: Asker,
    /// What is read of registers beyond x87 and SSE.
    extended: Option<XStateLayout>,
    /// The threads of a snapshot, which are not held.
    snapshot: Option<Vec<ThreadEntry>>,
    /// The priority class that the snapshot tells.
    pub(crate) priority_class: Option<u32>,
    /// When the first was suspended.
    since: Option<Instant>,
}

impl Threads {
    /// None of the threads yet.
    pub(crate) fn new(extended: Option<XStateLayout>) -> Self {
        Self {
            held: Vec::new(),
            lost: Vec::new(),
            asker: Asker::default(),
            extended,
            snapshot: None,
            priority_class: None,
            since: None,
        }
    }

    /// The threads of a snapshot of a process that has this priority class.
    pub(crate) fn of_snapshot(entries: Vec<ThreadEntry>, priority_class: u32) -> Self {
        let mut threads = Self::new(None);
        threads.snapshot = Some(entries);
        threads.priority_class = Some(priority_class);
        threads
    }

    /// The ids of all threads that the process has now, in the order in which they were made (as Windows lists them).
    ///
    /// # Errors
    /// The system does not list them, or the process has ended.
    pub(crate) fn list(&self, access: &Access) -> Result<Vec<u32>, Fault> {
        match &self.snapshot {
            Some(entries) => Ok(entries.iter().map(|entry| entry.id).collect()),
            None => list(access),
        }
    }

    /// The ids of the threads that are held, or that the snapshot has.
    pub(crate) fn ids(&self) -> Vec<u32> {
        match &self.snapshot {
            Some(entries) => entries.iter().map(|entry| entry.id).collect(),
            None => self.held.iter().map(|held| held.id).collect(),
        }
    }

    /// Holds a thread, if it is not held yet, and reads its registers.
    pub(crate) fn hold(&mut self, access: &Access, id: u32) {
        if self.find(id).is_ok() || self.lost.iter().any(|(lost, _)| *lost == id) {
            return;
        }
        let held = match self.snapshot.as_mut() {
            Some(entries) => of_snapshot(access, entries, id),
            None => self.suspend(access, id),
        };
        match held {
            Ok(held) => self.held.push(held),
            Err(fault) => self.lost.push((id, fault)),
        }
    }

    /// What is known of a thread since it was held.
    ///
    /// # Errors
    /// It could not be held.
    pub(crate) fn find(&self, id: u32) -> Result<&Held, Fault> {
        let held = self.held.iter().find(|held| held.id == id);
        held.ok_or_else(|| {
            let lost = self.lost.iter().find(|(lost, _)| *lost == id);
            lost.map_or_else(
                || {
                    Fault::new(
                        FaultKind::NoSuchProcess,
                        format!("examine thread {id}"),
                        "it is not held",
                    )
                },
                |(_, fault)| fault.clone(),
            )
        })
    }

    /// Lets all threads run on, and tells how long the first of them stood still.
    pub(crate) fn release(&mut self) -> Holding {
        for held in &mut self.held {
            if !std::mem::take(&mut held.suspended) {
                continue;
            }
            let Some(handle) = &held.handle else { continue };
            // SAFETY: the handle is open and has the right to resume the thread.
            if unsafe { ResumeThread(handle.get()) } == u32::MAX {
                tracing::debug!(thread = held.id, code = last_error(), "not resumed: it has ended");
            }
        }
        let pause = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.asker.end();
        Holding {
            hold: if self.snapshot.is_some() { "clone" } else { "stop" },
            pause,
        }
    }

    fn suspend(&mut self, access: &Access, id: u32) -> Result<Held, Fault> {
        let handle = ThreadHandle::open(
            access,
            id,
            THREAD_QUERY_INFORMATION | THREAD_GET_CONTEXT | THREAD_SUSPEND_RESUME,
        )?;
        self.since.get_or_insert_with(Instant::now);
        // SAFETY: the handle is open and has the right to suspend the thread.
        let before = unsafe { SuspendThread(handle.get()) };
        if before == u32::MAX {
            let code = last_error();
            let status = exit_status(&handle);
            let operation = format!("suspend thread {id} of process {}", access.id);
            let fault = match status {
                Some(_) => ended_before(access, operation),
                None => access.failure(operation, code),
            };
            return Ok(Held {
                id,
                suspend_count: 0,
                registers: Err(fault),
                exit_status: status,
                entry: None,
                handle: Some(Arc::new(handle)),
                suspended: false,
            });
        }
        let handle = Arc::new(handle);
        let operation = || format!("read the registers of thread {id} of process {}", access.id);
        let registers = if before > 0 && threads::has_not_begun(handle.get()) {
            Err(Fault::new(
                FaultKind::NoSuchProcess,
                operation(),
                "it has not begun to run",
            ))
        } else {
            let told = self.asker.registers(&handle, self.extended.as_ref());
            told.map_err(|why| match why {
                NoRegisters::Refused(code) => access.failure(operation(), code),
                NoRegisters::TooLate => Fault::new(
                    FaultKind::NotStopped,
                    operation(),
                    "it did not stop in time; it may be stuck in a driver",
                ),
            })
        };
        Ok(Held {
            id,
            suspend_count: before,
            exit_status: registers.is_err().then(|| exit_status(&handle)).flatten(),
            registers,
            entry: None,
            handle: Some(handle),
            suspended: true,
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.release();
    }
}

/// A thread as a snapshot has it. If it still lives, a handle of it tells what the snapshot does not.
fn of_snapshot(access: &Access, entries: &mut [ThreadEntry], id: u32) -> Result<Held, Fault> {
    let entry = entries
        .iter()
        .find(|entry| entry.id == id)
        .cloned()
        .ok_or_else(|| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("examine thread {id} of process {}", access.id),
                "the snapshot has no such thread",
            )
        })?;
    let rights = THREAD_QUERY_INFORMATION | THREAD_GET_CONTEXT | THREAD_SUSPEND_RESUME;
    Ok(Held {
        id,
        suspend_count: entry.suspend_count,
        registers: entry.registers.clone().ok_or_else(|| {
            Fault::new(
                FaultKind::Unreadable,
                format!("read the registers of thread {id} of process {}", access.id),
                "the snapshot was taken without them",
            )
        }),
        exit_status: entry.exit.map(|exit| exit.status),
        entry: Some(entry),
        handle: ThreadHandle::open(access, id, rights).ok().map(Arc::new),
        suspended: false,
    })
}

/// The fault of a thread that had ended before it was held, alone or with its whole process.
fn ended_before(access: &Access, operation: String) -> Fault {
    if access.has_ended() {
        let reason = format!("process {} has ended", access.id);
        return Fault::new(FaultKind::Gone, operation, reason);
    }
    Fault::new(
        FaultKind::NoSuchProcess,
        operation,
        "it has ended before it could be held",
    )
}

/// With what a thread has ended, if it has.
fn exit_status(handle: &ThreadHandle) -> Option<u32> {
    let mut code = 0;
    // SAFETY: the handle is open; the code goes to a local integer.
    let told = unsafe { GetExitCodeThread(handle.get(), &raw mut code) };
    (told != 0 && code != STILL_ACTIVE.cast_unsigned()).then_some(code)
}

/// Offsets in `SYSTEM_PROCESS_INFORMATION` and in the `SYSTEM_THREAD_INFORMATION`s that follow it (x64; the numbers of
/// winternl.h).
mod layout {
    pub(super) const NEXT: usize = 0;
    pub(super) const THREADS: usize = 4;
    pub(super) const PROCESS_ID: usize = 0x50;
    pub(super) const FIRST_THREAD: usize = 0x100;
    pub(super) const THREAD_SIZE: usize = 0x50;
    pub(super) const THREAD_ID: usize = 0x30;
}

/// The ids of the threads of a process, as the kernel lists them.
fn list(access: &Access) -> Result<Vec<u32>, Fault> {
    let operation = || format!("list the threads of process {}", access.id);
    let table = processes().map_err(|code| fault(operation(), code))?;
    match threads_of(&table, access.id) {
        Some(ids) if !ids.is_empty() => Ok(ids),
        _ => Err(Fault::new(FaultKind::Gone, operation(), "it has ended")),
    }
}

/// The kernel's table of all processes with their threads. A code of the system's is the error.
fn processes() -> Result<Vec<u8>, u32> {
    /// How often the table may have grown since its size was told.
    const ATTEMPTS: usize = 20;
    /// A machine with a million threads has 80 MB.
    const LARGEST: usize = 256 << 20;
    let mut size = 64 << 10;
    for _ in 0..ATTEMPTS {
        // In words, because the kernel wants the buffer aligned.
        let mut buffer = vec![0_u64; size / 8];
        let mut needed = 0;
        // SAFETY: writes at most so many bytes to the buffer, and the size to a local integer.
        let status = unsafe {
            NtQuerySystemInformation(
                SystemProcessInformation,
                buffer.as_mut_ptr().cast(),
                (buffer.len() * 8) as u32,
                &raw mut needed,
            )
        };
        if status >= 0 {
            let bytes = buffer.iter().flat_map(|word| word.to_le_bytes());
            return Ok(bytes.take(size.min((needed as usize).max(8))).collect());
        }
        if status != STATUS_INFO_LENGTH_MISMATCH {
            return Err(nt::win32_error(status));
        }
        // It may grow until the next call.
        size = (size * 2).max(needed as usize + 0x8000).next_multiple_of(8);
        if size > LARGEST {
            break;
        }
    }
    Err(nt::win32_error(STATUS_INFO_LENGTH_MISMATCH))
}

/// The ids of the threads of a process in the kernel's table; `None` if the process is not there.
fn threads_of(table: &[u8], process: u32) -> Option<Vec<u32>> {
    let u32_at = |at: usize| {
        let bytes = table.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    };
    let mut at = 0;
    loop {
        if u32_at(at + layout::PROCESS_ID)? == process {
            let count = u32_at(at + layout::THREADS)? as usize;
            let threads = (0..count).map_while(|index| {
                u32_at(at + layout::FIRST_THREAD + index * layout::THREAD_SIZE + layout::THREAD_ID)
            });
            return Some(threads.collect());
        }
        // 0 in the last entry.
        let next = u32_at(at + layout::NEXT)? as usize;
        if next == 0 {
            return None;
        }
        at = at.checked_add(next)?;
    }
}

#[cfg(test)]
mod tests;
