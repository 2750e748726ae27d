//! Summarizes a dump in the notation of the recordings: streams, threads, modules, memory lists,
//! and bytes that a scenario selects.
//!
//! This reads the file by itself, by the documented layouts. It trusts no field, because failed
//! dumps are summarized as well.

use std::fmt::Write;

use dumpwright_fixtures::recorded::scenario::{Options, UserStream};

use crate::names::number;
use crate::session::Facts;

const STREAMS: [&str; 26] = [
    "Unused",
    "Reserved0",
    "Reserved1",
    "ThreadList",
    "ModuleList",
    "MemoryList",
    "Exception",
    "SystemInfo",
    "ThreadExList",
    "Memory64List",
    "CommentA",
    "CommentW",
    "HandleData",
    "FunctionTable",
    "UnloadedModuleList",
    "MiscInfo",
    "MemoryInfoList",
    "ThreadInfoList",
    "HandleOperationList",
    "Token",
    "JavaScriptData",
    "SystemMemoryInfo",
    "ProcessVmCounters",
    "IptTrace",
    "ThreadNames",
    "CompressedMemory",
];

/// With more streams than this, the directory is not read.
const MOST_STREAMS: u32 = 64;
/// A list with more entries is taken for an empty one, as by the recording harness: a scenario
/// passes a stream of its own as a list of threads.
const MOST_ENTRIES: u64 = 10_000;
/// The maximum number of ranges of a MemoryList in a summary.
const MOST_RANGES: u64 = 300;

/// Each byte of the first stream of the caller; see `client.c`.
const FIRST_BYTE: u64 = 0x51;

/// The parts of a dump that a scenario wants in the summary.
#[derive(Default)]
pub struct Wishes<'s> {
    /// The streams of the caller.
    pub streams: &'s [UserStream],
    /// Bytes to be shown: `NAME+OFFSET`, its address, and the number of bytes.
    pub peeks: Vec<(String, u64, u64)>,
    /// Show all ranges of a Memory64List, and not only those with bytes of `peeks`.
    pub all_ranges: bool,
    pub no_threads: bool,
    pub no_modules: bool,
    /// Show the DllCharacteristics of modules.
    pub characteristics: bool,
}

impl<'s> Wishes<'s> {
    /// Parses the options in the line of a scenario.
    pub fn of(words: &str, options: &'s Options, facts: &Facts) -> Self {
        let peeks = words.split(' ').filter_map(|word| word.strip_prefix("--peek="));
        Self {
            streams: &options.user_streams,
            peeks: peeks
                .map(|peek| {
                    let (place, size) = peek.split_once('/').expect("PLACE/SIZE");
                    (place.to_owned(), facts.names.address(place), number(size))
                })
                .collect(),
            all_ranges: words.split(' ').any(|word| word == "--mem64"),
            no_modules: options.quiet & 32 != 0,
            no_threads: options.quiet & 64 != 0,
            characteristics: false,
        }
    }
}

/// Returns the lines of the summary.
pub fn summarize(bytes: &[u8], facts: &Facts, wishes: &Wishes<'_>) -> String {
    let mut summary = Summary {
        bytes,
        facts,
        wishes,
        text: String::new(),
    };
    summary.all();
    summary.text
}

struct Summary<'s> {
    bytes: &'s [u8],
    facts: &'s Facts,
    wishes: &'s Wishes<'s>,
    text: String,
}

impl Summary<'_> {
    /// Returns the number at an offset, or 0 beyond the end of the file.
    fn u64(&self, at: u64) -> u64 {
        self.u32(at) | self.u32(at + 4) << 32
    }

    fn u32(&self, at: u64) -> u64 {
        let at = usize::try_from(at).expect("64 bits");
        let bytes = self.bytes.get(at..at + 4);
        bytes.map_or(0, |bytes| {
            u64::from(u32::from_le_bytes(bytes.try_into().expect("4")))
        })
    }

    /// Returns the number of entries of a list.
    fn entries(&self, at: u64) -> u64 {
        Some(self.u32(at))
            .filter(|count| *count <= MOST_ENTRIES)
            .unwrap_or(0)
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "D {line}").expect("memory");
    }

    fn all(&mut self) {
        self.line(&format!("file bytes={:#x}", self.bytes.len()));
        if self.bytes.len() < 32 {
            return;
        }
        let signature = match self.u32(0) {
            0 => "0".to_owned(),
            _ => String::from_utf8_lossy(&self.bytes[..4]).into_owned(),
        };
        let zero = if self.bytes.iter().all(|byte| *byte == 0) {
            " ALLZERO"
        } else {
            ""
        };
        let (count, directory) = (self.u32(8), self.u32(12));
        self.line(&format!(
            "header sig={signature} ver={:#x} streams={count} rva={directory:#x} sum={:#x} flags={:#x}{zero}",
            self.u32(4) & 0xffff,
            self.u32(16),
            self.u64(24),
        ));
        if signature != "MDMP" || count > u64::from(MOST_STREAMS) {
            return;
        }
        for index in 0..count {
            let entry = directory + 12 * index;
            let (kind, size, at) = (self.u32(entry), self.u32(entry + 4), self.u32(entry + 8));
            let name = usize::try_from(kind)
                .ok()
                .and_then(|kind| STREAMS.get(kind).copied())
                .unwrap_or("?");
            self.line(&format!("stream {kind} {name} size={size:#x}"));
            self.user_streams(kind, size, at);
            self.stream(name, at);
        }
    }

    /// Which streams of the caller this one is, by its type, size and first byte.
    fn user_streams(&mut self, kind: u64, size: u64, at: u64) {
        for (number, stream) in (0..).zip(self.wishes.streams) {
            let is_it = (u64::from(stream.stream_type), u64::from(stream.size)) == (kind, size);
            if is_it && size > 0 && self.u32(at) & 0xff == FIRST_BYTE + number {
                self.line(&format!(" user stream {number} align={}", at % 4));
            }
        }
    }

    fn names(&mut self, at: u64) {
        for entry in (0..self.entries(at)).map(|index| at + 4 + 12 * index) {
            let (id, text) = (self.u32(entry), self.u64(entry + 4));
            let len = self.u32(text);
            // The recordings have the lower halves of the units, and no control characters.
            let low = (0..len / 2).map(|unit| (self.u32(text + 4 + 2 * unit) & 0xff) as u8);
            let low = low.filter(|byte| !byte.is_ascii_control());
            let thread = self.facts.thread(u32::try_from(id).expect("32 bits"));
            let low = String::from_utf8_lossy(&low.collect::<Vec<_>>()).into_owned();
            self.line(&format!(" name {thread} len={len} {low}"));
        }
    }

    fn stream(&mut self, name: &str, at: u64) {
        match name {
            "ThreadNames" => self.names(at),
            "ThreadList" if !self.wishes.no_threads => self.threads(at, 48),
            "ThreadExList" if !self.wishes.no_threads => self.threads(at, 64),
            "ModuleList" => self.modules(at),
            "MemoryList" => {
                let count = self.u32(at);
                self.line(&format!(" ranges={count}"));
                for entry in (0..count.min(MOST_RANGES)).map(|index| at + 4 + 16 * index) {
                    let range = (self.u64(entry), self.u32(entry + 8), self.u32(entry + 12));
                    self.range("mem", range);
                }
            }
            "Memory64List" => self.memory64(at),
            "MemoryInfoList" | "ThreadInfoList" | "HandleData" | "UnloadedModuleList" => {
                let [header, each, count] = [0, 4, 8].map(|field| self.u32(at + field));
                self.line(&format!(" entries hdr={header} each={each} n={count}"));
            }
            "MiscInfo" => self.line(&format!(
                " miscinfo size={} flags1={:#x}",
                self.u32(at),
                self.u32(at + 4)
            )),
            _ => {}
        }
    }

    fn threads(&mut self, at: u64, each: u64) {
        for entry in (0..self.entries(at)).map(|index| at + 4 + each * index) {
            let id = u32::try_from(self.u32(entry)).expect("32 bits");
            let priority = i64::from(
                u32::try_from(self.u32(entry + 12))
                    .expect("32 bits")
                    .cast_signed(),
            );
            let mut line = format!(
                " thread {} susp={} prioclass={:#x} prio={priority} teb={} stack={}+:{:#x} ctx={:#x}",
                self.facts.thread(id),
                self.u32(entry + 4),
                self.u32(entry + 8),
                self.facts.show(self.u64(entry + 16)),
                self.facts.show(self.u64(entry + 24)),
                self.u32(entry + 32),
                self.u32(entry + 40),
            );
            if self.u32(entry + 36) == 0 {
                line += " stackrva=0";
            }
            let (size, context) = (self.u32(entry + 40), self.u32(entry + 44));
            if size != 0 && context != 0 {
                // ContextFlags of an x64 CONTEXT.
                write!(line, " ctxflags={:#x}", self.u32(context + 0x30)).expect("memory");
            } else if size != 0 {
                line += " ctxrva=0";
            }
            if each > 48 {
                let store = self.facts.show(self.u64(entry + 48));
                write!(line, " bs={store}:{:#x}", self.u32(entry + 56)).expect("memory");
            }
            self.line(&line);
        }
    }

    fn modules(&mut self, at: u64) {
        let count = self.u32(at);
        self.line(&format!(" modules={count}"));
        if self.wishes.no_modules {
            return;
        }
        for entry in (0..self.entries(at)).map(|index| at + 4 + 108 * index) {
            let [size, checksum, time, name, version, cv, misc] =
                [8, 12, 16, 20, 24, 76, 84].map(|field| self.u32(entry + field));
            let units = (0..self.u32(name) / 2).map(|index| (self.u32(name + 4 + 2 * index) & 0xffff) as u16);
            let path = String::from_utf16_lossy(&units.collect::<Vec<_>>());
            let base = self.facts.show(self.u64(entry));
            // DbgHelp writes DllCharacteristics to Reserved0.
            let characteristics = match self.u64(entry + 92) {
                value if value != 0 && self.wishes.characteristics => format!(" dllch={value:#x}"),
                _ => String::new(),
            };
            self.line(&format!(
                " module {base} size={size:#x} sum={checksum:#x} tds={time:#x} ver={version:08x} cv={cv:#x} misc={misc:#x} name={}{characteristics}",
                path.rsplit(['/', '\\']).next().unwrap_or_default(),
            ));
        }
    }

    fn memory64(&mut self, at: u64) {
        let (count, base) = (self.u64(at), self.u64(at + 8));
        let mut data = base;
        for entry in (0..count.min(self.bytes.len() as u64)).map(|index| at + 16 + 16 * index) {
            let (address, size) = (self.u64(entry), self.u64(entry + 8));
            let is_wanted = |(_, place, _): &(String, u64, u64)| place.wrapping_sub(address) < size;
            if self.wishes.all_ranges || self.wishes.peeks.iter().any(is_wanted) {
                self.range("mem64", (address, size, data));
            }
            data = data.saturating_add(size);
        }
        let end = match data.cmp(&(self.bytes.len() as u64)) {
            std::cmp::Ordering::Equal => "exact",
            std::cmp::Ordering::Less => "extra",
            std::cmp::Ordering::Greater => "TRUNCATED",
        };
        let total = data - base;
        self.line(&format!(
            " mem64 ranges={count} base={base:#x} total={total:#x} eof={end}"
        ));
    }

    fn range(&mut self, kind: &str, (address, size, data): (u64, u64, u64)) {
        let mut line = format!(" {kind} {} {size:#x}", self.facts.show(address));
        for (text, place, wanted) in &self.wishes.peeks {
            if address <= *place && place + wanted <= address + size {
                write!(line, " peek({text})=").expect("memory");
                for at in (0..*wanted).map(|index| data + place - address + index) {
                    let byte = usize::try_from(at).ok().and_then(|at| self.bytes.get(at));
                    let _ = match byte {
                        Some(byte) => write!(line, "{byte:02x}"),
                        None => write!(line, "EOF"),
                    };
                }
            }
        }
        self.line(&line);
    }
}
