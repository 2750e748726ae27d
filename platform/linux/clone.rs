//! A copy-on-write clone of the target, so that the target can run while its memory is read.
//!
//! One stopped thread of the target is made to execute system calls ([`inject`]). Its registers are
//! then those that it had, and it continues like the others. What is made:
//!
//! 1. The thread starts a helper by `clone` with `CLONE_VM | CLONE_VFORK`, so there is no copy of
//!    memory yet. It does not run on before the helper has ended.
//! 2. The helper starts the clone. Only the page tables are copied.
//! 3. The clone closes its descriptors: it had the target's table of them, and gets an empty one.
//! 4. The helper is killed, and the thread waits for it. The clone is now a child of `init`, or of
//!    another process that adopts orphans, and no relative of the target.
//!
//! None of them has an exit signal. The target gets no SIGCHLD, and only a wait with `__WALL` or
//! `__WCLONE` could notice the helper; but all threads are stopped while it exists.
//!
//! Neither runs any code of the program. They are traced from their first moment, and the kernel
//! kills them when the tracer ends (`PTRACE_O_EXITKILL`). Until that is set, and for the thread
//! itself, [`armour`] makes sure that the end of the tracer does no harm.
//!
//! The stop has ended some system calls of the target with EINTR. They are repeated ([`restart`]).
//!
//! If anything about the target may make this unsafe, it is not tried ([`refusal`]). The target is
//! then held by the stop that it is in.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dumpwright_target::{Diagnostic, Fault, Memory, MemoryExt, Subject};
use libc::user_regs_struct;

use crate::freeze::{StopKind, TargetThreads};
use crate::proc_dir::ProcDir;
use crate::ptrace::Batch;
use crate::regions::Mapping;
use crate::tracer::Tracer;
use crate::xstate;

mod armour;
mod inject;
pub(crate) mod refusal;
pub(crate) mod restart;

use armour::{Frames, Instructions};
use inject::{CallProgress, Executor, NotMade};
pub(crate) use refusal::{CloneRefusal, Preparation};

/// The number of threads that are examined for one that can execute system calls.
const CANDIDATES: usize = 256;

/// How long an injected call may take, and how much more for each page that is copied.
const PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE_A_PAGE: Duration = Duration::from_micros(1);

/// How often a call is repeated that the kernel has interrupted.
const ATTEMPTS: usize = 4;

/// How often the tracer, and the thread, look whether a killed process has ended.
const LOOKS: usize = 10_000;

/// A clone of the target. It never runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClonedProcess {
    pub(crate) pid: u32,
    /// The number of system calls of the target that ended with EINTR because of the stop, and that
    /// the kernel repeats.
    pub(crate) repeated: usize,
}

impl ClonedProcess {
    /// The note about repeated system calls in the report of a dump.
    pub(crate) fn diagnostic(self) -> Option<Diagnostic> {
        let calls = match self.repeated {
            0 => return None,
            1 => "a system call".to_owned(),
            count => format!("{count} system calls"),
        };
        let reason = format!(
            "the stop would have ended {calls} with EINTR, which continued instead; a timeout that is relative began anew"
        );
        Some(Diagnostic::note(Subject::Process, reason))
    }

    /// Ends it, and waits until the kernel has freed its memory.
    pub(crate) fn end(self, tracer: &Tracer<'_>) {
        if let Err(fault) = end_all(tracer, &[self.pid]) {
            tracing::debug!(pid = self.pid, %fault, "the clone ended with its tracer");
        }
    }
}

/// A thread that can execute system calls, and what it needs for them.
struct Candidate {
    tid: u32,
    /// The registers with which it continues.
    registers: user_regs_struct,
    /// Whether these make the kernel repeat a call that ended with EINTR.
    repeats: bool,
    mask: u64,
    frames: Frames,
    /// What is now where the frames will be.
    before: Vec<u8>,
}

/// The processes that were started.
#[derive(Debug, Default)]
struct Started {
    helper: Option<u32>,
    clone: Option<u32>,
}

/// Why there is no clone.
enum NoClone {
    Refused(String),
    NotMade(NotMade),
}

impl From<NotMade> for NoClone {
    fn from(not_made: NotMade) -> Self {
        Self::NotMade(not_made)
    }
}

impl From<Fault> for NoClone {
    fn from(fault: Fault) -> Self {
        Self::NotMade(NotMade::Tracer(fault))
    }
}

/// Makes a clone of the process whose threads are stopped. The inner result is the reason why
/// there is none; the threads are stopped as before then. No call takes longer than `limit`.
///
/// # Errors
/// The threads run, because the tracer has ended or had to be ended, or the target has ended.
pub(crate) fn make(
    preparation: &Preparation,
    tracer: &Tracer<'_>,
    threads: &mut TargetThreads,
    dir: &ProcDir,
    mappings: &[Mapping],
    memory: &mut dyn Memory,
    limit: Option<Duration>,
) -> Result<Result<ClonedProcess, CloneRefusal>, Fault> {
    let candidate = match find_thread(preparation, tracer, threads, dir, mappings, memory)? {
        Ok(candidate) => candidate,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Err(error) = write(dir.path("mem"), candidate.frames.at, &candidate.frames.bytes) {
        return Ok(Err(CloneRefusal(format!(
            "its memory cannot be written ({error})"
        ))));
    }
    let pages = u32::try_from(preparation.pages).unwrap_or(u32::MAX);
    let patience = PATIENCE + PATIENCE_A_PAGE * pages;
    let executor = Executor {
        tracer,
        tid: candidate.tid,
        registers: injected(&candidate, preparation.instructions),
        patience: limit.map_or(patience, |limit| patience.min(limit)),
    };
    let since = Instant::now();
    let mut started = Started::default();
    let made = start(&executor, &candidate.frames, dir.path("mem"), &mut started);
    let made = match made {
        Ok(()) => end_helper(&executor, &mut started),
        // The thread still waits for the helper.
        Err(NoClone::Refused(reason)) => match end_helper(&executor, &mut started) {
            Ok(()) => Err(NoClone::Refused(reason)),
            Err(worse) => Err(worse),
        },
        Err(not_made) => Err(not_made),
    };
    if let Err(NoClone::NotMade(not_made)) = &made
        && let Some(fault) = not_made.fatal(dir.pid, candidate.tid)
    {
        let ids: Vec<u32> = started.helper.into_iter().chain(started.clone).collect();
        let _ = end_all(tracer, &ids);
        return Err(fault);
    }
    // The thread waits for the helper, if there is one.
    let mut strays: Vec<u32> = started.helper.take().into_iter().collect();
    let mut batch = Batch::new();
    for pid in &strays {
        batch.kill(*pid, libc::SIGKILL);
    }
    tracer.perform(batch)?;
    // The thread has to be returned to its registers, whatever has happened.
    let settled = executor.settle(&candidate.registers, candidate.mask, &mut strays);
    let stop = match settled {
        Ok(stop) => stop,
        // The caller ends the tracer, and the thread continues through its frame.
        Err(not_made) => {
            let fatal = not_made.fatal(dir.pid, candidate.tid);
            return Err(fatal.unwrap_or_else(|| stuck(dir)));
        }
    };
    threads.now_in(candidate.tid, stop);
    // The threads are still stopped. A failure leaves bytes where no program keeps any.
    if let Err(error) = write(dir.path("mem"), candidate.frames.at, &candidate.before) {
        tracing::debug!(%error, "the frames stay below the stack");
    }
    let pid = match (made, started.clone) {
        (Ok(()), Some(pid)) => pid,
        (made, clone) => {
            strays.extend(clone);
            end_all(tracer, &strays)?;
            return Ok(Err(reason_of(made)));
        }
    };
    let path = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    if let Err(error) = write(path("mem"), candidate.frames.at, &candidate.before) {
        end_all(tracer, &[pid])?;
        return Ok(Err(CloneRefusal(format!(
            "the memory of the clone cannot be written ({error})"
        ))));
    }
    // If the memory that it needs runs out, the kernel should end the clone, and not the target.
    if let Err(error) = std::fs::write(path("oom_score_adj"), "1000") {
        tracing::debug!(%error, "the clone is as likely as the target to be killed if memory runs out");
    }
    let repeated = restart::repeat_all(tracer, threads.held(), candidate.tid, dir)?;
    tracing::debug!(pid = dir.pid, clone = pid, tid = candidate.tid, took = ?since.elapsed(), "cloned");
    Ok(Ok(ClonedProcess {
        pid,
        repeated: repeated + usize::from(candidate.repeats),
    }))
}

fn reason_of(made: Result<(), NoClone>) -> CloneRefusal {
    CloneRefusal(match made {
        Err(NoClone::Refused(reason)) => reason,
        Err(NoClone::NotMade(NotMade::Slow)) => "the system calls for the clone took too long".to_owned(),
        Err(NoClone::NotMade(NotMade::Signal(signal))) => {
            format!("a system call for the clone caused signal {signal}")
        }
        Err(NoClone::NotMade(NotMade::Request(errno))) => {
            format!("the kernel refused a request: {}", errno.desc())
        }
        Ok(()) | Err(NoClone::NotMade(_)) => "the clone has ended".to_owned(),
    })
}

fn stuck(dir: &ProcDir) -> Fault {
    Fault::new(
        dumpwright_target::FaultKind::NotStopped,
        format!("clone process {}", dir.pid),
        "one of its threads did not return from a system call that it was made to execute; it was released",
    )
    .advise("dump it without a clone")
}

/// The registers for injected calls.
fn injected(candidate: &Candidate, instructions: Instructions) -> user_regs_struct {
    /// The trap and direction flags.
    const TRAP: u64 = 1 << 8;
    const DIRECTION: u64 = 1 << 10;
    user_regs_struct {
        rip: instructions.call,
        rsp: candidate.frames.of_thread,
        // The thread is not in a call that has to be resumed.
        orig_rax: u64::MAX,
        eflags: candidate.registers.eflags & !(TRAP | DIRECTION),
        ..candidate.registers
    }
}

/// Finds a stopped thread that can execute system calls. One that waits in a call is preferred.
fn find_thread(
    preparation: &Preparation,
    tracer: &Tracer<'_>,
    threads: &TargetThreads,
    dir: &ProcDir,
    mappings: &[Mapping],
    memory: &mut dyn Memory,
) -> Result<Result<Candidate, CloneRefusal>, Fault> {
    if let Some(reason) = refusal::of_stops(threads.held()) {
        return Ok(Err(reason));
    }
    if !preparation.instructions.are_there(memory) {
        let reason = "its code has changed since it was examined";
        return Ok(Err(CloneRefusal(reason.to_owned())));
    }
    let asked = threads.held().iter().filter(|held| held.stop == StopKind::Asked);
    let ids: Vec<u32> = asked.map(|held| held.tid).take(CANDIDATES).collect();
    // SAFETY: the structure consists of integers, for which zeros are valid values.
    let empty: user_regs_struct = unsafe { std::mem::zeroed() };
    let mut registers = vec![empty; ids.len()];
    let mut batch = Batch::new();
    for (tid, into) in ids.iter().zip(&mut registers) {
        batch.general_registers(*tid, into);
    }
    let read: Vec<bool> = tracer
        .perform(batch)?
        .iter()
        .map(|result| result.is_ok())
        .collect();
    let mut found: Vec<(u32, user_regs_struct)> = ids.into_iter().zip(registers).collect();
    let mut read = read.into_iter();
    found.retain(|_| read.next() == Some(true));
    found.sort_by_key(|(_, registers)| !is_in_call(registers));
    let mut reason = CloneRefusal(
        "none of its threads has stopped in a state in which it can execute system calls".to_owned(),
    );
    for (tid, mut registers) in found {
        let repeats = restart::repeat(&mut registers, dir);
        let mut mask = 0;
        let mut dispatch = [0_u64; 4];
        let mut sequences = [0_u64; 3];
        let mut state = xstate::buffer();
        let (dispatch_known, sequences_known) = {
            let mut batch = Batch::new();
            batch.signal_mask(tid, &mut mask);
            batch.structure(refusal::GET_SYSCALL_USER_DISPATCH_CONFIG, tid, &mut dispatch);
            batch.structure(refusal::GET_RSEQ_CONFIGURATION, tid, &mut sequences);
            xstate::ask(tid, &mut state, &mut batch);
            let results = tracer.perform(batch)?;
            if results.at(0).is_err() || results.at(3).is_err() {
                continue;
            }
            (results.at(1).is_ok(), results.at(2).is_ok())
        };
        let refused = refusal::of_dispatch(dispatch_known.then_some(dispatch[0]))
            .or_else(|| refusal::of_filter(dir, tid))
            .or_else(|| {
                let pointer = sequences_known.then_some(sequences[0]);
                (!is_in_call(&registers)).then(|| refusal::of_sequence(pointer, memory))?
            });
        if let Some(refused) = refused {
            reason = refused;
            continue;
        }
        let frames = Frames::new(
            &registers,
            mask,
            state.bytes(),
            preparation.instructions,
            mappings,
        );
        let frames = match frames {
            Ok(frames) => frames,
            Err(refused) => {
                reason = refused;
                continue;
            }
        };
        let before = memory.up_to(frames.at, frames.bytes.len());
        if before.len() == frames.bytes.len() {
            return Ok(Ok(Candidate {
                tid,
                registers,
                repeats,
                mask,
                frames,
                before,
            }));
        }
        reason = CloneRefusal::new("the memory below the stack pointers of its threads cannot be read");
    }
    Ok(Err(reason))
}

/// Whether the thread was stopped in a system call, and not in user code.
fn is_in_call(registers: &user_regs_struct) -> bool {
    registers.orig_rax.cast_signed() >= 0
}

/// Starts the helper, and by it the clone, which is left without descriptors.
fn start(
    thread: &Executor<'_>,
    frames: &Frames,
    memory: PathBuf,
    started: &mut Started,
) -> Result<(), NoClone> {
    const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEVFORK;
    let options = |tid, options| -> Result<(), NotMade> {
        let mut batch = Batch::new();
        batch.set_options(tid, options);
        thread.tracer.perform(batch)?.at(0).map_err(NotMade::Request)
    };
    let of_clones = user_regs_struct {
        rsp: frames.of_clones,
        ..thread.registers
    };
    let executor = |tid| Executor {
        tid,
        registers: of_clones,
        ..*thread
    };
    options(thread.tid, OPTIONS)?;
    let arguments = [libc::PR_GET_CHILD_SUBREAPER as u64, frames.scratch, 0, 0];
    let asked = thread.begin(libc::SYS_prctl, arguments, Some(&u64::MAX))?;
    let mut adopts = [0; 4];
    let read = File::open(memory).and_then(|memory| memory.read_exact_at(&mut adopts, frames.scratch));
    let reason = match (asked, read, adopts) {
        (CallProgress::Returned(0), Ok(()), [0, 0, 0, 0]) => None,
        (CallProgress::Returned(0), Ok(()), _) => Some("it adopts"),
        _ => Some("it is not known whether it adopts"),
    };
    if let Some(adopts) = reason {
        let reason = format!(
            "{adopts} the orphans of its children (PR_SET_CHILD_SUBREAPER), and the clone would be one"
        );
        return Err(NoClone::Refused(reason));
    }

    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_FS;
    let helper = begin_clone(thread, flags, frames)?;
    started.helper = Some(helper);
    let helper = executor(helper);
    helper.wait()?;
    options(helper.tid, libc::PTRACE_O_EXITKILL | OPTIONS)?;
    // Not CLONE_FS: the target's execve of a program with set-user-id would not change the user.
    let clone = begin_clone(&helper, libc::CLONE_FILES, frames)?;
    started.clone = Some(clone);
    let clone = executor(clone);
    clone.wait()?;
    options(clone.tid, libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD)?;
    let all = [0, u32::MAX.into(), libc::CLOSE_RANGE_UNSHARE.into(), 0];
    match clone.call(libc::SYS_close_range, all)? {
        0 => Ok(()),
        error => Err(NoClone::Refused(format!(
            "the clone cannot close its descriptors: {}",
            described(error)
        ))),
    }
}

/// Makes a call of clone(2), up to the event that reports the new process.
fn begin_clone(executor: &Executor<'_>, flags: libc::c_int, frames: &Frames) -> Result<u32, NoClone> {
    /// What the kernel returns if a signal is pending (`ERESTARTNOINTR`).
    const INTERRUPTED: i64 = -513;
    let arguments = [flags as u64, frames.of_clones, 0, 0];
    let mut result = INTERRUPTED;
    for _ in 0..ATTEMPTS {
        result = match executor.begin(libc::SYS_clone, arguments, None)? {
            CallProgress::Started(pid) => return Ok(pid),
            CallProgress::Returned(result) => result,
        };
        if result != INTERRUPTED {
            break;
        }
    }
    Err(NoClone::Refused(match i32::try_from(-result) {
        Ok(libc::EAGAIN) => {
            "the system allows no more processes (EAGAIN): RLIMIT_NPROC or pids.max is reached".to_owned()
        }
        Ok(libc::ENOMEM) => "the system has no memory for it (ENOMEM)".to_owned(),
        _ if result == INTERRUPTED => "a signal came in between".to_owned(),
        _ => format!("clone failed: {}", described(result)),
    }))
}

fn described(result: i64) -> String {
    match i32::try_from(-result) {
        Ok(errno) if errno > 0 => nix::Error::from_raw(errno).desc().to_owned(),
        _ => format!("unexpected result {result}"),
    }
}

/// Ends the helper, if it was started, and lets the thread wait for it.
fn end_helper(thread: &Executor<'_>, started: &mut Started) -> Result<(), NoClone> {
    let Some(helper) = started.helper.take() else {
        return Ok(());
    };
    end_all(thread.tracer, &[helper])?;
    // The id that the target knows, in its own pid namespace.
    let id = thread.go_on()?;
    for _ in 0..LOOKS {
        let options = libc::__WALL | libc::WNOHANG;
        match thread.call(libc::SYS_wait4, [id.cast_unsigned(), 0, options as u64, 0])? {
            0 => {}
            reaped if reaped == id => return Ok(()),
            error => {
                tracing::debug!(error, "the helper was not reaped");
                return Ok(());
            }
        }
    }
    Err(NotMade::Slow.into())
}

/// Kills these traced processes, and waits until they have ended.
fn end_all(tracer: &Tracer<'_>, ids: &[u32]) -> Result<(), Fault> {
    let mut batch = Batch::new();
    for id in ids {
        batch.kill(*id, libc::SIGKILL);
    }
    tracer.perform(batch)?;
    let nap = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000,
    };
    for id in ids {
        for look in 0..LOOKS {
            let mut batch = Batch::new();
            batch.reap(*id);
            if tracer.perform(batch)?.value(0) != Ok(0) {
                break;
            }
            if look > 2 {
                let mut batch = Batch::new();
                batch.nap(&nap);
                tracer.perform(batch)?;
            }
        }
    }
    Ok(())
}

fn write(memory: PathBuf, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    File::options().write(true).open(memory)?.write_all_at(bytes, at)
}
