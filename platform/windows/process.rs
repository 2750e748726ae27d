//! Facts about the process as a whole.

use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use dumpwright_target::{
    Diagnostic, Fault, Power, Process, Subject, TimeZone, WindowsProcessFacts, ZoneTime, filetime,
};
use windows_sys::Wdk::System::Threading::{ProcessCookie, ProcessExecuteFlags, ProcessProtectionInformation};
use windows_sys::Win32::Foundation::{FILETIME, SYSTEMTIME};
use windows_sys::Win32::System::Power::ProcessorInformation;
use windows_sys::Win32::System::Threading::GetProcessTimes;
use windows_sys::Win32::System::Time::{GetTimeZoneInformation, TIME_ZONE_ID_INVALID, TIME_ZONE_INFORMATION};

use crate::access::Access;
use crate::error::{Losses, fault, last_fault, nt_fault};
use crate::memory::int_at;
use crate::{query, tokens};

/// Facts about the machine that do not depend on the process. They are read before the process is
/// held.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    power: Result<Option<Power>, Fault>,
    time_zone: Result<TimeZone, Fault>,
}

impl Surroundings {
    pub(crate) fn of_machine() -> Self {
        Self {
            power: power(),
            time_zone: time_zone(),
        }
    }
}

/// Returns the facts about the process. Facts that this system does not have are absent; facts that
/// it does not report are missing.
pub(crate) fn process(
    access: &Access<'_>,
    surroundings: &Surroundings,
    diagnostics: &mut Vec<Diagnostic>,
) -> Process {
    let handle = access.process();
    let operation = |what: &str| format!("query {what} of process {}", access.id);
    let mut losses = Losses::default();
    let integrity = tokens::integrity_level(handle);
    let integrity = integrity.map_err(|code| fault(operation("the integrity level"), code));
    let execute_flags = query::process_word(handle, ProcessExecuteFlags);
    let execute_flags = execute_flags.map_err(|status| nt_fault(operation("the execute flags"), status));
    // One byte (PS_PROTECTION): the type of protection and the signer.
    let protection = query::optional(query::process::<1>(handle, ProcessProtectionInformation));
    let protection = protection.map_err(|status| nt_fault(operation("the protection"), status));
    // The kernel reveals it to few programs.
    let cookie = query::process_word(handle, ProcessCookie).ok().flatten();
    let process = Process {
        id: access.id,
        times: losses.keep(times(handle, operation("the times"))),
        power: losses.keep(surroundings.power.clone()).flatten(),
        time_zone: losses.keep(surroundings.time_zone.clone()),
        windows: WindowsProcessFacts {
            integrity_level: losses.keep(integrity).flatten(),
            execute_flags: losses.keep(execute_flags).flatten(),
            protected_process: losses
                .keep(protection)
                .flatten()
                .map(|[protection]| protection.into()),
            cookie,
        },
    };
    diagnostics.extend(losses.diagnostic(Subject::Stream("MiscInfo")));
    process
}

/// Returns when the process was started, in seconds since 1970, and the seconds it has spent in
/// user code and in the kernel, in this order.
///
/// # Errors
/// The system does not report them. `operation` is that of the fault.
fn times(process: BorrowedHandle<'_>, operation: String) -> Result<[u32; 3], Fault> {
    let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open as long as it is borrowed. The times are written to local
    // structures.
    let done = unsafe {
        GetProcessTimes(
            process.as_raw_handle(),
            &mut created,
            &mut ended,
            &mut kernel,
            &mut user,
        )
    };
    let units = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    if done == 0 {
        return Err(last_fault(operation));
    }
    Ok([
        filetime::since_1970(units(created)),
        filetime::seconds(units(user)),
        filetime::seconds(units(kernel)),
    ])
}

/// Returns the clock rates and idle states of the first processor, if the system has them.
///
/// # Errors
/// The system does not report them.
fn power() -> Result<Option<Power>, Fault> {
    // PROCESSOR_POWER_INFORMATION: the processor's number, clock rates in MHz (maximum, current,
    // limit), idle states (maximum, current).
    let answer = query::optional(query::processor_power(ProcessorInformation))
        .map_err(|status| nt_fault("query the clock rates of the processor".to_owned(), status))?;
    Ok(answer
        .as_ref()
        .and_then(|answer| power_of(answer.bytes().get(..24)?)))
}

fn power_of(first: &[u8]) -> Option<Power> {
    let max_mhz = int_at(first, 4);
    (max_mhz != 0).then(|| Power {
        max_mhz,
        current_mhz: int_at(first, 8),
        limit_mhz: int_at(first, 12),
        max_idle_state: int_at(first, 16),
        current_idle_state: int_at(first, 20),
    })
}

/// Returns the time zone of the machine.
///
/// # Errors
/// The system does not report it.
fn time_zone() -> Result<TimeZone, Fault> {
    let mut zone = TIME_ZONE_INFORMATION::default();
    // SAFETY: the result is written to a local structure.
    let id = unsafe { GetTimeZoneInformation(&mut zone) };
    if id == TIME_ZONE_ID_INVALID {
        return Err(last_fault("query the time zone of the machine".to_owned()));
    }
    Ok(TimeZone {
        id,
        bias: zone.Bias,
        standard: ZoneTime {
            name: text(&zone.StandardName),
            begins: words(zone.StandardDate),
            bias: zone.StandardBias,
        },
        daylight: ZoneTime {
            name: text(&zone.DaylightName),
            begins: words(zone.DaylightDate),
            bias: zone.DaylightBias,
        },
    })
}

fn words(time: SYSTEMTIME) -> [u16; 8] {
    [
        time.wYear,
        time.wMonth,
        time.wDayOfWeek,
        time.wDay,
        time.wHour,
        time.wMinute,
        time.wSecond,
        time.wMilliseconds,
    ]
}

/// Returns the text up to the first NUL.
pub(crate) fn text(units: &[u16]) -> String {
    let len = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..len])
}

/// These tests would catch: times in the wrong unit or of another clock; a time zone with the wrong
/// sign, or with its two times swapped; the integrity level of another process.
#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use windows_sys::Win32::System::SystemInformation::{GetLocalTime, GetSystemTime};
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetCurrentThread, GetThreadTimes};
    use windows_sys::Win32::System::Time::{DYNAMIC_TIME_ZONE_INFORMATION, GetDynamicTimeZoneInformation};

    use super::*;
    use crate::testing::{Victim, is_victim, wait};

    const WAITS: &str = "process::tests::a_child_that_waits";

    #[test]
    fn a_child_that_waits() {
        if is_victim(WAITS) {
            wait();
        }
    }

    /// Returns by how many minutes local time is ahead of UTC, as the clocks show it.
    fn local_minus_utc() -> i64 {
        let [mut local, mut utc] = [SYSTEMTIME::default(); 2];
        // SAFETY: the function fills the structures.
        unsafe {
            GetLocalTime(&mut local);
            GetSystemTime(&mut utc);
        }
        let minutes = |time: SYSTEMTIME| {
            i64::from(time.wDay) * 1440 + i64::from(time.wHour) * 60 + i64::from(time.wMinute)
        };
        let difference = minutes(local) - minutes(utc);
        // The two days may be in different months. Time zones differ by less than a day and a half.
        if difference.abs() > 2160 { 0 } else { difference }
    }

    fn now() -> u32 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs() as u32
    }

    #[test]
    fn a_process_was_started_between_before_and_after() {
        let before = now();
        let victim = Victim::that(WAITS);
        let mut diagnostics = Vec::new();
        let process = process(&victim.access(), &Surroundings::of_machine(), &mut diagnostics);
        assert_eq!(diagnostics, []);
        assert_eq!(process.id, victim.id());
        let [started, _, _] = process.times.expect("known");
        // The clocks of the system can differ by a second.
        assert!((before - 1..=now() + 1).contains(&started), "{before} {started}");
    }

    /// This test uses its own process, because Wine 8 reports 0 for all others.
    #[test]
    fn times_are_seconds_of_work() {
        // Works until this thread has used more than 2.2 s of processor time.
        let mut used = 0;
        while used < 22_000_000 {
            std::hint::black_box((0..1_000_000_u64).fold(0, |sum, number| sum ^ number));
            let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
            // SAFETY: the function fills the four structures.
            unsafe {
                GetThreadTimes(
                    GetCurrentThread(),
                    &mut created,
                    &mut ended,
                    &mut kernel,
                    &mut user,
                )
            };
            used = kernel.dwLowDateTime + user.dwLowDateTime;
        }
        // SAFETY: the function has no parameters. Its result is a constant that stands for this
        // process and must not be closed.
        let this = unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) };
        let [_, user, kernel] = times(this, String::new()).expect("known");
        // Each number may be truncated to whole seconds. The other tests run at the same time.
        assert!((1..1000).contains(&(user + kernel)), "{user} {kernel}");
    }

    #[test]
    fn the_time_zone_is_the_one_of_the_clocks() {
        let zone = time_zone().expect("known");
        let now = match zone.id {
            2 => &zone.daylight,
            _ => &zone.standard,
        };
        let bias = zone.bias + if zone.id == 0 { 0 } else { now.bias };
        let difference = local_minus_utc() + i64::from(bias);
        // A new minute may begin between reading the two clocks.
        assert!((-1..=1).contains(&difference), "{zone:?} {}", local_minus_utc());
        let mut other = DYNAMIC_TIME_ZONE_INFORMATION::default();
        // SAFETY: the function fills the structure.
        assert_eq!(unsafe { GetDynamicTimeZoneInformation(&mut other) }, zone.id);
        assert_eq!(text(&other.StandardName), zone.standard.name);
        assert_eq!(text(&other.DaylightName), zone.daylight.name);
        assert_eq!(
            (other.Bias, other.StandardBias, other.DaylightBias),
            (zone.bias, zone.standard.bias, zone.daylight.bias)
        );
        assert_eq!(words(other.DaylightDate), zone.daylight.begins);
    }

    #[test]
    fn clock_rates_are_rates() {
        if let Some(power) = power().expect("answers") {
            assert!((100..10_000).contains(&power.max_mhz), "{power:?}");
            assert!(power.current_mhz <= power.max_mhz * 2, "{power:?}");
        }
    }
}
