//! `[process]`: the process as a whole.

use dumpwright_target::{Power, TimeZone, WindowsProcessFacts, ZoneTime};
use dumpwright_text::{Fields, Parsed, Value};

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

/// The largest difference between a time zone and UTC, in minutes: one day.
const MOST_MINUTES: i32 = 24 * 60;

pub(super) fn read(document: &Fields<'_>, process: &mut SimProcess) {
    let Some(fields) = document.get("process", |value| value.table("a process", KEYS)) else {
        return;
    };
    process.id = fields.get_or("id", Value::u32, process.id);
    process.clock = fields.get_or("clock", Value::u32, process.clock);
    process.snapshot = fields.get_or("snapshot", Value::bool, false);
    process.handle = fields.get("handle", Value::u64);
    process.clone_handle = fields.get("clone_handle", Value::u64);
    process.windows = WindowsProcessFacts {
        integrity_level: fields.get("integrity_level", Value::u32),
        execute_flags: fields.get("execute_flags", Value::u32),
        protected_process: fields.get("protected", Value::u32),
        cookie: fields.get("cookie", Value::u32),
    };
    process.times = fields.get("times", |value| {
        let times = value.table("the times of a process", TIMES_KEYS)?;
        Ok(["created", "user", "kernel"].map(|key| times.get_or(key, Value::u32, 0)))
    });
    process.power = fields.get("power", power);
    process.time_zone = fields.get("time_zone", time_zone);
}

fn power(value: &Value<'_>) -> Parsed<Power> {
    let power = value.table("clock rates", POWER_KEYS)?;
    let max_mhz = power.required("max", Value::u32);
    let rate = |key| power.get(key, Value::u32);
    let (current, limit) = (rate("current"), rate("limit"));
    let (max_idle_state, idle_state) = (rate("max_idle_state"), rate("idle_state"));
    let max_mhz = max_mhz?;
    Ok(Power {
        max_mhz,
        current_mhz: current.unwrap_or(max_mhz),
        limit_mhz: limit.unwrap_or(max_mhz),
        max_idle_state: max_idle_state.unwrap_or(0),
        current_idle_state: idle_state.unwrap_or(0),
    })
}

fn time_zone(value: &Value<'_>) -> Parsed<TimeZone> {
    let zone = value.table("a time zone", ZONE_KEYS)?;
    let id = zone.get_or("id", Value::u32, 0);
    let name = zone.get_or("name", Value::string, String::new());
    let usual = TimeZone::unchanging(id, zone.get_or("bias", minutes, 0), name);
    let time = |key, usual: &ZoneTime| zone.get_or(key, |value| zone_time(value, usual), usual.clone());
    Ok(TimeZone {
        standard: time("standard", &usual.standard),
        daylight: time("daylight", &usual.daylight),
        ..usual
    })
}

fn minutes(value: &Value<'_>) -> Parsed<i32> {
    value.signed(-MOST_MINUTES, MOST_MINUTES)
}

/// Reads standard or daylight saving time.
fn zone_time(value: &Value<'_>, usual: &ZoneTime) -> Parsed<ZoneTime> {
    let time = value.table("a time of a time zone", ZONE_TIME_KEYS)?;
    Ok(ZoneTime {
        name: time.get_or("name", Value::string, usual.name.clone()),
        begins: time.get_or("begins", system_time, usual.begins),
        bias: time.get_or("bias", minutes, usual.bias),
    })
}

/// Reads the words of a `SYSTEMTIME`.
fn system_time(value: &Value<'_>) -> Parsed<[u16; 8]> {
    let words = value.each(Value::u16).complete()?;
    words.try_into().map_err(|_| {
        value.error(
            "expected the eight words of a SYSTEMTIME: year, month, day of the week, day, hour, minute, second, \
             milliseconds",
        )
    })
}
