//! The facts about the process as a whole.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use dumpwright_target::filetime::{self, UNITS_PER_SECOND};
use dumpwright_target::{Diagnostic, Fault, Power, Process, Subject, TimeZone, WindowsProcessFacts};

use crate::files;
use crate::mounts::FileSystems;
use crate::proc_dir::{ProcDir, clock_ticks, field, if_there, read_bounded, system_fault};
use crate::threads::boot_as_filetime;

/// Facts about the machine and its settings that the process does not affect. They are read before
/// it is stopped.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    power: Option<Power>,
    time_zone: Option<TimeZone>,
    /// What exists and could not be read.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Surroundings {
    /// Reads them. `cpuinfo` is the text of `/proc/cpuinfo`, if it was read already: on machines
    /// with many processors, the kernel takes long for it.
    pub(crate) fn of(dir: &ProcDir, systems: &FileSystems, cpuinfo: Option<&[u8]>) -> Self {
        let mut diagnostics = Vec::new();
        let mut lose = |what: &str, error: io::Error| {
            let reason = format!("{what} cannot be read: {error}");
            diagnostics.push(Diagnostic::missing(Subject::Stream("MiscInfo"), reason));
        };
        let power = power(cpuinfo).map_err(|error| lose("the clock rate of the processor", error));
        let time_zone = time_zone(dir, systems).map_err(|error| lose("the time zone", error));
        Self {
            power: power.ok().flatten(),
            time_zone: time_zone.ok().flatten(),
            diagnostics,
        }
    }
}

/// Returns the facts about the process: its times, and its surroundings.
pub(crate) fn process(dir: &ProcDir, surroundings: &Surroundings) -> Result<Process, Fault> {
    let stat = dir
        .process_stat()
        .map_err(|error| system_fault(format!("read the times of process {}", dir.pid), &error))?;
    let ticks = clock_ticks();
    let started = boot_as_filetime().saturating_add(stat.starttime.saturating_mul(UNITS_PER_SECOND / ticks));
    let seconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Process {
        id: dir.pid,
        times: Some([
            filetime::since_1970(started),
            seconds(stat.utime / ticks),
            seconds(stat.stime / ticks),
        ]),
        power: surroundings.power,
        time_zone: surroundings.time_zone.clone(),
        windows: WindowsProcessFacts::default(),
    })
}

/// Returns the clock rates of the first processor.
///
/// They come from its frequency driver. Virtual machines have none; there, `cpuinfo` has one rate,
/// which is used as the maximum, the current rate and the limit. `None` if neither has any.
///
/// # Errors
/// A file exists and cannot be read.
fn power(cpuinfo: Option<&[u8]>) -> io::Result<Option<Power>> {
    let megahertz = |name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cpufreq/{name}");
        let text = if_there(read_bounded(Path::new(&path), 64))?.unwrap_or_default();
        let kilohertz = std::str::from_utf8(&text).unwrap_or_default().trim();
        io::Result::Ok(kilohertz.parse::<u32>().ok().map(|kilohertz| kilohertz / 1000))
    };
    let rates = megahertz("cpuinfo_max_freq")?.zip(megahertz("scaling_cur_freq")?);
    if let Some((max_mhz, current_mhz)) = rates {
        let limit_mhz = megahertz("scaling_max_freq")?.unwrap_or(max_mhz);
        return Ok(Some(Power {
            max_mhz,
            current_mhz,
            limit_mhz,
            max_idle_state: 0,
            current_idle_state: 0,
        }));
    }
    let cpuinfo = match cpuinfo {
        Some(text) => Cow::Borrowed(text),
        None => read_bounded(Path::new("/proc/cpuinfo"), 16 << 20)?.into(),
    };
    let rate = field(&cpuinfo, "cpu MHz").and_then(|rate| rate.parse::<f64>().ok());
    let rate = rate.unwrap_or(0.0).round() as u32;
    Ok((rate > 0).then_some(Power {
        max_mhz: rate,
        current_mhz: rate,
        limit_mhz: rate,
        max_idle_state: 0,
        current_idle_state: 0,
    }))
}

/// Returns the time zone of the system in which the process runs: `/etc/localtime` in the root
/// directory of the process.
///
/// A program may select another zone with the variable `TZ`. Its environment is not examined.
fn time_zone(dir: &ProcDir, systems: &FileSystems) -> io::Result<Option<TimeZone>> {
    let data = if_there(files::read_in_root(
        dir,
        systems,
        Path::new("/etc/localtime"),
        1 << 20,
    ))?;
    Ok(data.and_then(|data| zone(&data)))
}

/// Parses a file of the time zone database (tzfile(5)) and returns the zone's current offset.
fn zone(data: &[u8]) -> Option<TimeZone> {
    let zone = tz::TimeZone::from_tz_data(data).ok()?;
    let now = zone.find_current_local_time_type().ok()?;
    let id = if now.is_dst() { 2 } else { 1 };
    let name = now.time_zone_designation().to_owned();
    Some(TimeZone::unchanging(id, -now.ut_offset() / 60, name))
}

/// What these tests would catch: times in a wrong unit or of a wrong clock, and a time zone with
/// the wrong sign.
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
            // Uses 1.1 s of processor time, and publishes the kernel's count of it.
            while words[0] < 1_100_000_000 {
                // SAFETY: timespec is a structure of integers, for which zero is a valid value.
                let mut time: libc::timespec = unsafe { std::mem::zeroed() };
                // SAFETY: the call writes to the local variable only.
                unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
                words[0] = (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64;
            }
        });
        let process = process(
            &victim.dir(),
            &Surroundings::of(&victim.dir(), &FileSystems::of(&victim.dir()), None),
        )
        .expect("lives");
        let [started, user, kernel] = process.times.expect("known");
        assert_eq!(process.id, victim.id());
        // The kernel counts hundredths of seconds since boot, rounded down.
        assert!(
            (before - 1..=now()).contains(&started),
            "{before} {started} {}",
            now()
        );
        // Each of the two is rounded down to whole seconds.
        assert!((0..=2).contains(&(user + kernel)), "{user} {kernel}");
    }

    #[test]
    fn zones_west_of_greenwich_have_a_positive_bias() {
        // Version 1 files (tzfile(5)) with one type of local time: 5:30 hours behind UTC, and 5:30
        // hours ahead of it.
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
        if let Some(zone) = time_zone(&dir, &FileSystems::of(&dir)).expect("readable") {
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
