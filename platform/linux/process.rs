//! The process as a whole.

use std::path::Path;

use dumpwright_target::{Fault, Power, Process, TimeZone, WindowsProcess};

use crate::files;
use crate::proc_dir::{ProcDir, clock_ticks, field, read_bounded, system_fault};
use crate::threads::{UNITS, UNIX_EPOCH_AS_FILETIME, boot_as_filetime};

/// What surrounds the process and does not depend on what it does: read before it is stopped.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    power: Option<Power>,
    time_zone: Option<TimeZone>,
}

impl Surroundings {
    pub(crate) fn of(dir: &ProcDir) -> Self {
        Self {
            power: power(),
            time_zone: time_zone(dir),
        }
    }
}

/// The process, with its times, among its surroundings.
pub(crate) fn process(dir: &ProcDir, surroundings: &Surroundings) -> Result<Process, Fault> {
    let stat = dir
        .process_stat()
        .map_err(|error| system_fault(format!("read the times of process {}", dir.pid), &error))?;
    let ticks = clock_ticks();
    let started = boot_as_filetime().saturating_add(stat.starttime.saturating_mul(UNITS / ticks));
    let seconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Process {
        id: dir.pid,
        times: Some([
            seconds(started.saturating_sub(UNIX_EPOCH_AS_FILETIME) / UNITS),
            seconds(stat.utime / ticks),
            seconds(stat.stime / ticks),
        ]),
        power: surroundings.power,
        time_zone: surroundings.time_zone.clone(),
        windows: WindowsProcess::default(),
    })
}

/// Clock rates of the first processor: from its frequency driver, else (virtual machines have none) the one
/// rate that `cpuinfo` tells.
fn power() -> Option<Power> {
    let megahertz = |name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cpufreq/{name}");
        let text = read_bounded(Path::new(&path), 64).ok()?;
        let kilohertz: u32 = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
        Some(kilohertz / 1000)
    };
    if let (Some(max_mhz), Some(current_mhz)) = (megahertz("cpuinfo_max_freq"), megahertz("scaling_cur_freq"))
    {
        let limit_mhz = megahertz("scaling_max_freq").unwrap_or(max_mhz);
        return Some(Power {
            max_mhz,
            current_mhz,
            limit_mhz,
            max_idle_state: 0,
            current_idle_state: 0,
        });
    }
    let cpuinfo = read_bounded(Path::new("/proc/cpuinfo"), 16 << 20).ok()?;
    let rate: f64 = field(&cpuinfo, "cpu MHz")?.parse().ok()?;
    let rate = rate.round() as u32;
    (rate > 0).then_some(Power {
        max_mhz: rate,
        current_mhz: rate,
        limit_mhz: rate,
        max_idle_state: 0,
        current_idle_state: 0,
    })
}

/// The time zone of the system that the process lives in: `/etc/localtime` in its root directory.
///
/// A program may choose another one by the variable `TZ`; that is part of its environment, which is not looked at.
fn time_zone(dir: &ProcDir) -> Option<TimeZone> {
    let data = files::read_in_root(dir, Path::new("/etc/localtime"), 1 << 20).ok()?;
    zone(&data)
}

/// The zone that a file of the time zone database describes (tzfile(5)), as it is now.
fn zone(data: &[u8]) -> Option<TimeZone> {
    let zone = tz::TimeZone::from_tz_data(data).ok()?;
    let now = zone.find_current_local_time_type().ok()?;
    let id = if now.is_dst() { 2 } else { 1 };
    let name = now.time_zone_designation().to_owned();
    Some(TimeZone::unchanging(id, -now.ut_offset() / 60, name))
}

/// What these tests would catch: times in the wrong unit or of another clock, and a time zone with the wrong sign.
#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::testing::Victim;

    fn now() -> u32 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs() as u32
    }

    #[test]
    fn a_process_started_between_before_and_after() {
        let before = now();
        let victim = Victim::that::<1>(|words| {
            // Works for 1.1 s of its own processor time, and tells what the kernel makes of it.
            while words[0] < 1_100_000_000 {
                // SAFETY: a plain structure of numbers, which the call fills.
                let mut time: libc::timespec = unsafe { std::mem::zeroed() };
                // SAFETY: writes to the local variable.
                unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
                words[0] = (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64;
            }
        });
        let process = process(&victim.dir(), &Surroundings::of(&victim.dir())).expect("lives");
        let [started, user, kernel] = process.times.expect("known");
        assert_eq!(process.id, victim.id());
        // The kernel counts from boot in hundredths of seconds, cut off.
        assert!(
            (before - 1..=now()).contains(&started),
            "{before} {started} {}",
            now()
        );
        // One of both may be cut to whole seconds.
        assert!((0..=2).contains(&(user + kernel)), "{user} {kernel}");
    }

    #[test]
    fn zones_west_of_greenwich_have_a_positive_bias() {
        // Version 1 files (tzfile(5)) with a single kind of time: five hours and a half before UTC, and after it.
        let file = |offset: i32, dst: u8| {
            let mut bytes = b"TZif\0".to_vec();
            bytes.extend([0; 15]);
            for count in [0u32, 0, 0, 0, 1, 4] {
                bytes.extend(count.to_be_bytes());
            }
            bytes.extend(offset.to_be_bytes());
            bytes.extend([dst, 0]);
            bytes.extend(b"XYZ\0");
            bytes
        };
        let west = zone(&file(-19800, 0)).expect("sound");
        assert_eq!((west.id, west.bias, &west.standard.name[..]), (1, 330, "XYZ"));
        let east = zone(&file(19800, 1)).expect("sound");
        assert_eq!((east.id, east.bias), (2, -330));
        assert_eq!(zone(b"TZif"), None);
        assert_eq!(zone(&[]), None);
    }

    #[test]
    fn the_system_zone_is_the_one_that_date_shows() {
        let dir = ProcDir::new(std::process::id()).expect("own process");
        if let Some(zone) = time_zone(&dir) {
            let date = std::process::Command::new("date")
                .arg("+%z %Z")
                .env_remove("TZ")
                .output();
            let text = String::from_utf8(date.expect("coreutils").stdout).expect("text");
            let (offset, name) = text.trim().split_once(' ').expect("two words");
            let (hours, minutes) = offset.split_at(3);
            let hours: i32 = hours.parse().expect("a number");
            let minutes: i32 = minutes.parse().expect("a number");
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            assert_eq!(
                (zone.bias, &zone.standard.name[..]),
                (-(hours * 60 + sign * minutes), name)
            );
        }
    }
}
