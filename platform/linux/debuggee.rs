//! Processes that the caller itself traces: the debuggees of a debugger that uses this library.
//!
//! A process has one tracer at most, so nothing else can stop such a process. But nothing needs to:
//! its debugger has stopped it. The registers are read on the thread that traces it, and the stops
//! are left as they are.

use dumpwright_target::{Fault, FaultKind};
use nix::errno::Errno;

use crate::freeze::{self, StopKind, StoppedThread, Tie};
use crate::proc_dir::{ProcDir, field, read_bounded, system_fault};
use crate::ptrace::{Batch, SignalInfo};
use crate::registers::Registers;
use crate::xstate;

/// The threads of a process that the caller traces and has stopped.
#[derive(Debug)]
pub(crate) struct Debuggee {
    dir: ProcDir,
    threads: Vec<StoppedThread>,
    /// The id of the thread that traces them.
    tracer: u32,
}

impl Debuggee {
    /// Reads the threads of the process in `dir`, if the calling thread traces it.
    ///
    /// # Errors
    /// The process is not stopped as a whole, or has ended.
    pub(crate) fn of(dir: &ProcDir) -> Result<Option<Self>, Fault> {
        let tracer = this_thread();
        if tracer_of(dir, dir.task) != Some(tracer) {
            return Ok(None);
        }
        let mut debuggee = Self {
            dir: dir.clone(),
            threads: Vec::new(),
            tracer,
        };
        let mut running = Vec::new();
        for tid in debuggee.thread_ids()? {
            let mut thread = StoppedThread::found(dir, tid);
            if thread.stop != StopKind::Kernel {
                match stop_of(tid) {
                    Some(stop) => thread.stop = stop,
                    None => {
                        running.push(tid);
                        continue;
                    }
                }
            }
            debuggee.threads.push(thread);
        }
        // A thread that has ended is not stopped, and stays listed until it is reaped.
        running.retain(|tid| !freeze::has_ended(dir, *tid));
        if let Some(tid) = running.first() {
            return Err(debuggee.running(*tid));
        }
        let layout = xstate::layout();
        let stopped = debuggee.threads.iter().filter(|held| held.stop.is_stop());
        let ids: Vec<u32> = stopped.map(|held| held.tid).collect();
        let here = |batch: Batch<'_>| Ok::<_, Fault>(batch.perform_here());
        let mut read = Registers::read_all(&ids, layout.as_ref(), here)?.into_iter();
        for held in debuggee.threads.iter_mut().filter(|held| held.stop.is_stop()) {
            match read.next() {
                Some(Ok(registers)) => held.registers = Some(registers),
                Some(Err(errno)) => held.unread = Some(errno),
                None => {}
            }
        }
        Ok(Some(debuggee))
    }

    /// Whether the thread that traced the process still does.
    pub(crate) fn is_traced(&self) -> bool {
        tracer_of(&self.dir, self.dir.task) == Some(self.tracer)
    }

    /// Checks that the threads are still the same, and stopped by the same tracer. It may be called
    /// on any thread.
    ///
    /// # Errors
    /// They are not.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        for tid in self.thread_ids()? {
            let stat = self.dir.thread_stat(tid);
            let as_before = match self.find(tid) {
                Some(held) if held.stop == StopKind::Kernel => true,
                Some(_) => {
                    tracer_of(&self.dir, tid) == Some(self.tracer) && stat.is_ok_and(|stat| stat.state == 't')
                }
                None => stat.is_ok_and(|stat| stat.has_ended()),
            };
            if !as_before {
                return Err(self.running(tid));
            }
        }
        Ok(())
    }

    /// The threads: the leader first, then the others by ascending id.
    pub(crate) fn threads(&self) -> &[StoppedThread] {
        &self.threads
    }

    /// Finds the thread with this id.
    pub(crate) fn find(&self, tid: u32) -> Option<&StoppedThread> {
        freeze::find(&self.threads, self.dir.pid, tid)
    }

    /// Removes the registers beyond x87 and SSE.
    pub(crate) fn without_extended(mut self) -> Self {
        freeze::remove_extended(&mut self.threads);
        self
    }

    fn thread_ids(&self) -> Result<Vec<u32>, Fault> {
        let ids = self.dir.thread_ids();
        ids.map_err(|error| system_fault(self.operation(), &error))
    }

    fn operation(&self) -> String {
        format!("dump process {}, which this program traces", self.dir.pid)
    }

    fn running(&self, tid: u32) -> Fault {
        let reason = if tracer_of(&self.dir, tid) == Some(self.tracer) {
            format!("its thread {tid} is not stopped")
        } else {
            format!("its thread {tid} is not traced by the same thread of this program")
        };
        Fault::new(FaultKind::NotStopped, self.operation(), reason)
            .advise("attach to all of its threads and stop them, or detach from all of them")
    }
}

/// Whether the calling thread traces a live thread of process `pid`.
pub(crate) fn is_traced_here(pid: u32) -> bool {
    ProcDir::new(pid).is_ok_and(|dir| tracer_of(&dir, dir.task) == Some(this_thread()))
}

/// Returns the id of the calling thread.
pub(crate) fn this_thread() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

/// Returns the stop of a thread that this thread traces, or `None` if it is not stopped.
fn stop_of(tid: u32) -> Option<StopKind> {
    let mut info = SignalInfo::EMPTY;
    let mut batch = Batch::new();
    batch.siginfo(tid, &mut info);
    match batch.perform_here().at(0) {
        Ok(()) => Some(StopKind::of(&info, Tie::Guest)),
        // A job-control stop of a thread that was attached to with PTRACE_ATTACH has none.
        Err(Errno::EINVAL) => Some(StopKind::Group),
        Err(_) => None,
    }
}

/// Returns the id of the thread that traces thread `tid`, if there is one.
pub(crate) fn tracer_of(dir: &ProcDir, tid: u32) -> Option<u32> {
    let status = read_bounded(&dir.process_path(format!("task/{tid}/status")), 1 << 20).ok()?;
    let tracer = field(&status, "TracerPid")?.parse().ok()?;
    Some(tracer).filter(|tracer| *tracer != 0)
}
