//! The parts of a dump that are compared field by field: everything but its memory.

use std::collections::BTreeMap;

use dumpwright::read::{Dump, ReadError, stream_name, stream_type as kind};
use serde::Serialize;
use serde_json::Value;

/// A part of a dump.
pub(super) struct DumpPart {
    pub(super) name: &'static str,
    pub(super) entries: BTreeMap<Key, EntryFields>,
}

/// What an entry is: it sorts by number, and its text names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    number: u64,
    pub(super) text: String,
}

/// The values of an entry by the names of the fields.
pub(super) type EntryFields = BTreeMap<String, String>;

/// The streams whose contents are compared field by field, or as memory. Those of the others are
/// compared as bytes.
const DECODED: [u32; 23] = [
    kind::THREAD_LIST,
    kind::THREAD_EX_LIST,
    kind::MODULE_LIST,
    kind::MEMORY_LIST,
    kind::MEMORY64_LIST,
    kind::COMPRESSED_MEMORY,
    kind::EXCEPTION,
    kind::SYSTEM_INFO,
    kind::MISC_INFO,
    kind::HANDLE_DATA,
    kind::HANDLE_OPERATION_LIST,
    kind::FUNCTION_TABLE,
    kind::UNLOADED_MODULE_LIST,
    kind::MEMORY_INFO_LIST,
    kind::THREAD_INFO_LIST,
    kind::THREAD_NAMES,
    kind::TOKEN,
    kind::SYSTEM_MEMORY_INFO,
    kind::PROCESS_VM_COUNTERS,
    kind::BREAKPAD_INFO,
    kind::LINUX_DSO_DEBUG,
    kind::UNUSED,
    kind::MOZ_SOFT_ERRORS,
];

/// Where the streams with memory are says nothing about what the dumps contain: the same memory can
/// be in each of them.
const MEMORY: [u32; 3] = [kind::MEMORY_LIST, kind::MEMORY64_LIST, kind::COMPRESSED_MEMORY];

/// EntryFields that say where something is in the file, and not what it is.
fn is_place(field: &str) -> bool {
    field == "rva"
        || field.ends_with("_rva")
        || field.ends_with("_location")
        || matches!(field, "record_offset" | "file_offset")
}

/// Returns the parts of a dump, in the same order for all dumps.
pub(super) fn parts(dump: &Dump) -> Result<Vec<DumpPart>, ReadError> {
    let one = |name: &'static str, value: Value| {
        let mut part = DumpPart {
            name,
            entries: BTreeMap::new(),
        };
        if !value.is_null() {
            part.add(0, name, value);
        }
        part
    };
    let mut header = value(dump.header());
    if let Some(header) = header.as_object_mut() {
        // The checksum is unused, and the number of streams is that of the part `streams`.
        for field in ["checksum", "number_of_streams", "stream_directory_rva"] {
            header.remove(field);
        }
    }
    let losses = dump.iter_losses()?.collect::<Result<Vec<_>, _>>()?;
    Ok(vec![
        one("header", header),
        streams(dump)?,
        one("system", value(dump.system_info()?)),
        one("process", value(dump.misc_info()?)),
        one("exception", value(dump.exception()?)),
        list("threads", dump.threads()?, |thread| {
            let name = thread
                .name
                .as_ref()
                .map_or_else(String::new, |name| format!(" ({name})"));
            (thread.id.into(), format!("thread {}{name}", thread.id))
        }),
        list("modules", dump.modules()?, |module| {
            (0, module.name.clone().unwrap_or_default())
        }),
        list("unloaded modules", dump.unloaded_modules()?, |module| {
            (module.base, format!("{:#x}", module.base))
        }),
        list("regions", dump.memory_regions()?, |region| {
            (region.base, format!("{:#x}", region.base))
        }),
        list("handles", dump.handles()?, |handle| {
            (handle.handle, format!("handle {}", handle.handle))
        }),
        numbered("handle operations", dump.handle_operations()?),
        numbered("function tables", dump.function_tables()?),
        numbered("tokens", dump.tokens()?),
        one("memory of the system", value(dump.system_memory()?)),
        one("memory counters", value(dump.vm_counters()?)),
        one("BreakpadInfo", value(dump.breakpad_info()?)),
        one("LinuxDsoDebug", value(dump.dso_debug()?)),
        one("errors of the writer", value(dump.soft_errors()?)),
        list("lost memory", losses, |loss| {
            (loss.start, format!("{:#x}", loss.start))
        }),
    ])
}

fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn list<T: Serialize>(name: &'static str, items: Vec<T>, key: impl Fn(&T) -> (u64, String)) -> DumpPart {
    let mut part = DumpPart {
        name,
        entries: BTreeMap::new(),
    };
    for item in items {
        let (number, text) = key(&item);
        part.add(number, &text, value(item));
    }
    part
}

fn numbered<T: Serialize>(name: &'static str, items: Vec<T>) -> DumpPart {
    let mut part = DumpPart {
        name,
        entries: BTreeMap::new(),
    };
    for (number, item) in (0..).zip(items) {
        part.add(number, &format!("number {number}"), value(item));
    }
    part
}

impl DumpPart {
    /// Adds an entry. A second one with the same name gets a number.
    fn add(&mut self, number: u64, text: &str, value: Value) {
        let mut fields = EntryFields::new();
        flatten(&mut fields, "", &value);
        let names = (1..).map(|count| match count {
            1 => text.to_owned(),
            _ => format!("{text} (number {count})"),
        });
        let mut keys = names.map(|text| Key { number, text });
        let key = keys
            .find(|key| !self.entries.contains_key(key))
            .expect("there is no end of names");
        self.entries.insert(key, fields);
    }
}

/// Adds the scalars in a value, by their path.
fn flatten(fields: &mut EntryFields, path: &str, value: &Value) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    match value {
        Value::Object(object) => {
            for (name, value) in object.iter().filter(|(name, _)| !is_place(name)) {
                flatten(fields, &below(name), value);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate() {
                flatten(fields, &below(&number.to_string()), value);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            fields.insert(path.to_owned(), text.clone());
        }
        other => {
            fields.insert(path.to_owned(), other.to_string());
        }
    }
}

/// The streams that the dump has. The contents of those that nothing else compares are numbers of
/// bytes and sums of them.
fn streams(dump: &Dump) -> Result<DumpPart, ReadError> {
    let mut part = DumpPart {
        name: "streams",
        entries: BTreeMap::new(),
    };
    for entry in dump.directory() {
        let number = entry.stream_type;
        if number == kind::UNUSED || MEMORY.contains(&number) {
            continue;
        }
        let name = stream_name(number).map_or_else(|| format!("stream {number:#x}"), str::to_owned);
        let contents = match DECODED.contains(&number) {
            true => Value::Null,
            false => {
                let bytes = dump.stream_bytes(number)?.unwrap_or_default();
                let text = String::from_utf8(bytes);
                match text {
                    // Texts are compared line by line.
                    Ok(text) if !text.contains('\0') => {
                        let lines = (1_u32..).zip(text.lines());
                        lines
                            .map(|(number, line)| (format!("line {number:05}"), Value::from(line)))
                            .collect()
                    }
                    Ok(text) => bytes_of(text.as_bytes()),
                    Err(error) => bytes_of(error.as_bytes()),
                }
            }
        };
        part.add(number.into(), &name, contents);
    }
    Ok(part)
}

/// Bytes as fields of 16 bytes each, so that the first difference is shown.
fn bytes_of(bytes: &[u8]) -> Value {
    let rows = bytes.chunks(16).enumerate().map(|(row, bytes)| {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("byte {:#08x}", row * 16), Value::from(digits.join(" ")))
    });
    rows.collect()
}
