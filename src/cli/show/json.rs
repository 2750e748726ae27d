//! The JSON output of `show`. It is written entry by entry, so that a long list takes no memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use dumpwright::read::{
    Context, Dump, Exception, List, MemoryRange, Module, Platform, ReadError, Thread, stream_name,
    stream_type,
};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::{MOST_ENTRIES, MOST_MODULES, compressed_memory, part};
use crate::cli::JSON_VERSION;
use crate::cli::stack::{StackWalker, TraceFrame};

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

/// The maximum number of frames of one thread.
const MOST_FRAMES: usize = 10_000;

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
pub(super) fn print(out: &mut impl Write, dump: &Dump, file: &str, folders: &[PathBuf]) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::pretty(&mut *out);
    object(&mut serializer, dump, file, folders)?;
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

fn object<S: Serializer>(
    serializer: S,
    dump: &Dump,
    file: &str,
    folders: &[PathBuf],
) -> Result<(), S::Error> {
    let notes = RefCell::default();
    let modules = sorted_modules(dump);
    let walker = RefCell::new(StackWalker::new(dump, &modules, folders));
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
    let walked = JsonThreads {
        dump,
        walker: &walker,
        notes: &notes,
    };
    object.entry("threads", walked)?;
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
            frames: frames(&walker, exception.context.as_ref()),
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
    frames: Vec<JsonFrame>,
}

/// A thread with its stack trace.
#[derive(Serialize)]
struct WalkedThread {
    #[serde(flatten)]
    thread: Thread,
    frames: Vec<JsonFrame>,
}

#[derive(Serialize)]
struct JsonFrame {
    address: String,
    stack_pointer: String,
    module: Option<String>,
    module_offset: Option<u64>,
    function: Option<String>,
    function_offset: Option<u64>,
}

/// The threads, which are read and walked while they are written.
struct JsonThreads<'t, 'd, 'n> {
    dump: &'d Dump,
    walker: &'t RefCell<StackWalker<'d>>,
    notes: &'n RefCell<Notes>,
}

impl Serialize for JsonThreads<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = part(
            &mut self.notes.borrow_mut().problems,
            self.dump.iter_threads().map(Some),
        );
        let mut sequence = serializer.serialize_seq(None)?;
        if let Some(list) = list {
            if let Some(more) = list.len().checked_sub(MOST_ENTRIES).filter(|more| *more > 0) {
                self.notes.borrow_mut().left_out.insert("threads", more);
            }
            for thread in list.take(MOST_ENTRIES as usize) {
                match thread {
                    Ok(thread) => sequence.serialize_element(&WalkedThread {
                        frames: frames(self.walker, thread.context.as_ref()),
                        thread,
                    })?,
                    Err(error) => self.notes.borrow_mut().problems.push(error.to_string()),
                }
            }
        }
        sequence.end()
    }
}

/// Returns the stack trace from these registers.
fn frames(walker: &RefCell<StackWalker<'_>>, context: Option<&Context>) -> Vec<JsonFrame> {
    let mut walker = walker.borrow_mut();
    let trace = walker.trace(context, MOST_FRAMES);
    let modules = walker.modules();
    let frame = |frame: TraceFrame| {
        let module = frame.module.map(|index| &modules[index]);
        let (function, function_offset) = frame.function.unzip();
        JsonFrame {
            address: format!("{:#x}", frame.address),
            stack_pointer: format!("{:#x}", frame.stack_pointer),
            module: module.and_then(|module| module.file_name()).map(str::to_owned),
            module_offset: module.map(|module| frame.address.wrapping_sub(module.base)),
            function: function.map(|name| name.to_string()),
            function_offset,
        }
    };
    trace.frames.into_iter().map(frame).collect()
}

/// Returns the modules that a stack trace needs. The list of modules reports what cannot be read.
fn sorted_modules(dump: &Dump) -> Vec<Module> {
    let list = dump.iter_modules().into_iter().flatten();
    let mut modules: Vec<_> = list.take(MOST_MODULES as usize).flatten().collect();
    modules.sort_by_key(|module| module.base);
    modules
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
