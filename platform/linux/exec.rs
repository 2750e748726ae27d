//! Starts programs in order to dump them, after a delay or at the moment a signal kills them.
//!
//! The program is our child and is traced from its first instruction. So each signal is reported to
//! us before it reaches the program. A signal that the program handles or ignores is passed on;
//! runtimes such as those of Java and Go use SIGSEGV in normal operation. A signal that is about to
//! kill the program ends the wait, and its thread stays stopped at that point.
//!
//! The processes that the program starts are traced as well, because programs are started by
//! scripts, and servers leave the work to children. One of them ends the wait if it crashes
//! ([`CRASHES`]). Other signals that kill a child are part of normal operation.
//!
//! A [supervised](Spawned::supervise) program is not started in order to be dumped, but to run. It
//! is never killed here, and the wait ends only with signals that stand for a crash ([`FATAL`]).
//!
//! Unlike a capture of a running process, this module waits for notifications. It waits only for
//! children of the tracing thread (`__WNOTHREAD`), so it takes no notifications away from the host
//! program.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use dumpwright_target::{Cpu, Exception, Fault, FaultKind, Frozen, Need, Target};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::ForkResult;

use crate::HoldMode;
use crate::attach;
use crate::clock::Clock;
use crate::crash::{CRASHES, SignalFacts};
use crate::debuggee;
use crate::freeze;
use crate::frozen::{FrozenProcess, Stopping};
use crate::proc_dir::{ProcDir, field, read_bounded};
use crate::ptrace;
use crate::registers::Registers;
use crate::tracer::{Tracer, TracingThread};

/// A program that was started in order to be dumped. Dropping it kills the program, unless it is
/// [supervised](Self::supervise).
///
/// The host program must not reap this child. If it does, for example with `waitpid(-1)` in a loop,
/// [`wait`](Self::wait) may fail or wait forever. Such a host should start the program itself and
/// dump it by its process id.
#[derive(Debug)]
pub struct Spawned {
    program: String,
    pid: u32,
    tracer: TracingThread,
    state: ChildState,
    dying: Option<Dying>,
    hold: HoldMode,
    /// Whether it is traced all the time, and not only for a dump.
    is_traced: bool,
}

/// The signals that a thread blocks.
///
/// A program inherits those of the thread that starts it. A supervisor blocks signals in order to
/// receive them, and remembers here which ones were blocked before.
#[derive(Debug, Clone, Copy)]
pub struct SignalMask(SigSet);

impl SignalMask {
    /// Returns the signals that the calling thread blocks.
    ///
    /// # Errors
    /// The system refuses to tell, which is not known to happen.
    pub fn of_this_thread() -> std::io::Result<Self> {
        Ok(Self(SigSet::thread_get_mask()?))
    }
}

/// How a [supervised](Spawned::supervise) program is started.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// The signals that the program begins to block.
    pub mask: SignalMask,
    /// Whether it is traced, so that [`Spawned::wait`] ends when it crashes. A program that is not
    /// traced runs as if nobody watched it; its end is reported.
    pub traced: bool,
}

/// A thread that a signal is about to kill.
#[derive(Debug, Clone)]
struct Dying {
    /// Its process: the program, or a process that the program has started.
    process: u32,
    exception: Exception,
    registers: Box<Registers>,
}

/// How a [wait](Spawned::wait) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The time has elapsed and the program is still running.
    Elapsed,
    /// A signal is about to kill the program, or a process that it has started crashes. The thread
    /// that receives the signal stays stopped until the next wait. Until then, [`Spawned`] stands
    /// for that process, and [`Spawned::exception`] returns the details.
    Dying {
        /// The thread that receives the signal.
        thread_id: u32,
        /// The number of the signal.
        signal: i32,
    },
    /// The program has ended, and so has every process that it has started; or the time has elapsed
    /// since the program ended.
    Exited(ExitStatus),
}

impl Spawned {
    /// Starts `program`, which is searched for in `PATH`, and stops it before its first
    /// instruction.
    ///
    /// If given, `stdout` becomes its standard output. Everything else is inherited.
    ///
    /// # Errors
    /// There is no such program, it cannot be executed, or the system cannot create a process.
    pub fn start(
        program: &OsStr,
        arguments: &[OsString],
        stdout: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Fault> {
        Self::start_as(program, arguments, stdout, None)
    }

    /// Starts `program` as [`start`](Self::start) does, in order to supervise it: it is not killed
    /// when this is dropped or when this process is killed.
    ///
    /// If it is [traced](Launch::traced), [`wait`](Self::wait) ends when a signal is about to kill
    /// the program or a process that it has started, and the default action of the signal is to
    /// dump core (signal(7)): SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGQUIT,
    /// SIGXCPU or SIGXFSZ. The next wait delivers the signal. A wait also ends when the program has
    /// ended, even if processes that it has started have not; they are not traced any more when
    /// this is dropped.
    ///
    /// Set-user-ID programs get no privileges while they are traced (execve(2)).
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub fn supervise(
        program: &OsStr,
        arguments: &[OsString],
        stdout: Option<BorrowedFd<'_>>,
        launch: Launch,
    ) -> Result<Self, Fault> {
        Self::start_as(program, arguments, stdout, Some(launch))
    }

    /// Traces a running process and those that it will start, in order to supervise them as
    /// [`supervise`](Self::supervise) does. They run on, and are released when this is dropped.
    ///
    /// # Errors
    /// There is no such process, or the system does not permit to trace it.
    pub fn attach(pid: u32) -> Result<Self, Fault> {
        attach::check_foreign(pid)?;
        let dir = ProcDir::new(pid)?;
        attach::check_supported(&dir)?;
        attach::check_untraced(&dir)?;
        let tracer = TracingThread::start_patient().map_err(|error| {
            Fault::new(
                FaultKind::System,
                format!("attach to process {pid}"),
                error.to_string(),
            )
        })?;
        let of_tracer = dir.clone();
        let seized = tracer.run(move || seize_all(&of_tracer))?;
        seized.map_err(|(tid, errno)| attach::refusal(&dir, tid, errno))?;
        Ok(Self {
            program: format!("process {pid}"),
            pid,
            tracer,
            state: ChildState::supervised(true),
            dying: None,
            hold: HoldMode::default(),
            is_traced: true,
        })
    }

    fn start_as(
        program: &OsStr,
        arguments: &[OsString],
        stdout: Option<BorrowedFd<'_>>,
        launch: Option<Launch>,
    ) -> Result<Self, Fault> {
        let name = program.to_string_lossy().into_owned();
        let operation = format!("start {name}");
        let mut plan = LaunchPlan::new(program, arguments, stdout, launch)
            .map_err(|error| Fault::new(FaultKind::System, &operation, error.to_string()))?;
        let tracer = TracingThread::start_patient()
            .map_err(|error| Fault::new(FaultKind::System, &operation, error.to_string()))?;
        let (pid, state) = tracer
            .run(move || {
                let mut state = ChildState::supervised(launch.is_some());
                plan.start(&mut state).map(|pid| (pid, state))
            })?
            .map_err(|error| cannot_start(&operation, &error))?;
        tracing::debug!(pid, program = name, "started");
        Ok(Self {
            program: name,
            pid,
            tracer,
            state,
            dying: None,
            hold: HoldMode::default(),
            is_traced: launch.is_none_or(|launch| launch.traced),
        })
    }

    /// Sets how the program should be held, as [`LinuxProcess::hold`](crate::LinuxProcess::hold)
    /// does.
    ///
    /// A program that was started in order to be dumped is about to end, so it is always stopped.
    /// If a clone was requested, the report of the dump has a note about this.
    pub fn hold(&mut self, mode: HoldMode) {
        self.hold = mode;
    }

    /// Sets whether the program should be held by a clone.
    pub fn hold_clone(&mut self, clones: bool) {
        self.hold = if clones { HoldMode::Clone } else { HoldMode::Stop };
    }

    /// Lets the program run until `after` has elapsed, it ends, or a signal is about to kill it.
    ///
    /// # Errors
    /// The state of the program is unknown, because another part of this process has reaped it.
    pub fn wait(&mut self, after: Duration) -> Result<Outcome, Fault> {
        self.dying = None;
        let pid = self.pid;
        let event = self.on_tracer(move |state| state.run(pid, after))?;
        Ok(match event {
            Event::Clock => Outcome::Elapsed,
            Event::Ended(status) => Outcome::Exited(status),
            Event::Dying(dying) => {
                let outcome = Outcome::Dying {
                    thread_id: dying.exception.thread_id,
                    signal: dying.exception.code.cast_signed(),
                };
                self.dying = Some(*dying);
                outcome
            }
        })
    }

    /// Returns the exception that is killing the program, after [`Outcome::Dying`].
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        self.dying.as_ref().map(|dying| dying.exception.clone())
    }

    /// Kills the program with SIGKILL, unless it has already ended, and returns its exit status.
    ///
    /// # Errors
    /// Another part of this process has reaped the program.
    pub fn kill(&mut self) -> Result<ExitStatus, Fault> {
        let pid = self.pid;
        self.on_tracer(move |state| state.kill(pid))
    }

    /// Runs `work` on the state, on the tracing thread.
    fn on_tracer<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut ChildState) -> Result<T, Errno> + Send + 'static,
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
                format!("wait for {} (process {})", self.program, self.pid),
                errno.desc(),
            )
            .with_os_code(errno as i32)
        })
    }
}

impl Target for Spawned {
    fn process_id(&self) -> u32 {
        self.dying.as_ref().map_or(self.pid, |dying| dying.process)
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let pid = self.process_id();
        if let Some(status) = self.state.ended.filter(|_| pid == self.pid) {
            return Err(Fault::new(
                FaultKind::Gone,
                format!("stop {} (process {})", self.program, self.pid),
                format!("it has ended ({status})"),
            ));
        }
        let dir = ProcDir::new(pid)?;
        if !self.is_traced {
            let tracer = Tracer::start().map_err(|error| {
                Fault::new(
                    FaultKind::System,
                    format!("stop process {pid}"),
                    format!("cannot start the thread that traces it: {error}"),
                )
            })?;
            return Ok(Box::new(FrozenProcess::freeze(
                dir,
                Stopping::Attaching(tracer),
                need,
                self.hold,
            )?));
        }
        // A thread that a signal is about to kill stays stopped. Any other stop that was reported
        // ends with the freeze.
        let dying = self.dying.clone();
        let dying = dying.map(|dying| (dying.exception.thread_id, dying.registers));
        if dying.is_none() {
            self.state.held = None;
        }
        let tracer = Tracer::Spawned(&self.tracer);
        Ok(Box::new(FrozenProcess::freeze(
            dir,
            Stopping::Spawned { tracer, dying },
            need,
            self.hold,
        )?))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.state.ended.is_none()
            && !self.state.is_supervised
            && let Err(fault) = self.kill()
        {
            tracing::debug!(%fault, "could not wait for the program's end");
        }
    }
}

/// Attaches to all threads of a process, without stopping any. Runs on the tracing thread.
///
/// # Errors
/// The thread that cannot be attached to, and the reason.
fn seize_all(dir: &ProcDir) -> Result<(), (u32, Errno)> {
    let mut known = HashSet::new();
    loop {
        let before = known.len();
        let ids = dir.thread_ids();
        for tid in ids.map_err(|_| (dir.pid, Errno::ESRCH))? {
            if !known.insert(tid) {
                continue;
            }
            match ptrace::seize(tid, FOLLOW) {
                Ok(()) => {}
                // A thread that was started by one that is traced already is traced as well.
                Err(errno) => {
                    let is_done = debuggee::tracer_of(dir, tid) == Some(debuggee::this_thread())
                        || freeze::has_ended(dir, tid);
                    if !is_done {
                        return Err((tid, errno));
                    }
                }
            }
        }
        if known.len() == before {
            return Ok(());
        }
    }
}

fn cannot_start(operation: &str, error: &Errno) -> Fault {
    let fault = Fault::new(FaultKind::System, operation, error.desc()).with_os_code(*error as i32);
    match error {
        Errno::ENOENT => fault.advise("is the name right, and the program in PATH?"),
        Errno::EACCES => fault.advise("is it a program, and may this user execute it?"),
        Errno::ENOEXEC => {
            fault.advise("it is neither a program for this machine nor a script that names its interpreter")
        }
        _ => fault,
    }
}

/// What the child needs between `fork` and `execve`.
///
/// Everything is allocated before the fork, because the child of a multithreaded program must not
/// allocate memory.
struct LaunchPlan {
    arguments: Vec<CString>,
    stdout: Option<RawFd>,
    mask: SigSet,
    /// Whether the program is traced from its start.
    is_traced: bool,
    /// The ptrace options of the program.
    options: i32,
}

impl LaunchPlan {
    fn new(
        program: &OsStr,
        arguments: &[OsString],
        stdout: Option<BorrowedFd<'_>>,
        launch: Option<Launch>,
    ) -> std::io::Result<Self> {
        let all = std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
        Ok(Self {
            arguments: all
                .map(|word| CString::new(word.as_bytes()))
                .collect::<Result<_, _>>()?,
            stdout: stdout.map(|fd| fd.as_raw_fd()),
            // By default the caller's mask, because the tracing thread blocks all signals.
            mask: match launch {
                Some(launch) => launch.mask.0,
                None => SigSet::thread_get_mask()?,
            },
            is_traced: launch.is_none_or(|launch| launch.traced),
            options: match launch {
                Some(_) => FOLLOW,
                None => FOLLOW | libc::PTRACE_O_EXITKILL,
            },
        })
    }

    /// Starts the program on this thread and waits until it has been loaded. Returns its process
    /// id.
    fn start(&mut self, state: &mut ChildState) -> Result<u32, Errno> {
        let (gate, open_gate) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (failed, failure) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let mut pointers: Vec<*const libc::c_char> =
            self.arguments.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: other threads may hold locks (for example of the allocator) that are never
        // released in the child. The child calls only `become_program`, which takes no lock,
        // allocates no memory, and never returns.
        let pid = match unsafe { nix::unistd::fork() }? {
            ForkResult::Child => {
                // SAFETY: this is the child. It has a copy of all our memory, including the strings
                // that the pointers refer to, and the last pointer is null.
                unsafe { self.become_program(&pointers, &gate, &open_gate, &failure) }
            }
            ForkResult::Parent { child } => child.as_raw().cast_unsigned(),
        };
        drop((gate, failure));
        if self.is_traced
            && let Err(errno) = ptrace::seize(pid, self.options)
        {
            // The child ends when it finds the pipe closed.
            drop(open_gate);
            let _ = state.kill(pid);
            return Err(errno);
        }
        let opened = File::from(open_gate).write_all(&[1]);
        if opened.is_ok() && self.is_traced && state.until_loaded(pid)? {
            state.held = Some((pid, 0));
            return Ok(pid);
        }
        let mut code = [0; 4];
        match File::from(failed).read_exact(&mut code) {
            Ok(()) => {
                let _ = state.kill(pid);
                Err(Errno::from_raw(i32::from_ne_bytes(code)))
            }
            // The program has been loaded, which closes the pipe.
            Err(_) if opened.is_ok() && !self.is_traced => Ok(pid),
            Err(_) => Err(Errno::ECHILD),
        }
    }

    /// The code of the child: waits until it is traced, then executes the program.
    ///
    /// # Safety
    /// Call it only in a newly forked child. `arguments` must be pointers to C strings, the last
    /// one null.
    unsafe fn become_program(
        &self,
        arguments: &[*const libc::c_char],
        gate: &impl AsRawFd,
        open_gate: &impl AsRawFd,
        failure: &impl AsRawFd,
    ) -> ! {
        // SAFETY: all of these functions are async-signal-safe (signal-safety(7); execvp is so in
        // glibc and musl, which build their paths on the stack). Their arguments are numbers, the
        // mask, pointers to live local variables with their true sizes, and the strings that the
        // caller guarantees.
        unsafe {
            let mut byte = 0_u8;
            // Close our own copy of the write end, or the read below would never see it closed.
            libc::close(open_gate.as_raw_fd());
            if libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(127);
            }
            // Rust programs ignore SIGPIPE, and execve keeps an ignored signal ignored.
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

/// The reason why a wait ended.
#[derive(Debug)]
enum Event {
    Clock,
    Dying(Box<Dying>),
    Ended(ExitStatus),
}

/// The ptrace options for the program and for the processes that it starts. All their threads and
/// processes are traced from their first instruction.
const FOLLOW: i32 = libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC;

/// The state of the child between two waits. All methods run on the tracing thread.
#[derive(Debug, Default)]
struct ChildState {
    /// A thread that stays in a reported stop, and the signal to continue it with.
    held: Option<(u32, i32)>,
    /// The last fault of each thread that the program handled itself, with the instruction and
    /// stack pointers at that moment.
    handled: HashMap<u32, (SignalFacts, [u64; 2])>,
    /// The exit status, once the program has ended.
    ended: Option<ExitStatus>,
    /// The processes that the program has started, and that have not ended.
    children: HashSet<u32>,
    /// Whether the program is [supervised](Spawned::supervise).
    is_supervised: bool,
}

/// The signals whose default action is to dump core (signal(7)).
const FATAL: [i32; 10] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGQUIT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

impl ChildState {
    fn supervised(is_supervised: bool) -> Self {
        Self {
            is_supervised,
            ..Self::default()
        }
    }

    /// Lets the program run until something ends the wait.
    fn run(&mut self, pid: u32, after: Duration) -> Result<Event, Errno> {
        if let Some(status) = self.all_ended() {
            return Ok(Event::Ended(status));
        }
        let mut clock = Clock::start(after)?;
        if let Some((tid, signal)) = self.held.take() {
            // ESRCH: the thread was killed in the meantime.
            let _ = ptrace::cont(tid, signal);
        }
        loop {
            let (tid, status) = any_event()?;
            if clock.was(tid) {
                return Ok(self.ended.map_or(Event::Clock, Event::Ended));
            }
            if !libc::WIFSTOPPED(status) {
                self.ended(pid, tid, status);
                if let Some(status) = self.all_ended() {
                    return Ok(Event::Ended(status));
                }
            } else if let Some(dying) = self.stopped(pid, tid, status) {
                return Ok(Event::Dying(Box::new(dying)));
            }
        }
    }

    /// Lets the child run until its `execve`. Returns true if it succeeded, and leaves the child in
    /// that stop; returns false if the child ended instead.
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

    /// Kills the program and waits for its end. The processes that it has started are released; the
    /// end of the tracing thread does this for those that run.
    fn kill(&mut self, pid: u32) -> Result<ExitStatus, Errno> {
        if let Some((tid, signal)) = self.held.take()
            && !is_thread_of(pid, tid)
        {
            let _ = ptrace::detach(tid, signal);
        }
        if let Some(status) = self.ended {
            return Ok(status);
        }
        nix::sys::signal::kill(ptrace::pid(pid), nix::sys::signal::Signal::SIGKILL)?;
        loop {
            let (tid, status) = any_event()?;
            if !libc::WIFSTOPPED(status) {
                if let Some(status) = self.ended(pid, tid, status) {
                    return Ok(status);
                }
            } else if !is_thread_of(pid, tid) {
                let signal = match status >> 16 {
                    0 => libc::WSTOPSIG(status),
                    _ => 0,
                };
                let _ = ptrace::detach(tid, signal);
            }
        }
    }

    /// The program's exit status, if the processes that it has started have ended as well, or if
    /// nobody waits for them.
    fn all_ended(&self) -> Option<ExitStatus> {
        let is_over = self.children.is_empty() || self.is_supervised;
        self.ended.filter(|_| is_over)
    }

    /// Records the end of thread `tid`. Returns the program's exit status if it has ended. The
    /// kernel reports the end of the leader last, and that is the end of the program.
    fn ended(&mut self, pid: u32, tid: u32, status: i32) -> Option<ExitStatus> {
        self.handled.remove(&tid);
        self.children.remove(&tid);
        if tid == pid {
            self.ended = Some(ExitStatus::from_raw(status));
        }
        self.ended
    }

    /// Continues a stopped thread as if it were not traced. If a signal is about to kill its
    /// process, leaves the thread stopped instead and returns what is known about it.
    fn stopped(&mut self, pid: u32, tid: u32, status: i32) -> Option<Dying> {
        let signal = libc::WSTOPSIG(status);
        // An error means that the thread was killed in the meantime; its end will be reported next.
        let _ = match status >> 16 {
            0 => return self.signalled(pid, tid, signal),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                // The program must not be considered to have ended before this child.
                if let Ok(child) = ptrace::started(tid) {
                    self.follow(pid, child);
                }
                ptrace::cont(tid, 0)
            }
            // The first stop of a new thread or process, or a stop by a signal.
            libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP && !is_thread_of(pid, tid) => {
                self.follow(pid, tid);
                // The child survives us, as if it were not traced.
                let _ = ptrace::set_options(tid, FOLLOW);
                ptrace::cont(tid, 0)
            }
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => ptrace::listen(tid),
            libc::PTRACE_EVENT_EXEC => {
                // The calling thread now has the leader's id, and all others have ended.
                self.handled.clear();
                ptrace::cont(tid, 0)
            }
            _ => ptrace::cont(tid, 0),
        };
        None
    }

    /// Notes a process that the program, or one of its children, has started.
    fn follow(&mut self, pid: u32, tid: u32) {
        if process_of(pid, tid) == Some(tid) && tid != pid {
            self.children.insert(tid);
        }
    }

    fn signalled(&mut self, pid: u32, tid: u32, signal: i32) -> Option<Dying> {
        let Some((facts, registers)) = ptrace::siginfo(tid).ok().zip(Registers::read(tid).ok()) else {
            // The thread was killed in the meantime.
            let _ = ptrace::cont(tid, signal);
            return None;
        };
        let facts = SignalFacts::of(&facts);
        let place = [registers.amd64.rip, registers.amd64.rsp];
        let process = process_of(pid, tid).unwrap_or(pid);
        let ends_the_wait = match self.is_supervised {
            true => FATAL.contains(&signal),
            false => process == pid || CRASHES.contains(&signal),
        };
        if !ends_the_wait || !is_deadly(process, tid, signal) {
            if facts.is_fault() {
                self.handled.insert(tid, (facts, place));
            }
            tracing::trace!(tid, signal, "passed on");
            let _ = ptrace::cont(tid, signal);
            return None;
        }
        self.held = Some((tid, signal));
        // If the stack has no room for the handler's frame, the kernel kills the program with a
        // second SIGSEGV at the instruction of the first signal. The second one has no details, so
        // report those of the first (observed on Linux 6.18: a stack overflow in a program whose
        // handler has no alternate stack).
        let first = self
            .handled
            .get(&tid)
            .filter(|(_, first)| *first == place && facts.is_unspecific());
        let facts = first.map_or(facts, |(first, _)| *first);
        tracing::debug!(tid, signal, ?facts, "about to kill the program");
        let dir = ProcDir {
            pid: process,
            task: tid,
            cpu: Cpu::Amd64,
        };
        let cpu = dir.program().family();
        Some(Dying {
            process,
            exception: facts.exception(tid, registers.context(cpu), None),
            registers: Box::new(registers),
        })
    }
}

/// Waits for the next event of a child of this thread, or of a thread that it traces. Returns the
/// thread id and the wait status.
fn any_event() -> Result<(u32, i32), Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the call writes only to the local integer that the pointer refers to.
        let result = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        match Errno::result(result) {
            Ok(tid) => return Ok((tid.cast_unsigned(), status)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn is_thread_of(pid: u32, tid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

/// Returns the process of a thread that is traced, or `None` if it has ended.
fn process_of(pid: u32, tid: u32) -> Option<u32> {
    if is_thread_of(pid, tid) {
        return Some(pid);
    }
    let status = read_bounded(Path::new(&format!("/proc/{tid}/status")), 1 << 20).ok()?;
    // A process that has ended is no longer traced once its end was reported.
    let number = |name| field(&status, name)?.parse::<u32>().ok();
    number("Tgid").filter(|_| number("TracerPid") != Some(0))
}

/// Whether a signal that is being delivered will kill the program: the program neither handles nor
/// ignores it, and its default action is to terminate (signal(7)).
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
