//! What is known about one thread, in Windows' words.

use std::time::{SystemTime, UNIX_EPOCH};

use dumpwright_target::{Remark, Subject, Thread, ThreadTimes};

use crate::freeze::{Held, Stop};
use crate::proc_dir::{ProcDir, ThreadStat, clock_ticks, read_bounded};
use crate::ptrace;
use crate::registers::Registers;
use crate::stacks::{End, Read, Stacks, ThreadStacks};

/// `NORMAL_PRIORITY_CLASS`: Linux has no classes.
const NORMAL_PRIORITY_CLASS: u32 = 0x20;
/// Windows' `THREAD_PRIORITY_TIME_CRITICAL`, for real-time threads.
const TIME_CRITICAL: i32 = 15;
/// Windows' `THREAD_PRIORITY_IDLE`.
const IDLE: i32 = -15;

/// 1970 in units of 100 ns since 1601.
pub(crate) const UNIX_EPOCH_AS_FILETIME: u64 = 116_444_736_000_000_000;

/// Units of 100 ns in a second.
pub(crate) const UNITS: u64 = 10_000_000;

/// What is known about the thread `held`.
pub(crate) fn thread(
    dir: &ProcDir,
    held: &Held,
    stacks: &mut Stacks,
    read: &mut Read<'_>,
    remarks: &mut Vec<Remark>,
) -> Thread {
    let subject = Subject::Thread(held.tid);
    let registers = held.registers.clone().or_else(|| {
        let partly = registers_of_stuck(dir, held.tid);
        remarks.push(Remark::missing(
            subject.clone(),
            unstopped(held.stop, partly.is_some()),
        ));
        partly
    });
    let pointer = registers.as_ref().map_or(0, |registers| registers.amd64.rsp);
    let thread_pointer = registers
        .as_ref()
        .map_or(0, |registers| registers.thread_pointer(dir.cpu));
    let found = if pointer == 0 {
        ThreadStacks::default()
    } else {
        let found = stacks.of_thread(pointer, thread_pointer, read);
        if found.current.is_none() {
            let reason = format!("its stack pointer {pointer:#x} is in or near no readable memory: no stack");
            remarks.push(Remark::note(subject.clone(), reason));
        }
        found
    };
    for found in found.current.iter().chain(&found.interrupted) {
        if found.end == End::Capped {
            let reason = format!(
                "where its stack at {:#x} ends is not known: {} bytes of it are kept",
                found.stack.pointer,
                found.stack.range.len()
            );
            remarks.push(Remark::note(subject.clone(), reason));
        }
    }
    let known = dir.thread_stat(held.tid).ok();
    let times = known.as_ref().map(|stat| times(dir, held.tid, stat));
    let stat = known.unwrap_or_default();
    Thread {
        id: held.tid,
        handle: 0,
        suspend_count: u32::from(held.stop == Stop::Group),
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
    }
}

/// Where a thread is that did not stop.
fn registers_of_stuck(dir: &ProcDir, tid: u32) -> Option<Registers> {
    let text = read_bounded(&dir.process_path(format!("task/{tid}/syscall")), 4096).ok()?;
    Registers::from_syscall_text(std::str::from_utf8(&text).ok()?, dir.cpu)
}

fn unstopped(stop: Stop, partly: bool) -> String {
    let why = match stop {
        Stop::Stuck => {
            "it did not stop (it is in uninterruptible sleep, as during vfork or while a file system hangs)"
        }
        _ => "it ended while its registers were read",
    };
    let what = if partly {
        "only its instruction and stack pointers are known"
    } else {
        "its registers are unknown"
    };
    format!("{why}: {what}")
}

/// Windows' relative priority of a thread: -15, -2 to 2, or 15.
fn priority(stat: &ThreadStat) -> i32 {
    match i32::try_from(stat.policy) {
        Ok(libc::SCHED_FIFO | libc::SCHED_RR) => TIME_CRITICAL,
        Ok(libc::SCHED_IDLE) => IDLE,
        // -20 to 19 become 2 to -2.
        _ => (-(stat.nice as f64) / 10.0).round().clamp(-2.0, 2.0) as i32,
    }
}

fn times(dir: &ProcDir, tid: u32, stat: &ThreadStat) -> ThreadTimes {
    let ticks = clock_ticks();
    let in_units = |value: u64| value.saturating_mul(UNITS / ticks);
    let (user, kernel) = split(in_units(stat.utime), in_units(stat.stime), run_time(dir, tid));
    ThreadTimes {
        created: boot_as_filetime().saturating_add(in_units(stat.starttime)),
        kernel,
        user,
        start_address: 0,
        affinity: affinity(tid),
    }
}

/// The time a thread has run on processors, in units of 100 ns: `schedstat` has it in nanoseconds, where
/// `stat` counts ticks of 10 ms.
fn run_time(dir: &ProcDir, tid: u32) -> Option<u64> {
    let text = read_bounded(&dir.process_path(format!("task/{tid}/schedstat")), 4096).ok()?;
    let nanoseconds: u64 = std::str::from_utf8(&text)
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(nanoseconds / 100)
}

/// Shares the exact total out to user code and kernel in the proportion of the coarse times.
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

/// When the machine was started, in units of 100 ns since 1601.
pub(crate) fn boot_as_filetime() -> u64 {
    let since_boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        time.tv_sec() as u64 * UNITS + time.tv_nsec() as u64 / 100
    });
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH_AS_FILETIME + (since_1970.as_nanos() / 100) as u64 - since_boot
}

/// The first 64 processors that a thread may run on; 0 if the system does not say.
fn affinity(tid: u32) -> u64 {
    nix::sched::sched_getaffinity(ptrace::pid(tid)).map_or(0, |set| {
        (0..64)
            .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
            .fold(0, |mask, cpu| mask | 1 << cpu)
    })
}

/// What these tests would catch: priorities and times that are out of Windows' ranges or wrong by a unit.
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
            times(&dir, tid, &dir.thread_stat(tid).expect("own thread"))
        })
        .join()
        .expect("ended well");
        let expected = UNIX_EPOCH_AS_FILETIME
            + (before.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() / 100) as u64;
        // Ticks are of 10 ms, and the thread may have had to wait for a processor.
        assert!(
            times.created.abs_diff(expected) < 60 * UNITS,
            "{} {expected}",
            times.created
        );
        assert_ne!(times.affinity, 0);
    }
}
