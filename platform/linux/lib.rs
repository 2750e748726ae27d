//! Live Linux processes as dumpwright targets.
//!
//! * [`LinuxProcess`] is a process that runs already, [`Spawned`] one that is started to be dumped.
//! * [`exception`] translates what a signal handler is given.
//!
//! A process is held by `ptrace`: all its threads are stopped, read and let go. Nothing is written into it, no code runs
//! in it, and whatever happens to us it runs on. What the stop does to it, and every debugger's does: a few system
//! calls that wait (`epoll_wait`, `semop`, `sigtimedwait`, socket calls with a time-out) return early with EINTR, as
//! signal(7) warns.
//!
//! A host program gets SIGCHLD for each thread that stops, and its `waitpid(-1)` may see these stops. That does a
//! capture no harm.
//!
//! Only x86-64 is supported; on other processors every process is refused.
#![cfg(target_os = "linux")]

mod attach;
mod cgroup;
mod clock;
mod counters;
mod crash;
mod dso_debug;
mod elf;
mod exec;
mod files;
mod freeze;
mod frozen;
mod handles;
mod hold;
mod modules;
mod pagemap;
mod proc_dir;
mod process;
mod ptrace;
mod read;
mod regions;
mod registers;
mod stacks;
mod system;
#[cfg(test)]
mod testing;
mod texts;
mod threads;
mod tokens;
mod tracer;
mod xstate;

#[cfg(target_arch = "x86_64")]
pub use crash::exception;
pub use exec::{Outcome, Spawned};

use dumpwright_target::{Fault, FaultKind, Frozen, Need, Target};

use crate::freeze::Tie;
use crate::frozen::FrozenProcess;
use crate::hold::TracerOf;
use crate::proc_dir::ProcDir;
use crate::tracer::Tracer;

/// A process that is running.
#[derive(Debug)]
pub struct LinuxProcess {
    pid: u32,
}

impl LinuxProcess {
    /// The process with this id, as our pid namespace numbers it.
    ///
    /// # Errors
    /// There is no such process, or it is one that cannot be dumped: this very process, a kernel thread, a
    /// zombie, an x32 program, or one that another debugger holds. Whether the system permits it is known only when
    /// it is [frozen](Target::freeze).
    pub fn open(pid: u32) -> Result<Self, Fault> {
        attach::check_foreign(pid)?;
        let dir = ProcDir::new(pid)?;
        attach::check_supported(&dir)?;
        attach::check_untraced(&dir)?;
        Ok(Self { pid })
    }
}

impl Target for LinuxProcess {
    fn process_id(&self) -> u32 {
        self.pid
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let dir = ProcDir::new(self.pid)?;
        let tracer = Tracer::start().map_err(|error| {
            Fault::new(
                FaultKind::System,
                format!("stop process {}", self.pid),
                format!("no thread to do it: {error}"),
            )
        })?;
        Ok(Box::new(FrozenProcess::freeze(
            dir,
            TracerOf::Capture(tracer),
            Tie::Guest,
            None,
            need,
        )?))
    }
}
