//! The process: opened, checked, and given back.

use dumpwright_target::{Fault, FaultKind};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, GetLastError, HANDLE, STILL_ACTIVE,
};
use windows_sys::Win32::System::SystemInformation::{IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_UNKNOWN};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcessId, GetExitCodeProcess, GetProcessId, IsWow64Process, OpenProcess,
    PROCESS_ACCESS_RIGHTS, PROCESS_DUP_HANDLE, PROCESS_QUERY_INFORMATION, PROCESS_VM_READ,
};

use crate::nt;

/// What every dump needs.
const RIGHTS: PROCESS_ACCESS_RIGHTS = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ;

/// What the process is asked through.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) id: u32,
    /// The process.
    pub(crate) process: HANDLE,
    /// What its memory is read from: the process, or the copy of its memory that a snapshot has.
    pub(crate) memory: HANDLE,
    /// Whether the handle is ours, and to be closed.
    owned: bool,
}

// SAFETY: handles are numbers, which mean the same to all threads; the system's functions that take them may be called by any.
unsafe impl Send for Access {}
// SAFETY: as above.
unsafe impl Sync for Access {}

impl Drop for Access {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: it was opened by us and is closed once.
            unsafe { CloseHandle(self.process) };
        }
    }
}

impl Access {
    /// Opens a process with the rights that every dump needs.
    ///
    /// # Errors
    /// There is no such process, or it may not be opened.
    pub(crate) fn open(id: u32) -> Result<Self, Fault> {
        // The first is what a dump of handles needs besides, which some processes grant to nobody.
        let process = [RIGHTS | PROCESS_DUP_HANDLE, RIGHTS]
            .into_iter()
            .find_map(|rights| {
                // SAFETY: asks nothing of its caller.
                let process = unsafe { OpenProcess(rights, 0, id) };
                (!process.is_null()).then_some(process)
            });
        match process {
            Some(process) => Ok(Self {
                id,
                process,
                memory: process,
                owned: true,
            }),
            None => Err(refusal(format!("open process {id}"), last_error())),
        }
    }

    /// A process by somebody else's handle.
    pub(crate) fn borrowed(process: HANDLE, id: u32) -> Self {
        Self {
            id,
            process,
            memory: process,
            owned: false,
        }
    }

    /// Whether the handle was opened here.
    pub(crate) fn is_owned(&self) -> bool {
        self.owned
    }

    /// The same process, with memory from somewhere else.
    pub(crate) fn reading_from(&self, memory: HANDLE) -> Self {
        Self {
            id: self.id,
            process: self.process,
            memory,
            owned: false,
        }
    }

    /// A process as a snapshot has it. The handles are somebody else's.
    pub(crate) fn of_snapshot(id: u32, process: HANDLE, memory: HANDLE) -> Self {
        Self {
            id,
            process,
            memory,
            owned: false,
        }
    }

    /// Whether the process has ended.
    ///
    /// A process may end with the code 259, which then passes for still running; so much for it.
    pub(crate) fn has_ended(&self) -> bool {
        let mut code = 0;
        // SAFETY: writes an integer to a local one.
        let told = unsafe { GetExitCodeProcess(self.process, &raw mut code) };
        told != 0 && code != STILL_ACTIVE.cast_unsigned()
    }

    /// A failure as a fault: that the process has ended, if that is the reason.
    ///
    /// The codes differ from call to call and from system to system: 5 for reads and 31 for threads under Wine 8, 299,
    /// 5 or 6 on Windows.
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

    /// Refuses what cannot be dumped: a handle of something else, a process that has ended, one of another kind.
    ///
    /// # Errors
    /// Which of these it is.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let operation = || format!("examine process {}", self.id);
        // SAFETY: asks nothing of its caller; a handle that is none is an error.
        let id = unsafe { GetProcessId(self.process) };
        if id == 0 {
            let code = last_error();
            let refused = refusal(operation(), code);
            return Err(match code {
                ERROR_ACCESS_DENIED => refused.advise("the handle needs PROCESS_QUERY_INFORMATION"),
                _ => Fault {
                    kind: FaultKind::NoSuchProcess,
                    reason: format!("the handle {:#x} is not one of a process", self.process.addr()),
                    ..refused
                },
            });
        }
        if id != self.id {
            return Err(Fault::new(
                FaultKind::NoSuchProcess,
                operation(),
                format!("the handle is one of process {id}"),
            )
            .advise("give the id and a handle of the same process"));
        }
        refuse_own(id)?;
        if self.has_ended() {
            return Err(Fault::new(FaultKind::Gone, operation(), "it has ended"));
        }
        let lacking = nt::granted_access(self.process).map_or(0, |granted| RIGHTS & !granted);
        if lacking != 0 {
            let reason = format!(
                "the handle {:#x} lacks rights ({lacking:#x})",
                self.process.addr()
            );
            return Err(Fault::new(FaultKind::NotPermitted, operation(), reason)
                .with_os_code(ERROR_ACCESS_DENIED.cast_signed())
                .advise("open the process with PROCESS_QUERY_INFORMATION, PROCESS_VM_READ and, for handle data, PROCESS_DUP_HANDLE"));
        }
        check_machine(self.process, id)
    }
}

/// Opens the process that a snapshot was made of, for what only the process itself tells; `None` if it is not there any more or
/// may not be opened, in which case the snapshot alone has to do.
pub(crate) fn process_of_snapshot(id: u32) -> Option<Access> {
    Access::open(id).ok().filter(|access| access.check().is_ok())
}

/// Refuses this very process.
///
/// # Errors
/// It is this one.
pub(crate) fn refuse_own(id: u32) -> Result<(), Fault> {
    // SAFETY: asks nothing of its caller.
    if id != unsafe { GetCurrentProcessId() } {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::OwnProcess,
        format!("dump process {id}"),
        "it is the dumper itself, whose threads would have to be stopped by one of them",
    )
    .advise("dump it from another process, or by the system's DbgHelp: --backend dbghelp"))
}

/// Refuses processes that are not of this program's kind: 32-bit ones, and those for other processors.
fn check_machine(process: HANDLE, id: u32) -> Result<(), Fault> {
    let unsupported = |what: String| {
        Err(Fault::new(
            FaultKind::Unsupported,
            format!("examine process {id}"),
            format!("it is {what}, and only 64-bit processes for x86-64 are supported"),
        )
        .advise("use a 32-bit dumper for a 32-bit process, or the system's DbgHelp: --backend dbghelp"))
    };
    match nt::machine(process) {
        // `IsWow64Process2` calls everything unknown that does not run under WOW64, the native machine's own and, on
        // ARM64, x86-64 ones too.
        Some((IMAGE_FILE_MACHINE_UNKNOWN, IMAGE_FILE_MACHINE_AMD64)) => Ok(()),
        Some((IMAGE_FILE_MACHINE_UNKNOWN, native)) => match nt::machine_type(process) {
            Some(IMAGE_FILE_MACHINE_AMD64) => Ok(()),
            Some(machine) => unsupported(format!("one for machine {machine:#x}")),
            None => unsupported(format!("on a machine of kind {native:#x}")),
        },
        Some((machine, _)) => unsupported(format!("a 32-bit process (machine {machine:#x})")),
        None => {
            let mut is_32_bit = 0;
            // SAFETY: writes an integer to a local one.
            if unsafe { IsWow64Process(process, &raw mut is_32_bit) } != 0 && is_32_bit != 0 {
                return unsupported("a 32-bit process".to_owned());
            }
            Ok(())
        }
    }
}

/// Why a process may not be opened.
fn refusal(operation: String, code: u32) -> Fault {
    let fault = fault(operation, code);
    match code {
        // Those that do not exist, and the idle process, which has id 0.
        ERROR_INVALID_PARAMETER => Fault {
            kind: FaultKind::NoSuchProcess,
            reason: "there is no such process".to_owned(),
            ..fault
        },
        ERROR_ACCESS_DENIED => fault.advise(
            "run the dumper elevated, as the same user or with SeDebugPrivilege; protected processes can be read by nobody",
        ),
        _ => fault,
    }
}

/// The system's last error.
pub(crate) fn last_error() -> u32 {
    // SAFETY: asks nothing of its caller.
    unsafe { GetLastError() }
}

/// The system's last error as the reason of a fault.
pub(crate) fn last_fault(operation: String) -> Fault {
    fault(operation, last_error())
}

/// An error in the system's words, as a half-sentence.
fn reason(code: u32) -> String {
    let error = std::io::Error::from_raw_os_error(code.cast_signed()).to_string();
    let words = error.split(" (os error ").next().unwrap_or(&error).trim_end();
    match words.strip_suffix('.').unwrap_or(words) {
        "" => format!("error {code}"),
        words => words.to_owned(),
    }
}

/// An error of the system's (a Win32 code) as the reason of a fault.
pub(crate) fn fault(operation: String, code: u32) -> Fault {
    let kind = match code {
        ERROR_ACCESS_DENIED => FaultKind::NotPermitted,
        _ => FaultKind::System,
    };
    Fault::new(kind, operation, reason(code)).with_os_code(code.cast_signed())
}

#[cfg(test)]
impl Access {
    /// For tests: the process with this id.
    pub(crate) fn of(id: u32) -> Self {
        let access = Self::open(id).expect("a child of this one");
        access.check().expect("one that can be dumped");
        access
    }

    /// For tests: this very process, for questions that stop nothing.
    pub(crate) fn own() -> Self {
        Self::open(std::process::id()).expect("it is there")
    }
}

#[cfg(test)]
mod tests;
