//! `[[thread]]`: threads with their registers and stacks.

use std::collections::BTreeSet;

use dumpwright_target::{
    AddressRange, ContextLayout, CpuContext, Region, RegionState, Stack, Thread, ThreadExit, ThreadTimes,
};
use dumpwright_text::{Fields, Listed, Parsed, Value};

use super::places::Places;
use super::registers;
use super::system::Machine;
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

/// Regions in ascending order.
type Regions = Listed<(Region, Contents)>;

pub(super) fn read(
    document: &Fields<'_>,
    places: &Places,
    machine: &Machine,
    regions: &Regions,
) -> Listed<Thread> {
    let mut seen = BTreeSet::new();
    let tables = document.tables("thread", "a thread", KEYS);
    tables.each(|fields| thread(fields, places, machine, regions, &mut seen))
}

fn thread(
    fields: &Fields<'_>,
    places: &Places,
    machine: &Machine,
    regions: &Regions,
    seen: &mut BTreeSet<u32>,
) -> Parsed<Thread> {
    let id = fields.required("id", |value| {
        let id = value.u32()?;
        if !seen.insert(id) {
            return Err(value.error("another thread has this id"));
        }
        Ok(id)
    });
    let context = fields.required("registers", |value| registers::read(value, places, machine));
    let pointer = context
        .as_ref()
        .map(CpuContext::stack_pointer)
        .map_err(|mistake| *mistake);
    let address = |key| fields.get_or(key, |value| places.address(value), 0);
    let outside = fields.optional("stack_outside_memory", Value::bool);
    // If this key has a mistake, the stack may be meant to be outside memory, so nothing is
    // reported.
    let outside = outside.map_or(true, Option::unwrap_or_default);
    let layout = machine.system.cpu.layout();
    let stack = fields.optional("stack", |value| {
        read_stack(value, places, layout, pointer, outside)
    });
    let context = match pointer {
        Ok(pointer) if !outside && stack.is_ok() && is_certainly_no_memory(regions, pointer) => {
            fields.required("registers", |registers| {
                Err(registers.error(format_args!(
                    "{} is {pointer:#x}, and no memory is there; if this is intended, set stack_outside_memory = true",
                    layout.stack_name
                )))
            })
        }
        _ => context,
    };
    let times = match fields.value("times").and_then(|value| value.as_bool()) {
        Some(false) => None,
        _ => Some(ThreadTimes {
            start_address: address("start_address"),
            affinity: fields.get_or("affinity", Value::u64, 0),
            ..fields.get_or("times", read_times, ThreadTimes::default())
        }),
    };
    Ok(Thread {
        handle: 0,
        suspend_count: fields.get_or("suspend_count", Value::u32, 0),
        priority_class: fields.get_or("priority_class", Value::u32, NORMAL),
        priority: fields.get_or("priority", |value| value.signed(-15, 15), 0),
        teb: address("teb"),
        stack: stack.unwrap_or_default(),
        interrupted: fields.get_or(
            "interrupted",
            |value| value.each(|item| interrupted(item, places, regions)).complete(),
            Vec::new(),
        ),
        name: fields.get("name", Value::string),
        times,
        exit: fields.get("exit", read_exit),
        backing_store: fields.get("backing_store", |value| read_block(value, places)),
        id: id?,
        context: Some(context?),
    })
}

fn read_times(value: &Value<'_>) -> Parsed<ThreadTimes> {
    let fields = value.table("the times of a thread", TIMES_KEYS)?;
    let time = |key| fields.get_or(key, Value::u64, 0);
    Ok(ThreadTimes {
        created: time("created"),
        kernel: time("kernel"),
        user: time("user"),
        ..ThreadTimes::default()
    })
}

fn read_exit(value: &Value<'_>) -> Parsed<ThreadExit> {
    let fields = value.table("the end of a thread", EXIT_KEYS)?;
    Ok(ThreadExit {
        status: fields.get_or("status", Value::u32, 0),
        time: fields.get_or("time", Value::u64, 0),
    })
}

/// Reads the name of a block and returns its range.
fn read_block(value: &Value<'_>, places: &Places) -> Parsed<AddressRange> {
    let start = places.address(value)?;
    let range = places.named(value);
    range.ok_or_else(|| value.error(format_args!("expected the name of a block, found {start:#x}")))
}

/// Reads the bounds of a stack: the name of a block, or both ends.
fn read_stack(
    value: &Value<'_>,
    places: &Places,
    layout: &ContextLayout,
    pointer: Parsed<u64>,
    outside: bool,
) -> Parsed<Stack> {
    let bounds = match value.as_table("the bounds of a stack", STACK_KEYS) {
        Some(fields) => {
            let limit = fields.required("limit", |value| places.address(value));
            let base = fields.required("base", |value| Ok((places.address(value)?, value.clone())));
            let (limit, (base, value)) = (limit?, base?);
            AddressRange::new(limit, base)
                .ok_or_else(|| value.error("the base of a stack is above its limit"))?
        }
        None => {
            let start = places.address(value)?;
            places.named(value).ok_or_else(|| {
                value.error(format_args!(
                    "expected the name of a block, or {{ limit, base }}, found {start:#x}"
                ))
            })?
        }
    };
    let pointer = pointer?;
    match AddressRange::new(pointer, bounds.end()) {
        Some(range) if bounds.contains(pointer) => Ok(Stack { range, pointer }),
        _ if outside => Ok(Stack {
            range: bounds,
            pointer,
        }),
        _ => Err(value.error(format_args!(
            "{} is {pointer:#x}, outside {bounds}; if this is intended, set stack_outside_memory = true",
            layout.stack_name
        ))),
    }
}

/// Whether there is no memory at this address, and correcting a mistake could not put any there.
fn is_certainly_no_memory(regions: &Regions, address: u64) -> bool {
    regions.all.is_ok() && region_of(&regions.items, address).is_none()
}

fn region_of(regions: &[(Region, Contents)], address: u64) -> Option<&Region> {
    let index = regions.partition_point(|(region, _)| region.range.end() <= address);
    let (region, _) = regions.get(index)?;
    (region.range.contains(address) && region.state == RegionState::Commit).then_some(region)
}

/// Reads a stack that was interrupted in favour of the current one, from its stack pointer.
fn interrupted(item: &Value<'_>, places: &Places, regions: &Regions) -> Parsed<Stack> {
    let pointer = places.address(item)?;
    let region = region_of(&regions.items, pointer);
    let range = region.and_then(|region| AddressRange::new(pointer, region.range.end()));
    let Some(range) = range else {
        regions.all?;
        return Err(item.error(format_args!("there is no memory at {pointer:#x}")));
    };
    Ok(Stack { range, pointer })
}
