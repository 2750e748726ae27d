//! Live Windows processes as dumpwright targets.
// On other systems, the attribute below removes the rest of this documentation. Its links would not
// resolve there.
#![cfg(windows)]
//!
//! * [`WindowsProcess`] is a process that is already running, [`ProcessSnapshot`] is a copy of one,
//!   and [`Spawned`] is a program that is started in order to be dumped.
//! * [`exception`] reads the arguments of an exception handler.
//! * [`DbgHelp`](dbghelp::DbgHelp) is Microsoft's dump writer, the system's or another version.
//!
//! A live process is held by suspending its threads. Each thread is suspended right after it was
//! selected for the dump, and threads that are left out keep running. The backend writes nothing to
//! the process and runs no code in it.
//!
//! Only x86-64 is supported, for this program and for the target.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("dumpwright supports Windows on x86-64 only; build it for x86_64-pc-windows-msvc or -gnu");

mod access;
mod counters;
mod crash;
pub mod dbghelp;
mod error;
mod exec;
mod freeze;
mod frozen;
mod function_tables;
mod handle_operations;
mod handles;
mod hold;
mod memory;
mod modules;
mod nt;
mod patience;
mod privilege;
mod process;
mod query;
mod read;
mod regions;
mod registers;
mod snapshot;
mod system;
#[cfg(test)]
mod testing;
mod threads;
mod tokens;
mod unloaded;

pub use crash::{exception, exception_here};
pub use exec::{Outcome, Spawned};
pub use privilege::use_debug_privilege;
pub use snapshot::ProcessSnapshot;

use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};

use dumpwright_target::{Fault, FaultKind, Frozen, Need, SnapshotHandle, Target};
use windows_sys::Win32::Foundation::HANDLE;

use crate::access::{Access, open_process, refuse_own};
use crate::frozen::FrozenProcess;
use crate::snapshot::GivenSnapshot;

/// A live Windows process.
#[derive(Debug)]
pub struct WindowsProcess {
    id: u32,
    handle: TargetHandle,
    /// The snapshot that the handle refers to, after a callback has answered that it is one.
    given: Option<GivenSnapshot<'static>>,
    clones: bool,
}

#[derive(Debug)]
enum TargetHandle {
    /// Opened by this crate; a handle of a process.
    Opened(OwnedHandle),
    /// Supplied by the caller, who keeps it open. It can be the handle of a process, the handle of
    /// a snapshot, or invalid.
    Given(usize),
}

impl WindowsProcess {
    /// Opens the process with this id.
    ///
    /// # Errors
    /// There is no such process, it is the calling process, it has ended, it may not be examined,
    /// or it is not a 64-bit process.
    pub fn open(id: u32) -> Result<Self, Fault> {
        refuse_own(id)?;
        let process = Self::new(TargetHandle::Opened(open_process(id)?), id);
        process.access()?;
        Ok(process)
    }

    /// Uses a handle of the caller's, which the caller keeps open while this value is used.
    ///
    /// [`freeze`](Target::freeze) reports an error if the handle is not a handle of a process, if
    /// it refers to a process with another id than `id`, or if the process cannot be dumped.
    ///
    /// If a callback answers IsProcessSnapshot with S_FALSE, the handle is taken for a snapshot
    /// from `PssCaptureSnapshot`.
    ///
    /// # Safety
    /// The caller must not close the handle while this value is used, because the system could
    /// reuse it for another object. If a callback answers that the handle is a snapshot, this must
    /// be true, because the system's snapshot functions do not check their argument. The snapshot
    /// must not be freed while this value is used.
    #[must_use]
    pub unsafe fn with_handle(process: HANDLE, id: u32) -> Self {
        Self::new(TargetHandle::Given(process.expose_provenance()), id)
    }

    fn new(handle: TargetHandle, id: u32) -> Self {
        Self {
            id,
            handle,
            given: None,
            clones: false,
        }
    }

    /// Returns the handle. It is not necessarily the handle of a process.
    fn raw_handle(&self) -> HANDLE {
        match &self.handle {
            TargetHandle::Opened(handle) => handle.as_raw_handle(),
            TargetHandle::Given(handle) => std::ptr::with_exposed_provenance_mut(*handle),
        }
    }

    /// Returns the handles through which the process is examined.
    ///
    /// # Errors
    /// The process cannot be dumped, or the handle does not refer to it.
    pub(crate) fn access(&self) -> Result<Access<'_>, Fault> {
        let access = match &self.handle {
            TargetHandle::Opened(handle) => Access::of(handle.as_handle(), self.id),
            // SAFETY: the caller of `with_handle` keeps the handle open while this
            // value is used.
            TargetHandle::Given(_) => unsafe { Access::of_unknown(self.raw_handle(), self.id) }?,
        };
        access.check()?;
        Ok(access)
    }

    /// Sets whether the process is held by a process snapshot instead of by suspending its threads.
    ///
    /// A snapshot is a copy of the process's memory, which the system makes almost instantly. If
    /// the system has no snapshots (before Windows 8.1), or cannot make one of this process, the
    /// threads are suspended and the report has a note.
    pub fn hold_clone(&mut self, clones: bool) {
        self.clones = clones;
    }

    /// Takes a snapshot of the process, which the caller can keep and dump later. Returns `None` if
    /// the system has no snapshots (before Windows 8.1).
    ///
    /// # Errors
    /// The system could not take the snapshot, or the process cannot be dumped.
    pub fn snapshot(&self) -> Result<Option<ProcessSnapshot>, Fault> {
        ProcessSnapshot::capture(self.access()?.process(), self.id)
    }
}

impl Target for WindowsProcess {
    fn process_id(&self) -> u32 {
        self.id
    }

    fn process_handle(&self) -> u64 {
        self.raw_handle().addr() as u64
    }

    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        let TargetHandle::Given(_) = self.handle else {
            return None;
        };
        // SAFETY: the caller of `with_handle` guarantees that the handle is a snapshot if a
        // callback answers that it is one, and that the snapshot is not freed while this value is
        // used.
        let given = unsafe { GivenSnapshot::of(self.raw_handle()) }?;
        let clone_handle = given.memory().map(|handle| handle.as_raw_handle().addr() as u64);
        self.given = Some(given);
        Some(SnapshotHandle { clone_handle })
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        if let Some(given) = &self.given {
            return Ok(Box::new(FrozenProcess::of_snapshot(given, need)?));
        }
        if need.max_pause.is_some() {
            return Err(Fault::new(
                FaultKind::Unsupported,
                format!("suspend process {}", self.id),
                "the pause of a process cannot be limited on Windows",
            )
            .advise("make the dump without a pause limit"));
        }
        let access = self.access()?;
        let frozen = match self.clones {
            true => FrozenProcess::clone_of(access, need)?,
            false => FrozenProcess::freeze(access, need)?,
        };
        Ok(Box::new(frozen))
    }
}
