//! The process or process snapshot that is passed to `MiniDumpWriteDump`.

use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};

use dumpwright_target::Fault;
use windows_sys::Win32::Foundation::HANDLE;

use crate::access::open_process;
use crate::snapshot::ProcessSnapshot;

/// A process that is open for DbgHelp. DbgHelp itself determines its kind: it may be a 32-bit
/// process or the calling process.
#[derive(Debug)]
pub struct OpenProcess {
    handle: OwnedHandle,
    id: u32,
}

impl OpenProcess {
    /// Opens the process with this id.
    pub fn open(id: u32) -> Result<Self, Fault> {
        let handle = open_process(id)?;
        Ok(Self { handle, id })
    }

    /// Returns the process as the target of a dump.
    #[must_use]
    pub fn subject(&self) -> ProcessOrSnapshot<'_> {
        ProcessOrSnapshot::process(self.as_handle(), self.id)
    }
}

impl AsHandle for OpenProcess {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

/// The target of a dump: a process or a process snapshot.
#[derive(Debug, Clone, Copy)]
pub struct ProcessOrSnapshot<'a> {
    of: Of<'a>,
    id: u32,
}

#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Process(BorrowedHandle<'a>),
    SnapshotHandle(&'a ProcessSnapshot),
}

impl<'a> ProcessOrSnapshot<'a> {
    /// Uses the process of this handle and its id. The handle needs the rights to query the process
    /// and to read its memory, and for a dump of handles also the right to duplicate handles.
    #[must_use]
    pub fn process(handle: BorrowedHandle<'a>, id: u32) -> Self {
        Self {
            of: Of::Process(handle),
            id,
        }
    }

    /// Uses a process snapshot. IsProcessSnapshot is answered without the callback, which does not
    /// see that question.
    #[must_use]
    pub fn snapshot(snapshot: &'a ProcessSnapshot) -> Self {
        Self {
            of: Of::SnapshotHandle(snapshot),
            id: snapshot.process_id(),
        }
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the target is a process snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        matches!(self.of, Of::SnapshotHandle(_))
    }

    /// Returns the handle that `MiniDumpWriteDump` takes.
    pub(super) fn handle(&self) -> HANDLE {
        match self.of {
            Of::Process(handle) => handle.as_raw_handle(),
            Of::SnapshotHandle(snapshot) => snapshot.handle(),
        }
    }
}
