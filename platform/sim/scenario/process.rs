//! `[process]`: the process as a whole.

use dumpwright_target::{Power, TimeZone, WindowsProcess, ZoneTime};

use super::fields::{Fields, Outcome, Value};
use crate::SimProcess;

pub(super) const KEYS: &[&str] = &[
    "id",
    "clock",
    "times",
    "power",
    "time_zone",
    "snapshot",
    "handle",
    "clone_handle",
    "integrity_level",
    "execute_flags",
    "protected",
    "cookie",
];
pub(super) const TIMES_KEYS: &[&str] = &["created", "user", "kernel"];
pub(super) const POWER_KEYS: &[&str] = &["max", "current", "limit", "max_idle_state", "idle_state"];
pub(super) const ZONE_KEYS: &[&str] = &["id", "bias", "name", "standard", "daylight"];
pub(super) const ZONE_TIME_KEYS: &[&str] = &["name", "begins", "bias"];

/// Most minutes between a time zone and UTC; more than a day is none.
const MOST_MINUTES: i32 = 24 * 60;

pub(super) fn read(document: &Fields<'_>, process: &mut SimProcess) -> Outcome<()> {
    let Some(value) = document.value("process") else {
        return Ok(());
    };
    let fields = value.table("a process", KEYS)?;
    process.id = fields.get_or("id", Value::u32, process.id)?;
    process.clock = fields.get_or("clock", Value::u32, process.clock)?;
    process.snapshot = fields.get_or("snapshot", Value::bool, false)?;
    process.handle = fields.get("handle", Value::u64)?;
    process.clone_handle = fields.get("clone_handle", Value::u64)?;
    process.windows = WindowsProcess {
        integrity_level: fields.get("integrity_level", Value::u32)?,
        execute_flags: fields.get("execute_flags", Value::u32)?,
        protected_process: fields.get("protected", Value::u32)?,
        cookie: fields.get("cookie", Value::u32)?,
    };
    process.times = fields.get("times", |value| {
        let times = value.table("the times of a process", TIMES_KEYS)?;
        let of = |key| times.get_or(key, Value::u32, 0);
        Ok([of("created")?, of("user")?, of("kernel")?])
    })?;
    process.power = fields.get("power", |value| {
        let power = value.table("clock rates", POWER_KEYS)?;
        let max_mhz = power.need("max")?.u32()?;
        Ok(Power {
            max_mhz,
            current_mhz: power.get_or("current", Value::u32, max_mhz)?,
            limit_mhz: power.get_or("limit", Value::u32, max_mhz)?,
            max_idle_state: power.get_or("max_idle_state", Value::u32, 0)?,
            current_idle_state: power.get_or("idle_state", Value::u32, 0)?,
        })
    })?;
    process.time_zone = fields.get("time_zone", |value| {
        let zone = value.table("a time zone", ZONE_KEYS)?;
        let id = zone.get_or("id", Value::u32, 0)?;
        let name = zone.get_or("name", Value::string, String::new())?;
        let usual = TimeZone::unchanging(id, zone.get_or("bias", minutes, 0)?, name);
        Ok(TimeZone {
            standard: zone.get_or(
                "standard",
                |value| zone_time(value, &usual.standard),
                usual.standard.clone(),
            )?,
            daylight: zone.get_or(
                "daylight",
                |value| zone_time(value, &usual.daylight),
                usual.daylight.clone(),
            )?,
            ..usual
        })
    })?;
    Ok(())
}

fn minutes(value: &Value<'_>) -> Outcome<i32> {
    value.signed(-MOST_MINUTES, MOST_MINUTES)
}

/// Standard or daylight saving time.
fn zone_time(value: &Value<'_>, usual: &ZoneTime) -> Outcome<ZoneTime> {
    let time = value.table("a time of a time zone", ZONE_TIME_KEYS)?;
    Ok(ZoneTime {
        name: time.get_or("name", Value::string, usual.name.clone())?,
        begins: time.get_or("begins", system_time, usual.begins)?,
        bias: time.get_or("bias", minutes, usual.bias)?,
    })
}

/// The words of a `SYSTEMTIME`.
fn system_time(value: &Value<'_>) -> Outcome<[u16; 8]> {
    let words: Vec<u16> = value.array()?.iter().map(Value::u16).collect::<Outcome<_>>()?;
    words.try_into().map_err(|_| {
        value.error("expected the eight words of a SYSTEMTIME: year, month, day of the week, day, hour, minute, second, milliseconds")
    })
}
