//! Live Windows processes as dumpwright targets.
// What stands behind this is not there on other systems, where its links would lead nowhere.
#![cfg(windows)]
//!
//! * [`WindowsProcess`] is a process that runs already, [`ProcessSnapshot`] a copy of one, [`Spawned`] a program that is
//!   started to be dumped.
//! * [`exception`] translates what an exception handler is given.
//! * [`DbgHelp`](dbghelp::DbgHelp) is the system's own writer of dumps.
//!
//! A process is held by suspending its threads, each right after it was chosen for the dump; those that are left out run on. Nothing is written into
//! the process and no code runs in it.
//!
//! Only x86-64 is supported: this program and its target must both be.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("dumpwright supports Windows on x86-64 only; build it for x86_64-pc-windows-msvc or -gnu");

mod access;
mod counters;
mod crash;
pub mod dbghelp;
mod exec;
mod freeze;
mod frozen;
mod function_tables;
mod handle_operations;
mod handles;
mod memory;
mod modules;
mod nt;
mod owned;
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

use dumpwright_target::{Fault, Frozen, Need, Snapshot, Target};
use windows_sys::Win32::Foundation::HANDLE;

use crate::access::{Access, refuse_own};
use crate::frozen::FrozenProcess;
use crate::snapshot::GivenSnapshot;

/// A process that is running.
#[derive(Debug)]
pub struct WindowsProcess {
    access: Access,
    /// What a callback has said the handle to be.
    given: Option<GivenSnapshot>,
    clones: bool,
}

impl WindowsProcess {
    /// The process with this id.
    ///
    /// # Errors
    /// There is no such process, it is this very one, it has ended, it may not be examined, or it is no 64-bit one.
    pub fn open(id: u32) -> Result<Self, Fault> {
        refuse_own(id)?;
        let access = Access::open(id)?;
        access.check()?;
        Ok(Self::new(access))
    }

    /// The process of a handle that the caller has, and keeps open as long as this is used. What is wrong with it is told
    /// when it is [frozen](Target::freeze): that it is no process, or another than `id`, or one that cannot be dumped.
    ///
    /// If a callback answers IsProcessSnapshot with S_FALSE, the handle is taken for one that `PssCaptureSnapshot` has given.
    ///
    /// # Safety
    /// Nobody else closes the handle while this is used: it might then be one of something else. If it is said to be a
    /// snapshot, it is one (the functions that take these believe their caller).
    #[must_use]
    pub unsafe fn with_handle(process: HANDLE, id: u32) -> Self {
        Self::new(Access::borrowed(process, id))
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    fn new(access: Access) -> Self {
        Self {
            access,
            given: None,
            clones: false,
        }
    }

    /// Whether the process is held by a snapshot, a copy of its memory that the system makes in a moment, instead of by
    /// stopping its threads. Where the system has no snapshots (before Windows 8.1), or cannot make one of this process,
    /// its threads are stopped, and the report says so.
    pub fn hold_clone(&mut self, clones: bool) {
        self.clones = clones;
    }

    /// A snapshot of the process, which the caller may keep and dump later; `None` where the system has no snapshots
    /// (before Windows 8.1).
    ///
    /// # Errors
    /// The system could not make one.
    pub fn snapshot(&self) -> Result<Option<ProcessSnapshot>, Fault> {
        self.access.check()?;
        ProcessSnapshot::capture(self.access.process, self.access.id)
    }
}

impl Target for WindowsProcess {
    fn process_id(&self) -> u32 {
        self.access.id
    }

    fn process_handle(&self) -> u64 {
        self.access.process.addr() as u64
    }

    fn as_snapshot(&mut self) -> Option<Snapshot> {
        if self.access.is_owned() {
            // Opened here, as a process.
            return None;
        }
        // SAFETY: whoever gave the handle has promised that it is a snapshot if it is said to be one.
        let given = unsafe { GivenSnapshot::of(self.access.process) }?;
        let clone_handle = given.memory().map(|handle| handle.addr() as u64);
        self.given = Some(given);
        Some(Snapshot { clone_handle })
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        if let Some(given) = &self.given {
            return Ok(Box::new(FrozenProcess::of_snapshot(given, need)?));
        }
        self.access.check()?;
        let frozen = match self.clones {
            true => FrozenProcess::clone_of(&self.access, need)?,
            false => FrozenProcess::freeze(&self.access, need)?,
        };
        Ok(Box::new(frozen))
    }
}
