//! Processes of Linux: a handle is a process id.

use std::os::fd::{BorrowedFd, RawFd};

use dumpwright::native::{self, Process};
use dumpwright::target::{Fault, FaultKind, Frozen, Need, Target};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Handle;
use crate::last::Failure;

/// What stands for one process and for no later one with the same id: a process descriptor, open as long as it is used.
pub(crate) type Reference = RawFd;

/// The ways of holding a live process, the usual one first.
pub(crate) const HOLDS: [&str; 1] = ["stop"];

/// A process whose memory can be read.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: u32,
}

impl Client {
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub fn of_id(id: u32) -> Result<Self, Failure> {
        Ok(Self { id })
    }
}

/// A process by handle and id.
pub(crate) struct NamedProcess {
    handle: Handle,
    id: u32,
    process: Option<Process>,
    /// What must still be true when the process has been found: a process descriptor's process lives.
    pidfd: Option<RawFd>,
}

// SAFETY: the handle is a number.
unsafe impl Send for NamedProcess {}

impl NamedProcess {
    /// A handle is a process id here. With id 0 the handle counts alone.
    pub fn new(handle: Handle, id: u32) -> Self {
        let by_handle = Self::id_of(handle);
        Self {
            handle,
            id: match (id, by_handle) {
                (0, Some(by_handle)) => by_handle,
                _ => id,
            },
            process: None,
            pidfd: None,
        }
    }

    /// The process of this id.
    pub fn of_id(id: u32) -> Self {
        Self::new(std::ptr::without_provenance_mut(id as usize), id)
    }

    /// The process of a process descriptor.
    pub fn of_reference(pidfd: Reference) -> Result<Self, Failure> {
        let id = id_of_descriptor(pidfd)?;
        Ok(Self {
            pidfd: Some(pidfd),
            ..Self::of_id(id)
        })
    }

    /// The same, held in one of the [`HOLDS`]: there is one.
    pub fn held(self, _: &str) -> Self {
        self
    }

    /// What callbacks are shown.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The process for `ClientPointers`, if handle and id are of one process.
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub fn client(&self) -> Result<Option<Client>, Failure> {
        Ok(self.agreed_id().map(|id| Client { id }))
    }

    /// The id, if handle and id are of one process.
    fn agreed_id(&self) -> Option<u32> {
        Self::id_of(self.handle).filter(|id| *id == self.id)
    }

    fn id_of(handle: Handle) -> Option<u32> {
        u32::try_from(handle.addr()).ok().filter(|id| *id != 0)
    }
}

impl Target for NamedProcess {
    fn process_id(&self) -> u32 {
        self.id
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let no_process = |reason: String| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("find process {}", self.id),
                reason,
            )
        };
        if self.agreed_id().is_none() {
            let reason = format!("the process handle is {:#x}", self.handle.addr());
            return Err(no_process(reason)
                .advise("on Linux a process handle is the process id: (HANDLE)(intptr_t)pid"));
        }
        let process = native::process(self.id)?;
        let frozen = self.process.insert(process).freeze(need)?;
        if let Some(pidfd) = self.pidfd
            && has_ended(pidfd)
        {
            return Err(Fault::new(
                FaultKind::Gone,
                format!("examine process {}", self.id),
                "the process of the descriptor has ended",
            ));
        }
        Ok(frozen)
    }
}

/// What `/proc/self/fdinfo` says of a process descriptor (`Pid:`, see pidfd_open(2)).
fn id_of_descriptor(pidfd: RawFd) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{pidfd}")).map_err(|error| {
        Failure::argument(format!("cannot look into process descriptor {pidfd}: {error}"))
    })?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    match value.map(|value| value.trim().parse::<i64>()) {
        Some(Ok(-1)) => Err(Failure::new(
            dumpwright::Hresult::ACCESS_DENIED.0,
            format!("the process of descriptor {pidfd} has ended"),
        )),
        Some(Ok(id)) if id > 0 => {
            u32::try_from(id).map_err(|_| Failure::argument(format!("descriptor {pidfd} names process {id}")))
        }
        Some(_) => Err(Failure::argument(format!(
            "the process of descriptor {pidfd} is not in this pid namespace"
        ))),
        None => Err(Failure::argument(format!(
            "descriptor {pidfd} is not a process descriptor"
        ))),
    }
}

/// A process descriptor can be read from when its process has ended (pidfd_open(2)).
fn has_ended(pidfd: RawFd) -> bool {
    // SAFETY: the caller of the C function has given it, and keeps it open during the call.
    let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
    let mut entries = [PollFd::new(pidfd, PollFlags::POLLIN)];
    !matches!(poll(&mut entries, PollTimeout::ZERO), Ok(0))
}
