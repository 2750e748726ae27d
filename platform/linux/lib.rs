//! Captures Linux processes as dumpwright targets: live ones, and those of core files.
//!
//! * [`LinuxProcess`] is a process that is already running.
//! * [`Spawned`] is a program that is started in order to be dumped.
//! * [`CoreFile`] is what the kernel has stored of a process that a signal has killed.
//! * [`CrashedProcess`] is a process that a signal has killed, for a handler of cores.
//! * [`exception`] translates the arguments of a signal handler into an exception.
//!
//! A capture stops all threads of the process with ptrace, reads them, and resumes them. It writes
//! nothing into the process and runs no code in it, unless the caller chose to
//! [clone](HoldMode::Clone) the process. If the dumper dies, the process continues.
//!
//! As with every debugger, the stop has one side effect: some blocking system calls (`epoll_wait`,
//! `semop`, `sigtimedwait`, socket calls with a timeout) return early with EINTR; see signal(7). If
//! the process is cloned, these calls continue.
//!
//! The rest of the dumping program sees nothing of the stops: a helper process traces the target.
//! It has no exit signal, so only a wait with `__WALL` or `__WCLONE` may report its end; that does
//! not affect the capture. If the system refuses the helper, a thread of the dumping program traces
//! the target, and [`Holding::tracer`](dumpwright_target::Holding::tracer) is `"in-process"`. The
//! program then receives a SIGCHLD for each thread that stops. A wait for any child may report
//! these stops, and so may a wait for this process if it is a child of the program. That does not
//! affect the capture either, but whoever waits must check `WIFSTOPPED`.
//!
//! The dumper must be an x86-64 program; the crate does not compile for other processors. The
//! process may be a 64-bit or a 32-bit x86 program, but not an x32 program.
#![cfg(target_os = "linux")]

// x32 is not supported either: its pointers have 32 bits.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
compile_error!(
    "dumpwright-linux reads registers, stacks and system-call numbers of x86-64 and supports no other processor; \
     build for an x86_64-unknown-linux target"
);

mod attach;
mod cgroup;
mod clock;
mod clone;
mod confine;
mod core_file;
mod costs;
mod counters;
mod crash;
pub mod crash_handler;
mod crashed;
mod debuggee;
mod dso_debug;
mod exec;
mod files;
mod freeze;
mod frozen;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod handles;
mod helper;
mod hold;
mod modules;
mod mounts;
mod oneself;
mod pagemap;
mod pidfd;
mod proc_dir;
mod process;
mod ptrace;
mod read;
mod regions;
mod registers;
mod stacks;
mod system;
mod taken;
#[cfg(test)]
mod testing;
mod texts;
mod threads;
mod tokens;
mod tracer;
mod usage;
mod xstate;

pub use confine::{confine, end_with_parent};
pub use core_file::CoreFile;
pub use costs::PauseEstimate;
pub use crash::exception;
pub use crashed::{CrashedProcess, peer_of};
pub use exec::{Launch, Outcome, SignalMask, Spawned};
pub use pidfd::Signaller;
pub use usage::ProcessGauge;

use dumpwright_target::{Fault, FaultKind, Frozen, Need, Target};

use crate::debuggee::Debuggee;
use crate::frozen::{FrozenProcess, Stopping};
use crate::proc_dir::ProcDir;
use crate::tracer::Tracer;

/// A process that is running.
///
/// # This program
///
/// A program can dump itself ([`current`](Self::current)). The thread that calls
/// [`freeze`](Target::freeze) goes on running; a helper process stops all others until their
/// registers are read and a copy-on-write clone of the process is made, as with
/// [`HoldMode::Clone`]. The program runs while the clone is read, so callbacks may allocate, lock,
/// and start processes. Names, times and registers of the threads belong to the moment of the
/// clone. What `/proc` has about the process as a whole is read right after it. The same holds for
/// memory that a clone does not have: pages that the program keeps from its children (up to 256
/// MiB), and pages that it shares with files or with other processes.
///
/// The clone exists until the [`Frozen`] is dropped, and lists of processes show it. The program
/// gets no SIGCHLD for it or for the helper, and its waits do not see them, unless they have the
/// flag `__WALL` or `__WCLONE`. [`Frozen`] must be dropped by the thread that has frozen the
/// program; when that thread ends, the kernel kills both.
///
/// `freeze` fails if the system does not permit a process to trace its parent, or if a clone could
/// harm the program: if it has private huge pages of hugetlbfs, if another program handles its page
/// faults (userfaultfd), or if its children are in another pid namespace. A seccomp filter has to
/// permit `clone`, `ptrace`, `prctl`, `futex` and `wait4`; one that kills for these calls kills the
/// program. If Yama permits tracing to ancestors only (`ptrace_scope` 1), the program permits it to
/// the helper (`PR_SET_PTRACER`), and the report has a note, because the permission replaces that
/// of another process.
///
/// # Debuggees
///
/// A process has one tracer at most. So a process that another program traces cannot be dumped, but
/// a debugger can dump its own debuggee: on the thread that traces it, while all threads of the
/// debuggee are stopped. Their stops are left as they are, and no notification of a stop is
/// consumed. The debugger can still wait for a stop, deliver its signal, and continue the thread.
///
/// [`open`](Self::open) must be called on the tracing thread. It reads the registers, so
/// [`freeze`](Target::freeze) may be called once on another thread, provided that the debuggee
/// stays stopped. On the tracing thread, `freeze` reads them again and may be called any number of
/// times.
#[derive(Debug)]
pub struct LinuxProcess {
    pid: u32,
    /// The threads of a debuggee, as they were when it was opened.
    debuggee: Option<Debuggee>,
    hold: HoldMode,
    /// If it is this program: whether the thread that freezes it belongs to the dump.
    own: Option<bool>,
}

/// How a process is kept from changing while it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HoldMode {
    /// It is stopped until all of it has been read. Nothing is written into it.
    #[default]
    Stop,
    /// It is stopped only while its registers and other facts are read and its page tables are
    /// copied, which takes about 20 ms for each GiB of memory. It runs while the memory is read
    /// from the copy-on-write clone and written to the dump. Until then, the kernel copies each
    /// page of memory that the process writes to, which takes about 3 µs each and needs more
    /// memory. The clone exists for [`Need::max_clone`] at most.
    ///
    /// To make the clone, a thread of the process is made to execute system calls. If this is not
    /// possible, or might harm the process, the process is stopped as with [`Stop`](Self::Stop),
    /// and the report has a note with the reason: it has a seccomp filter, for example, or the
    /// system permits no more processes. The process, its parent and its children notice nothing of
    /// the clone, except that `getrusage` counts the memory of an ended child. Lists of processes
    /// show the clone, with the name of the process. It needs Linux 6.4.
    ///
    /// System calls that the stop has ended with EINTR continue, as if there had been no stop. If
    /// they have a relative timeout, it begins anew. The report has a note if there are any.
    ///
    /// Memory that the process shares with files or with other processes is not copied by a clone.
    /// If there are more than 16 MiB of it, it is read while the process runs, and the report has a
    /// note.
    Clone,
    /// As [`Clone`](Self::Clone) if that is estimated to shorten the pause enough, else as
    /// [`Stop`](Self::Stop). The report has a note with the reason.
    ///
    /// A clone is chosen if a stop would take more than 5 ms and a clone at most half of that, or
    /// if a stop would exceed [`Need::max_pause`] and a clone would be shorter. A process with
    /// locked memory (mlock(2)) is always stopped.
    Auto,
}

impl LinuxProcess {
    /// Opens the process with the id `pid`, as numbered in this program's pid namespace.
    ///
    /// Opening does not check whether the system permits tracing the process. That is known only
    /// when the process is [frozen](Target::freeze).
    ///
    /// If it is the id of this program, this is [`current`](Self::current).
    ///
    /// # Errors
    /// There is no such process, or it cannot be dumped: it is a kernel thread, a zombie, an x32
    /// program, or a process that another debugger traces. Or it is a debuggee of this program, and
    /// not all of its threads are stopped, or another thread of this program traces it.
    pub fn open(pid: u32) -> Result<Self, Fault> {
        if pid == std::process::id() {
            return Self::current();
        }
        attach::check_foreign(pid)?;
        let dir = ProcDir::new(pid)?;
        attach::check_supported(&dir)?;
        let debuggee = Debuggee::of(&dir)?;
        if debuggee.is_none() {
            attach::check_untraced(&dir)?;
        }
        Ok(Self {
            pid,
            debuggee,
            hold: HoldMode::default(),
            own: None,
        })
    }

    /// Opens this program, to dump itself.
    ///
    /// Like `open`, it does not check whether the system permits it.
    ///
    /// # Errors
    /// Another debugger traces this program, or `/proc` does not show it.
    pub fn current() -> Result<Self, Fault> {
        let pid = std::process::id();
        let dir = ProcDir::new(pid)?;
        attach::check_untraced(&dir)?;
        Ok(Self {
            pid,
            debuggee: None,
            hold: HoldMode::default(),
            own: Some(true),
        })
    }

    /// Leaves the thread that freezes this program out of the dump. This is for libraries that make
    /// dumps on a thread of their own. It has no effect on other processes.
    pub fn leave_out_dumping_thread(&mut self) {
        self.own = self.own.map(|_| false);
    }

    /// Sets how the process is held. The default is [`HoldMode::Stop`]. It has no effect on this
    /// program, which is always held by a clone.
    pub fn hold(&mut self, mode: HoldMode) {
        self.hold = mode;
    }

    /// Sets whether the process is held by a clone ([`HoldMode::Clone`]) or by a stop
    /// ([`HoldMode::Stop`]).
    pub fn hold_clone(&mut self, clones: bool) {
        self.hold = if clones { HoldMode::Clone } else { HoldMode::Stop };
    }

    /// Estimates how long the process would be stopped for a dump with this need. `None` if its
    /// size is not known.
    #[must_use]
    pub fn estimate(&self, need: &Need) -> Option<PauseEstimate> {
        PauseEstimate::of(&ProcDir::new(self.pid).ok()?, need)
    }
}

/// Returns whether the calling thread traces process `pid`, as the debugger of it.
#[must_use]
pub fn is_debuggee(pid: u32) -> bool {
    debuggee::is_traced_here(pid)
}

impl Target for LinuxProcess {
    fn process_id(&self) -> u32 {
        self.pid
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let dir = ProcDir::new(self.pid)?;
        if let Some(with_caller) = self.own {
            return Ok(Box::new(FrozenProcess::of_self(dir, with_caller, need)?));
        }
        let hold = self.hold;
        let opened = self.debuggee.take();
        let stopping = match Debuggee::of(&dir)?.or(opened.filter(Debuggee::is_traced)) {
            Some(debuggee) => {
                debuggee.check()?;
                Stopping::Debuggee(debuggee)
            }
            None => Stopping::Attaching(Tracer::start().map_err(|error| {
                Fault::new(
                    FaultKind::System,
                    format!("stop process {}", self.pid),
                    format!("cannot start the thread that traces it: {error}"),
                )
            })?),
        };
        Ok(Box::new(FrozenProcess::freeze(dir, stopping, need, hold)?))
    }
}
