//! Programs started to be dumped: after a while, or at the moment a signal kills them.
//!
//! The program is our child and traced from its first instruction on, so that every signal meets us before it
//! meets the program. One that the program handles or ignores is passed on (runtimes such as those of Java and Go
//! live on SIGSEGV); one that is about to kill it ends the wait, with the thread held right there.
//!
//! Here, unlike in a capture of a foreign process, notifications are waited for: of this thread's children
//! only (`__WNOTHREAD`), so that none of a host program's is taken.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use dumpwright_target::{Cpu, Exception, Fault, FaultKind, Frozen, Need, Target};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::ForkResult;

use crate::clock::Clock;
use crate::crash::SignalFacts;
use crate::freeze::Tie;
use crate::frozen::FrozenProcess;
use crate::hold::TracerOf;
use crate::proc_dir::{ProcDir, field, program_family, read_bounded};
use crate::ptrace;
use crate::registers::Registers;
use crate::tracer::Tracer;

/// A program that was started to be dumped. Dropping it kills the program.
///
/// A host program that reaps all its children by `waitpid(-1)` without looking may take away what is said of this
/// one, and [`wait`](Self::wait) then fails or waits in vain; such a host should start the program itself and
/// dump it by its process id.
#[derive(Debug)]
pub struct Spawned {
    program: String,
    pid: u32,
    tracer: Tracer,
    state: State,
    exception: Option<Exception>,
}

/// How a [wait](Spawned::wait) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The time has passed; the program is running.
    Elapsed,
    /// A signal is about to kill the program. The thread it is for is held at that point until the next wait, and
    /// [`Spawned::exception`] has the facts.
    Dying {
        /// The thread.
        thread_id: u32,
        /// The number of the signal.
        signal: i32,
    },
    /// The program has ended.
    Exited(ExitStatus),
}

impl Spawned {
    /// Starts `program`, looked up in `PATH`, and holds it before its first instruction.
    ///
    /// `stdout` becomes its standard output, if given; all else is inherited.
    ///
    /// # Errors
    /// There is no such program, it cannot be executed, or the system has no process left for it.
    pub fn start(
        program: &OsStr,
        arguments: &[OsString],
        stdout: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Fault> {
        let name = program.to_string_lossy().into_owned();
        let operation = format!("start {name}");
        let mut plan = Plan::new(program, arguments, stdout)
            .map_err(|error| Fault::new(FaultKind::System, &operation, error.to_string()))?;
        let tracer =
            Tracer::start().map_err(|error| Fault::new(FaultKind::System, &operation, error.to_string()))?;
        let (pid, state) = tracer
            .run(move || {
                let mut state = State::default();
                plan.start(&mut state).map(|pid| (pid, state))
            })?
            .map_err(|error| cannot_start(&operation, &error))?;
        tracing::debug!(pid, program = name, "started");
        Ok(Self {
            program: name,
            pid,
            tracer,
            state,
            exception: None,
        })
    }

    /// Lets the program run until `after` has passed, or it ends, or a signal is about to kill it.
    ///
    /// # Errors
    /// Its state cannot be learnt, because another part of this program has taken the notice of its end.
    pub fn wait(&mut self, after: Duration) -> Result<Outcome, Fault> {
        self.exception = None;
        let pid = self.pid;
        let event = self.on_tracer(move |state| state.run(pid, after))?;
        Ok(match event {
            Event::Clock => Outcome::Elapsed,
            Event::Ended(status) => Outcome::Exited(status),
            Event::Dying(exception) => {
                let outcome = Outcome::Dying {
                    thread_id: exception.thread_id,
                    signal: exception.code.cast_signed(),
                };
                self.exception = Some(*exception);
                outcome
            }
        })
    }

    /// What is killing the program, after [`Outcome::Dying`].
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        self.exception.clone()
    }

    /// Kills the program (SIGKILL), if it has not ended by itself, and says how it ended.
    ///
    /// # Errors
    /// Another part of this program has taken the notice of its end.
    pub fn kill(&mut self) -> Result<ExitStatus, Fault> {
        let pid = self.pid;
        self.on_tracer(move |state| state.kill(pid))
    }

    /// Has the tracing thread do `work` on the state.
    fn on_tracer<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Fault> {
        let mut state = std::mem::take(&mut self.state);
        let (state, result) = self.tracer.run(move || {
            let result = work(&mut state);
            (state, result)
        })?;
        self.state = state;
        result.map_err(|errno| {
            Fault::new(
                FaultKind::Gone,
                format!("follow {} (process {})", self.program, self.pid),
                errno.desc(),
            )
            .with_os_code(errno as i32)
        })
    }
}

impl Target for Spawned {
    fn process_id(&self) -> u32 {
        self.pid
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        if let Some(status) = self.state.ended {
            return Err(Fault::new(
                FaultKind::Gone,
                format!("stop {} (process {})", self.program, self.pid),
                format!("it has ended ({status})"),
            ));
        }
        let dir = ProcDir::new(self.pid)?;
        // A program that waits to be killed stays so; any other stop that was reported ends with the freeze.
        let dying = self.exception.as_ref().map(|exception| exception.thread_id);
        if dying.is_none() {
            self.state.held = None;
        }
        let tracer = TracerOf::Spawned(&self.tracer);
        Ok(Box::new(FrozenProcess::freeze(
            dir,
            tracer,
            Tie::Parent,
            dying,
            need,
        )?))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.state.ended.is_none()
            && let Err(fault) = self.kill()
        {
            tracing::debug!(%fault, "the program could not be followed to its end");
        }
    }
}

fn cannot_start(operation: &str, error: &Errno) -> Fault {
    let fault = Fault::new(FaultKind::System, operation, error.desc()).with_os_code(*error as i32);
    match error {
        Errno::ENOENT => fault.advise("is the name right, and the program in PATH?"),
        Errno::EACCES => fault.advise("is it a program, and may this user execute it?"),
        Errno::ENOEXEC => {
            fault.advise("it is no program for this machine, nor a script that names its interpreter")
        }
        _ => fault,
    }
}

/// What the child needs between `fork` and `execve`: everything is made before, because a child of a program with
/// threads must not ask for memory.
struct Plan {
    arguments: Vec<CString>,
    stdout: Option<RawFd>,
    mask: SigSet,
}

impl Plan {
    fn new(program: &OsStr, arguments: &[OsString], stdout: Option<BorrowedFd<'_>>) -> std::io::Result<Self> {
        let all = std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
        Ok(Self {
            arguments: all
                .map(|word| CString::new(word.as_bytes()))
                .collect::<Result<_, _>>()?,
            stdout: stdout.map(|fd| fd.as_raw_fd()),
            // The caller's: the tracing thread blocks everything.
            mask: SigSet::thread_get_mask()?,
        })
    }

    /// Starts the program on this thread and waits until it has been loaded.
    fn start(&mut self, state: &mut State) -> Result<u32, Errno> {
        let (gate, open_gate) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (failed, failure) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let mut pointers: Vec<*const libc::c_char> =
            self.arguments.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: the child calls `become_program`, which makes system calls only, on what was prepared above.
        let pid = match unsafe { nix::unistd::fork() }? {
            ForkResult::Child => {
                // SAFETY: this is the child; the pointers end with a null one and are valid, its copy of our memory
                // being complete; the file descriptors are open.
                unsafe { self.become_program(&pointers, &gate, &open_gate, &failure) }
            }
            ForkResult::Parent { child } => child.as_raw().cast_unsigned(),
        };
        drop((gate, failure));
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
        if let Err(errno) = ptrace::seize(pid, options) {
            // The closed gate tells the child that it is not wanted.
            drop(open_gate);
            let _ = state.kill(pid);
            return Err(errno);
        }
        let opened = File::from(open_gate).write_all(&[1]);
        if opened.is_ok() && state.until_loaded(pid)? {
            state.held = Some((pid, 0));
            return Ok(pid);
        }
        let mut code = [0; 4];
        Err(match File::from(failed).read_exact(&mut code) {
            Ok(()) => Errno::from_raw(i32::from_ne_bytes(code)),
            Err(_) => Errno::ECHILD,
        })
    }

    /// What the child does: waits until it is traced, then becomes the program.
    ///
    /// # Safety
    /// Only in a child just forked. `arguments` are pointers to C strings, the last one null.
    unsafe fn become_program(
        &self,
        arguments: &[*const libc::c_char],
        gate: &impl AsRawFd,
        open_gate: &impl AsRawFd,
        failure: &impl AsRawFd,
    ) -> ! {
        // SAFETY: all of these are async-signal-safe (signal-safety(7); execvp is so in glibc and musl, which
        // build their paths on the stack) and are given what the caller promises.
        unsafe {
            let mut byte = 0_u8;
            // Else the child itself would keep the gate from being closed.
            libc::close(open_gate.as_raw_fd());
            if libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(127);
            }
            // Rust programs ignore it, and what is ignored stays so.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            if let Some(stdout) = self.stdout {
                libc::dup2(stdout, libc::STDOUT_FILENO);
            }
            let _ = libc::pthread_sigmask(
                SigmaskHow::SIG_SETMASK as i32,
                self.mask.as_ref(),
                std::ptr::null_mut(),
            );
            libc::execvp(arguments[0], arguments.as_ptr());
            let code = Errno::last_raw().to_ne_bytes();
            libc::write(failure.as_raw_fd(), code.as_ptr().cast(), code.len());
            libc::_exit(127)
        }
    }
}

/// What ends a wait.
#[derive(Debug)]
enum Event {
    Clock,
    Dying(Box<Exception>),
    Ended(ExitStatus),
}

/// What is known between two waits. All its functions run on the tracing thread.
#[derive(Debug, Default)]
struct State {
    /// A thread that stays in a stop that was waited for, and the signal it goes on with.
    held: Option<(u32, i32)>,
    /// The last fault that each thread was left to handle by itself, with its instruction and stack pointers.
    handled: HashMap<u32, (SignalFacts, [u64; 2])>,
    /// How the program ended, once it has.
    ended: Option<ExitStatus>,
}

impl State {
    /// Lets the program run on until something ends the wait.
    fn run(&mut self, pid: u32, after: Duration) -> Result<Event, Errno> {
        if let Some(status) = self.ended {
            return Ok(Event::Ended(status));
        }
        let clock = Clock::start(after)?;
        if let Some((tid, signal)) = self.held.take() {
            // ESRCH: it was killed meanwhile.
            let _ = ptrace::cont(tid, signal);
        }
        loop {
            let (tid, status) = any_event()?;
            if clock.is(tid) {
                return Ok(Event::Clock);
            }
            if !libc::WIFSTOPPED(status) {
                if let Some(status) = self.ended(pid, tid, status) {
                    return Ok(Event::Ended(status));
                }
            } else if let Some(exception) = self.stopped(pid, tid, status) {
                return Ok(Event::Dying(Box::new(exception)));
            }
        }
    }

    /// Lets the child run until it has become the program: true, or has failed to: false. In the first
    /// case it stays in that stop.
    fn until_loaded(&mut self, pid: u32) -> Result<bool, Errno> {
        loop {
            let (tid, status) = any_event()?;
            if !libc::WIFSTOPPED(status) {
                if self.ended(pid, tid, status).is_some() {
                    return Ok(false);
                }
            } else if status >> 16 == libc::PTRACE_EVENT_EXEC {
                return Ok(true);
            } else if self.stopped(pid, tid, status).is_some() {
                let _ = ptrace::cont(tid, libc::WSTOPSIG(status));
            }
        }
    }

    /// Kills the program and follows it to its end.
    fn kill(&mut self, pid: u32) -> Result<ExitStatus, Errno> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        nix::sys::signal::kill(ptrace::pid(pid), nix::sys::signal::Signal::SIGKILL)?;
        loop {
            let (tid, status) = any_event()?;
            if !libc::WIFSTOPPED(status)
                && let Some(status) = self.ended(pid, tid, status)
            {
                return Ok(status);
            }
        }
    }

    /// Takes note of the end of a thread; of the whole program's, if it was its first: that end is told last.
    fn ended(&mut self, pid: u32, tid: u32, status: i32) -> Option<ExitStatus> {
        self.handled.remove(&tid);
        if tid == pid {
            self.ended = Some(ExitStatus::from_raw(status));
        }
        self.ended
    }

    /// Has a stopped thread go on as it would without us, except when a signal is about to kill the
    /// program: then it stays, and what is killing it is returned.
    fn stopped(&mut self, pid: u32, tid: u32, status: i32) -> Option<Exception> {
        let signal = libc::WSTOPSIG(status);
        // Errors mean that the thread was killed meanwhile; that will be told next.
        let _ = match status >> 16 {
            0 => return self.signalled(pid, tid, signal),
            // A process made by clone() with an exit signal of its own comes along like a thread, but is none.
            libc::PTRACE_EVENT_STOP if !is_thread_of(pid, tid) => ptrace::detach(tid, 0),
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => ptrace::listen(tid),
            libc::PTRACE_EVENT_EXEC => {
                // The thread has got the first one's id, and all others have gone.
                self.handled.clear();
                ptrace::cont(tid, 0)
            }
            _ => ptrace::cont(tid, 0),
        };
        None
    }

    fn signalled(&mut self, pid: u32, tid: u32, signal: i32) -> Option<Exception> {
        let Some((facts, registers)) = ptrace::siginfo(tid).ok().zip(Registers::read(tid, None)) else {
            // Killed meanwhile.
            let _ = ptrace::cont(tid, signal);
            return None;
        };
        let facts = SignalFacts::of(&facts);
        let place = [registers.amd64.rip, registers.amd64.rsp];
        if !is_deadly(pid, tid, signal) {
            if facts.is_fault() {
                self.handled.insert(tid, (facts, place));
            }
            tracing::trace!(tid, signal, "passed on");
            let _ = ptrace::cont(tid, signal);
            return None;
        }
        self.held = Some((tid, signal));
        // A handler that finds no room on the stack to begin: the kernel kills the program by a second SIGSEGV
        // without facts, at the very instruction of the first signal (observed on Linux 6.18: a stack
        // overflow in a program whose handler has no alternate stack). What happened is told by the first.
        let first = self
            .handled
            .get(&tid)
            .filter(|(_, first)| *first == place && facts.is_unspecific());
        let facts = first.map_or(facts, |(first, _)| *first);
        tracing::debug!(tid, signal, ?facts, "about to kill the program");
        let cpu = program_family(format!("/proc/{pid}/exe").as_ref()).unwrap_or(Cpu::Amd64);
        Some(facts.exception(tid, registers.context(cpu), None))
    }
}

/// The next thing that happens to a child of this thread, or to a thread it traces: who, and the status.
fn any_event() -> Result<(u32, i32), Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a local integer, which the call writes.
        let result = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        match Errno::result(result) {
            Ok(tid) => return Ok((tid.cast_unsigned(), status)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn is_thread_of(pid: u32, tid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

/// Whether a signal that is being delivered will kill the program: it is neither handled nor ignored, and its
/// default action is to kill (signal(7)).
fn is_deadly(pid: u32, tid: u32, signal: i32) -> bool {
    const HARMLESS: [i32; 8] = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    if HARMLESS.contains(&signal) {
        return false;
    }
    let path = format!("/proc/{pid}/task/{tid}/status");
    let Ok(status) = read_bounded(path.as_ref(), 1 << 20) else {
        return false;
    };
    let mask = |name| {
        field(&status, name)
            .and_then(|text| u64::from_str_radix(&text, 16).ok())
            .unwrap_or(0)
    };
    let answered = mask("SigCgt") | mask("SigIgn");
    answered & (1 << (signal - 1)) == 0
}
