//! What `MiniDumpWriteDump` is handed: a process or a snapshot of one.

use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};

use dumpwright_target::{Fault, FaultKind};
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, GetLastError, HANDLE};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_DUP_HANDLE, PROCESS_QUERY_INFORMATION, PROCESS_VM_READ,
};

use crate::access::fault;
use crate::snapshot::ProcessSnapshot;

/// A process that is open for DbgHelp. Of which kind it is, DbgHelp looks itself: 32-bit ones and the caller's own process are possible.
#[derive(Debug)]
pub struct Process {
    handle: OwnedHandle,
    id: u32,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// There is no such process, or it may not be examined.
    pub fn open(id: u32) -> Result<Self, Fault> {
        let rights = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ;
        // What a dump of handles needs besides. Some processes are shown to everybody and give these to nobody.
        for rights in [rights | PROCESS_DUP_HANDLE, rights] {
            // SAFETY: asks nothing of its caller.
            let handle = unsafe { OpenProcess(rights, 0, id) };
            if !handle.is_null() {
                // SAFETY: it was opened just now, and is nobody else's.
                let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
                return Ok(Self { handle, id });
            }
        }
        // SAFETY: asks nothing of its caller.
        let code = unsafe { GetLastError() };
        let mut fault = fault(format!("open process {id}"), code);
        if code == ERROR_INVALID_PARAMETER {
            fault.kind = FaultKind::NoSuchProcess;
            "there is no such process".clone_into(&mut fault.reason);
        }
        if fault.kind == FaultKind::NotPermitted {
            return Err(fault.advise("run the dumper elevated, or as the same user"));
        }
        Err(fault)
    }

    /// The process, to be dumped.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject::process(self.as_handle(), self.id)
    }
}

impl AsHandle for Process {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

/// What is to be dumped.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    of: Of<'a>,
    id: u32,
}

#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Process(BorrowedHandle<'a>),
    Snapshot(&'a ProcessSnapshot),
}

impl<'a> Subject<'a> {
    /// The process of this handle, with its id. The handle needs the rights to query the process and to read its memory, for a dump of handles
    /// also to duplicate them.
    #[must_use]
    pub fn process(handle: BorrowedHandle<'a>, id: u32) -> Self {
        Self {
            of: Of::Process(handle),
            id,
        }
    }

    /// A snapshot. DbgHelp is told that it is one in place of the callback, which is not asked.
    #[must_use]
    pub fn snapshot(snapshot: &'a ProcessSnapshot) -> Self {
        Self {
            of: Of::Snapshot(snapshot),
            id: snapshot.process_id(),
        }
    }

    /// The id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it is a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        matches!(self.of, Of::Snapshot(_))
    }

    /// What stands for it in the call.
    pub(super) fn handle(&self) -> HANDLE {
        match self.of {
            Of::Process(handle) => handle.as_raw_handle(),
            Of::Snapshot(snapshot) => snapshot.handle(),
        }
    }
}
