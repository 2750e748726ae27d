//! Processes on Windows, where a process handle is a handle of the kernel.

use dumpwright::native::{self, Process};
use dumpwright::target::{Fault, FaultKind, Frozen, Need, SnapshotHandle, Target};
use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::System::Threading::GetProcessId;

use crate::RawHandle;
use crate::last::Failure;

/// A reference to one process, which never refers to a later one with the same id: a handle. It
/// must stay open as long as it is used.
pub(crate) type Reference = RawHandle;

const CLONE: &str = "clone";

/// The names of the ways in which a live process can be held, the default first.
pub(crate) const HOLDS: [&str; 2] = ["stop", CLONE];

/// A process whose memory is read for `ClientPointers`.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: u32,
    handle: RawHandle,
    /// The owner of the handle, if the caller does not own it.
    _process: Option<Process>,
}

impl Client {
    pub fn of_id(id: u32) -> Result<Self, Failure> {
        let process = native::process(id)?;
        Ok(Self {
            id,
            handle: handle_of(&process),
            _process: Some(process),
        })
    }

    pub fn handle(&self) -> RawHandle {
        self.handle
    }
}

/// A process, named by a handle and an id.
pub(crate) struct NamedProcess {
    id: u32,
    /// A process that was named by a handle is not examined before it is frozen, because a callback
    /// may have to say first whether the handle is that of a snapshot (IsProcessSnapshot). A
    /// process that was named by its id is opened at once, so that callbacks receive a handle. If
    /// that fails, the fault is reported when the process is to be frozen.
    process: Result<Process, Fault>,
}

impl NamedProcess {
    /// The process of this handle and this id. If the id is 0, the handle alone names it.
    pub fn new(handle: RawHandle, id: u32) -> Self {
        let id = match id {
            0 => id_of(handle).unwrap_or(0),
            _ => id,
        };
        Self {
            id,
            // SAFETY: the caller of the C function keeps the handle open during the call. If its
            // callback says that the handle is that of a snapshot, it is used as one, as with
            // DbgHelp.
            process: Ok(unsafe { Process::with_handle(handle, id) }),
        }
    }

    /// The process with this id.
    pub fn of_id(id: u32) -> Self {
        Self {
            id,
            process: native::process(id),
        }
    }

    /// The process of a handle.
    pub fn of_reference(handle: Reference) -> Result<Self, Failure> {
        let id = id_of(handle).map_err(|code| {
            let reason = std::io::Error::from_raw_os_error(code.cast_signed()).to_string();
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("get the process id of handle {:#x}", handle.addr()),
                reason,
            )
            .with_os_code(code.cast_signed())
            .advise("pass a handle of a process that was opened with PROCESS_QUERY_INFORMATION")
        })?;
        Ok(Self::new(handle, id))
    }

    /// Does nothing. The Linux backend has debuggees of the calling thread.
    #[allow(clippy::unused_self, reason = "it has work on other systems")]
    pub fn prepare(&mut self) {}

    /// Sets the hold, one of [`HOLDS`].
    pub fn held(mut self, hold: &str) -> Self {
        if let Ok(process) = &mut self.process {
            process.hold_clone(hold == CLONE);
        }
        self
    }

    /// Returns the handle that callbacks receive.
    pub fn handle(&self) -> RawHandle {
        self.process.as_ref().map_or(std::ptr::null_mut(), handle_of)
    }

    /// Returns the process for `ClientPointers`. If the handle is not a handle of that process, for
    /// example that of a snapshot, this opens the process by its id.
    pub fn client(&self) -> Result<Option<Client>, Failure> {
        let handle = self.handle();
        if id_of(handle) != Ok(self.id) {
            return Client::of_id(self.id).map(Some);
        }
        Ok(Some(Client {
            id: self.id,
            handle,
            _process: None,
        }))
    }
}

impl Target for NamedProcess {
    fn process_id(&self) -> u32 {
        self.id
    }

    fn process_handle(&self) -> u64 {
        self.handle().addr() as u64
    }

    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        self.process.as_mut().ok()?.as_snapshot()
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        self.process.as_mut().map_err(|fault| fault.clone())?.freeze(need)
    }
}

/// Returns the handle of a process.
fn handle_of(process: &Process) -> RawHandle {
    std::ptr::without_provenance_mut(process.process_handle() as usize)
}

/// Returns the process id of a handle, or the system's error code.
fn id_of(handle: RawHandle) -> Result<u32, u32> {
    // SAFETY: the system checks the handle, whatever it is.
    match unsafe { GetProcessId(handle) } {
        // SAFETY: the function has no requirements.
        0 => Err(unsafe { GetLastError() }),
        id => Ok(id),
    }
}
