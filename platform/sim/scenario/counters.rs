//! `[system_memory]` and `[vm_counters]`: counters of memory. Their keys are Windows' names for
//! them.

use dumpwright_target::{
    BasicMemory, BasicPerformance, DirtyPages, FileCache, FileCacheTransition, JobMemory, KernelPages,
    Performance, PrivateMemory, ResidentPages, SystemMemory, VirtualSize, VmCounters, WorkingSet,
};
use dumpwright_text::{Fields, Value};

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

/// Makes a function that reads one structure of numbers.
macro_rules! numbers {
    ($name:ident) => {
        |value: &Value<'_>| {
            let fields = value.table("counters of memory", $name::NAMES)?;
            let mut numbers = $name::default();
            for name in fields.present($name::NAMES) {
                let set = fields
                    .required(name, Value::u64)
                    .map(|number| numbers.set(name, number));
                if set == Ok(false) {
                    fields.required(name, Value::u32)?;
                }
            }
            Ok(numbers)
        }
    };
}

pub(super) fn read_system(document: &Fields<'_>) -> Option<SystemMemory> {
    let fields = document.get("system_memory", |value| {
        value.table("the machine's memory", SYSTEM_KEYS)
    })?;
    Some(SystemMemory {
        basic: fields.get("basic", numbers!(BasicMemory)).unwrap_or_default(),
        file_cache: fields.get("file_cache", numbers!(FileCache)).unwrap_or_default(),
        file_cache_transition: fields.get("file_cache_transition", numbers!(FileCacheTransition)),
        basic_performance: fields.get("basic_performance", numbers!(BasicPerformance)),
        performance: fields
            .get("performance", numbers!(Performance))
            .unwrap_or_default(),
        dirty: fields.get("dirty", numbers!(DirtyPages)),
        resident: fields.get("resident", numbers!(ResidentPages)),
        kernel: fields.get("kernel", numbers!(KernelPages)),
    })
}

pub(super) fn read_process(document: &Fields<'_>) -> Option<VmCounters> {
    let fields = document.get("vm_counters", |value| {
        value.table("the process's memory", PROCESS_KEYS)
    })?;
    Some(VmCounters {
        working_set: fields
            .get("working_set", numbers!(WorkingSet))
            .unwrap_or_default(),
        private_usage: fields.get("private_usage", Value::u64),
        virtual_size: fields.get("virtual_size", numbers!(VirtualSize)),
        private: fields.get("private", numbers!(PrivateMemory)),
        job: fields.get("job", numbers!(JobMemory)),
    })
}
