//! The dump as one JSON object.

use dumpwright::read::{Dump, Platform, stream_name, stream_type};
use serde_json::{Map, Value, json};

use super::part;

/// The texts of Linux dumps, in the order of their numbers.
const TEXTS: [u32; 7] = [
    stream_type::LINUX_CPU_INFO,
    stream_type::LINUX_PROC_STATUS,
    stream_type::LINUX_LSB_RELEASE,
    stream_type::LINUX_CMD_LINE,
    stream_type::LINUX_ENVIRON,
    stream_type::LINUX_MAPS,
    stream_type::MOZ_LINUX_LIMITS,
];

/// Everything that the reader understands. What the dump does not have is `null` or an empty list; what it has but
/// can't be read is named under `problems`.
pub(super) fn object(dump: &Dump, file: &str) -> Value {
    let problems = &mut Vec::new();
    let system = part(problems, dump.system_info());
    let platform = system
        .as_ref()
        .map_or(Platform::Other(0), |system| system.platform);
    let streams: Vec<Value> = dump
        .directory()
        .iter()
        .map(|entry| {
            json!({
                "type": format!("{:#x}", entry.stream_type),
                "name": entry.name(),
                "size": entry.size,
                "offset": entry.rva,
            })
        })
        .collect();
    let exception = part(problems, dump.exception()).map(|exception| {
        let mut value = json!(exception);
        value["description"] = exception.describe(platform).into();
        value
    });
    let ranges = part(problems, dump.memory_ranges());
    let mut texts = Map::new();
    for number in TEXTS {
        if let Some(text) = part(problems, dump.text(number)) {
            texts.insert(stream_name(number).unwrap_or_default().to_owned(), text.into());
        }
    }
    json!({
        "file": file,
        "bytes": dump.len(),
        "header": dump.header(),
        "flag_names": dump.header().flag_names(),
        "streams": streams,
        "system": system,
        "process": part(problems, dump.misc_info()),
        "threads": part(problems, dump.threads()),
        "modules": part(problems, dump.modules()),
        "unloaded_modules": part(problems, dump.unloaded_modules()),
        "memory": {
            "bytes": ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.size)),
            "ranges": ranges,
        },
        "regions": part(problems, dump.memory_regions()),
        "exception": exception,
        "handles": part(problems, dump.handles()),
        "handle_operations": part(problems, dump.handle_operations()),
        "function_tables": part(problems, dump.function_tables()),
        "tokens": part(problems, dump.tokens()),
        "system_memory": part(problems, dump.system_memory()),
        "vm_counters": part(problems, dump.vm_counters()),
        "breakpad_info": part(problems, dump.breakpad_info()),
        "dso_debug": part(problems, dump.dso_debug()),
        "texts": texts,
        "comments": part(problems, dump.comments()),
        "soft_errors": part(problems, dump.soft_errors()),
        "losses": part(problems, dump.losses()),
        "problems": problems,
    })
}
