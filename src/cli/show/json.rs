//! The JSON output of `show`. It is written entry by entry, so that a long list takes no memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};

use dumpwright::read::{Dump, Exception, List, MemoryRange, Platform, ReadError, stream_name, stream_type};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::{MOST_ENTRIES, MOST_MODULES, compressed_memory, part};
use crate::cli::JSON_VERSION;

/// The streams of Linux dumps that contain text, by ascending stream type.
const TEXTS: [u32; 7] = [
    stream_type::LINUX_CPU_INFO,
    stream_type::LINUX_PROC_STATUS,
    stream_type::LINUX_LSB_RELEASE,
    stream_type::LINUX_CMD_LINE,
    stream_type::LINUX_ENVIRON,
    stream_type::LINUX_MAPS,
    stream_type::MOZ_LINUX_LIMITS,
];

/// The number of bytes of each text that are shown. The maps of a million mappings have more, those
/// of 100,000 less.
const LONGEST_TEXT: u64 = 16 << 20;

/// What was found while the object was written, and is written at its end.
#[derive(Default)]
struct Notes {
    problems: Vec<String>,
    /// For each list or text that is not shown in full, the number of entries or bytes that are
    /// not shown.
    left_out: BTreeMap<&'static str, u64>,
}

/// Prints an object with everything that the reader supports. What the dump does not contain is
/// `null` or an empty list. What it contains but cannot be read is listed under `problems`.
pub(super) fn print(out: &mut impl Write, dump: &Dump, file: &str) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::pretty(&mut *out);
    object(&mut serializer, dump, file)?;
    writeln!(out)
}

/// Writes the entries of one object.
struct Object<'n, M: SerializeMap> {
    map: M,
    notes: &'n RefCell<Notes>,
}

impl<M: SerializeMap> Object<'_, M> {
    fn entry(&mut self, key: &'static str, value: impl Serialize) -> Result<(), M::Error> {
        self.map.serialize_entry(key, &value)
    }

    /// Writes what was read, or the default value and a problem.
    fn part<T: Default + Serialize>(
        &mut self,
        key: &'static str,
        read: Result<T, ReadError>,
    ) -> Result<(), M::Error> {
        let value = part(&mut self.notes.borrow_mut().problems, read);
        self.entry(key, value)
    }

    /// Writes the first entries of a list.
    fn list<T: Serialize>(
        &mut self,
        key: &'static str,
        list: Result<List<'_, T>, ReadError>,
        most: u64,
    ) -> Result<(), M::Error> {
        let list = part(&mut self.notes.borrow_mut().problems, list.map(Some));
        let entries = JsonEntries {
            list: RefCell::new(list),
            most,
            key,
            notes: self.notes,
        };
        self.entry(key, entries)
    }
}

fn object<S: Serializer>(serializer: S, dump: &Dump, file: &str) -> Result<(), S::Error> {
    let notes = RefCell::default();
    let mut object = Object {
        map: serializer.serialize_map(None)?,
        notes: &notes,
    };
    object.entry("version", JSON_VERSION)?;
    object.entry("file", file)?;
    object.entry("bytes", dump.len())?;
    object.entry("header", dump.header())?;
    object.entry("flag_names", dump.header().flag_names())?;
    object.entry("streams", Streams { dump, notes: &notes })?;
    let system = part(&mut notes.borrow_mut().problems, dump.system_info());
    let platform = system
        .as_ref()
        .map_or(Platform::Other(0), |system| system.platform);
    object.entry("system", system)?;
    object.part("process", dump.misc_info())?;
    object.list("threads", dump.iter_threads(), MOST_ENTRIES)?;
    object.list("modules", dump.iter_modules(), MOST_MODULES)?;
    object.list("unloaded_modules", dump.iter_unloaded_modules(), MOST_ENTRIES)?;
    object.entry("memory", MemoryObject { dump, notes: &notes })?;
    let compressed = compressed_memory(&mut notes.borrow_mut().problems, dump);
    object.entry("compressed_memory", compressed)?;
    match compressed {
        Some(_) => object.list("compressed_regions", dump.iter_compressed_regions(), MOST_ENTRIES)?,
        None => object.entry("compressed_regions", [(); 0])?,
    }
    object.list("regions", dump.iter_memory_regions(), MOST_ENTRIES)?;
    let exception = dump.exception().map(|exception| {
        exception.map(|exception| Described {
            description: exception.describe(platform),
            exception,
        })
    });
    object.part("exception", exception)?;
    object.list("handles", dump.iter_handles(), MOST_ENTRIES)?;
    object.list("handle_operations", dump.iter_handle_operations(), MOST_ENTRIES)?;
    object.part("function_tables", dump.function_tables())?;
    object.part("tokens", dump.tokens())?;
    object.part("system_memory", dump.system_memory())?;
    object.part("vm_counters", dump.vm_counters())?;
    object.part("breakpad_info", dump.breakpad_info())?;
    object.part("dso_debug", dump.dso_debug())?;
    object.entry("texts", JsonTexts { dump, notes: &notes })?;
    object.part("comments", dump.comments())?;
    object.part("soft_errors", dump.soft_errors())?;
    object.list("losses", dump.iter_losses(), MOST_ENTRIES)?;
    let Notes { problems, left_out } = notes.take();
    object.map.serialize_entry("left_out", &left_out)?;
    object.map.serialize_entry("problems", &problems)?;
    object.map.end().map(|_| ())
}

/// The first entries of a list, which are read while they are written.
struct JsonEntries<'d, 'n, T> {
    list: RefCell<Option<List<'d, T>>>,
    most: u64,
    key: &'static str,
    notes: &'n RefCell<Notes>,
}

impl<T: Serialize> Serialize for JsonEntries<'_, '_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        if let Some(list) = self.list.take() {
            if let Some(more) = list.len().checked_sub(self.most).filter(|more| *more > 0) {
                self.notes.borrow_mut().left_out.insert(self.key, more);
            }
            for entry in list.take(self.most as usize) {
                match entry {
                    Ok(entry) => sequence.serialize_element(&entry)?,
                    Err(error) => self.notes.borrow_mut().problems.push(error.to_string()),
                }
            }
        }
        sequence.end()
    }
}

/// The directory.
struct Streams<'d, 'n> {
    dump: &'d Dump,
    notes: &'n RefCell<Notes>,
}

impl Serialize for Streams<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Stream {
            #[serde(rename = "type")]
            stream_type: String,
            name: Option<&'static str>,
            size: u32,
            offset: u32,
        }
        let directory = self.dump.directory();
        let listed = u64::from(self.dump.header().number_of_streams);
        if let Some(more) = listed
            .checked_sub(directory.len() as u64)
            .filter(|more| *more > 0)
        {
            self.notes.borrow_mut().left_out.insert("streams", more);
        }
        serializer.collect_seq(directory.iter().map(|entry| Stream {
            stream_type: format!("{:#x}", entry.stream_type),
            name: entry.name(),
            size: entry.size,
            offset: entry.rva,
        }))
    }
}

/// The captured memory.
struct MemoryObject<'d, 'n> {
    dump: &'d Dump,
    notes: &'n RefCell<Notes>,
}

impl Serialize for MemoryObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Object {
            map: serializer.serialize_map(Some(2))?,
            notes: self.notes,
        };
        object.entry("bytes", self.total())?;
        object.list("ranges", self.dump.iter_memory_ranges(), MOST_ENTRIES)?;
        object.map.end()
    }
}

impl MemoryObject<'_, '_> {
    /// Returns the number of captured bytes, or `None` if there are more ranges than are shown.
    fn total(&self) -> Option<u64> {
        // The list of ranges, which is written next, reports errors.
        let list = self.dump.iter_memory_ranges().ok();
        let sum = |list: List<'_, MemoryRange>| {
            let sizes = list.flatten().map(|range| range.size);
            sizes.fold(0, u64::saturating_add)
        };
        match list {
            Some(list) if list.len() > MOST_ENTRIES => None,
            list => Some(list.map_or(0, sum)),
        }
    }
}

/// The exception with its description in words.
#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    exception: Exception,
    description: String,
}

/// The texts of a Linux dump by their stream's name.
struct JsonTexts<'d, 'n> {
    dump: &'d Dump,
    notes: &'n RefCell<Notes>,
}

impl Serialize for JsonTexts<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for number in TEXTS {
            let notes = &mut *self.notes.borrow_mut();
            let read = self.dump.text_start(number, LONGEST_TEXT);
            let Some((text, length)) = part(&mut notes.problems, read) else {
                continue;
            };
            let name = stream_name(number).unwrap_or_default();
            if length > LONGEST_TEXT {
                notes.left_out.insert(name, length - LONGEST_TEXT);
            }
            map.serialize_entry(name, &text)?;
        }
        map.end()
    }
}
