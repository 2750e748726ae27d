//! The bytes of a dump: shown at an address, searched for, and written into a file.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use dumpwright::Sink;
use dumpwright::read::{Dump, stream_name};
use dumpwright_text::nearest;
use memchr::memmem::Finder;

use super::space::{self, AddressSpace, SpaceFacts};
use super::text::ShownDump;
use crate::cli::backend;
use crate::cli::print::{DIM, HEADING, printable};

/// The number of bytes in a line.
const ROW: u64 = 16;
/// The number of bytes that `--address` shows if it has no length.
const USUAL: u64 = 256;
/// The maximum number of bytes that are shown. `--export` has no limit.
const MOST_SHOWN: u64 = 16 << 20;
/// The number of bytes that are read at a time.
const CHUNK: u64 = 1 << 20;
/// Memory that cannot be read is divided down to this size.
const SMALLEST: u64 = 4096;
/// The maximum number of bytes that are searched, as a multiple of the size of the dump. Compressed
/// memory is at most 255 times as large. Only in a hostile dump do ranges share their bytes.
const MOST_EXPANSION: u64 = 256;
/// The maximum number of reads that may fail in a search. Only a hostile dump has so much memory
/// that is not in the file.
const MOST_FAILURES: u32 = 100_000;
/// The maximum number of places that a search shows.
const MOST_FOUND: usize = 1000;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownRange {
    start: u64,
    size: u64,
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Parses `ADDRESS:LENGTH` or `ADDRESS-END`.
fn range(text: &str) -> Result<ShownRange, String> {
    const FORM: &str = "expected 0xADDRESS:LENGTH or 0xADDRESS-0xEND";
    let (start, size) = if let Some((start, size)) = text.split_once(':') {
        (number(start), number(size))
    } else if let Some((start, end)) = text.split_once('-') {
        let start = number(start);
        let size = start.and_then(|start| number(end)?.checked_sub(start));
        (start, size)
    } else {
        return Err(FORM.to_owned());
    };
    let (Some(start), Some(size)) = (start, size.filter(|size| *size > 0)) else {
        return Err(FORM.to_owned());
    };
    match start.checked_add(size - 1) {
        Some(_) => Ok(ShownRange { start, size }),
        None => Err("the range goes beyond the last address".to_owned()),
    }
}

/// Parses the value of `--address`: an address, or a range.
pub(super) fn address(text: &str) -> Result<ShownRange, String> {
    match number(text) {
        Some(start) => Ok(ShownRange {
            start,
            size: USUAL.min((u64::MAX - start).saturating_add(1)),
        }),
        None => range(text),
    }
}

/// Prints a range as hexadecimal digits and as text. Lines that are equal to the line before are
/// one line with a `*`.
pub(super) fn print(out: &mut impl Write, dump: &Dump, range: ShownRange) -> Result<(), Box<dyn Error>> {
    if range.size > MOST_SHOWN {
        return Err("at most 16 MiB are shown; --export writes more into a file".into());
    }
    dump.has_memory(range.start, 1)?;
    let mut last: Option<Vec<Option<u8>>> = None;
    let mut is_repeated = false;
    let end = range.start + (range.size - 1);
    let mut at = range.start;
    loop {
        let behind = at - at % ROW + (ROW - 1);
        let to = behind.min(end);
        let row = row(dump, at, to);
        let is_whole = row.len() as u64 == ROW;
        if is_whole && to != end && last.as_ref() == Some(&row) {
            if !is_repeated {
                writeln!(out, "*")?;
            }
            is_repeated = true;
        } else {
            line(out, at, &row)?;
            is_repeated = false;
            last = is_whole.then_some(row);
        }
        if to == end {
            return Ok(());
        }
        at = to + 1;
    }
}

/// Returns the bytes from `first` to `last`. Those that the dump does not have are `None`.
fn row(dump: &Dump, first: u64, last: u64) -> Vec<Option<u8>> {
    let size = last - first + 1;
    if let Ok(Some(bytes)) = dump.memory(first, size) {
        return bytes.into_iter().map(Some).collect();
    }
    let one = |at| dump.memory(at, 1).ok().flatten().map(|bytes| bytes[0]);
    (first..=last).map(one).collect()
}

fn line(out: &mut impl Write, at: u64, row: &[Option<u8>]) -> io::Result<()> {
    let before = (at % ROW) as usize;
    let mut digits = String::new();
    let mut text = String::new();
    for index in 0..ROW as usize {
        let byte = index.checked_sub(before).and_then(|index| row.get(index));
        digits.push_str(match index {
            0 => "",
            8 => "  ",
            _ => " ",
        });
        match byte {
            None => {
                digits.push_str("  ");
                text.push(' ');
            }
            Some(None) => {
                digits.push_str("??");
                text.push('?');
            }
            Some(Some(byte)) => {
                digits.push_str(&format!("{byte:02x}"));
                let is_text = byte.is_ascii_graphic() || *byte == b' ';
                text.push(if is_text { char::from(*byte) } else { '.' });
            }
        }
    }
    writeln!(
        out,
        "{DIM}{:016x}{DIM:#}  {digits}  |{}|",
        at - at % ROW,
        text.trim_end_matches(' ')
    )
}

/// Returns the bytes to search for: those after `hex:`, or the text in UTF-8 and in UTF-16.
fn patterns(wanted: &str) -> Result<Vec<Vec<u8>>, String> {
    let Some(digits) = wanted.strip_prefix("hex:") else {
        let wide: Vec<u8> = wanted.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let narrow = wanted.as_bytes().to_vec();
        return match narrow.is_empty() {
            true => Err("there is nothing to search for".to_owned()),
            false => Ok(vec![narrow, wide]),
        };
    };
    let digits: Vec<char> = digits.chars().filter(|letter| !letter.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair: String = pair.iter().collect();
        let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_pair.then(|| u8::from_str_radix(&pair, 16).ok()).flatten()
    });
    match pairs.collect::<Option<Vec<u8>>>() {
        Some(bytes) if !bytes.is_empty() => Ok(vec![bytes]),
        _ => Err("after hex:, expected pairs of hexadecimal digits, as in hex:7f454c46".to_owned()),
    }
}

/// Prints where in the captured memory a text or bytes are. Returns whether there are any.
pub(super) fn search(
    out: &mut impl Write,
    shown: &mut ShownDump<'_>,
    wanted: &str,
) -> Result<bool, Box<dyn Error>> {
    let patterns = patterns(wanted)?;
    let dump = shown.dump;
    let threads = dump.iter_threads().into_iter().flatten();
    let threads: Vec<_> = threads.take(super::text::stacks::MOST_STACKS).flatten().collect();
    let parts = space::parts(
        &SpaceFacts {
            dump,
            modules: &shown.modules,
            threads: &threads,
            added: &[],
        },
        &mut shown.problems,
    );
    let mut search = Search {
        dump,
        patterns: patterns.iter().map(Finder::new).collect(),
        longest: patterns.iter().map(Vec::len).max().unwrap_or(0) as u64,
        bytes_left: dump.len().saturating_mul(MOST_EXPANSION),
        failures_left: MOST_FAILURES,
        found: Vec::new(),
        is_whole: true,
    };
    for (first, last) in runs(&parts) {
        search.run(first, last);
    }
    let Search {
        mut found, is_whole, ..
    } = search;
    found.sort_unstable();
    found.dedup();
    for (at, size) in found.iter().take(MOST_FOUND) {
        place(out, dump, &parts, *at, *size)?;
    }
    if found.len() > MOST_FOUND {
        writeln!(out, "and more, which are not shown")?;
    }
    if found.is_empty() {
        writeln!(out, "The captured memory does not contain it")?;
    }
    if !is_whole {
        writeln!(
            out,
            "Some memory was lost or cannot be read, and was not searched"
        )?;
    }
    Ok(!found.is_empty())
}

/// Returns the captured ranges without gaps.
fn runs(parts: &AddressSpace) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let captured = parts
        .all
        .iter()
        .filter(|part| part.cause.is_none_or(space::CaptureCause::is_captured));
    for part in captured {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(part.first) => *last = part.last,
            _ => runs.push((part.first, part.last)),
        }
    }
    runs
}

/// A search in the captured memory.
struct Search<'d> {
    dump: &'d Dump,
    patterns: Vec<Finder<'d>>,
    /// The length of the longest pattern.
    longest: u64,
    /// The number of bytes that may still be searched.
    bytes_left: u64,
    /// The number of reads that may still fail.
    failures_left: u32,
    /// The addresses and the lengths.
    found: Vec<(u64, usize)>,
    /// Whether everything was searched.
    is_whole: bool,
}

impl Search<'_> {
    /// Searches a range without gaps.
    fn run(&mut self, first: u64, last: u64) {
        let mut at = first;
        loop {
            // The windows overlap, so that what lies across a boundary is found.
            let to = at.saturating_add(CHUNK + self.longest).min(last);
            if self.found.len() > 2 * MOST_FOUND {
                return;
            }
            let left = self.bytes_left.checked_sub(to - at);
            self.bytes_left = left.unwrap_or(0);
            if left.is_none() || self.failures_left == 0 {
                self.is_whole = false;
                return;
            }
            let mut parts = Vec::new();
            self.read(at, to, &mut parts);
            for (start, bytes) in &parts {
                for pattern in &self.patterns {
                    let places = pattern.find_iter(bytes);
                    let length = pattern.needle().len();
                    self.found
                        .extend(places.map(|place| (start + place as u64, length)));
                }
            }
            if to == last {
                return;
            }
            at += CHUNK;
        }
    }

    /// Appends the parts of a range that can be read.
    fn read(&mut self, first: u64, last: u64, parts: &mut Vec<(u64, Vec<u8>)>) {
        let size = last - first + 1;
        if let Ok(Some(bytes)) = self.dump.memory(first, size) {
            match parts.last_mut() {
                Some((start, before)) if *start + before.len() as u64 == first => before.extend(bytes),
                _ => parts.push((first, bytes)),
            }
            return;
        }
        self.failures_left = self.failures_left.saturating_sub(1);
        if size <= SMALLEST || self.failures_left == 0 {
            self.is_whole = false;
            return;
        }
        let middle = first + size / 2;
        self.read(first, middle - 1, parts);
        self.read(middle, last, parts);
    }
}

/// Prints an address, what it belongs to, and the text around it.
fn place(out: &mut impl Write, dump: &Dump, parts: &AddressSpace, at: u64, size: usize) -> io::Result<()> {
    const AROUND: u64 = 24;
    let behind = parts.all.partition_point(|part| part.first <= at);
    let part = behind.checked_sub(1).map(|index| &parts.all[index]);
    let owner = match part {
        None => String::new(),
        Some(part) => {
            let label = part.label.map(|label| parts.labels[label as usize].as_str());
            let cause = part.cause.map_or("", |cause| cause.texts().1);
            label.unwrap_or(cause).to_owned()
        }
    };
    let from = at.saturating_sub(AROUND);
    let last = at.saturating_add(size as u64 - 1).saturating_add(AROUND);
    let bytes = row(dump, from, last);
    let text: String = bytes
        .iter()
        .map(|byte| match byte {
            Some(byte) if byte.is_ascii_graphic() || *byte == b' ' => char::from(*byte),
            Some(_) => '.',
            None => '?',
        })
        .collect();
    writeln!(
        out,
        "{HEADING}{at:016x}{HEADING:#}  {owner:<28} {DIM}|{text}|{DIM:#}"
    )
}

/// What `--export` writes.
#[derive(Debug, Clone)]
pub enum Export {
    /// The stream with this type.
    Stream(u32),
    /// The stream with this name.
    Name(String),
    Memory(ShownRange),
}

/// Parses the value of `--export`: the type or the name of a stream, or a range of addresses.
pub(super) fn export(text: &str) -> Result<Export, String> {
    if let Some(number) = number(text) {
        let too_large =
            "the type of a stream has at most 32 bits; for memory, add its length: 0xADDRESS:LENGTH";
        return u32::try_from(number)
            .map(Export::Stream)
            .map_err(|_| too_large.to_owned());
    }
    match range(text) {
        Ok(range) => Ok(Export::Memory(range)),
        Err(error) if text.starts_with(|letter: char| letter.is_ascii_digit()) => Err(error),
        Err(_) => Ok(Export::Name(text.to_owned())),
    }
}

/// Writes a stream or a range of memory into a file, or to standard output if the path is `-`.
/// Returns the number of bytes.
pub(super) fn write(dump: &Dump, export: &Export, path: &Path, force: bool) -> Result<u64, Box<dyn Error>> {
    let source = ExportSource::of(dump, export)?;
    let size = source.size;
    if path.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        source.copy(dump, |_, bytes| out.write_all(bytes))?;
        super::quiet_on_broken_pipe(out.flush())?;
        return Ok(size);
    }
    let mut file = backend::create_file(path, force)?;
    source.copy(dump, |at, bytes| file.append(at, bytes))?;
    file.finish()
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    file.publish()?;
    Ok(size)
}

/// Where the bytes to be written are.
struct ExportSource {
    /// A file offset, or an address.
    start: u64,
    size: u64,
    is_memory: bool,
}

impl ExportSource {
    fn of(dump: &Dump, export: &Export) -> Result<Self, Box<dyn Error>> {
        let entry = match export {
            Export::Memory(range) => {
                if !dump.has_memory(range.start, range.size)? {
                    return Err(format!(
                        "the dump does not have all of the {} bytes at {:#x}; --address shows which it has",
                        range.size, range.start
                    )
                    .into());
                }
                return Ok(Self {
                    start: range.start,
                    size: range.size,
                    is_memory: true,
                });
            }
            Export::Stream(number) => dump.stream(*number),
            Export::Name(name) => named(dump, name),
        };
        match entry {
            Some(entry) => Ok(Self {
                start: entry.rva.into(),
                size: entry.size.into(),
                is_memory: false,
            }),
            None => Err(no_stream(dump, export).into()),
        }
    }

    /// Hands out the bytes in pieces, each with its offset.
    fn copy(
        &self,
        dump: &Dump,
        mut append: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let mut done = 0;
        while done < self.size {
            let size = CHUNK.min(self.size - done);
            let bytes = match self.is_memory {
                true => dump.memory(self.start + done, size)?.ok_or("memory is missing")?,
                false => {
                    let mut bytes = vec![0; size as usize];
                    dump.read_file(self.start + done, &mut bytes)?;
                    bytes
                }
            };
            append(done, &bytes).map_err(|error| format!("cannot write the bytes: {error}"))?;
            done += size;
        }
        Ok(())
    }
}

/// A name of a stream without what is the same in all of them.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_suffix("stream").unwrap_or(&name).to_owned()
}

fn named(dump: &Dump, name: &str) -> Option<dumpwright::read::StreamEntry> {
    let wanted = plain(name);
    let directory = dump.directory().iter();
    directory
        .filter(|entry| entry.stream_type != 0)
        .find(|entry| entry.name().is_some_and(|name| plain(name) == wanted))
        .copied()
}

fn no_stream(dump: &Dump, export: &Export) -> String {
    match export {
        Export::Name(name) => {
            let names: Vec<&str> = dump.directory().iter().filter_map(|entry| entry.name()).collect();
            let near = nearest(name, names.iter().copied());
            let hint = near.map_or_else(
                || "\"show FILE streams\" lists the streams".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            format!("the dump has no stream {}; {hint}", printable(name))
        }
        Export::Stream(number) => {
            let name = stream_name(*number).map_or_else(String::new, |name| format!(" ({name})"));
            format!(
                "the dump has no stream of the type {number:#x}{name}; \"show FILE streams\" lists the streams"
            )
        }
        Export::Memory(_) => unreachable!("memory is no stream"),
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch values of options that mean something else than what was typed.

    use super::*;

    #[test]
    fn addresses_and_ranges_are_read() {
        let range = |start, size| Ok(ShownRange { start, size });
        assert_eq!(address("0x1000"), range(0x1000, 256));
        assert_eq!(address("4096"), range(0x1000, 256));
        assert_eq!(address("0x1000:32"), range(0x1000, 32));
        assert_eq!(address("0x1000:0x20"), range(0x1000, 32));
        assert_eq!(address("0x1000-0x1020"), range(0x1000, 32));
        assert_eq!(address("0xffffffffffffffff"), range(u64::MAX, 1));
        assert_eq!(address("0xfffffffffffffff0:16"), range(u64::MAX - 15, 16));
        for wrong in [
            "",
            "x",
            "0x",
            "0x1000:",
            "0x1000:0",
            "0x1000-0x1000",
            "0x2000-0x1000",
            "0xffffffffffffffff:2",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_are_texts_or_bytes() {
        assert_eq!(patterns("hex:7F 45"), Ok(vec![vec![0x7f, 0x45]]));
        assert_eq!(
            patterns("ä"),
            Ok(vec![vec![0xC3, 0xA4], vec![0xE4, 0]]),
            "UTF-8 and UTF-16"
        );
        for wrong in ["", "hex:", "hex:7", "hex:zz", "hex:+1"] {
            assert!(patterns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exports_are_streams_or_ranges() {
        assert!(matches!(export("4"), Ok(Export::Stream(4))));
        assert!(matches!(export("0x47670001"), Ok(Export::Stream(0x4767_0001))));
        assert!(matches!(export("ModuleListStream"), Ok(Export::Name(_))));
        assert!(matches!(export("0x1000:16"), Ok(Export::Memory(_))));
        assert!(export("0x7f0000000000").is_err());
        assert!(export("0x1000:").is_err());
    }

    #[test]
    fn a_line_has_16_bytes_and_says_what_is_missing() {
        let mut out = Vec::new();
        line(&mut out, 0x1002, &[Some(b'A'), None, Some(0)]).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("0000000000001000  {:<48}  |  A?.|\n", "      41 ?? 00")
        );
    }
}
