//! The process as a whole.

use dumpwright_target::{Fault, Power, Process, TimeZone, WindowsProcess, ZoneTime};
use windows_sys::Wdk::System::Threading::{ProcessCookie, ProcessExecuteFlags, ProcessProtectionInformation};
use windows_sys::Win32::Foundation::{FILETIME, HANDLE, SYSTEMTIME};
use windows_sys::Win32::System::Power::{PROCESSOR_POWER_INFORMATION, ProcessorInformation};
use windows_sys::Win32::System::Threading::GetProcessTimes;
use windows_sys::Win32::System::Time::{GetTimeZoneInformation, TIME_ZONE_ID_INVALID, TIME_ZONE_INFORMATION};

use crate::access::Access;
use crate::nt::bound;
use crate::{query, tokens};

/// FILETIME's units in a second.
const UNITS: u64 = 10_000_000;
/// 1970, as FILETIME counts: in units since 1601.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// What surrounds the process and does not depend on what it does: read before it is held.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    power: Option<Power>,
    time_zone: Option<TimeZone>,
}

impl Surroundings {
    pub(crate) fn of_machine() -> Self {
        Self {
            power: power(),
            time_zone: time_zone(),
        }
    }
}

/// What the system knows of the process among its surroundings; what it does not tell is absent.
pub(crate) fn process(access: &Access, surroundings: &Surroundings) -> Result<Process, Fault> {
    let handle = access.process;
    Ok(Process {
        id: access.id,
        times: times(handle),
        power: surroundings.power,
        time_zone: surroundings.time_zone.clone(),
        windows: WindowsProcess {
            integrity_level: tokens::integrity_level(handle),
            execute_flags: query::process_word(handle, ProcessExecuteFlags),
            // Type, and who signed for it: one byte (PS_PROTECTION).
            protected_process: query::process(handle, ProcessProtectionInformation)
                .ok()
                .map(|[protection]: [u8; 1]| protection.into()),
            cookie: query::process_word(handle, ProcessCookie),
        },
    })
}

/// When it was started, in seconds since 1970, and how many seconds it has run in its own code and in the kernel.
fn times(process: HANDLE) -> Option<[u32; 3]> {
    let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: fills the four structures.
    let done = unsafe { GetProcessTimes(process, &mut created, &mut ended, &mut kernel, &mut user) };
    let units = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    let seconds = |units: u64| u32::try_from(units / UNITS).unwrap_or(u32::MAX);
    (done != 0).then(|| {
        [
            seconds(units(created).saturating_sub(UNIX_EPOCH)),
            seconds(units(user)),
            seconds(units(kernel)),
        ]
    })
}

/// Clock rates and idle states of the first processor.
fn power() -> Option<Power> {
    type NtPowerInformation = unsafe extern "system" fn(i32, *const u8, u32, *mut u8, u32) -> i32;
    /// A group of processors has at most 64, and there may be several groups.
    const MOST_PROCESSORS: usize = 1024;
    // That of powrprof.dll (CallNtPowerInformation) leads here, and is one more DLL to be loaded.
    let ask = bound!(c"ntdll.dll", c"NtPowerInformation", NtPowerInformation)?;
    let mut processors = vec![PROCESSOR_POWER_INFORMATION::default(); MOST_PROCESSORS];
    let len = u32::try_from(size_of_val(&processors[..])).expect("small");
    // SAFETY: writes at most the buffer's length to the buffer; the level asks for nothing to be told it.
    let status = unsafe {
        ask(
            ProcessorInformation,
            std::ptr::null(),
            0,
            processors.as_mut_ptr().cast(),
            len,
        )
    };
    let first = processors[0];
    (status >= 0 && first.MaxMhz != 0).then_some(Power {
        max_mhz: first.MaxMhz,
        current_mhz: first.CurrentMhz,
        limit_mhz: first.MhzLimit,
        max_idle_state: first.MaxIdleState,
        current_idle_state: first.CurrentIdleState,
    })
}

/// The time zone of the machine.
fn time_zone() -> Option<TimeZone> {
    let mut zone = TIME_ZONE_INFORMATION::default();
    // SAFETY: fills the structure.
    let id = unsafe { GetTimeZoneInformation(&mut zone) };
    (id != TIME_ZONE_ID_INVALID).then(|| TimeZone {
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

/// The text up to the first NUL.
pub(crate) fn text(units: &[u16]) -> String {
    let len = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..len])
}

/// What these tests would catch: times in the wrong unit or of another clock, a time zone with the wrong sign or with both of its times mixed up, another
/// process' level.
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

    /// Minutes that the clock on the wall is ahead, as the clocks show it.
    fn local_minus_utc() -> i64 {
        let [mut local, mut utc] = [SYSTEMTIME::default(); 2];
        // SAFETY: fills the structures.
        unsafe {
            GetLocalTime(&mut local);
            GetSystemTime(&mut utc);
        }
        let minutes = |time: SYSTEMTIME| {
            i64::from(time.wDay) * 1440 + i64::from(time.wHour) * 60 + i64::from(time.wMinute)
        };
        let difference = minutes(local) - minutes(utc);
        // The days may be of two months; zones differ by less than one and a half.
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
        let process = process(&victim.access(), &Surroundings::of_machine()).expect("lives");
        assert_eq!(process.id, victim.id());
        let [started, _, _] = process.times.expect("known");
        // The system's clocks need not agree to the second.
        assert!((before - 1..=now() + 1).contains(&started), "{before} {started}");
    }

    /// Of this process, because Wine 8 says 0 for all others.
    #[test]
    fn times_are_seconds_of_work() {
        // Until this thread has worked for more than 2.2 s by its own account.
        let mut used = 0;
        while used < 22_000_000 {
            std::hint::black_box((0..1_000_000_u64).fold(0, |sum, number| sum ^ number));
            let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
            // SAFETY: fills the four structures.
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
        // SAFETY: asks nothing of its caller.
        let [_, user, kernel] = times(unsafe { GetCurrentProcess() }).expect("known");
        // Each number may be cut to whole seconds. The other tests work meanwhile.
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
        // A minute may have begun between the two clocks.
        assert!((-1..=1).contains(&difference), "{zone:?} {}", local_minus_utc());
        let mut other = DYNAMIC_TIME_ZONE_INFORMATION::default();
        // SAFETY: fills the structure.
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
        if let Some(power) = power() {
            assert!((100..10_000).contains(&power.max_mhz), "{power:?}");
            assert!(power.current_mhz <= power.max_mhz * 2, "{power:?}");
        }
    }
}
