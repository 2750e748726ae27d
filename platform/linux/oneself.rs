//! A clone of this process, made by this process.
//!
//! No thread can stop all threads of its process and then look at them. So the calling thread goes
//! on, and a [helper process](DirectHelper) stops the others:
//!
//! 1. All memory that is needed is allocated ([`room`]), and the helper is started. All signals are
//!    blocked on the calling thread.
//! 2. The helper stops the other threads and reads their registers ([`stop`]). It also stops the
//!    calling thread for a moment, while that waits for it, and reads its registers.
//! 3. The calling thread starts the clone. From its registers to the clone, it has executed nothing
//!    but the call, so its stack in the clone fits its registers.
//! 4. The helper releases the threads, and ends.
//!
//! Between the first stop and the release, the calling thread allocates and frees nothing and takes
//! no lock, because a thread that is stopped may be the one that has it. Everything that follows
//! happens while the program runs: the memory is read from the clone, and callbacks may do what
//! they like.
//!
//! The clone is a child of the calling thread without an exit signal: the program gets no SIGCHLD,
//! and only a wait with `__WALL` or `__WCLONE` could notice it. It executes nothing but system
//! calls: it closes its descriptors and waits to be killed. It ends with the calling thread.

use std::fs::File;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dumpwright_target::{Cpu, Diagnostic, Fault, FaultKind, Need, Subject, XStateLayout};
use libc::c_int;
use nix::errno::Errno;

use crate::attach;
use crate::clock::swap_signal_mask;
use crate::clone::{ClonedProcess, refusal};
use crate::freeze::{self, StopKind, StoppedThread, order};
use crate::helper::{DirectHelper, StartedClone};
use crate::hold::too_early;
use crate::proc_dir::{ProcDir, system_fault};
use crate::regions;
use crate::registers::Registers;
use crate::threads::{ThreadEntry, ThreadSources};
use crate::tracer::{PATIENCE, Watch, helper_killed};

mod room;
mod stop;

use room::StopRoom;
use stop::{NoStop, OwnStop, StopOutcome};

/// How often the stop is repeated if there are more threads than expected.
const ATTEMPTS: u32 = 8;

/// A clone of this process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct OwnClone {
    pid: u32,
    /// `None` if the kernel has no process descriptors.
    pidfd: Option<OwnedFd>,
    /// It ends with the thread that has started it, and only that thread can wait for it.
    on_its_thread: PhantomData<*const ()>,
}

impl OwnClone {
    fn new(started: &StartedClone) -> Self {
        // SAFETY: the kernel has just stored this descriptor of the clone, and nobody else has it.
        let pidfd = (started.pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(started.pidfd) });
        Self {
            pid: started.pid.unsigned_abs(),
            pidfd,
            on_its_thread: PhantomData,
        }
    }

    /// Its directory in `/proc`. It is a 64-bit process, like this one.
    pub(crate) fn dir(&self) -> ProcDir {
        ProcDir {
            pid: self.pid,
            task: self.pid,
            cpu: Cpu::Amd64,
        }
    }

    /// The number of its process descriptor.
    pub(crate) fn descriptor(&self) -> Option<u64> {
        let number = self.pidfd.as_ref().map(AsRawFd::as_raw_fd)?;
        u64::try_from(number).ok()
    }
}

impl Drop for OwnClone {
    fn drop(&mut self) {
        const OURS: c_int = libc::__WALL | libc::__WNOTHREAD;
        let pid = self.pid.cast_signed();
        let killed = self.pidfd.as_ref().map(|pidfd| {
            let no_info = std::ptr::null::<libc::siginfo_t>();
            // SAFETY: the call takes numbers, and a null pointer because the kernel fills in the
            // facts about the signal.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    pidfd.as_raw_fd(),
                    libc::SIGKILL,
                    no_info,
                    0,
                )
            };
            Errno::result(result)
        });
        // ESRCH: it has ended. Another thread may have waited for it, and its id may be another
        // process's now.
        if !matches!(killed, Some(Ok(_) | Err(Errno::ESRCH))) {
            // SAFETY: kill takes two numbers. The process is a child of this thread.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        loop {
            // SAFETY: waitpid takes numbers, and a null pointer because no status is wanted.
            let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), OURS) };
            if Errno::result(result) != Err(Errno::EINTR) {
                return;
            }
        }
    }
}

/// What was found out of this process in the stop, and its clone.
#[derive(Debug)]
pub(crate) struct CaughtSelf {
    /// The leader first, then the others by ascending id.
    pub(crate) threads: Vec<StoppedThread>,
    /// For each thread: its id, what `/proc` had about it, and its signal mask.
    pub(crate) entries: Vec<(u32, ThreadEntry, Option<u64>)>,
    pub(crate) clone: OwnClone,
    pub(crate) pause: Duration,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Stops the other threads of this process for a moment, and clones it. `with_caller` tells whether
/// the calling thread belongs to the threads that are reported.
///
/// # Errors
/// The system does not permit it, a clone might harm the program, or the threads did not stop in
/// time.
pub(crate) fn catch(
    dir: &ProcDir,
    with_caller: bool,
    need: &Need,
    extended: Option<&XStateLayout>,
    watch: &Arc<Watch>,
) -> Result<CaughtSelf, Fault> {
    check_clone(dir)?;
    let failed = |error| system_fault(operation(dir), &error);
    let task = File::open("/proc/self/task").map_err(failed)?;
    let mut capacity = 2 * dir.thread_ids().map_err(failed)?.len() + 64;
    for _ in 0..ATTEMPTS {
        let mut room = StopRoom::new(capacity, extended.is_some());
        let attempt = {
            let _turn = Turn::wait();
            StopAttempt {
                task: &task,
                pid: dir.pid,
                with_caller,
                need,
                watch,
            }
            .make(&mut room)?
        };
        match attempt.outcome {
            Ok(outcome) => {
                let clone = OwnClone::new(&outcome.clone);
                // A pause that was too long is reported, whether the helper has noticed it or not.
                if outcome.is_torn || watch.early().is_some() {
                    return Err(fault(dir, NoStop::Ended, watch));
                }
                let mut caught = CaughtSelf {
                    threads: Vec::new(),
                    entries: Vec::new(),
                    clone,
                    pause: attempt.pause,
                    diagnostics: attempt.note.into_iter().collect(),
                };
                let cloned = ClonedProcess {
                    pid: caught.clone.pid,
                    repeated: outcome.repeated,
                };
                caught.diagnostics.extend(cloned.diagnostic());
                let own = with_caller.then_some((attempt.caller, attempt.mask));
                caught.describe(dir, &room, &outcome, own, need, extended);
                return Ok(caught);
            }
            Err(NoStop::Full) => capacity *= 4,
            Err(reason) => return Err(fault(dir, reason, watch)),
        }
    }
    Err(fault(dir, NoStop::Growing, watch))
}

impl CaughtSelf {
    /// Adds the threads. `own` is the calling thread and its signal mask.
    fn describe(
        &mut self,
        dir: &ProcDir,
        room: &StopRoom,
        outcome: &StopOutcome,
        own: Option<(u32, u64)>,
        need: &Need,
        extended: Option<&XStateLayout>,
    ) {
        let mut results = outcome.registers.iter();
        let mut add = |tid, stop, registers: Option<Result<_, Errno>>, entry, mask| {
            let (registers, unread) = match registers {
                Some(Ok(registers)) => (Some(registers), None),
                Some(Err(errno)) => (None, Some(errno)),
                None => (None, None),
            };
            self.threads.push(StoppedThread {
                tid,
                stop,
                registers,
                unread,
                stat: None,
            });
            self.entries.push((tid, entry, mask));
        };
        let of_each = room.threads.iter().zip(room.buffers.iter().zip(&room.masks));
        for (thread, (buffers, mask)) in of_each.filter(|(thread, _)| !thread.ended) {
            let sources = ThreadSources {
                stat: thread.stat.get(),
                schedstat: thread.schedstat.get(),
                affinity: thread.affinity,
                syscall: thread.syscall.get().ok(),
            };
            let entry = ThreadEntry::of_sources(thread.tid, sources, need.thread_times);
            let (registers, mask) = match thread.stop {
                StopKind::Kernel => (Some(Ok(Registers::none())), None),
                stop if stop.is_stop() => {
                    let registers = buffers.registers(&mut results, extended);
                    let is_known = results.next().is_some_and(|result| result.is_ok());
                    (Some(registers), is_known.then_some(*mask))
                }
                _ => (None, None),
            };
            add(thread.tid, thread.stop, registers, entry, mask);
        }
        if let Some((tid, mask)) = own {
            // The requests that have stopped it.
            let mut results = results.skip(3);
            let registers = room.own.registers(&mut results, extended);
            let held = StoppedThread {
                tid,
                stop: StopKind::Asked,
                registers: None,
                unread: None,
                stat: None,
            };
            let entry = ThreadEntry::read(dir, &held, need.thread_times);
            add(tid, held.stop, Some(registers), entry, Some(mask));
        }
        self.threads.sort_unstable_by_key(|held| order(dir.pid, held.tid));
    }
}

/// One attempt to stop the threads.
struct StopAttempt<'a> {
    task: &'a File,
    pid: u32,
    with_caller: bool,
    need: &'a Need,
    watch: &'a Arc<Watch>,
}

/// What came of it.
struct AttemptedStop {
    outcome: Result<StopOutcome, NoStop>,
    pause: Duration,
    /// The calling thread, and its signal mask.
    caller: u32,
    mask: u64,
    note: Option<Diagnostic>,
}

impl StopAttempt<'_> {
    fn make(self, room: &mut StopRoom) -> Result<AttemptedStop, Fault> {
        let no_helper = |errno: Errno| {
            let reason = format!(
                "cannot start the helper process that stops the other threads: {}",
                errno.desc()
            );
            Fault::new(
                FaultKind::System,
                format!("dump process {}, this program", self.pid),
                reason,
            )
            .with_os_code(errno as i32)
            .advise("the limits for processes, or a sandbox of this program (seccomp), may forbid it")
        };
        let is_limited = is_limited_to_ancestors();
        // The handlers of signals are code of the program, which may take a lock.
        let mask = SignalMask::block_all().map_err(no_helper)?;
        let helper = DirectHelper::start(Arc::clone(self.watch)).map_err(no_helper)?;
        let mut stop = OwnStop {
            helper: &helper,
            room,
            task: self.task.as_raw_fd(),
            pid: self.pid,
            caller: nix::unistd::gettid().as_raw().unsigned_abs(),
            with_caller: self.with_caller,
            timed: self.need.thread_times,
            max_pause: self.need.max_pause,
            watch: self.watch,
            since: None,
        };
        let mut attached = stop.attach_all();
        let mut declared = None;
        if matches!(attached, Err(NoStop::Refused(..))) && is_limited {
            declared = TracerDeclared::of(helper.pid());
            attached = stop.attach_all();
        }
        let until = end_of_clone(self.need.max_clone);
        let outcome = attached.and_then(|()| stop.stop_and_clone(&until));
        stop.release();
        let (since, caller) = (stop.since, stop.caller);
        let pause = since.map_or(Duration::ZERO, |since| since.elapsed());
        // From here on, all threads run, except those that the end of the helper releases.
        drop(helper);
        let pause = self.watch.end_pause().unwrap_or(pause);
        let note = declared.as_ref().map(|_| {
            let reason = "kernel.yama.ptrace_scope is 1, so it permitted a helper process to trace it \
                          (PR_SET_PTRACER); a process that had this permission before has lost it";
            Diagnostic::note(Subject::Process, reason)
        });
        Ok(AttemptedStop {
            outcome,
            pause,
            caller,
            mask: mask.before,
            note,
        })
    }
}

/// When the clone ends by itself: a while after the end of the time that the capture has for it.
fn end_of_clone(limit: Option<Duration>) -> libc::timespec {
    /// 30 years. The kernel refuses no time of this size.
    const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let now = now.map_or(Duration::ZERO, Duration::from);
    let end = now + limit.map_or(LONGEST, |limit| limit.min(LONGEST)) + 2 * PATIENCE;
    libc::timespec {
        tv_sec: libc::time_t::try_from(end.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: end.subsec_nanos().into(),
    }
}

/// Blocks all signals on this thread until it is dropped.
struct SignalMask {
    before: u64,
}

impl SignalMask {
    fn block_all() -> Result<Self, Errno> {
        swap_signal_mask(u64::MAX).map(|before| Self { before })
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        // Restoring a valid mask does not fail.
        let _ = swap_signal_mask(self.before);
    }
}

/// Whether Yama permits tracing to ancestors only. The helper is a child.
fn is_limited_to_ancestors() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.is_ok_and(|scope| scope.trim() == "1")
}

/// The permission for one process to trace this one, until it is dropped.
struct TracerDeclared;

impl TracerDeclared {
    fn of(pid: c_int) -> Option<Self> {
        // SAFETY: this request takes a number.
        let result = unsafe { libc::prctl(libc::PR_SET_PTRACER, pid) };
        (result == 0).then_some(Self)
    }
}

impl Drop for TracerDeclared {
    fn drop(&mut self) {
        // SAFETY: this request takes a number.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, 0) };
    }
}

/// The right to stop the other threads of this process. Two threads that had it at a time would
/// stop each other.
struct Turn;

impl Turn {
    /// Waits until no other thread has it.
    fn wait() -> Self {
        let own = u64::from(std::process::id());
        // A process that was forked in the meantime has a copy that belongs to its parent.
        while TURN
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |owner| {
                (owner != own).then_some(own)
            })
            .is_err()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.store(0, Ordering::Release);
    }
}

/// The process one of whose threads has the [`Turn`], or 0.
static TURN: AtomicU64 = AtomicU64::new(0);

/// Refuses a clone that might harm the program.
fn check_clone(dir: &ProcDir) -> Result<(), Fault> {
    let refused = |reason: &str| {
        Err(Fault::new(FaultKind::Unsupported, operation(dir), reason)
            .advise("dump it from another process: `dumpwright dump --pid …`"))
    };
    let namespace = |name: &str| std::fs::read_link(dir.path("ns").join(name));
    match (namespace("pid"), namespace("pid_for_children")) {
        (Ok(own), Ok(of_children)) if own == of_children => {}
        _ => {
            return refused(
                "its children are, or may be, in another pid namespace, and its clone would be a child",
            );
        }
    }
    // Kernels without smaps do not tell.
    let mappings = regions::mappings_with_flags(dir).unwrap_or_default();
    match refusal::of_mappings(&mappings) {
        Some(reason) => refused(&format!("it cannot be cloned: {reason}")),
        None => Ok(()),
    }
}

fn operation(dir: &ProcDir) -> String {
    format!("dump process {}, this program", dir.pid)
}

/// The fault for a stop that has failed. The threads run.
fn fault(dir: &ProcDir, reason: NoStop, watch: &Watch) -> Fault {
    let not_stopped = |reason: String| Fault::new(FaultKind::NotStopped, operation(dir), reason);
    match reason {
        NoStop::Refused(tid, errno) => attach::refusal(dir, tid, errno),
        NoStop::Slow(tid) => not_stopped(format!(
            "thread {tid} did not stop within {} s",
            freeze::PATIENCE.as_secs()
        ))
        .advise("is the machine, or the process's cgroup, short of processor time?"),
        NoStop::Growing | NoStop::Full => {
            not_stopped("it had new threads after each attempt to stop them all".to_owned())
        }
        NoStop::Unlisted(errno) => system_fault(operation(dir), &errno.into()),
        NoStop::Uncloned(errno) => {
            let fault = Fault::new(
                FaultKind::System,
                operation(dir),
                format!("the system permits no clone of it: {}", errno.desc()),
            );
            fault.with_os_code(errno as i32).advise(match errno {
                Errno::EAGAIN => "the limit for processes is reached (RLIMIT_NPROC or pids.max)",
                Errno::ENOMEM => {
                    "there is too little memory for a copy of its page tables, or vm.overcommit_memory is 2"
                }
                _ => "a sandbox of this program (seccomp) may forbid it; dump it from another process",
            })
        }
        NoStop::Ended => match watch.early() {
            Some(early) => too_early(dir.pid, early),
            None => helper_killed(),
        },
    }
}
