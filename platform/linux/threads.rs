//! The facts about one thread, in the terms of Windows.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use dumpwright_target::filetime::{self, UNITS_PER_SECOND};
use dumpwright_target::{Cpu, Diagnostic, Memory, Subject, Thread, ThreadTimes};

use nix::errno::Errno;

use crate::freeze::{StopKind, StoppedThread};
use crate::handler::Handler;
use crate::proc_dir::{ProcDir, ThreadStat, clock_ticks, has_vanished, if_there, read_bounded};
use crate::ptrace;
use crate::registers::Registers;
use crate::stacks::{Stacks, ThreadStacks};
use crate::tracer::Early;

/// `NORMAL_PRIORITY_CLASS`. All threads have it, because Linux has no priority classes.
pub(crate) const NORMAL_PRIORITY_CLASS: u32 = 0x20;
/// Windows' `THREAD_PRIORITY_TIME_CRITICAL`, for real-time threads.
const TIME_CRITICAL: i32 = 15;
/// Windows' `THREAD_PRIORITY_IDLE`.
const IDLE: i32 = -15;

/// What `/proc` has about a thread.
#[derive(Debug)]
pub(crate) struct ThreadEntry {
    stat: io::Result<ThreadStat>,
    times: Option<ThreadTimes>,
    /// Its instruction and stack pointer, if it did not stop and they were read in that time.
    partly: Option<Registers>,
    diagnostics: Vec<Diagnostic>,
}

/// What was read of `/proc` about a thread while it was stopped.
#[derive(Debug)]
pub(crate) struct ThreadSources<'t> {
    pub(crate) stat: io::Result<&'t [u8]>,
    pub(crate) schedstat: io::Result<&'t [u8]>,
    pub(crate) affinity: nix::Result<u64>,
    /// Of a thread that did not stop.
    pub(crate) syscall: Option<&'t [u8]>,
}

impl ThreadEntry {
    /// What these sources tell about the thread `tid` of a 64-bit process. Times are taken from
    /// them only if `timed`.
    pub(crate) fn of_sources(tid: u32, sources: ThreadSources<'_>, timed: bool) -> Self {
        let mut diagnostics = Vec::new();
        let stat = sources.stat.and_then(ThreadStat::parse);
        let known = stat.as_ref().ok().filter(|_| timed);
        let times = known.map(|stat| {
            let exact = if_there(sources.schedstat).map(|text| text.and_then(run_time_of));
            times_of(tid, stat, exact, sources.affinity, &mut diagnostics)
        });
        let syscall = sources.syscall.and_then(|text| std::str::from_utf8(text).ok());
        Self {
            stat,
            times,
            partly: syscall.and_then(|text| Registers::from_syscall_text(text, Cpu::Amd64)),
            diagnostics,
        }
    }

    /// Reads it. Times are read only if `timed`, because reading them takes as long as reading
    /// everything else.
    pub(crate) fn read(dir: &ProcDir, held: &StoppedThread, timed: bool) -> Self {
        let mut diagnostics = Vec::new();
        let stat = match &held.stat {
            // Its name and priority hardly change, and reading them again would prolong the pause.
            Some(stat) if !timed => Ok(stat.clone()),
            _ => dir.thread_stat(held.tid),
        };
        let known = stat.as_ref().ok().filter(|_| timed);
        let times = known.map(|stat| times(dir, held.tid, stat, &mut diagnostics));
        Self {
            stat,
            times,
            partly: None,
            diagnostics,
        }
    }

    /// What is known of it although the process was resumed early, or its clone was ended.
    pub(crate) fn too_late(held: &StoppedThread, timed: bool, early: Early) -> Self {
        let known = held.stat.clone().filter(|_| !timed);
        Self {
            stat: known.ok_or_else(|| io::Error::other(format!("{early}, so {}", early.consequence()))),
            times: None,
            partly: None,
            diagnostics: Vec::new(),
        }
    }
}

/// Returns the facts about the thread `held`, and the signal handlers in which it is, the innermost
/// first. Facts that could not be read are added to `diagnostics`.
///
/// If the process was resumed `early`, the thread is described as far as that is possible without
/// reading from the process.
pub(crate) fn thread(
    dir: &ProcDir,
    held: &StoppedThread,
    entry: ThreadEntry,
    early: Option<Early>,
    stacks: &mut Stacks,
    memory: &mut dyn Memory,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Thread, Vec<Handler>) {
    let subject = Subject::Thread(held.tid);
    let registers = held.registers.clone().or_else(|| {
        let partly = match (&entry.partly, early) {
            (Some(partly), _) => Some(partly.clone()),
            (None, None) => registers_of_stuck(dir, held.tid),
            (None, Some(_)) => None,
        };
        diagnostics.push(Diagnostic::missing(
            subject.clone(),
            without_registers(held, partly.is_some()),
        ));
        partly
    });
    for lost in registers.iter().flat_map(|registers| &registers.lost) {
        let reason = format!("its {} cannot be read: {}", lost.group, lost.error.desc());
        diagnostics.push(Diagnostic::missing(subject.clone(), reason));
    }
    let pointer = registers.as_ref().map_or(0, |registers| registers.amd64.rsp);
    let thread_pointer = registers
        .as_ref()
        .map_or(0, |registers| registers.thread_pointer(dir.cpu));
    let found = if pointer == 0 {
        ThreadStacks::default()
    } else {
        let found = stacks.of_thread(pointer, thread_pointer, memory);
        diagnostics.extend(found.diagnostics(held.tid, pointer));
        found
    };
    let ThreadEntry {
        stat: known,
        times,
        partly: _,
        diagnostics: of_times,
    } = entry;
    if let Err(error) = &known {
        let reason = format!("its name, priority and times cannot be read: {error}");
        diagnostics.push(match held.stop {
            // The kernel's own threads are not held, and may end at any time.
            StopKind::Kernel if has_vanished(error) => Diagnostic::note(subject.clone(), reason),
            _ => Diagnostic::missing(subject.clone(), reason),
        });
    }
    diagnostics.extend(of_times);
    let stat = known.unwrap_or_default();
    let in_handler = |frame| Handler {
        thread: held.tid,
        frame,
    };
    let handlers = found.handlers.into_iter().map(in_handler).collect();
    let thread = Thread {
        id: held.tid,
        handle: 0,
        suspend_count: u32::from(held.stop == StopKind::Group),
        priority_class: NORMAL_PRIORITY_CLASS,
        priority: priority(&stat),
        teb: thread_pointer,
        context: registers.map(|registers| match held.registers {
            Some(_) => registers.context(dir.cpu),
            None => registers.control_context(dir.cpu),
        }),
        stack: found.current.map(|found| found.stack),
        interrupted: found.interrupted.into_iter().map(|found| found.stack).collect(),
        name: (!stat.comm.is_empty()).then(|| stat.comm_text()),
        times,
        exit: None,
        backing_store: None,
    };
    (thread, handlers)
}

/// Reads the instruction and stack pointer of a thread that did not stop, from
/// `/proc/PID/task/TID/syscall`.
fn registers_of_stuck(dir: &ProcDir, tid: u32) -> Option<Registers> {
    let text = read_bounded(&dir.process_path(format!("task/{tid}/syscall")), 4096).ok()?;
    Registers::from_syscall_text(std::str::from_utf8(&text).ok()?, dir.cpu)
}

fn without_registers(held: &StoppedThread, partly: bool) -> String {
    let why = match (held.stop, held.unread) {
        (StopKind::Stuck, _) => {
            "it did not stop (it is in uninterruptible sleep, as during vfork or while a file system hangs)"
                .to_owned()
        }
        (_, None | Some(Errno::ESRCH)) => "it ended while its registers were read".to_owned(),
        (_, Some(errno)) => format!("its registers cannot be read ({})", errno.desc()),
    };
    let what = if partly {
        "only its instruction and stack pointers are known"
    } else {
        "its registers are unknown"
    };
    format!("{why}: {what}")
}

/// Returns the thread's relative priority on Windows: -15, -2 to 2, or 15.
fn priority(stat: &ThreadStat) -> i32 {
    match i32::try_from(stat.policy) {
        Ok(libc::SCHED_FIFO | libc::SCHED_RR) => TIME_CRITICAL,
        Ok(libc::SCHED_IDLE) => IDLE,
        // Maps -20..=19 to 2..=-2.
        _ => (-(stat.nice as f64) / 10.0).round().clamp(-2.0, 2.0) as i32,
    }
}

/// Returns the times of a thread. What could not be read is added to `diagnostics`.
fn times(dir: &ProcDir, tid: u32, stat: &ThreadStat, diagnostics: &mut Vec<Diagnostic>) -> ThreadTimes {
    times_of(tid, stat, run_time(dir, tid), affinity(tid), diagnostics)
}

/// The same, from what was read: the time that it has run, in units of 100 ns, and the processors
/// on which it may run.
fn times_of(
    tid: u32,
    stat: &ThreadStat,
    exact: io::Result<Option<u64>>,
    affinity: nix::Result<u64>,
    diagnostics: &mut Vec<Diagnostic>,
) -> ThreadTimes {
    let subject = Subject::Thread(tid);
    let ticks = clock_ticks();
    let in_units = |value: u64| value.saturating_mul(UNITS_PER_SECOND / ticks);
    let exact = exact.unwrap_or_else(|error| {
        let reason = format!("its processor times are known to 10 ms only: {error}");
        diagnostics.push(Diagnostic::note(subject.clone(), reason));
        None
    });
    let (user, kernel) = split(in_units(stat.utime), in_units(stat.stime), exact);
    let affinity = affinity.unwrap_or_else(|errno| {
        let reason = format!("its processor affinity cannot be read: {}", errno.desc());
        diagnostics.push(Diagnostic::missing(subject, reason));
        0
    });
    ThreadTimes {
        created: boot_as_filetime().saturating_add(in_units(stat.starttime)),
        kernel,
        user,
        start_address: 0,
        affinity,
    }
}

/// Returns the time that the thread has run on processors, in units of 100 ns.
///
/// It comes from `schedstat`, which has nanoseconds. The times in `stat` have a resolution of 10
/// ms. `None` if the kernel has no such file (without `CONFIG_SCHED_INFO`).
fn run_time(dir: &ProcDir, tid: u32) -> io::Result<Option<u64>> {
    let text = match read_bounded(&dir.process_path(format!("task/{tid}/schedstat")), 4096) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    Ok(run_time_of(&text))
}

/// Parses the text of `schedstat`, and returns the time in units of 100 ns.
fn run_time_of(text: &[u8]) -> Option<u64> {
    let first = text.split(u8::is_ascii_whitespace).next()?;
    let nanoseconds = std::str::from_utf8(first).ok()?.parse::<u64>().ok()?;
    Some(nanoseconds / 100)
}

/// Divides the exact total between user code and the kernel, in proportion to the coarse times.
fn split(user: u64, kernel: u64, total: Option<u64>) -> (u64, u64) {
    match (user.checked_add(kernel), total) {
        (Some(0), Some(total)) => (total, 0),
        (Some(coarse), Some(total)) => {
            let user = (u128::from(total) * u128::from(user) / u128::from(coarse)) as u64;
            (user, total - user)
        }
        _ => (user, kernel),
    }
}

/// Returns the time at which the machine was started, in units of 100 ns since 1601.
pub(crate) fn boot_as_filetime() -> u64 {
    let since_boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        time.tv_sec() as u64 * UNITS_PER_SECOND + time.tv_nsec() as u64 / 100
    });
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    filetime::UNIX_EPOCH + (since_1970.as_nanos() / 100) as u64 - since_boot
}

/// Returns a mask of the first 64 processors on which the thread may run.
fn affinity(tid: u32) -> nix::Result<u64> {
    let set = nix::sched::sched_getaffinity(ptrace::pid(tid))?;
    let processors = (0..64).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    Ok(processors.fold(0, |mask, cpu| mask | 1 << cpu))
}

/// What these tests would catch: priorities outside the range of Windows, and times in a wrong
/// unit.
#[cfg(test)]
mod tests {
    use super::*;

    fn stat(nice: i64, policy: i32) -> ThreadStat {
        ThreadStat {
            nice,
            policy: u64::from(policy.unsigned_abs()),
            ..ThreadStat::default()
        }
    }

    #[test]
    fn niceness_becomes_a_relative_priority() {
        let of = |nice| priority(&stat(nice, libc::SCHED_OTHER));
        assert_eq!([-20, -15, -4, 0, 4, 10, 19].map(of), [2, 2, 0, 0, 0, -1, -2]);
        assert_eq!(of(i64::MIN), 2);
        assert_eq!(priority(&stat(0, libc::SCHED_FIFO)), 15);
        assert_eq!(priority(&stat(0, libc::SCHED_RR)), 15);
        assert_eq!(priority(&stat(0, libc::SCHED_IDLE)), -15);
    }

    #[test]
    fn exact_time_is_shared_out_as_the_coarse_one() {
        assert_eq!(split(300_000, 100_000, Some(444_444)), (333_333, 111_111));
        assert_eq!(split(0, 0, Some(7)), (7, 0));
        assert_eq!(split(3, 4, None), (3, 4));
        assert_eq!(split(u64::MAX, 1, Some(9)), (u64::MAX, 1));
    }

    #[test]
    fn this_thread_was_made_a_moment_ago_and_runs_somewhere() {
        let before = SystemTime::now();
        let times = std::thread::spawn(|| {
            let dir = ProcDir::new(std::process::id()).expect("own process");
            let tid = nix::unistd::gettid().as_raw().unsigned_abs();
            let mut diagnostics = Vec::new();
            let times = times(
                &dir,
                tid,
                &dir.thread_stat(tid).expect("own thread"),
                &mut diagnostics,
            );
            assert_eq!(diagnostics, []);
            times
        })
        .join()
        .expect("ended well");
        let expected = filetime::UNIX_EPOCH
            + (before.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() / 100) as u64;
        // A tick is 10 ms, and the thread may have waited for a processor.
        assert!(
            times.created.abs_diff(expected) < 60 * UNITS_PER_SECOND,
            "{} {expected}",
            times.created
        );
        assert_ne!(times.affinity, 0);
    }
}
