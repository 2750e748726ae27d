//! Stops the other threads of this process, reads their registers, and clones the process.
//!
//! While they are stopped, this thread must not wait for anything that they may hold. So nothing in
//! this file allocates, frees, locks or formats; all memory is in the [`StopRoom`]. It does the
//! same as [`freeze`](crate::freeze), whose comments explain the order of the requests.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::room::{FoundThread, ShortText, StopRoom, affinity, is_socket, read_text};
use crate::clone::restart;
use crate::freeze::{NAPS, PASSES, PATIENCE, StopKind, Tie, UNINTERRUPTIBLE_PATIENCE};
use crate::helper::{DirectHelper, HelperEnded, StartedClone};
use crate::ptrace::{Batch, Results, SignalInfo};
use crate::tracer::{NAME_OF_HELPER, Watch};

const NO_TIME: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Why there is no clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoStop {
    /// There are more threads than there is room for.
    Full,
    /// The system does not permit to trace this thread.
    Refused(u32, Errno),
    /// This thread did not stop in time.
    Slow(u32),
    /// New threads appeared all the time.
    Growing,
    /// The threads cannot be listed.
    Unlisted(Errno),
    /// The system permits no clone.
    Uncloned(Errno),
    /// The helper has ended, so the threads run.
    Ended,
}

impl From<HelperEnded> for NoStop {
    fn from(_: HelperEnded) -> Self {
        Self::Ended
    }
}

/// A stop of the other threads.
pub(super) struct OwnStop<'a> {
    pub(super) helper: &'a DirectHelper,
    pub(super) room: &'a mut StopRoom,
    /// The directory `/proc/self/task`.
    pub(super) task: RawFd,
    pub(super) pid: u32,
    /// The calling thread.
    pub(super) caller: u32,
    /// Whether its registers are read.
    pub(super) with_caller: bool,
    /// Whether the times of the threads are read.
    pub(super) timed: bool,
    pub(super) max_pause: Option<Duration>,
    pub(super) watch: &'a Watch,
    /// When the pause began.
    pub(super) since: Option<Instant>,
}

/// What was made of it.
pub(super) struct StopOutcome {
    pub(super) clone: StartedClone,
    /// The results of the requests for registers, in the order of the threads that are stopped.
    pub(super) registers: Results,
    /// The number of system calls that the kernel repeats, because they would have ended with
    /// EINTR.
    pub(super) repeated: usize,
    /// The helper ended, or may have ended, before the clone was made: some threads may have run.
    pub(super) is_torn: bool,
}

impl OwnStop<'_> {
    /// Attaches to all threads without stopping them.
    pub(super) fn attach_all(&mut self) -> Result<(), NoStop> {
        let mut batch = Batch::reusing(std::mem::take(&mut self.room.calls));
        batch.call_tracer(NAME_OF_HELPER);
        self.room.calls = perform(self.helper, batch)?.into_calls();
        self.attach().map(drop)
    }

    /// Stops all threads, reads their registers and makes the clone, which ends at the time
    /// `until`. The threads have to be [released](Self::release) in any case.
    pub(super) fn stop_and_clone(&mut self, until: &libc::timespec) -> Result<StopOutcome, NoStop> {
        for pass in 0..PASSES {
            let unknown = self.attach()?;
            if pass > 0 && !unknown && self.still_holding()? {
                self.read_texts();
                let (clone, registers) = self.read_and_clone(until)?;
                // The end of the helper is noted before it releases the threads.
                let is_torn = self.helper.has_ended();
                return Ok(StopOutcome {
                    clone,
                    registers,
                    repeated: self.repeat_calls().unwrap_or(0),
                    is_torn,
                });
            }
            self.interrupt_and_collect()?;
        }
        Err(NoStop::Growing)
    }

    /// Releases all threads that have stopped. The end of the helper releases the others.
    pub(super) fn release(&mut self) {
        let StopRoom {
            threads,
            infos,
            calls,
            ..
        } = &mut *self.room;
        let mut batch = Batch::reusing(std::mem::take(calls));
        let awaited = threads.iter().zip(infos.iter_mut());
        for (thread, info) in awaited.filter(|(thread, _)| thread.is_awaited()) {
            batch.siginfo(thread.tid, info);
        }
        let Ok(results) = perform(self.helper, batch) else {
            return;
        };
        // `stop` keeps saying that no registers were asked for.
        let awaited = threads.iter_mut().zip(infos.iter());
        let awaited = awaited.filter(|(thread, _)| thread.is_awaited());
        for ((thread, info), result) in awaited.zip(results.iter()) {
            thread.late = result.is_ok().then(|| StopKind::of(info, Tie::Guest));
        }
        let mut batch = Batch::reusing(results.into_calls());
        let stopped = |thread: &&FoundThread| thread.is_stopped() || thread.late.is_some();
        for thread in threads.iter().filter(stopped) {
            let signal = match thread.late.unwrap_or(thread.stop) {
                StopKind::Signal(signal) => signal,
                _ => 0,
            };
            batch.detach(thread.tid, signal);
        }
        if let Ok(results) = perform(self.helper, batch) {
            *calls = results.into_calls();
        }
    }

    /// Attaches to the threads that are not known yet. Returns whether there were any.
    fn attach(&mut self) -> Result<bool, NoStop> {
        /// From `linux/sched.h`; `freeze` has the reason.
        const PF_IO_WORKER: u64 = 0x10;
        if !self.room.list(self.task).map_err(NoStop::Unlisted)? {
            return Err(NoStop::Full);
        }
        let mut unknown = false;
        for at in 0..self.room.listed.len() {
            let tid = self.room.listed[at];
            if tid == self.caller {
                continue;
            }
            let (index, is_new) = self.room.note(tid).ok_or(NoStop::Full)?;
            if !is_new {
                continue;
            }
            let thread = &mut self.room.threads[index];
            read_text(self.task, tid, b"stat", &mut thread.stat);
            match thread.stat.state_and_flags() {
                // It stays in the list: a leader, or a thread that has ended since the helper has
                // attached to it.
                Ok((b'Z' | b'X' | b'x', _)) => thread.ended = true,
                Ok((_, flags)) if flags & PF_IO_WORKER != 0 && tid != self.pid => {
                    thread.stop = StopKind::Kernel;
                    unknown = true;
                }
                Err(Errno::ENOENT | Errno::ESRCH) => {
                    thread.ended = true;
                    unknown = true;
                }
                // Another error says nothing about the thread.
                Ok(_) | Err(_) => {}
            }
        }
        let StopRoom { threads, calls, .. } = &mut *self.room;
        let mut batch = Batch::reusing(std::mem::take(calls));
        let is_new = |thread: &FoundThread| thread.fresh && !thread.ended && thread.stop == StopKind::Pending;
        for thread in threads.iter().filter(|thread| is_new(thread)) {
            batch.seize(thread.tid);
        }
        let results = perform(self.helper, batch)?;
        let mut refused = None;
        for (thread, result) in threads
            .iter_mut()
            .filter(|thread| is_new(thread))
            .zip(results.iter())
        {
            match result {
                Ok(()) => unknown = true,
                Err(Errno::ESRCH) => {
                    thread.ended = true;
                    unknown = true;
                }
                Err(errno) => {
                    // A thread that has ended cannot be traced.
                    read_text(self.task, thread.tid, b"stat", &mut thread.stat);
                    let known = thread.stat.state_and_flags();
                    thread.ended = has_ended(known);
                    unknown |= known.is_err();
                    if !thread.ended {
                        // It is not ours to release.
                        thread.ended = true;
                        refused = refused.or(Some(NoStop::Refused(thread.tid, errno)));
                    }
                }
            }
        }
        *calls = results.into_calls();
        for thread in threads.iter_mut() {
            thread.fresh = false;
        }
        refused.map_or(Ok(unknown), Err)
    }

    /// Interrupts all pending threads, and waits until none is pending.
    fn interrupt_and_collect(&mut self) -> Result<(), NoStop> {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.watch.begin_pause(self.max_pause);
        }
        let mut last_stop = Instant::now();
        let mut nap = Duration::ZERO;
        loop {
            let time = libc::timespec {
                tv_sec: 0,
                tv_nsec: libc::c_long::from(nap.subsec_nanos()),
            };
            let StopRoom {
                threads,
                infos,
                calls,
                ..
            } = &mut *self.room;
            let mut batch = Batch::reusing(std::mem::take(calls));
            if nap.is_zero() {
                for thread in threads.iter().filter(|thread| thread.is_awaited()) {
                    batch.interrupt(thread.tid);
                }
            } else {
                batch.nap(&time);
            }
            let skipped = batch.len();
            let awaited = threads.iter().zip(infos.iter_mut());
            for (thread, info) in awaited.filter(|(thread, _)| thread.is_awaited()) {
                batch.siginfo(thread.tid, info);
            }
            let results = perform(self.helper, batch)?;
            if note_stops(threads.iter_mut(), infos, &results, skipped) {
                last_stop = Instant::now();
            }
            *calls = results.into_calls();
            let is_pending = |thread: &FoundThread| thread.is_awaited() && thread.stop == StopKind::Pending;
            if !threads.iter().any(is_pending) {
                return Ok(());
            }
            if nap == NAPS.1 {
                self.give_up_on(last_stop.elapsed())?;
            }
            nap = (nap * 2).clamp(NAPS.0, NAPS.1);
        }
    }

    /// Notes which pending threads have ended, and gives up on those that cannot stop.
    fn give_up_on(&mut self, waited: Duration) -> Result<(), NoStop> {
        for thread in &mut self.room.threads {
            if !thread.is_awaited() || thread.stop != StopKind::Pending {
                continue;
            }
            let mut now = ShortText::<1024>::UNREAD;
            read_text(self.task, thread.tid, b"stat", &mut now);
            let known = now.state_and_flags();
            if has_ended(known) {
                thread.ended = true;
            } else if matches!(known, Ok((b'D', _))) && waited > UNINTERRUPTIBLE_PATIENCE {
                thread.stop = StopKind::Stuck;
                read_text(self.task, thread.tid, b"syscall", &mut thread.syscall);
            } else if waited > PATIENCE {
                return Err(NoStop::Slow(thread.tid));
            }
        }
        Ok(())
    }

    /// Whether every thread that had stopped is still stopped, and none has ended.
    fn still_holding(&mut self) -> Result<bool, NoStop> {
        let StopRoom {
            threads,
            infos,
            calls,
            ..
        } = &mut *self.room;
        let mut batch = Batch::reusing(std::mem::take(calls));
        let stopped = threads.iter().zip(infos.iter_mut());
        for (thread, info) in stopped.filter(|(thread, _)| thread.is_stopped()) {
            batch.siginfo(thread.tid, info);
        }
        let results = perform(self.helper, batch)?;
        let mut holds = true;
        let stopped = threads.iter_mut().filter(|thread| thread.is_stopped());
        for (thread, result) in stopped.zip(results.iter()) {
            if result.is_err() {
                holds = false;
                thread.stop = StopKind::Pending;
                read_text(self.task, thread.tid, b"stat", &mut thread.stat);
                thread.ended = has_ended(thread.stat.state_and_flags());
            }
        }
        *calls = results.into_calls();
        Ok(holds)
    }

    /// Reads the facts about threads that must belong to the same moment as their registers.
    fn read_texts(&mut self) {
        if !self.timed {
            return;
        }
        for thread in self.room.threads.iter_mut().filter(|thread| !thread.ended) {
            read_text(self.task, thread.tid, b"stat", &mut thread.stat);
            read_text(self.task, thread.tid, b"schedstat", &mut thread.schedstat);
            thread.affinity = affinity(thread.tid);
        }
    }

    /// Reads the registers of all threads that have stopped, and of the calling one, and makes the
    /// clone.
    fn read_and_clone(&mut self, until: &libc::timespec) -> Result<(StartedClone, Results), NoStop> {
        let StopRoom {
            threads,
            buffers,
            masks,
            own,
            register_calls,
            ..
        } = &mut *self.room;
        let mut batch = Batch::reusing(std::mem::take(register_calls));
        let of_each = threads.iter().zip(buffers.iter_mut().zip(masks.iter_mut()));
        for (thread, (buffers, mask)) in of_each.filter(|(thread, _)| thread.is_stopped()) {
            buffers.ask(thread.tid, &mut batch);
            batch.signal_mask(thread.tid, mask);
        }
        if self.with_caller {
            // It waits for the helper meanwhile, and is stopped only for this.
            batch.seize(self.caller);
            batch.interrupt(self.caller);
            batch.wait_for_stop(self.caller);
            own.ask(self.caller, &mut batch);
            batch.detach(self.caller, 0);
        }
        // There is always something to wait for.
        batch.nap(&NO_TIME);
        let mut clone = Err(Errno::ESRCH);
        let results = batch.perform_by(|mut calls| {
            clone = self.helper.perform_and_clone(&mut calls, until)?;
            Ok::<_, HelperEnded>(calls)
        })?;
        match clone {
            Ok(clone) => Ok((clone, results)),
            Err(errno) => {
                // To free it could take a lock that a stopped thread holds.
                *register_calls = results.into_calls();
                Err(NoStop::Uncloned(errno))
            }
        }
    }

    /// Makes the kernel repeat the system calls that the stop has ended with EINTR.
    fn repeat_calls(&mut self) -> Result<usize, NoStop> {
        let StopRoom {
            threads,
            buffers,
            calls,
            ..
        } = &mut *self.room;
        let mut batch = Batch::reusing(std::mem::take(calls));
        for (thread, buffers) in threads.iter().zip(buffers.iter()) {
            let registers = buffers.general();
            // A thread in the stop before the delivery of a signal may be about to run its handler.
            let is_asked = !thread.ended && thread.stop == StopKind::Asked;
            if is_asked && restart::is_to_repeat(registers.orig_rax, registers.rax, registers.rdi, is_socket)
            {
                let at = std::mem::offset_of!(libc::user, regs.rax);
                batch.set_user_word(thread.tid, at, restart::RESTART);
            }
        }
        let results = perform(self.helper, batch)?;
        let repeated = results.iter().filter(Result::is_ok).count();
        *calls = results.into_calls();
        Ok(repeated)
    }
}

/// Makes the requests.
fn perform(helper: &DirectHelper, batch: Batch<'_>) -> Result<Results, HelperEnded> {
    batch.perform_by(|mut calls| helper.perform(&mut calls).map(|()| calls))
}

/// Notes the stops of the awaited threads, which were asked for in the requests from `first` on.
/// Returns whether there were any.
fn note_stops<'t>(
    threads: impl Iterator<Item = &'t mut FoundThread>,
    infos: &[SignalInfo],
    results: &Results,
    first: usize,
) -> bool {
    let mut at = first;
    let mut any = false;
    for (thread, info) in threads.zip(infos) {
        if !thread.is_awaited() {
            continue;
        }
        if results.at(at).is_ok() {
            thread.stop = StopKind::of(info, Tie::Guest);
            any = true;
        }
        at += 1;
    }
    any
}

/// Whether the thread whose `stat` was read has ended.
fn has_ended(stat: Result<(u8, u64), Errno>) -> bool {
    matches!(
        stat,
        Ok((b'Z' | b'X' | b'x', _)) | Err(Errno::ENOENT | Errno::ESRCH)
    )
}
