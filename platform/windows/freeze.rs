//! Finds the threads of a process, suspends them one by one, and resumes them.
//!
//! A thread is suspended when it has been selected for the dump, and its registers are read
//! immediately. A suspension takes effect some time after the call returns; reading the registers
//! waits for it. Threads that are left out are never suspended.

use std::collections::HashMap;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dumpwright_target::{CpuContext, Fault, FaultKind, Holding, XStateLayout};
use windows_sys::Wdk::System::SystemInformation::SystemProcessInformation;

use crate::access::{Access, exit_status, thread_rights};
use crate::error::nt_fault;
use crate::hold::{self, StateChange, Suspension};
use crate::memory::int_at;
use crate::patience::{Asker, NoRegisters};
use crate::query;
use crate::snapshot::ThreadEntry;

/// A thread to dump. It is suspended, unless it had already ended or belongs to a process snapshot.
#[derive(Debug)]
pub(crate) struct SuspendedThread {
    pub(crate) id: u32,
    /// The suspend count before this crate suspended the thread.
    pub(crate) suspend_count: u32,
    pub(crate) registers: Result<CpuContext, Fault>,
    /// Why the extended state could not be read, if it was requested.
    pub(crate) not_extended: Option<Fault>,
    /// The exit code, if the thread had already ended. It still exists because a handle of it is
    /// open somewhere.
    pub(crate) exit_status: Option<u32>,
    /// The thread's entry in the process snapshot, if the target is one.
    pub(crate) entry: Option<ThreadEntry>,
    /// `None` for a thread of a snapshot that has ended since, or that may not be opened.
    handle: Option<Arc<OwnedHandle>>,
    /// How the thread must be resumed, if it must be.
    suspension: Option<Suspension>,
}

impl SuspendedThread {
    pub(crate) fn handle(&self) -> Option<BorrowedHandle<'_>> {
        self.handle.as_ref().map(|handle| handle.as_handle())
    }
}

/// The threads of a process. Dropping this value resumes those that it has suspended.
#[derive(Debug)]
pub(crate) struct TargetThreads {
    held: Vec<SuspendedThread>,
    /// The index of each thread in `held`, or the reason why it could not be held. A process can
    /// have tens of thousands of threads, and each one is looked up several times.
    places: HashMap<u32, Result<usize, Fault>>,
    asker: Asker,
    /// The functions by which threads are suspended, if the system has them.
    state_change: Option<StateChange>,
    /// The layout of the registers beyond x87 and SSE, if they are read.
    extended: Option<XStateLayout>,
    /// The threads of a process snapshot, which are not suspended.
    snapshot: Option<Entries>,
    /// The priority class from the process snapshot.
    pub(crate) priority_class: Option<u32>,
    /// When the first thread was suspended.
    since: Option<Instant>,
}

impl TargetThreads {
    /// Creates the list, with no thread held yet.
    pub(crate) fn new(extended: Option<XStateLayout>) -> Self {
        Self {
            held: Vec::new(),
            places: HashMap::new(),
            asker: Asker::default(),
            state_change: StateChange::of_system(),
            extended,
            snapshot: None,
            priority_class: None,
            since: None,
        }
    }

    /// Creates the list for a process snapshot with these threads and this priority class.
    pub(crate) fn of_snapshot(entries: Vec<ThreadEntry>, priority_class: u32) -> Self {
        let mut threads = Self::new(None);
        threads.snapshot = Some(Entries::new(entries));
        threads.priority_class = Some(priority_class);
        threads
    }

    /// Returns the ids of all threads that the process has now, in the order in which they were
    /// created. That is the order in which Windows lists them.
    ///
    /// # Errors
    /// The system does not list the threads, or the process has ended.
    pub(crate) fn list(&self, access: &Access<'_>) -> Result<Vec<u32>, Fault> {
        match &self.snapshot {
            Some(entries) => Ok(entries.ids.clone()),
            None => list(access),
        }
    }

    /// Returns the ids of the threads that are held, or that the snapshot has.
    pub(crate) fn ids(&self) -> Vec<u32> {
        match &self.snapshot {
            Some(entries) => entries.ids.clone(),
            None => self.held.iter().map(|held| held.id).collect(),
        }
    }

    /// Suspends a thread, if it is not held yet, and reads its registers.
    pub(crate) fn hold(&mut self, access: &Access<'_>, id: u32) {
        if self.places.contains_key(&id) {
            return;
        }
        let held = match self.snapshot.as_mut() {
            Some(entries) => of_snapshot(access, entries, id),
            None => self.suspend(access, id),
        };
        let place = held.map(|held| {
            self.held.push(held);
            self.held.len() - 1
        });
        self.places.insert(id, place);
    }

    /// Returns a thread that is held.
    ///
    /// # Errors
    /// The thread is not held, or could not be held.
    pub(crate) fn find(&self, id: u32) -> Result<&SuspendedThread, Fault> {
        match self.places.get(&id) {
            Some(Ok(place)) => Ok(&self.held[*place]),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err(not_held(id)),
        }
    }

    /// Resumes all threads, and returns how long the first one was suspended.
    pub(crate) fn release(&mut self) -> Holding {
        for held in &mut self.held {
            let Some(suspension) = held.suspension.take() else {
                continue;
            };
            let Some(handle) = &held.handle else { continue };
            if let Err(code) = suspension.resume(handle.as_handle()) {
                tracing::error!(
                    thread = held.id,
                    code,
                    "the thread cannot be resumed and stays suspended"
                );
            }
        }
        let pause = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.asker.end();
        Holding {
            hold: if self.snapshot.is_some() { "clone" } else { "stop" },
            tracer: None,
            pause,
        }
    }

    fn suspend(&mut self, access: &Access<'_>, id: u32) -> Result<SuspendedThread, Fault> {
        let handle = self.open(access, id)?;
        self.since.get_or_insert_with(Instant::now);
        let (suspension, before) = match hold::suspend(handle.as_handle(), self.state_change) {
            Ok(suspended) => suspended,
            Err(code) => {
                let status = exit_status(handle.as_handle());
                let operation = format!("suspend thread {id} of process {}", access.id);
                let fault = match status {
                    Some(_) => access.thread_ended(operation),
                    None => access.failure(operation, code),
                };
                return Ok(SuspendedThread {
                    id,
                    suspend_count: 0,
                    registers: Err(fault),
                    not_extended: None,
                    exit_status: status,
                    entry: None,
                    handle: Some(Arc::new(handle)),
                    suspension: None,
                });
            }
        };
        let handle = Arc::new(handle);
        let operation = || format!("read the registers of thread {id} of process {}", access.id);
        let registers = if before > 0 && has_not_begun(handle.as_handle()) {
            Err(Fault::new(
                FaultKind::NoSuchProcess,
                operation(),
                "it has not started to run yet",
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
        let (registers, code) = match registers {
            Ok(registers) => (Ok(registers.context), registers.not_extended),
            Err(fault) => (Err(fault), None),
        };
        Ok(SuspendedThread {
            id,
            suspend_count: before,
            not_extended: code.map(|code| {
                let operation = format!(
                    "read the extended registers of thread {id} of process {}",
                    access.id
                );
                access.failure(operation, code)
            }),
            exit_status: registers
                .is_err()
                .then(|| exit_status(handle.as_handle()))
                .flatten(),
            registers,
            entry: None,
            handle: Some(handle),
            suspension: Some(suspension),
        })
    }

    /// Opens a thread to suspend it. The functions of Windows 11 need one more right, which not
    /// every thread grants.
    fn open(&self, access: &Access<'_>, id: u32) -> Result<OwnedHandle, Fault> {
        if self.state_change.is_some()
            && let Ok(handle) = access.open_thread(id, thread_rights::CHANGE)
        {
            return Ok(handle);
        }
        access.open_thread(id, thread_rights::SUSPEND)
    }
}

impl Drop for TargetThreads {
    fn drop(&mut self) {
        self.release();
    }
}

/// The threads of a process snapshot.
#[derive(Debug)]
struct Entries {
    /// The ids, in the snapshot's order.
    ids: Vec<u32>,
    /// The entries that have not been requested yet.
    left: HashMap<u32, ThreadEntry>,
}

impl Entries {
    fn new(entries: Vec<ThreadEntry>) -> Self {
        Self {
            ids: entries.iter().map(|entry| entry.id).collect(),
            left: entries.into_iter().map(|entry| (entry.id, entry)).collect(),
        }
    }
}

/// Returns a thread of a process snapshot. If the thread still exists, its handle supplies the
/// facts that the snapshot does not have.
fn of_snapshot(access: &Access<'_>, entries: &mut Entries, id: u32) -> Result<SuspendedThread, Fault> {
    let mut entry = entries.left.remove(&id).ok_or_else(|| {
        Fault::new(
            FaultKind::NoSuchProcess,
            format!("examine thread {id} of process {}", access.id),
            "the snapshot has no such thread",
        )
    })?;
    Ok(SuspendedThread {
        id,
        suspend_count: entry.suspend_count,
        registers: entry.registers.take().ok_or_else(|| {
            Fault::new(
                FaultKind::Unreadable,
                format!("read the registers of thread {id} of process {}", access.id),
                "the snapshot was taken without them",
            )
        }),
        not_extended: None,
        exit_status: entry.exit.map(|exit| exit.status),
        entry: Some(entry),
        handle: access.open_thread(id, thread_rights::SUSPEND).ok().map(Arc::new),
        suspension: None,
    })
}

/// Returns the fault of a query about a thread that is not held.
fn not_held(id: u32) -> Fault {
    #[cfg(test)]
    tests::made_fault(id);
    Fault::new(
        FaultKind::NoSuchProcess,
        format!("examine thread {id}"),
        "it is not suspended",
    )
}

/// Whether a thread is still being created and has not started to run.
///
/// On Wine 8, a new thread is listed with a suspend count of one before the thread that creates it
/// has started it. If the creating thread is suspended at that moment, the new thread never becomes
/// ready to report its registers. Such a thread has no TEB yet. On Windows, every thread has a TEB
/// from the beginning.
fn has_not_begun(thread: BorrowedHandle<'_>) -> bool {
    query::thread_basic(thread).is_ok_and(|basic| basic.teb == 0)
}

/// Offsets and sizes of `SYSTEM_PROCESS_INFORMATION` and of the `SYSTEM_THREAD_INFORMATION`s that
/// follow it (x64; from winternl.h).
mod layout {
    pub(super) const NEXT: usize = 0;
    pub(super) const THREADS: usize = 4;
    pub(super) const PROCESS_ID: usize = 0x50;
    pub(super) const FIRST_THREAD: usize = 0x100;
    pub(super) const THREAD_SIZE: usize = 0x50;
    pub(super) const THREAD_ID: usize = 0x30;
}

/// The maximum size in bytes of the kernel's table of all processes and their threads. The table of
/// a machine with a million threads has 80 MB.
const LARGEST_TABLE: usize = 256 << 20;

/// Queries the ids of the threads of a process from the kernel.
///
/// # Errors
/// The kernel supplies no list, or the process has ended.
pub(crate) fn list(access: &Access<'_>) -> Result<Vec<u32>, Fault> {
    let operation = || format!("list the threads of process {}", access.id);
    let table = query::system_list(SystemProcessInformation, LARGEST_TABLE)
        .map_err(|status| nt_fault(operation(), status))?;
    match threads_of(table.bytes(), access.id) {
        Some(ids) if !ids.is_empty() => Ok(ids),
        _ => Err(Fault::new(FaultKind::Gone, operation(), "it has ended")),
    }
}

/// Returns the ids of the threads of a process in the kernel's table, or `None` if the process is
/// not in the table.
fn threads_of(table: &[u8], process: u32) -> Option<Vec<u32>> {
    let u32_at = |at: usize| {
        let bytes = table.get(at..at.checked_add(4)?)?;
        Some(int_at(bytes, 0))
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
        // The last entry has 0 here.
        let next = u32_at(at + layout::NEXT)? as usize;
        if next == 0 {
            return None;
        }
        at = at.checked_add(next)?;
    }
}

#[cfg(test)]
mod tests;
