//! `[system_memory]` and `[vm_counters]`: counters of memory, by the names that Windows has for them.

use dumpwright_target::{
    BasicMemory, BasicPerformance, DirtyPages, FileCache, FileCacheTransition, JobMemory, KernelPages,
    Performance, PrivateMemory, ResidentPages, SystemMemory, VirtualSize, VmCounters, WorkingSet,
};

use super::fields::{Fields, Outcome, Value};

pub(super) const SYSTEM_KEYS: &[&str] = &[
    "basic",
    "file_cache",
    "file_cache_transition",
    "basic_performance",
    "performance",
    "dirty",
    "resident",
    "kernel",
];
pub(super) const PROCESS_KEYS: &[&str] = &["working_set", "private_usage", "virtual_size", "private", "job"];

/// A reader of one structure of numbers.
macro_rules! numbers {
    ($name:ident) => {
        |value: &Value<'_>| {
            let mut numbers = $name::default();
            for (name, number) in value.table("counters of memory", $name::NAMES)?.entries() {
                if !numbers.set(name, number.u64()?) {
                    return Err(number.error("expected a number from 0 to 0xffff_ffff"));
                }
            }
            Ok(numbers)
        }
    };
}

pub(super) fn read_system(document: &Fields<'_>) -> Outcome<Option<SystemMemory>> {
    let Some(value) = document.value("system_memory") else {
        return Ok(None);
    };
    let fields = value.table("the machine's memory", SYSTEM_KEYS)?;
    Ok(Some(SystemMemory {
        basic: fields.get("basic", numbers!(BasicMemory))?.unwrap_or_default(),
        file_cache: fields.get("file_cache", numbers!(FileCache))?.unwrap_or_default(),
        file_cache_transition: fields.get("file_cache_transition", numbers!(FileCacheTransition))?,
        basic_performance: fields.get("basic_performance", numbers!(BasicPerformance))?,
        performance: fields
            .get("performance", numbers!(Performance))?
            .unwrap_or_default(),
        dirty: fields.get("dirty", numbers!(DirtyPages))?,
        resident: fields.get("resident", numbers!(ResidentPages))?,
        kernel: fields.get("kernel", numbers!(KernelPages))?,
    }))
}

pub(super) fn read_process(document: &Fields<'_>) -> Outcome<Option<VmCounters>> {
    let Some(value) = document.value("vm_counters") else {
        return Ok(None);
    };
    let fields = value.table("the process' memory", PROCESS_KEYS)?;
    Ok(Some(VmCounters {
        working_set: fields
            .get("working_set", numbers!(WorkingSet))?
            .unwrap_or_default(),
        private_usage: fields.get("private_usage", Value::u64)?,
        virtual_size: fields.get("virtual_size", numbers!(VirtualSize))?,
        private: fields.get("private", numbers!(PrivateMemory))?,
        job: fields.get("job", numbers!(JobMemory))?,
    }))
}
