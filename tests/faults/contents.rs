//! What is in a dump, as fields that can be compared one by one.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use dumpwright::read::Dump;
use serde_json::Value;

use crate::support;

/// Names and values of all fields of a dump, in the order of their names.
pub type Fields = BTreeMap<String, String>;

/// The fields that differ between two dumps of an unchanged process: the table in `docs/faults.md`.
pub struct Excluded(pub Vec<String>);

impl Excluded {
    /// Reads the table below this heading.
    pub fn load(heading: &str) -> Self {
        let page = std::fs::read_to_string(support::repository().join("docs/faults.md")).unwrap();
        let section = page.split("\n## ").find(|section| section.starts_with(heading));
        let section = section.unwrap_or_else(|| panic!("docs/faults.md has no section {heading}"));
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let fields: Vec<_> = rows
            .map(|row| row.split('`').next().unwrap_or_default().to_owned())
            .collect();
        assert!(!fields.is_empty(), "docs/faults.md has a table of fields");
        Self(fields)
    }

    /// Whether a row is this field, or the last word of it (`*.rva`), or holds it.
    fn has(&self, field: &str) -> bool {
        let plain = without_indices(field);
        self.0.iter().any(|row| match row.strip_prefix("*.") {
            Some(last) => plain.rsplit('.').next() == Some(last),
            None => plain
                .strip_prefix(row.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')),
        })
    }
}

/// `threads[3].info` as `threads[].info`.
fn without_indices(field: &str) -> String {
    let mut plain = String::new();
    let mut is_inside = false;
    for c in field.chars() {
        match c {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ if is_inside => continue,
            _ => {}
        }
        plain.push(c);
    }
    plain
}

/// Which process two dumps are compared of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The same process.
    Same,
    /// A new one each time, with other ids and times.
    New,
}

/// The fields of a dump, without those that are excluded.
pub fn of(dump: &Path, excluded: &Excluded, process: Process) -> Result<Fields, String> {
    let shown = support::run(support::dumper::dumpwright().args(["show", "--json"]).arg(dump));
    if !shown.status.success() {
        return Err(format!("show: {}", String::from_utf8_lossy(&shown.stderr)));
    }
    let shown: Value = serde_json::from_slice(&shown.stdout).map_err(|error| error.to_string())?;
    let mut fields = Fields::new();
    flatten(&shown, String::new(), &mut fields);
    let file = File::open(dump).map_err(|error| error.to_string())?;
    for range in shown["memory"]["ranges"].as_array().into_iter().flatten() {
        let (size, offset) = (&range["size"], &range["file_offset"]);
        let mut bytes = vec![0; size.as_u64().ok_or("a range without a size")? as usize];
        file.read_exact_at(&mut bytes, offset.as_u64().ok_or("a range without a place")?)
            .map_err(|error| error.to_string())?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let address = range["address"].as_str().unwrap_or_default();
        fields.insert(
            format!("contents.{address}+{size}"),
            format!("{:016x}", hasher.finish()),
        );
    }
    let opened = Dump::open(dump).map_err(|error| error.to_string())?;
    for region in shown["compressed_regions"].as_array().into_iter().flatten() {
        let (address, size) = (&region["address"], &region["size"]);
        let address = address.as_str().ok_or("a region without an address")?;
        let start = address
            .strip_prefix("0x")
            .map(|digits| u64::from_str_radix(digits, 16));
        let start = start
            .ok_or("not hexadecimal")?
            .map_err(|error| error.to_string())?;
        let bytes = opened.memory(start, size.as_u64().ok_or("a region without a size")?);
        let mut hasher = DefaultHasher::new();
        bytes.map_err(|error| error.to_string())?.hash(&mut hasher);
        fields.insert(
            format!("contents.compressed.{address}+{size}"),
            format!("{:016x}", hasher.finish()),
        );
    }
    // The one stream of the kernel's facts that is not a text.
    for stream in shown["streams"].as_array().into_iter().flatten() {
        if stream["name"] == "LinuxAuxv" {
            let place =
                [&stream["offset"], &stream["size"]].map(|number| number.as_u64().unwrap_or_default());
            let mut bytes = vec![0; place[1] as usize];
            file.read_exact_at(&mut bytes, place[0])
                .map_err(|error| error.to_string())?;
            fields.insert("texts.LinuxAuxv".to_owned(), format!("{bytes:02x?}"));
        }
    }
    fields.retain(|field, _| !excluded.has(field));
    if process == Process::New {
        fields.retain(|field, _| !OF_NEW.iter().any(|excluded| field.starts_with(excluded)));
        let threads = shown["threads"].as_array().map_or(&[][..], Vec::as_slice);
        let ids: Vec<_> = threads.iter().map(|thread| thread["id"].to_string()).collect();
        // Any other number may be equal to an id.
        let has_ids = |field: &str| {
            let plain = without_indices(field);
            let last = plain.trim_end_matches("[]").rsplit('.').next();
            last.is_some_and(|last| WITH_IDS.contains(&last))
        };
        for (field, value) in &mut fields {
            let ids = if has_ids(field) { &ids[..] } else { &[] };
            *value = without_ids(value, ids);
        }
    }
    Ok(fields)
}

/// The fields that differ between two processes that are the same: a time, and who started them.
const OF_NEW: &[&str] = &[
    "process.process_create_time",
    "texts.LinuxProcStatus.PPid",
    "texts.LinuxProcStatus.TracerPid",
];

/// The last words of fields with ids of threads.
const WITH_IDS: &[&str] = &["id", "thread_id", "process_id", "Tgid", "Pid", "NStgid", "NSpid"];

/// A text with the numbers of threads instead of their ids, and without the numbers of pipes.
fn without_ids(text: &str, ids: &[String]) -> String {
    let mut plain = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match ids.iter().position(|id| id == digits) {
            Some(number) => plain.push_str(&format!("thread {number}{}", &word[digits.len()..])),
            None if plain.ends_with("pipe:[") => plain.push_str(&word[digits.len()..]),
            None => plain.push_str(word),
        }
    }
    plain
}

fn flatten(value: &Value, name: String, fields: &mut Fields) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(value, name, fields);
            }
        }
        Value::Array(items) => {
            fields.insert(format!("{name}.count"), items.len().to_string());
            for (at, value) in items.iter().enumerate() {
                flatten(value, format!("{name}[{at}]"), fields);
            }
        }
        // Of texts of the kernel, some lines are counters.
        Value::String(text) if name.starts_with("texts.") => {
            for (at, line) in text.lines().enumerate() {
                let key = line.split(':').next().unwrap_or_default().trim();
                fields.insert(format!("{name}.{key}[{at}]"), line.to_owned());
            }
        }
        Value::Null => {}
        Value::String(text) => drop(fields.insert(name, text.clone())),
        _ => drop(fields.insert(name, value.to_string())),
    }
}

/// The names of the fields that only one of the two has, or that differ.
pub fn differences(left: &Fields, right: &Fields) -> Vec<String> {
    let mut names: Vec<_> = left
        .iter()
        .filter(|(name, value)| right.get(*name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    names.extend(right.keys().filter(|name| !left.contains_key(*name)).cloned());
    names
}

/// Fails unless the checker accepts the dump; losses are allowed where the dump says that it has
/// them.
pub fn check(dump: &Path) -> Result<(), String> {
    let mut command: Command = support::dumper::dumpwright();
    let output = support::run(command.args(["check", "--expect-losses"]).arg(dump));
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
