//! Starts programs in order to dump them, after some time or when an exception is about to end
//! them.
//!
//! This crate is the program's debugger, from its first instruction on. A debugger sees an
//! exception before the program does, and a second time if the program has not handled it. The
//! first time, the exception is passed on, because runtimes use exceptions in normal operation. The
//! second time ends the wait. After each event, all threads of a debugged process are suspended
//! until the debugger continues it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::marker::PhantomData;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use dumpwright_target::{CpuContext, Exception, Fault, FaultKind, Frozen, Need, Target};
use windows_sys::Win32::Foundation::{
    DBG_CONTINUE, DBG_EXCEPTION_NOT_HANDLED, ERROR_SEM_TIMEOUT, EXCEPTION_BREAKPOINT, HANDLE, NTSTATUS,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    CREATE_PROCESS_DEBUG_EVENT, ContinueDebugEvent, DEBUG_EVENT, EXCEPTION_DEBUG_EVENT, EXCEPTION_DEBUG_INFO,
    EXIT_PROCESS_DEBUG_EVENT, LOAD_DLL_DEBUG_EVENT, WaitForDebugEvent,
};
use windows_sys::Win32::System::Threading::DEBUG_ONLY_THIS_PROCESS;

use crate::WindowsProcess;
use crate::access::thread_rights;
use crate::crash;
use crate::error::{fault, last_error, last_fault};
use crate::registers;

/// How long to wait for a killed program to end.
const DYING_PATIENCE: Duration = Duration::from_secs(10);

/// A program that was started in order to be dumped. Dropping this value kills the program.
///
/// The value cannot be sent to another thread, because the system reports debug events only to the
/// thread that started the program.
#[derive(Debug)]
pub struct Spawned {
    program: String,
    child: Child,
    process: WindowsProcess,
    /// The current debug event: its thread, and the status with which the program continues.
    pending: Option<(u32, NTSTATUS)>,
    /// Whether the initial breakpoint has been seen, which the system raises in every debugged
    /// program.
    begun: bool,
    exception: Option<Exception>,
    /// The exit status of the program, after it has ended.
    ended: Option<ExitStatus>,
    _of_this_thread: PhantomData<*const ()>,
}

/// How a [wait](Spawned::wait) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The time has elapsed. The program is running.
    Elapsed,
    /// An exception is about to end the program. All of its threads are suspended until the next
    /// wait, and [`Spawned::exception`] returns the exception.
    Dying {
        /// The id of the thread that raised the exception.
        thread_id: u32,
        /// The exception code.
        code: u32,
    },
    /// The program has ended.
    Exited(ExitStatus),
}

/// The meaning of a debug event.
enum Event {
    /// The event does not end a wait. The program continues with this status.
    Passed(NTSTATUS),
    Dying(Box<Exception>),
    Ended,
}

impl Spawned {
    /// Starts `program`, which is looked up in `PATH`, and holds it before its first instruction.
    ///
    /// `stdout` becomes the program's standard output, if it is `Some`. Everything else is
    /// inherited.
    ///
    /// # Errors
    /// There is no such program, it cannot be executed, or it is not a 64-bit program.
    pub fn start(
        program: &OsStr,
        arguments: &[OsString],
        stdout: Option<BorrowedHandle<'_>>,
    ) -> Result<Self, Fault> {
        let name = program.to_string_lossy().into_owned();
        let operation = format!("start {name}");
        let mut command = Command::new(program);
        command.args(arguments).creation_flags(DEBUG_ONLY_THIS_PROCESS);
        if let Some(stdout) = stdout {
            let copy = stdout
                .try_clone_to_owned()
                .map_err(|error| Fault::new(FaultKind::System, &operation, error.to_string()))?;
            command.stdout(Stdio::from(copy));
        }
        let child = command
            .spawn()
            .map_err(|error| cannot_start(&operation, &error))?;
        let id = child.id();
        // SAFETY: the handle belongs to `child`, which is stored in the same value as the process
        // and closes the handle when it is dropped. The process does not use the handle then. The
        // handle is not a snapshot, and no callback can declare it to be one, because `Spawned`
        // does not forward `as_snapshot`.
        let process = unsafe { WindowsProcess::with_handle(child.as_raw_handle(), id) };
        tracing::debug!(id, program = name, "started");
        let mut spawned = Self {
            program: name,
            child,
            process,
            pending: None,
            begun: false,
            exception: None,
            ended: None,
            _of_this_thread: PhantomData,
        };
        // The first event is the creation of the process. From here on, every error kills the
        // program, because `spawned` is dropped.
        spawned.next(Some(DYING_PATIENCE))?;
        Ok(spawned)
    }

    /// Lets the program run until `after` has elapsed, the program has ended, or an exception is
    /// about to end it.
    ///
    /// # Errors
    /// The system does not report the debug events of the program.
    pub fn wait(&mut self, after: Duration) -> Result<Outcome, Fault> {
        self.exception = None;
        if let Some(status) = self.ended {
            return Ok(Outcome::Exited(status));
        }
        let deadline = Instant::now().checked_add(after);
        loop {
            self.go_on()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.next(left)? {
                None => return Ok(Outcome::Elapsed),
                Some(Event::Passed(_)) => {}
                Some(Event::Dying(exception)) => {
                    let outcome = Outcome::Dying {
                        thread_id: exception.thread_id,
                        code: exception.code,
                    };
                    self.exception = Some(*exception);
                    return Ok(outcome);
                }
                Some(Event::Ended) => return self.status().map(Outcome::Exited),
            }
        }
    }

    /// Returns the exception that is about to end the program, after [`Outcome::Dying`].
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        self.exception.clone()
    }

    /// Kills the program, if it has not ended by itself, and returns its exit status.
    ///
    /// # Errors
    /// The program may not be killed, or does not end in time.
    pub fn kill(&mut self) -> Result<ExitStatus, Fault> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let operation = format!("end {} (process {})", self.program, self.child.id());
        self.child
            .kill()
            .map_err(|error| Fault::new(FaultKind::System, &operation, error.to_string()))?;
        let deadline = Instant::now() + DYING_PATIENCE;
        loop {
            self.go_on()?;
            match self.next(Some(deadline.saturating_duration_since(Instant::now())))? {
                Some(Event::Ended) => return self.status(),
                Some(_) => {}
                None => {
                    let reason = "it did not end in time";
                    return Err(Fault::new(FaultKind::System, operation, reason));
                }
            }
        }
    }

    /// Sets whether the process is held by a process snapshot, as [`WindowsProcess::hold_clone`]
    /// does.
    pub fn hold_clone(&mut self, clones: bool) {
        self.process.hold_clone(clones);
    }

    /// Continues the program from the current event, if there is one.
    fn go_on(&mut self) -> Result<(), Fault> {
        let Some((thread, status)) = self.pending.take() else {
            return Ok(());
        };
        // SAFETY: the parameters are integers, and the system refuses those of an event that is not
        // pending.
        if unsafe { ContinueDebugEvent(self.child.id(), thread, status) } == 0 {
            return Err(last_fault(self.following()));
        }
        Ok(())
    }

    /// Waits for the next event, at which all threads of the program are suspended. Returns `None`
    /// if there is no event in time.
    fn next(&mut self, patience: Option<Duration>) -> Result<Option<Event>, Fault> {
        let mut event = DEBUG_EVENT::default();
        // Rounded up, so that the last fraction of a millisecond does not cause a busy loop.
        // `u32::MAX` means to wait without a limit.
        let milliseconds = patience.map_or(u32::MAX, |patience| {
            u32::try_from(patience.as_nanos().div_ceil(1_000_000))
                .map_or(u32::MAX - 1, |ms| ms.min(u32::MAX - 1))
        });
        // SAFETY: the event is written to a local structure of the system's type.
        if unsafe { WaitForDebugEvent(&raw mut event, milliseconds) } == 0 {
            return match last_error() {
                ERROR_SEM_TIMEOUT => Ok(None),
                code => Err(fault(self.following(), code)),
            };
        }
        if event.dwProcessId != self.child.id() {
            // The event belongs to another program that this thread debugs. The program continues
            // as if it had no debugger.
            // SAFETY: the parameters are integers, and come from the event that was just received.
            unsafe { ContinueDebugEvent(event.dwProcessId, event.dwThreadId, DBG_EXCEPTION_NOT_HANDLED) };
            return Ok(Some(Event::Passed(DBG_CONTINUE)));
        }
        let meaning = self.meaning(&event);
        let status = match &meaning {
            Event::Passed(status) => *status,
            Event::Dying(_) => DBG_EXCEPTION_NOT_HANDLED,
            Event::Ended => DBG_CONTINUE,
        };
        self.pending = Some((event.dwThreadId, status));
        Ok(Some(meaning))
    }

    fn meaning(&mut self, event: &DEBUG_EVENT) -> Event {
        match event.dwDebugEventCode {
            // SAFETY: the event code means that the system has filled this member of the union.
            EXCEPTION_DEBUG_EVENT => self.raised(event.dwThreadId, unsafe { &event.u.Exception }),
            // SAFETY: as above. The debugger owns the file handle, and it is read once.
            CREATE_PROCESS_DEBUG_EVENT => unsafe { close(event.u.CreateProcessInfo.hFile) },
            // SAFETY: as above.
            LOAD_DLL_DEBUG_EVENT => unsafe { close(event.u.LoadDll.hFile) },
            EXIT_PROCESS_DEBUG_EVENT => Event::Ended,
            _ => Event::Passed(DBG_CONTINUE),
        }
    }

    fn raised(&mut self, thread: u32, info: &EXCEPTION_DEBUG_INFO) -> Event {
        let code = info.ExceptionRecord.ExceptionCode;
        if info.dwFirstChance != 0 {
            if code == EXCEPTION_BREAKPOINT && !std::mem::replace(&mut self.begun, true) {
                return Event::Passed(DBG_CONTINUE);
            }
            tracing::trace!(thread, code, "passed on");
            return Event::Passed(DBG_EXCEPTION_NOT_HANDLED);
        }
        tracing::debug!(thread, code, "about to kill the program");
        match self.registers_of(thread) {
            Ok(context) => {
                let record = crash::record_here(&info.ExceptionRecord);
                Event::Dying(Box::new(crash::from_record(thread, record, context)))
            }
            Err(fault) => {
                tracing::debug!(thread, %fault, "cannot read the registers of the thread that raised the exception");
                Event::Passed(DBG_EXCEPTION_NOT_HANDLED)
            }
        }
    }

    /// Reads the registers of the thread of the current event.
    fn registers_of(&self, thread: u32) -> Result<CpuContext, Fault> {
        let handle = self.process.access()?.open_thread(thread, thread_rights::READ)?;
        let operation = || format!("read the registers of thread {thread} of {}", self.program);
        registers::read(handle.as_handle(), None)
            .map(|registers| registers.context)
            .map_err(|code| fault(operation(), code))
    }

    /// Returns the exit status of the program, after its last event was received.
    fn status(&mut self) -> Result<ExitStatus, Fault> {
        self.go_on()?;
        let status = self
            .child
            .wait()
            .map_err(|error| Fault::new(FaultKind::System, self.following(), error.to_string()))?;
        self.ended = Some(status);
        Ok(status)
    }

    fn following(&self) -> String {
        format!("debug {} (process {})", self.program, self.child.id())
    }
}

impl Target for Spawned {
    fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn process_handle(&self) -> u64 {
        self.process.process_handle()
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        if let Some(status) = self.ended {
            return Err(Fault::new(
                FaultKind::Gone,
                format!("stop {} (process {})", self.program, self.child.id()),
                format!("it has ended ({status})"),
            ));
        }
        self.process.freeze(need)
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.ended.is_none()
            && let Err(fault) = self.kill()
        {
            tracing::debug!(%fault, "could not wait for the end of the program");
        }
    }
}

/// Closes the file handle of an event, which the debugger owns.
///
/// # Safety
/// The handle came with the event and is used nowhere else, or it is null.
unsafe fn close(file: HANDLE) -> Event {
    if !file.is_null() {
        // SAFETY: the caller guarantees that nothing else uses the handle.
        drop(unsafe { OwnedHandle::from_raw_handle(file) });
    }
    Event::Passed(DBG_CONTINUE)
}

fn cannot_start(operation: &str, error: &io::Error) -> Fault {
    let fault = Fault::new(FaultKind::System, operation, error.to_string());
    let fault = match error.raw_os_error() {
        Some(code) => fault.with_os_code(code),
        None => fault,
    };
    match error.kind() {
        io::ErrorKind::NotFound => fault.advise("check the name, and that the program is in PATH"),
        io::ErrorKind::PermissionDenied => {
            fault.advise("check that it is a program, and that this user may execute it")
        }
        _ => fault,
    }
}
