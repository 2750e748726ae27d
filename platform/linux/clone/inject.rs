//! System calls that a stopped thread of the target is made to execute.

use std::time::{Duration, Instant};

use dumpwright_target::{Fault, FaultKind};
use libc::{c_int, user_regs_struct};

use crate::freeze::{StopKind, Tie};
use crate::ptrace::{Batch, GET_SYSCALL_INFO, SignalInfo};
use crate::tracer::Tracer;

/// The kind of stop at a system call, if `PTRACE_O_TRACESYSGOOD` is set (ptrace(2)).
const AT_CALL: c_int = libc::SIGTRAP | 0x80;

/// Values of `op` in `struct ptrace_syscall_info` (`linux/ptrace.h`).
const ENTRY: u64 = 1;
const EXIT: u64 = 2;

/// The first and the longest pause between two checks for a stop.
const NAPS: (Duration, Duration) = (Duration::from_micros(5), Duration::from_micros(200));

/// The maximum number of stops during one call. There are three without signals.
const STOPS: usize = 64;

/// Why an injected call has no result.
#[derive(Debug)]
pub(super) enum NotMade {
    /// The tracer has ended, so the target runs.
    Tracer(Fault),
    /// The thread, or a process that it has started, has ended.
    Ended,
    /// The thread did not stop again in time.
    Slow,
    /// The call has caused this signal. Other signals are blocked.
    Signal(i32),
    /// The kernel refused a request.
    Request(nix::Error),
}

impl From<Fault> for NotMade {
    fn from(fault: Fault) -> Self {
        Self::Tracer(fault)
    }
}

/// A stop of a thread that executes an injected call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallStop {
    Entry,
    /// With the result of the call.
    Exit(i64),
    /// The call has started this process.
    Started(u32),
    /// A stop that has nothing to do with the call.
    Other(StopKind),
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallProgress {
    /// It has returned this.
    Returned(i64),
    /// It has started this process, and has not returned.
    Started(u32),
}

/// A stopped thread, or a new process, that executes system calls for us.
#[derive(Debug)]
pub(super) struct Executor<'a> {
    pub(super) tracer: &'a Tracer<'a>,
    pub(super) tid: u32,
    /// The registers with which calls are made. Only the arguments and `rax` are replaced.
    pub(super) registers: user_regs_struct,
    /// How long a call may take.
    pub(super) patience: Duration,
}

impl Executor<'_> {
    /// Makes a call, and follows it to its exit, or until it has started a process.
    ///
    /// With `mask`, the thread gets this signal mask after its registers: if the tracer ends
    /// between the two, the frame that the registers lead to restores its mask.
    pub(super) fn begin(
        &self,
        number: libc::c_long,
        arguments: [u64; 4],
        mask: Option<&u64>,
    ) -> Result<CallProgress, NotMade> {
        let [rdi, rsi, rdx, r10] = arguments;
        let registers = user_regs_struct {
            rax: number as u64,
            rdi,
            rsi,
            rdx,
            r10,
            r8: 0,
            r9: 0,
            ..self.registers
        };
        let mut batch = Batch::new();
        batch.set_registers(self.tid, &registers);
        if let Some(mask) = mask {
            batch.set_signal_mask(self.tid, mask);
        }
        batch.next_system_call(self.tid, 0);
        let results = self.tracer.perform(batch)?;
        for result in results.iter() {
            result.map_err(NotMade::Request)?;
        }
        self.follow(true)
    }

    /// Makes a call and returns its result.
    pub(super) fn call(&self, number: libc::c_long, arguments: [u64; 4]) -> Result<i64, NotMade> {
        match self.begin(number, arguments, None)? {
            CallProgress::Returned(result) => Ok(result),
            CallProgress::Started(_) => self.go_on(),
        }
    }

    /// Continues a call that has started a process, and returns its result.
    pub(super) fn go_on(&self) -> Result<i64, NotMade> {
        self.resume(0)?;
        loop {
            if let CallProgress::Returned(result) = self.follow(false)? {
                return Ok(result);
            }
        }
    }

    fn resume(&self, signal: i32) -> Result<(), NotMade> {
        let mut batch = Batch::new();
        batch.next_system_call(self.tid, signal);
        self.tracer.perform(batch)?.at(0).map_err(NotMade::Request)
    }

    fn follow(&self, stops_at_start: bool) -> Result<CallProgress, NotMade> {
        for _ in 0..STOPS {
            let signal = match self.next_stop(self.patience)? {
                CallStop::Exit(result) => return Ok(CallProgress::Returned(result)),
                CallStop::Started(pid) if stops_at_start => return Ok(CallProgress::Started(pid)),
                // All other signals are blocked. The thread takes part in the stop when it is
                // released, like the threads that do not run now.
                CallStop::Other(StopKind::Signal(libc::SIGSTOP)) => libc::SIGSTOP,
                CallStop::Other(StopKind::Signal(signal)) => return Err(NotMade::Signal(signal)),
                CallStop::Entry | CallStop::Started(_) | CallStop::Other(_) => 0,
            };
            self.resume(signal)?;
        }
        Err(NotMade::Slow)
    }

    /// Waits until the thread has stopped.
    pub(super) fn wait(&self) -> Result<(), NotMade> {
        self.next_stop(self.patience).map(drop)
    }

    fn next_stop(&self, patience: Duration) -> Result<CallStop, NotMade> {
        let started = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            // On a busy machine, this process may have waited for a processor. So the thread is
            // examined once more when the time is over.
            let is_last = started.elapsed() > patience;
            let nap = libc::timespec {
                tv_sec: 0,
                tv_nsec: libc::c_long::from(pause.subsec_nanos()),
            };
            let mut info = SignalInfo::EMPTY;
            // `struct ptrace_syscall_info` has 88 bytes; since Linux 6.16 there are 96.
            let mut call = [0_u64; 12];
            let mut message = 0;
            let mut batch = Batch::new();
            batch.nap(&nap);
            batch.siginfo(self.tid, &mut info);
            batch.structure(GET_SYSCALL_INFO, self.tid, &mut call);
            batch.event_message(self.tid, &mut message);
            let results = self.tracer.perform(batch)?;
            if results.at(1).is_ok() {
                let event = info.code >> 8;
                let starts = [libc::PTRACE_EVENT_CLONE, libc::PTRACE_EVENT_VFORK].contains(&event);
                return match call[0] & 0xFF {
                    ENTRY if info.code == AT_CALL => Ok(CallStop::Entry),
                    EXIT if info.code == AT_CALL => Ok(CallStop::Exit(call[3].cast_signed())),
                    _ if starts => {
                        let pid = u32::try_from(message).map_err(|_| NotMade::Request(nix::Error::EINVAL));
                        Ok(CallStop::Started(pid?))
                    }
                    _ => Ok(CallStop::Other(StopKind::of(&info, Tie::Guest))),
                };
            }
            if has_ended(self.tid) {
                return Err(NotMade::Ended);
            }
            if is_last {
                return Err(NotMade::Slow);
            }
            pause = (pause * 2).clamp(NAPS.0, NAPS.1);
        }
    }

    /// Returns the thread to its own registers and its own signal mask. Returns the stop that it is
    /// in then. What it has started in the meantime is killed, and added to `strays`. A signal that
    /// an injected call has caused is dropped.
    ///
    /// The kernel resumes an interrupted system call only if it finds the registers of the call
    /// where it looks for signals. So they are written in a stop of that place, not in the stop at
    /// the exit of an injected call.
    ///
    /// # Errors
    /// It does not stop. Its registers are still those that were injected.
    pub(super) fn settle(
        &self,
        registers: &user_regs_struct,
        mask: u64,
        strays: &mut Vec<u32>,
    ) -> Result<StopKind, NotMade> {
        /// After an injected call took too long, how long the kernel may take to end it.
        const LONG: Duration = Duration::from_secs(20);
        let mut batch = Batch::new();
        // For a thread that runs.
        batch.interrupt(self.tid);
        self.tracer.perform(batch)?;
        for _ in 0..STOPS {
            match self.next_stop(LONG)? {
                CallStop::Other(
                    stop @ (StopKind::Asked | StopKind::Group | StopKind::Signal(libc::SIGSTOP)),
                ) => {
                    self.restore(registers, mask)?;
                    return Ok(stop);
                }
                CallStop::Started(pid) => {
                    let mut batch = Batch::new();
                    batch.kill(pid, libc::SIGKILL);
                    self.tracer.perform(batch)?;
                    strays.push(pid);
                }
                CallStop::Entry | CallStop::Exit(_) | CallStop::Other(_) => {}
            }
            // A stop cancels earlier interrupts, so this is repeated. The thread is stopped now, so
            // no other stop comes between the two requests.
            let mut batch = Batch::new();
            batch.interrupt(self.tid);
            batch.cont(self.tid, 0);
            self.tracer.perform(batch)?;
        }
        Err(NotMade::Slow)
    }

    /// Writes the thread's own registers and its own signal mask. The mask is written first: if the
    /// tracer ends between the two, the injected registers lead to the frame that restores both.
    pub(super) fn restore(&self, registers: &user_regs_struct, mask: u64) -> Result<(), NotMade> {
        let mut batch = Batch::new();
        batch.set_signal_mask(self.tid, &mask);
        batch.set_registers(self.tid, registers);
        for result in self.tracer.perform(batch)?.iter() {
            result.map_err(NotMade::Request)?;
        }
        Ok(())
    }
}

/// Whether the thread or process has ended.
fn has_ended(tid: u32) -> bool {
    let stat = std::fs::read(format!("/proc/{tid}/stat"));
    let stat = stat.and_then(|text| crate::proc_dir::ThreadStat::parse(&text));
    match stat {
        Ok(stat) => stat.has_ended(),
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    }
}

impl NotMade {
    /// The fault of a capture that cannot go on, in thread `tid` of process `pid`. `None` if the
    /// thread can be returned to its registers.
    pub(super) fn fatal(&self, pid: u32, tid: u32) -> Option<Fault> {
        match self {
            Self::Tracer(fault) => Some(fault.clone()),
            // If not the thread, then one of the processes that it has started.
            Self::Ended if has_ended(tid) => Some(Fault::new(
                FaultKind::Gone,
                format!("clone process {pid}"),
                "it has ended",
            )),
            _ => None,
        }
    }
}
