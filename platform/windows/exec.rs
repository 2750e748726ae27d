//! Programs started to be dumped: after a while, or at the moment an exception kills them.
//!
//! The program is debugged by us from its first instruction on. Exceptions meet us before they meet the program, and a second time
//! when the program has handled them nowhere: the first time they are passed on (runtimes live on exceptions), the second
//! time ends the wait. Nothing in a debugged process runs until its debugger has let it go on.

use std::ffi::{OsStr, OsString};
use std::io;
use std::marker::PhantomData;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use dumpwright_target::{Exception, Fault, FaultKind, Frozen, Need, Target};
use windows_sys::Win32::Foundation::{
    CloseHandle, DBG_CONTINUE, DBG_EXCEPTION_NOT_HANDLED, ERROR_SEM_TIMEOUT, EXCEPTION_BREAKPOINT, HANDLE,
    NTSTATUS,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    CREATE_PROCESS_DEBUG_EVENT, ContinueDebugEvent, DEBUG_EVENT, EXCEPTION_DEBUG_EVENT, EXCEPTION_DEBUG_INFO,
    EXIT_PROCESS_DEBUG_EVENT, LOAD_DLL_DEBUG_EVENT, WaitForDebugEvent,
};
use windows_sys::Win32::System::Threading::{
    DEBUG_ONLY_THIS_PROCESS, OpenThread, THREAD_GET_CONTEXT, THREAD_QUERY_INFORMATION,
};

use crate::WindowsProcess;
use crate::access::{fault, last_error, last_fault};
use crate::{crash, registers};

/// How long a killed program may take to end.
const DYING_PATIENCE: Duration = Duration::from_secs(10);

/// A program that was started to be dumped. Dropping it kills the program.
///
/// It stays on the thread that started it, because the system tells that one only what happens in it.
#[derive(Debug)]
pub struct Spawned {
    program: String,
    child: Child,
    process: WindowsProcess,
    /// The event that is being looked at: its thread, and how the program goes on.
    pending: Option<(u32, NTSTATUS)>,
    /// Whether the breakpoint has been passed that the system puts in front of each debugged program.
    begun: bool,
    exception: Option<Exception>,
    /// How the program ended, once it has.
    ended: Option<ExitStatus>,
    _of_this_thread: PhantomData<*const ()>,
}

/// How a [wait](Spawned::wait) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The time has passed; the program is running.
    Elapsed,
    /// An exception is about to kill the program. All of it stands still until the next wait, and
    /// [`Spawned::exception`] has the facts.
    Dying {
        /// The thread.
        thread_id: u32,
        /// The code of the exception.
        code: u32,
    },
    /// The program has ended.
    Exited(ExitStatus),
}

/// What a debug event means.
enum Event {
    /// Nothing that ends a wait.
    Passed(NTSTATUS),
    Dying(Box<Exception>),
    Ended,
}

impl Spawned {
    /// Starts `program`, looked up in `PATH`, and holds it before its first instruction.
    ///
    /// `stdout` becomes its standard output, if given; all else is inherited.
    ///
    /// # Errors
    /// There is no such program, it cannot be executed, or it is no 64-bit one.
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
        // SAFETY: the handle belongs to `child`, which lives as long as the process does here.
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
        // The first event is that of the process itself. From here on, whatever fails ends the program.
        spawned.next(Some(DYING_PATIENCE))?;
        Ok(spawned)
    }

    /// Lets the program run until `after` has passed, or it ends, or an exception is about to kill it.
    ///
    /// # Errors
    /// The system does not tell what happens in it.
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

    /// What is killing the program, after [`Outcome::Dying`].
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        self.exception.clone()
    }

    /// Ends the program, if it has not ended by itself, and says how it ended.
    ///
    /// # Errors
    /// It may not be ended, or does not end.
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
                    let reason = "it has not ended in time";
                    return Err(Fault::new(FaultKind::System, operation, reason));
                }
            }
        }
    }

    /// As [`WindowsProcess::hold_clone`].
    pub fn hold_clone(&mut self, clones: bool) {
        self.process.hold_clone(clones);
    }

    /// Lets the program go on from the event that it stands at, if any.
    fn go_on(&mut self) -> Result<(), Fault> {
        let Some((thread, status)) = self.pending.take() else {
            return Ok(());
        };
        // SAFETY: asks nothing of its caller.
        if unsafe { ContinueDebugEvent(self.child.id(), thread, status) } == 0 {
            return Err(last_fault(self.following()));
        }
        Ok(())
    }

    /// The next event, at which the program stands still; `None` if there is none in time.
    fn next(&mut self, patience: Option<Duration>) -> Result<Option<Event>, Fault> {
        let mut event = DEBUG_EVENT::default();
        // Rounded up, so that what is left of a millisecond is not spun away. The largest number means for ever.
        let milliseconds = patience.map_or(u32::MAX, |patience| {
            u32::try_from(patience.as_nanos().div_ceil(1_000_000))
                .map_or(u32::MAX - 1, |ms| ms.min(u32::MAX - 1))
        });
        // SAFETY: the structure is the system's, and ours to be filled.
        if unsafe { WaitForDebugEvent(&raw mut event, milliseconds) } == 0 {
            return match last_error() {
                ERROR_SEM_TIMEOUT => Ok(None),
                code => Err(fault(self.following(), code)),
            };
        }
        if event.dwProcessId != self.child.id() {
            // Of another program that this thread debugs. It is not ours to judge.
            // SAFETY: asks nothing of its caller.
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
            // SAFETY: the code says which member of the union the system has filled.
            EXCEPTION_DEBUG_EVENT => self.raised(event.dwThreadId, unsafe { &event.u.Exception }),
            // SAFETY: as above; the file is handed over to the debugger.
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
        match registers_of(thread) {
            Ok(context) => {
                // SAFETY: the record is the system's structure, whose size this is, and plain numbers.
                let record = unsafe { (&raw const info.ExceptionRecord).cast::<[u8; 0x98]>().read() };
                Event::Dying(Box::new(crash::from_record(thread, &record, context)))
            }
            Err(code) => {
                tracing::debug!(thread, code, "no registers of the thread that is about to die");
                Event::Passed(DBG_EXCEPTION_NOT_HANDLED)
            }
        }
    }

    /// How the program ended, which it has: its last event is pending.
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
        format!("follow {} (process {})", self.program, self.child.id())
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
            tracing::debug!(%fault, "the program could not be followed to its end");
        }
    }
}

/// Closes the file of an event, which is the debugger's.
///
/// # Safety
/// The handle was given with the event and is not used any more.
unsafe fn close(file: HANDLE) -> Event {
    if !file.is_null() {
        // SAFETY: as the caller promises.
        unsafe { CloseHandle(file) };
    }
    Event::Passed(DBG_CONTINUE)
}

/// The registers of a thread that stands at an event. A code of the system's is the error.
fn registers_of(thread: u32) -> Result<dumpwright_target::CpuContext, u32> {
    // SAFETY: asks nothing of its caller.
    let handle = unsafe { OpenThread(THREAD_GET_CONTEXT | THREAD_QUERY_INFORMATION, 0, thread) };
    if handle.is_null() {
        return Err(last_error());
    }
    let context = registers::read(handle, None);
    // SAFETY: opened above, and closed once.
    unsafe { CloseHandle(handle) };
    context
}

fn cannot_start(operation: &str, error: &io::Error) -> Fault {
    let fault = Fault::new(FaultKind::System, operation, error.to_string());
    let fault = match error.raw_os_error() {
        Some(code) => fault.with_os_code(code),
        None => fault,
    };
    match error.kind() {
        io::ErrorKind::NotFound => fault.advise("is the name right, and the program in PATH?"),
        io::ErrorKind::PermissionDenied => fault.advise("is it a program, and may this user execute it?"),
        _ => fault,
    }
}
