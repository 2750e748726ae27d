//! `[process]`: the process as a whole.

use dumpwright_target::{Power, TimeZone, WindowsProcess};

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
pub(super) const POWER_KEYS: &[&str] = &["max", "current", "limit"];
pub(super) const ZONE_KEYS: &[&str] = &["id", "bias", "name"];

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
        })
    })?;
    process.time_zone = fields.get("time_zone", |value| {
        let zone = value.table("a time zone", ZONE_KEYS)?;
        Ok(TimeZone {
            id: zone.get_or("id", Value::u32, 0)?,
            bias: zone.get_or("bias", |bias| bias.signed(-MOST_MINUTES, MOST_MINUTES), 0)?,
            name: zone.get_or("name", Value::string, String::new())?,
        })
    })?;
    Ok(())
}
