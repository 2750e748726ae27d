//! Processes on Linux, where a process handle is a process id.

use std::os::fd::RawFd;

use dumpwright::native::{self, HoldMode, Process};
use dumpwright::target::{Fault, FaultKind, Frozen, Need, Target};
use nix::errno::Errno;

use crate::last::Failure;
use crate::{RawHandle, handle};

/// A reference to one process, which never refers to a later one with the same id: a process
/// descriptor. It must stay open as long as it is used.
pub(crate) type Reference = RawFd;

const CLONE: &str = "clone";
const AUTO: &str = "auto";

/// The names of the ways in which a live process can be held, the default first.
pub(crate) const HOLDS: [&str; 3] = ["stop", CLONE, AUTO];

/// A process whose memory is read for `ClientPointers`.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: u32,
}

impl Client {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    pub fn of_id(id: u32) -> Result<Self, Failure> {
        Ok(Self { id })
    }
}

/// A process, named by a handle and an id.
pub(crate) struct NamedProcess {
    handle: RawHandle,
    id: u32,
    process: Option<Process>,
    /// The process, opened on the caller's thread because the caller traces it.
    debuggee: Option<Result<Process, Fault>>,
    /// The process descriptor that named it. Its process must still be alive when the process with
    /// the id has been stopped; otherwise that may be a later process with the same id.
    pidfd: Option<RawFd>,
    hold: HoldMode,
}

// SAFETY: on Linux the handle is a number, and nothing dereferences it.
unsafe impl Send for NamedProcess {}

impl NamedProcess {
    /// The process of this handle and this id. If the id is 0, the handle alone names it.
    pub fn new(handle: RawHandle, id: u32) -> Self {
        let by_handle = Self::id_of(handle);
        Self {
            handle,
            id: match (id, by_handle) {
                (0, Some(by_handle)) => by_handle,
                _ => id,
            },
            process: None,
            debuggee: None,
            pidfd: None,
            hold: HoldMode::Stop,
        }
    }

    /// The process with this id.
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

    /// Opens the process if the calling thread traces it. Only that thread can read its registers.
    pub fn prepare(&mut self) {
        if self.agreed_id().is_some() && native::is_debuggee(self.id) {
            self.debuggee = Some(native::process(self.id));
        }
    }

    /// Sets the hold, one of [`HOLDS`].
    pub fn held(mut self, hold: &str) -> Self {
        self.hold = match hold {
            CLONE => HoldMode::Clone,
            AUTO => HoldMode::Auto,
            _ => HoldMode::Stop,
        };
        self
    }

    /// Returns the handle that callbacks receive.
    pub fn handle(&self) -> RawHandle {
        self.handle
    }

    /// Returns the process for `ClientPointers`, if the handle and the id name the same process.
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    pub fn client(&self) -> Result<Option<Client>, Failure> {
        Ok(self.agreed_id().map(|id| Client { id }))
    }

    /// Returns the id, if the handle and the id name the same process.
    fn agreed_id(&self) -> Option<u32> {
        Self::id_of(self.handle).filter(|id| *id == self.id)
    }

    fn id_of(handle: RawHandle) -> Option<u32> {
        handle::process_id(handle)
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
            let reason = format!("the process handle {:#x} does not match it", self.handle.addr());
            return Err(no_process(reason).advise(
                "on Linux a process handle is the process id: (HANDLE)(intptr_t)pid, or DUMPWRIGHT_PID(pid)",
            ));
        }
        let opened = self.debuggee.take();
        let mut process = opened.unwrap_or_else(|| native::process(self.id))?;
        process.hold(self.hold);
        // The engine runs on a thread of its own. The caller's thread waits for it.
        process.leave_out_dumping_thread();
        let frozen = self.process.insert(process).freeze(need)?;
        let examine = |kind, reason: String| Fault::new(kind, format!("examine process {}", self.id), reason);
        match self.pidfd.map(has_ended) {
            None | Some(Ok(false)) => Ok(frozen),
            Some(Ok(true)) => {
                let reason = "the process of the process descriptor has ended".to_owned();
                Err(examine(FaultKind::Gone, reason))
            }
            Some(Err(error)) => {
                let reason = format!(
                    "cannot ask its process descriptor whether it is alive: {}",
                    error.desc()
                );
                Err(examine(FaultKind::System, reason).with_os_code(error as i32))
            }
        }
    }
}

/// Returns the process id of a process descriptor, from the line `Pid:` in `/proc/self/fdinfo` (see
/// pidfd_open(2)).
fn id_of_descriptor(pidfd: RawFd) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{pidfd}")).map_err(|error| {
        Failure::argument(format!(
            "cannot read the process id of descriptor {pidfd} from /proc/self/fdinfo: {error}"
        ))
    })?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    match value.map(|value| value.trim().parse::<i64>()) {
        Some(Ok(-1)) => Err(Failure::new(
            dumpwright::Hresult::ACCESS_DENIED.0,
            format!("the process of process descriptor {pidfd} has ended"),
        )),
        Some(Ok(id)) if id > 0 => u32::try_from(id).map_err(|_| {
            Failure::argument(format!(
                "process descriptor {pidfd} has the process id {id}, which is too large"
            ))
        }),
        Some(_) => Err(Failure::argument(format!(
            "the process of process descriptor {pidfd} is not in this pid namespace"
        ))),
        None => Err(Failure::argument(format!(
            "descriptor {pidfd} is not a process descriptor"
        ))),
    }
}

/// Whether the process of a process descriptor has ended. Then the descriptor is readable
/// (pidfd_open(2)).
fn has_ended(pidfd: RawFd) -> Result<bool, Errno> {
    ended(|| {
        let mut entry = libc::pollfd {
            fd: pidfd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the array has one entry, which the kernel writes to. The kernel checks the
        // descriptor.
        let count = Errno::result(unsafe { libc::poll(&raw mut entry, 1, 0) })?;
        match entry.revents & libc::POLLNVAL {
            0 => Ok(count > 0),
            _ => Err(Errno::EBADF),
        }
    })
}

/// Calls `poll` until it is not interrupted by a signal. poll(2) fails with EINTR if a signal is
/// pending, even with timeout 0, and that says nothing about the process.
fn ended(mut poll: impl FnMut() -> Result<bool, Errno>) -> Result<bool, Errno> {
    loop {
        match poll() {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}

/// These tests would catch: a signal that is taken for the end of a process, a closed descriptor
/// that is taken for one whose process has ended.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_no_end() {
        let mut answers = [Err(Errno::EINTR), Err(Errno::EINTR), Ok(false)].into_iter();
        assert_eq!(ended(|| answers.next().expect("no more is asked")), Ok(false));
        assert_eq!(ended(|| Ok(true)), Ok(true));
        assert_eq!(ended(|| Err(Errno::ENOMEM)), Err(Errno::ENOMEM));
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert_eq!(has_ended(0x7fff_0000), Err(Errno::EBADF));
    }
}
