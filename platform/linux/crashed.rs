//! Processes that a signal has killed, and that the kernel keeps until their core has been read.
//!
//! If `core_pattern` names a program (core(5)), the kernel writes the core into a pipe, and the
//! process exists until the pipe has been read or closed. Its memory and most of its files in
//! `/proc` can be read as before. But its threads have left their user code for good and cannot be
//! stopped by ptrace any more (observed on Linux 6.18: they are in `do_exit`), so their registers
//! come from the notes at the start of the core. Notes of 64-bit programs only are supported.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use dumpwright_target::{Cpu, Exception, Fault, FaultKind, Frozen, Need, Target, XState};
use nix::errno::Errno;

use crate::attach;
use crate::core_file::{CoreHeaders, CoreThread, FrontToBack};
use crate::freeze::{self, StopKind, StoppedThread};
use crate::frozen::{FrozenProcess, Stopping};
use crate::proc_dir::{ProcDir, field, system_fault};
use crate::registers::{LostRegisters, Registers};
use crate::{HoldMode, xstate};

/// A process that a signal has killed, and whose core the kernel is writing into a pipe.
///
/// It is for programs that `core_pattern` names (core(5)). The process exists as long as the pipe
/// is open and has not been read to its end, or, with a `core_pipe_limit` other than 0, as long as
/// the pipe is open. So a dump must be made before the memory behind the notes is read from the
/// pipe. If the pipe is closed afterwards, the kernel writes no more of the core.
#[derive(Debug)]
pub struct CrashedProcess {
    dir: ProcDir,
    threads: CrashedThreads,
    exception: Option<Exception>,
}

impl CrashedProcess {
    /// Opens the process with the id `pid`, as numbered in this program's pid namespace (`%P` in
    /// `core_pattern`). `core` is the beginning of its core: all bytes up to the end of the notes.
    /// Nothing behind the notes is read.
    ///
    /// # Errors
    /// The process does not exist any more, or the core does not belong to it, or it is no core of
    /// a 64-bit x86 program.
    pub fn open(pid: u32, core: impl Read) -> Result<Self, Fault> {
        let core = CoreHeaders::read(&mut FrontToBack::new(core), "the core on the pipe")?;
        let dir = ProcDir::new(pid)?;
        attach::check_supported(&dir)?;
        let operation = || format!("examine process {pid}");
        if dir.cpu != Cpu::Amd64 {
            let reason = "it is a 32-bit program, and its core has the registers of a 64-bit one";
            return Err(Fault::new(FaultKind::Malformed, operation(), reason));
        }
        // It has addresses that the kernel chooses at random for each program that is executed.
        let auxv = dir
            .read("auxv")
            .map_err(|error| system_fault(operation(), &error))?;
        if auxv.is_empty() || !core.notes.auxv.starts_with(without_padding(&auxv)) {
            let reason = "the core belongs to another process, because its auxiliary vector differs";
            return Err(Fault::new(FaultKind::Gone, operation(), reason));
        }
        let mut exception = core.notes.exception();
        let first = core.notes.threads.first().map(|thread| thread.tid);
        let threads = CrashedThreads::new(&dir, core.notes.threads)?;
        if let (Some(exception), Some(first)) = (&mut exception, first) {
            exception.thread_id = threads.outer_id(first).unwrap_or(first);
        }
        Ok(Self {
            dir,
            threads,
            exception,
        })
    }

    /// Returns the signal that has killed the process, for
    /// [`Request::exception`](../dumpwright/struct.Request.html#method.exception). The kind of a
    /// memory access (read or write) is not known, except for jumps.
    ///
    /// `None` if the core does not name a signal that is a crash.
    #[must_use]
    pub fn exception(&self) -> Option<&Exception> {
        self.exception.as_ref()
    }
}

/// Returns the id of the process that has connected to a socket. If the kernel sends a core through
/// it (`@` in `core_pattern`, core(5)), this is the crashed process.
///
/// # Errors
/// It is not a connected socket of the family AF_UNIX, or the process is in a pid namespace that is
/// not visible here.
pub fn peer_of(socket: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, the kernel writes at most `length` bytes to the structure,
    // which has that size and consists of integers, and the length is a local variable.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    Errno::result(got)?;
    let pid = u32::try_from(peer.pid).ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| io::Error::other("the process that has connected is not visible here"))
}

/// Returns the vector without the pairs of zeros at its end. The file in `/proc` has all places
/// that the kernel keeps for it.
fn without_padding(auxv: &[u8]) -> &[u8] {
    let used = auxv
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &auxv[..used]
}

impl Target for CrashedProcess {
    fn process_id(&self) -> u32 {
        self.dir.pid
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let stopping = Stopping::Crashed(self.threads.clone());
        let frozen = FrozenProcess::freeze(self.dir.clone(), stopping, need, HoldMode::Stop)?;
        Ok(Box::new(frozen))
    }
}

/// The threads of a crashed process.
#[derive(Debug, Clone)]
pub(crate) struct CrashedThreads {
    pid: u32,
    /// The leader first, then the others by ascending id.
    threads: Vec<StoppedThread>,
    /// The ids by those that the process itself uses.
    outer: HashMap<u32, u32>,
}

impl CrashedThreads {
    /// Joins what `/proc` and the notes have about the threads. The notes have the ids in the pid
    /// namespace of the process, `/proc` those in ours.
    fn new(dir: &ProcDir, notes: Vec<CoreThread>) -> Result<Self, Fault> {
        let listed = dir
            .thread_ids()
            .map_err(|error| system_fault(format!("list the threads of process {}", dir.pid), &error))?;
        let mut of_note: HashMap<u32, CoreThread> =
            notes.into_iter().map(|thread| (thread.tid, thread)).collect();
        let mut outer = HashMap::new();
        let mut threads = Vec::new();
        let layout = xstate::layout();
        for tid in listed {
            let mut thread = StoppedThread::found(dir, tid);
            if thread.stop != StopKind::Kernel {
                let inner = inner_id(dir, tid).unwrap_or(tid);
                let note = of_note.remove(&inner);
                if note.is_none() && freeze::has_ended(dir, tid) {
                    continue;
                }
                outer.insert(inner, tid);
                thread.stop = StopKind::Asked;
                match note {
                    Some(note) => thread.registers = Some(registers(note, layout.as_ref())),
                    None => thread.unread = Some(Errno::ENODATA),
                }
            }
            threads.push(thread);
        }
        if let Some(tid) = of_note.keys().next() {
            let reason = format!("the core has a thread {tid}, and the process has none with this id");
            let operation = format!("examine process {}", dir.pid);
            return Err(Fault::new(FaultKind::Gone, operation, reason));
        }
        Ok(Self {
            pid: dir.pid,
            threads,
            outer,
        })
    }

    /// Returns the id, in our pid namespace, of the thread that has this one in its own.
    fn outer_id(&self, inner: u32) -> Option<u32> {
        self.outer.get(&inner).copied()
    }

    /// The threads: the leader first, then the others by ascending id.
    pub(crate) fn threads(&self) -> &[StoppedThread] {
        &self.threads
    }

    /// Finds the thread with this id.
    pub(crate) fn find(&self, tid: u32) -> Option<&StoppedThread> {
        freeze::find(&self.threads, self.pid, tid)
    }

    /// Removes the registers beyond x87 and SSE.
    pub(crate) fn without_extended(mut self) -> Self {
        freeze::remove_extended(&mut self.threads);
        self
    }
}

/// The registers of a thread, with the extended ones from their own note.
fn registers(note: CoreThread, layout: Option<&dumpwright_target::XStateLayout>) -> Registers {
    let mut registers = note.registers;
    if let Some(layout) = layout {
        match XState::from_image(&note.xsave, layout) {
            Some(state) => registers.amd64.xstate = Some(state),
            None => registers.lost.push(LostRegisters {
                group: xstate::GROUP,
                error: Errno::ENODATA,
            }),
        }
    }
    registers
}

/// Returns the id of a thread in the innermost pid namespace that it belongs to. `None` if the
/// kernel does not show it, as before Linux 4.1.
fn inner_id(dir: &ProcDir, tid: u32) -> Option<u32> {
    let status = dir.process_path(format!("task/{tid}/status"));
    let status = crate::proc_dir::read_bounded(&status, 1 << 20).ok()?;
    let ids = field(&status, "NSpid")?;
    ids.split_ascii_whitespace().next_back()?.parse().ok()
}

/// What these tests would catch: a vector that is compared with its padding.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_the_vector_does_not_count() {
        assert_eq!(without_padding(&[1, 0, 2, 0, 0, 0]), [1, 0, 2]);
        assert!(without_padding(&[0; 32]).is_empty());
    }
}
