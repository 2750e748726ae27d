//! `[[thread]]`: threads with their registers and stacks.

use std::collections::BTreeSet;

use dumpwright_target::{
    AddressRange, Layout, Region, RegionState, Stack, System, Thread, ThreadExit, ThreadTimes,
};

use super::fields::{Fields, Outcome, Value};
use super::places::Places;
use super::registers;
use crate::Contents;

pub(super) const KEYS: &[&str] = &[
    "id",
    "name",
    "registers",
    "teb",
    "stack",
    "stack_outside_memory",
    "interrupted",
    "priority",
    "priority_class",
    "suspend_count",
    "times",
    "start_address",
    "affinity",
    "exit",
    "backing_store",
];
pub(super) const EXIT_KEYS: &[&str] = &["status", "time"];
pub(super) const TIMES_KEYS: &[&str] = &["created", "kernel", "user"];
pub(super) const STACK_KEYS: &[&str] = &["limit", "base"];

/// NORMAL_PRIORITY_CLASS.
const NORMAL: u32 = 0x20;

pub(super) fn read(
    document: &Fields<'_>,
    places: &Places,
    system: &System,
    regions: &[(Region, Contents)],
) -> Outcome<Vec<Thread>> {
    let mut seen = BTreeSet::new();
    let mut threads = Vec::new();
    for fields in document.tables("thread", "a thread", KEYS)? {
        let id = fields.need("id")?;
        if !seen.insert(id.u32()?) {
            return Err(id.error("another thread has this id"));
        }
        let registers = fields.need("registers")?;
        let context = registers::read(&registers, places, system)?;
        let pointer = context.stack_pointer();
        let address = |key| fields.get_or(key, |value| places.address(value), 0);
        let outside = fields.get_or("stack_outside_memory", Value::bool, false)?;
        let layout = system.cpu.layout();
        let stack = fields.get("stack", |value| {
            read_stack(value, places, layout, pointer, outside)
        })?;
        if !outside && !is_memory(regions, pointer) {
            return Err(registers.error(format!(
                "{} is {pointer:#x}, and no memory is there; if that is meant, say stack_outside_memory = true",
                layout.stack_name
            )));
        }
        threads.push(Thread {
            id: id.u32()?,
            handle: 0,
            suspend_count: fields.get_or("suspend_count", Value::u32, 0)?,
            priority_class: fields.get_or("priority_class", Value::u32, NORMAL)?,
            priority: fields.get_or("priority", |value| value.signed(-15, 15), 0)?,
            teb: address("teb")?,
            context: Some(context),
            stack,
            interrupted: interrupted(&fields, places, regions)?,
            name: fields.get("name", Value::string)?,
            times: match fields.value("times").and_then(|value| value.as_bool()) {
                Some(false) => None,
                _ => Some(ThreadTimes {
                    start_address: address("start_address")?,
                    affinity: fields.get_or("affinity", Value::u64, 0)?,
                    ..fields.get_or("times", read_times, ThreadTimes::default())?
                }),
            },
            exit: fields.get("exit", read_exit)?,
            backing_store: fields.get("backing_store", |value| read_block(value, places))?,
        });
    }
    Ok(threads)
}

fn read_times(value: &Value<'_>) -> Outcome<ThreadTimes> {
    let fields = value.table("the times of a thread", TIMES_KEYS)?;
    let time = |key| fields.get_or(key, Value::u64, 0);
    Ok(ThreadTimes {
        created: time("created")?,
        kernel: time("kernel")?,
        user: time("user")?,
        ..ThreadTimes::default()
    })
}

fn read_exit(value: &Value<'_>) -> Outcome<ThreadExit> {
    let fields = value.table("the end of a thread", EXIT_KEYS)?;
    Ok(ThreadExit {
        status: fields.get_or("status", Value::u32, 0)?,
        time: fields.get_or("time", Value::u64, 0)?,
    })
}

/// All of a block, by its name.
fn read_block(value: &Value<'_>, places: &Places) -> Outcome<AddressRange> {
    let start = places.address(value)?;
    let range = value.as_text().and_then(|name| places.symbols.get(name.trim()));
    range.ok_or_else(|| value.error(format!("expected the name of a block, found {start:#x}")))
}

/// The stack whose bounds are written down: the name of a block, or both ends.
fn read_stack(
    value: &Value<'_>,
    places: &Places,
    layout: &Layout,
    pointer: u64,
    outside: bool,
) -> Outcome<Stack> {
    let bounds = match value.as_table("the bounds of a stack", STACK_KEYS)? {
        Some(fields) => {
            let ends = [fields.need("limit")?, fields.need("base")?];
            let [limit, base] = [places.address(&ends[0])?, places.address(&ends[1])?];
            AddressRange::new(limit, base)
                .ok_or_else(|| ends[1].error("the base of a stack is above its limit"))?
        }
        None => {
            let start = places.address(value)?;
            let range = value.as_text().and_then(|name| places.symbols.get(name.trim()));
            range.ok_or_else(|| {
                value.error(format!(
                    "expected the name of a block, or {{ limit, base }}, found {start:#x}"
                ))
            })?
        }
    };
    match AddressRange::new(pointer, bounds.end()) {
        Some(range) if bounds.contains(pointer) => Ok(Stack { range, pointer }),
        _ if outside => Ok(Stack {
            range: bounds,
            pointer,
        }),
        _ => Err(value.error(format!(
            "{} is {pointer:#x}, outside {bounds}; if that is meant, say stack_outside_memory = true",
            layout.stack_name
        ))),
    }
}

fn is_memory(regions: &[(Region, Contents)], address: u64) -> bool {
    region_of(regions, address).is_some()
}

fn region_of(regions: &[(Region, Contents)], address: u64) -> Option<&Region> {
    let index = regions.partition_point(|(region, _)| region.range.end() <= address);
    let (region, _) = regions.get(index)?;
    (region.range.contains(address) && region.state == RegionState::Commit).then_some(region)
}

/// Stacks that were left for the one in use, by their stack pointers.
fn interrupted(fields: &Fields<'_>, places: &Places, regions: &[(Region, Contents)]) -> Outcome<Vec<Stack>> {
    let Some(value) = fields.value("interrupted") else {
        return Ok(Vec::new());
    };
    let mut stacks = Vec::new();
    for item in value.array()? {
        let pointer = places.address(&item)?;
        let region = region_of(regions, pointer);
        let range = region.and_then(|region| AddressRange::new(pointer, region.range.end()));
        let range = range.ok_or_else(|| item.error(format!("no memory is at {pointer:#x}")))?;
        stacks.push(Stack { range, pointer });
    }
    Ok(stacks)
}
