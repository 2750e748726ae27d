//! Opens processes and threads, checks whether they can be dumped, and finds out whether they have
//! ended.

use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, HandleOrNull, OwnedHandle};

use dumpwright_target::{Fault, FaultKind};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, HANDLE, STILL_ACTIVE,
};
use windows_sys::Win32::System::SystemInformation::{IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_UNKNOWN};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcessId, GetExitCodeProcess, GetExitCodeThread, GetProcessId, GetProcessIdOfThread,
    IsWow64Process, OpenProcess, OpenThread, PROCESS_ACCESS_RIGHTS, PROCESS_DUP_HANDLE,
    PROCESS_QUERY_INFORMATION, PROCESS_VM_READ, THREAD_ACCESS_RIGHTS,
};

use crate::error::{fault, last_error, last_fault};
use crate::snapshot::MemoryCopy;
use crate::{freeze, nt, query};

/// The access rights that every dump needs.
const RIGHTS: PROCESS_ACCESS_RIGHTS = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ;

/// The access rights with which threads are opened.
pub(crate) mod thread_rights {
    use windows_sys::Win32::System::Threading::{
        THREAD_ACCESS_RIGHTS, THREAD_GET_CONTEXT, THREAD_QUERY_INFORMATION, THREAD_SET_INFORMATION,
        THREAD_SUSPEND_RESUME,
    };

    /// To query the thread's facts and its token.
    pub(crate) const QUERY: THREAD_ACCESS_RIGHTS = THREAD_QUERY_INFORMATION;
    /// To query the thread and read its registers.
    pub(crate) const READ: THREAD_ACCESS_RIGHTS = QUERY | THREAD_GET_CONTEXT;
    /// To query, suspend and resume the thread, and to read its registers.
    pub(crate) const SUSPEND: THREAD_ACCESS_RIGHTS = READ | THREAD_SUSPEND_RESUME;
    /// The same, and to suspend the thread by an object of the kernel.
    pub(crate) const CHANGE: THREAD_ACCESS_RIGHTS = SUSPEND | THREAD_SET_INFORMATION;
}

/// Opens a process with the access rights that every dump needs. The right to duplicate handles,
/// which only handle data needs, is requested too, but the process is also opened without it: some
/// processes grant it to nobody.
///
/// # Errors
/// There is no such process, or it may not be opened.
pub(crate) fn open_process(id: u32) -> Result<OwnedHandle, Fault> {
    for rights in [RIGHTS | PROCESS_DUP_HANDLE, RIGHTS] {
        // SAFETY: the parameters are integers. The returned handle is new and has no other owner.
        let opened = unsafe { HandleOrNull::from_raw_handle(OpenProcess(rights, 0, id)) };
        if let Ok(process) = OwnedHandle::try_from(opened) {
            return Ok(process);
        }
    }
    Err(refusal(format!("open process {id}"), last_error()))
}

/// A process, and the handles through which it is examined.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    pub(crate) id: u32,
    process: AccessHandle<'a>,
    /// The process that the memory is read from, if that is not `process`.
    memory: Option<AccessHandle<'a>>,
}

/// An open process handle.
#[derive(Debug)]
enum AccessHandle<'a> {
    Owned(OwnedHandle),
    Borrowed(BorrowedHandle<'a>),
    /// The copy of the process's memory in a snapshot that this crate took. The copy is a process
    /// too.
    Copy(MemoryCopy),
}

impl AsHandle for AccessHandle<'_> {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        match self {
            Self::Owned(handle) => handle.as_handle(),
            Self::Borrowed(handle) => *handle,
            Self::Copy(copy) => copy.as_handle(),
        }
    }
}

impl<'a> Access<'a> {
    /// Opens a process.
    ///
    /// # Errors
    /// As for [`open_process`].
    pub(crate) fn open(id: u32) -> Result<Self, Fault> {
        Ok(Self {
            id,
            process: AccessHandle::Owned(open_process(id)?),
            memory: None,
        })
    }

    /// Uses a process that is already open.
    pub(crate) fn of(process: BorrowedHandle<'a>, id: u32) -> Self {
        Self {
            id,
            process: AccessHandle::Borrowed(process),
            memory: None,
        }
    }

    /// Uses a handle that may be invalid or may refer to something else.
    ///
    /// # Errors
    /// It is not a handle of the process with this id.
    ///
    /// # Safety
    /// If it is an open handle, it stays open for `'a`.
    pub(crate) unsafe fn of_unknown(handle: HANDLE, id: u32) -> Result<Self, Fault> {
        identify(handle, id)?;
        // SAFETY: the system has identified it as a process handle, and the caller keeps it open.
        Ok(Self::of(unsafe { BorrowedHandle::borrow_raw(handle) }, id))
    }

    /// Returns the same process, with its memory read from the copy in a snapshot.
    pub(crate) fn reading_from(self, copy: MemoryCopy) -> Self {
        Self {
            memory: Some(AccessHandle::Copy(copy)),
            ..self
        }
    }

    /// Uses the process of a snapshot. Its memory is read from the snapshot's copy. Everything else
    /// is queried from the process itself or, if that has ended or may not be opened, from the copy
    /// too.
    pub(crate) fn of_snapshot(id: u32, memory: BorrowedHandle<'a>) -> Self {
        match Self::open(id).ok().filter(|process| process.check().is_ok()) {
            Some(process) => Self {
                memory: Some(AccessHandle::Borrowed(memory)),
                ..process
            },
            None => Self::of(memory, id),
        }
    }

    /// Returns the handle of the process.
    pub(crate) fn process(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }

    /// Returns the handle that the memory is read from: the process, or the copy in a snapshot.
    pub(crate) fn memory(&self) -> BorrowedHandle<'_> {
        self.memory.as_ref().unwrap_or(&self.process).as_handle()
    }

    /// Opens a thread of this process.
    ///
    /// # Errors
    /// The thread may not be opened, or it has ended. The latter is [`FaultKind::NoSuchProcess`],
    /// or [`FaultKind::Gone`] if the whole process has ended. By then, a thread of another process
    /// may have the same id; it is not opened.
    pub(crate) fn open_thread(&self, id: u32, rights: THREAD_ACCESS_RIGHTS) -> Result<OwnedHandle, Fault> {
        let operation = || format!("open thread {id} of process {}", self.id);
        // SAFETY: the parameters are integers. The returned handle is new and has no other owner.
        let opened = unsafe { HandleOrNull::from_raw_handle(OpenThread(rights, 0, id)) };
        let Ok(thread) = OwnedHandle::try_from(opened) else {
            return Err(match last_error() {
                // There is no thread with this id. Wine 8 was seen to return the second code. Both
                // codes have other meanings too.
                ERROR_INVALID_PARAMETER | ERROR_INVALID_HANDLE if !self.has_thread(id) => {
                    self.thread_ended(operation())
                }
                code => self.failure(operation(), code),
            });
        };
        // SAFETY: the handle is open as long as it is borrowed. The result is an integer.
        match unsafe { GetProcessIdOfThread(thread.as_raw_handle()) } {
            owner if owner == self.id => Ok(thread),
            0 => Err(last_fault(operation())),
            _ => Err(self.thread_ended(operation())),
        }
    }

    /// Whether the system lists this thread of the process. If there is no list, this cannot be
    /// known, and the answer is yes.
    fn has_thread(&self, id: u32) -> bool {
        !self.has_ended()
            && freeze::list(self).map_or_else(|fault| fault.kind != FaultKind::Gone, |ids| ids.contains(&id))
    }

    /// Returns the fault of an operation on a thread that has ended, alone or with its whole
    /// process.
    pub(crate) fn thread_ended(&self, operation: String) -> Fault {
        if self.has_ended() {
            let reason = format!("process {} has ended", self.id);
            return Fault::new(FaultKind::Gone, operation, reason);
        }
        let reason = "the thread has ended";
        Fault::new(FaultKind::NoSuchProcess, operation, reason)
    }

    /// Whether the process has ended.
    ///
    /// A process that has ended with the exit code 259 (`STILL_ACTIVE`) counts as running. To
    /// distinguish the two, the handle would need `SYNCHRONIZE` access, which not every caller's
    /// handle has.
    pub(crate) fn has_ended(&self) -> bool {
        let mut code = 0;
        // SAFETY: the handle is open as long as it is borrowed. The exit code is written to a local
        // integer.
        let known = unsafe { GetExitCodeProcess(self.process().as_raw_handle(), &raw mut code) };
        known != 0 && code != STILL_ACTIVE.cast_unsigned()
    }

    /// Converts a failure to a fault. If the process has ended, that is the reason of the fault.
    ///
    /// The code for a process that has ended depends on the function and the system: 5 for reads
    /// and 31 for threads on Wine 8; 299, 5 or 6 on Windows.
    pub(crate) fn failure(&self, operation: String, code: u32) -> Fault {
        let fault = fault(operation, code);
        if self.has_ended() {
            return Fault {
                kind: FaultKind::Gone,
                reason: format!("process {} has ended", self.id),
                ..fault
            };
        }
        fault
    }

    /// Checks that the process can be dumped.
    ///
    /// # Errors
    /// The process has another id, is the dumper itself, has ended, or is not an x86-64 process; or
    /// the handle lacks access rights.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let handle = self.process();
        identify(handle.as_raw_handle(), self.id)?;
        refuse_own(self.id)?;
        let operation = || format!("examine process {}", self.id);
        if self.has_ended() {
            return Err(Fault::new(FaultKind::Gone, operation(), "it has ended"));
        }
        let lacking = query::object(handle).map_or(0, |object| RIGHTS & !object.granted_access);
        if lacking != 0 {
            let reason = format!(
                "handle {:#x} lacks the access rights {lacking:#x}",
                handle.as_raw_handle().addr()
            );
            return Err(Fault::new(FaultKind::NotPermitted, operation(), reason)
                .with_os_code(ERROR_ACCESS_DENIED.cast_signed())
                .advise(
                    "open the process with PROCESS_QUERY_INFORMATION, PROCESS_VM_READ and, for \
                     handle data, PROCESS_DUP_HANDLE",
                ));
        }
        check_machine(handle, self.id)
    }
}

/// Returns the exit code of a thread that has ended. A thread with the exit code 259 counts as
/// running, as for processes.
pub(crate) fn exit_status(thread: BorrowedHandle<'_>) -> Option<u32> {
    let mut code = 0;
    // SAFETY: the handle is open as long as it is borrowed. The exit code is written to a local
    // integer.
    let known = unsafe { GetExitCodeThread(thread.as_raw_handle(), &raw mut code) };
    (known != 0 && code != STILL_ACTIVE.cast_unsigned()).then_some(code)
}

/// Refuses the calling process.
///
/// # Errors
/// The id is that of the calling process.
pub(crate) fn refuse_own(id: u32) -> Result<(), Fault> {
    // SAFETY: the function has no parameters and returns an integer.
    if id != unsafe { GetCurrentProcessId() } {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::OwnProcess,
        format!("dump process {id}"),
        "it is the dumper itself, which cannot suspend all of its own threads",
    )
    .advise("dump it from another process, or with the system's DbgHelp (--backend dbghelp)"))
}

/// Checks that a handle refers to the process with this id. The handle may be any number.
fn identify(handle: HANDLE, id: u32) -> Result<(), Fault> {
    let operation = format!("examine process {id}");
    // SAFETY: the result is an integer, and the system refuses everything that is not an open
    // process handle.
    match unsafe { GetProcessId(handle) } {
        0 => {
            let code = last_error();
            let refused = refusal(operation, code);
            Err(match code {
                ERROR_ACCESS_DENIED => refused.advise("the handle needs PROCESS_QUERY_INFORMATION"),
                _ => Fault {
                    kind: FaultKind::NoSuchProcess,
                    reason: format!("handle {:#x} is not a process handle", handle.addr()),
                    ..refused
                },
            })
        }
        found if found == id => Ok(()),
        found => {
            let reason = format!("the handle refers to process {found}");
            Err(Fault::new(FaultKind::NoSuchProcess, operation, reason)
                .advise("pass the id and a handle of the same process"))
        }
    }
}

/// Refuses processes that this program cannot dump: 32-bit processes and processes for other CPUs.
fn check_machine(process: BorrowedHandle<'_>, id: u32) -> Result<(), Fault> {
    let unsupported = |what: String| {
        Err(Fault::new(
            FaultKind::Unsupported,
            format!("examine process {id}"),
            format!("it is {what}, and only 64-bit processes for x86-64 are supported"),
        )
        .advise("use a 32-bit dumper for a 32-bit process, or the system's DbgHelp (--backend dbghelp)"))
    };
    match nt::machine(process) {
        // `IsWow64Process2` reports an unknown machine for every process that does not run under
        // WOW64: for processes of the native machine and, on ARM64, also for x86-64 processes.
        Some((IMAGE_FILE_MACHINE_UNKNOWN, IMAGE_FILE_MACHINE_AMD64)) => Ok(()),
        Some((IMAGE_FILE_MACHINE_UNKNOWN, native)) => match nt::machine_type(process) {
            Some(IMAGE_FILE_MACHINE_AMD64) => Ok(()),
            Some(machine) => unsupported(format!("a process for machine {machine:#x}")),
            None => unsupported(format!("a process on a machine of kind {native:#x}")),
        },
        Some((machine, _)) => unsupported(format!("a 32-bit process (machine {machine:#x})")),
        None => {
            let mut is_32_bit = 0;
            // SAFETY: the handle is open as long as it is borrowed. The answer is written to a
            // local integer.
            let known = unsafe { IsWow64Process(process.as_raw_handle(), &raw mut is_32_bit) };
            if known != 0 && is_32_bit != 0 {
                return unsupported("a 32-bit process".to_owned());
            }
            Ok(())
        }
    }
}

/// Returns the fault of a process that could not be opened.
fn refusal(operation: String, code: u32) -> Fault {
    let fault = fault(operation, code);
    match code {
        // Returned for ids that no process has, and for 0, the id of the idle process.
        ERROR_INVALID_PARAMETER => Fault {
            kind: FaultKind::NoSuchProcess,
            reason: "there is no such process".to_owned(),
            ..fault
        },
        ERROR_ACCESS_DENIED => fault.advise(
            "run the dumper elevated, as the same user or with SeDebugPrivilege; protected processes can be \
             read by nobody",
        ),
        _ => fault,
    }
}

#[cfg(test)]
impl Access<'_> {
    /// Opens the process with this id, for tests.
    pub(crate) fn of_id(id: u32) -> Self {
        let access = Self::open(id).expect("a child of this one");
        access.check().expect("one that can be dumped");
        access
    }

    /// Opens the calling process, for tests that suspend nothing.
    pub(crate) fn own() -> Self {
        Self::open(std::process::id()).expect("it is there")
    }
}

#[cfg(test)]
mod tests;
