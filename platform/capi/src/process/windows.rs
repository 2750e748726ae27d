//! Processes of Windows: handles of the kernel's.

use dumpwright::native::{self, Process};
use dumpwright::target::{Fault, FaultKind, Frozen, Need, Snapshot, Target};
use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::System::Threading::GetProcessId;

use crate::Handle;
use crate::last::Failure;

/// What stands for one process and for no later one with the same id: a handle, open as long as it is used.
pub(crate) type Reference = Handle;

const CLONE: &str = "clone";

/// The ways of holding a live process, the usual one first.
pub(crate) const HOLDS: [&str; 2] = ["stop", CLONE];

/// A process whose memory can be read.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: u32,
    handle: Handle,
    /// Whose the handle is, if it is not the caller's.
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

    pub fn handle(&self) -> Handle {
        self.handle
    }
}

/// A process by handle and id.
pub(crate) struct NamedProcess {
    id: u32,
    /// The process of a handle, which the backend looks at when the process is to be held: what it is of, a callback may have to say
    /// (IsProcessSnapshot). An id is looked for at once, so that callbacks are shown a handle; that there is none, is told later.
    process: Result<Process, Fault>,
}

impl NamedProcess {
    /// With id 0 the handle counts alone.
    pub fn new(handle: Handle, id: u32) -> Self {
        let id = match id {
            0 => id_of(handle).unwrap_or(0),
            _ => id,
        };
        Self {
            id,
            // SAFETY: the caller of the C function keeps it open during the call, and is believed what it says of snapshots, as DbgHelp
            // believes it.
            process: Ok(unsafe { Process::with_handle(handle, id) }),
        }
    }

    /// The process of this id.
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
                format!("tell the process of handle {:#x}", handle.addr()),
                reason,
            )
            .with_os_code(code.cast_signed())
            .advise("it must be a handle of a process, with PROCESS_QUERY_INFORMATION")
        })?;
        Ok(Self::new(handle, id))
    }

    /// The same, held in one of the [`HOLDS`].
    pub fn held(mut self, hold: &str) -> Self {
        if let Ok(process) = &mut self.process {
            process.hold_clone(hold == CLONE);
        }
        self
    }

    /// What callbacks are shown.
    pub fn handle(&self) -> Handle {
        self.process.as_ref().map_or(std::ptr::null_mut(), handle_of)
    }

    /// The process for `ClientPointers`. Where the handle is none of that process, as that of a snapshot, it is opened anew.
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

    fn as_snapshot(&mut self) -> Option<Snapshot> {
        self.process.as_mut().ok()?.as_snapshot()
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        self.process.as_mut().map_err(|fault| fault.clone())?.freeze(need)
    }
}

/// The handle of a process.
fn handle_of(process: &Process) -> Handle {
    std::ptr::without_provenance_mut(process.process_handle() as usize)
}

/// The id of the process of a handle, or the system's error.
fn id_of(handle: Handle) -> Result<u32, u32> {
    // SAFETY: whatever the handle is, it is the system that looks at it.
    match unsafe { GetProcessId(handle) } {
        // SAFETY: asks nothing of its caller.
        0 => Err(unsafe { GetLastError() }),
        id => Ok(id),
    }
}
