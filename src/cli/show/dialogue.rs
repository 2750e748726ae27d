//! The dialogue of a dump, with the effect of each answer in words.
//!
//! The effects are those of the profile `documented`. `DEVIATIONS.md` lists where others differ.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use dumpwright::callback::AskKind;
use dumpwright::protocol::{Entry, NamedValues, Transcript};

use crate::cli::print::{ALARM, DIM, HEADING, printable};

/// What an answer does to the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EffectKind {
    /// The same as the default answer, or nothing.
    Nothing,
    /// The dump has less.
    Less,
    /// The dump has more.
    More,
    /// Something else changes.
    Change,
    /// There is no dump.
    Failure,
}

/// The effect of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) kind: EffectKind,
    /// Empty if no callback answered.
    pub(super) text: String,
}

/// The parts of a dialogue, in the order in which they begin.
pub(super) const PHASES: [&str; 6] = ["negotiate", "select", "collect", "memory", "write", "finish"];

/// Returns the index in [`PHASES`] of the phase in which a call is sent.
pub(super) fn phase(ask: AskKind) -> usize {
    use AskKind as A;
    match ask {
        A::IsProcessSnapshot | A::VmStart | A::IoStart | A::SecondaryFlags | A::Cancel => 0,
        A::IncludeThread | A::IncludeModule => 1,
        A::Module | A::Thread | A::ThreadEx => 2,
        A::IoWriteAll => 4,
        A::IoFinish | A::WriteKernelMinidump | A::KernelMinidumpStatus | A::CompressedMemoryStreamFinish => 5,
        _ => 3,
    }
}

/// The flags of an answer about a thread and what they stand for, apart from the thread itself.
const THREAD_PARTS: [(u64, &str); 6] = [
    (0x02, "stack"),
    (0x04, "registers"),
    (0x08, "second stack"),
    (0x10, "instruction window"),
    (0x20, "thread data"),
    (0x40, "times"),
];

/// The flags of an answer about a module and what they stand for, apart from the module itself.
const MODULE_PARTS: [(u64, &str); 5] = [
    (0x02, "data segments"),
    (0x04, "miscellaneous record"),
    (0x08, "CodeView record"),
    (0x20, "thread-local data"),
    (0x40, "code segments"),
];

/// The flag of an answer without which a thread or a module is left out.
const INCLUDED: u64 = 1;
/// The flag with which Module marks a module that a stack points into. An answer may add it, which
/// changes nothing else.
const REFERENCED_BY_MEMORY: u64 = 0x10;

const S_OK: u64 = 0;
const S_FALSE: u64 = 1;
const E_NOTIMPL: u64 = 0x8000_4001;
const E_NOINTERFACE: u64 = 0x8000_4002;

/// Returns a value that is a number, or hexadecimal text without a name.
pub(super) fn number(values: &NamedValues, name: &str) -> Option<u64> {
    let value = values.get(name)?;
    value
        .as_u64()
        .or_else(|| u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok())
}

fn text(values: &NamedValues, name: &str) -> String {
    values.text(name).unwrap_or_else(|| "?".to_owned())
}

fn is_true(values: &NamedValues, name: &str) -> bool {
    values.get(name).and_then(serde_json::Value::as_bool) == Some(true)
}

/// Returns what the answer of a call does.
pub(super) fn effect(entry: &Entry) -> Effect {
    use AskKind as A;
    use EffectKind as K;
    let Some(ret) = entry.ret else {
        return Effect {
            kind: K::Nothing,
            text: String::new(),
        };
    };
    let (input, out) = (&entry.input, &entry.out);
    let status = number(out, "status").unwrap_or(E_NOTIMPL);
    let fails = |status: u64| status & 0x8000_0000 != 0;
    let (kind, text) = match entry.ask {
        A::IncludeThread | A::Thread | A::ThreadEx => {
            let name = format!("thread {}", text(input, "thread"));
            parts(entry, ret, &name, &THREAD_PARTS)
        }
        A::IncludeModule => parts(entry, ret, &text(input, "base"), &MODULE_PARTS),
        A::Module => parts(entry, ret, &text(input, "module"), &MODULE_PARTS),
        A::Memory if ret && number(out, "size") != Some(0) => {
            (K::More, format!("adds {} at {}", size(out), text(out, "base")))
        }
        A::RemoveMemory if ret && number(out, "size") != Some(0) => {
            (K::Less, format!("removes {} at {}", size(out), text(out, "base")))
        }
        A::Memory | A::RemoveMemory => (K::Nothing, "no more ranges".to_owned()),
        A::Cancel if ret && is_true(out, "cancel") => (K::Failure, "cancels the dump".to_owned()),
        A::Cancel if ret && is_true(out, "check_cancel") => (K::Nothing, "is asked again".to_owned()),
        A::Cancel => (K::Nothing, "is not asked again".to_owned()),
        A::IsProcessSnapshot if ret && status == S_FALSE => {
            (K::Change, "the process is a snapshot".to_owned())
        }
        A::VmStart if ret && status == S_FALSE => (K::Change, "is asked about every read".to_owned()),
        A::IoStart if ret && status == S_FALSE => (K::Change, "takes over the output".to_owned()),
        A::IsProcessSnapshot | A::VmStart | A::IoStart => (K::Nothing, "no".to_owned()),
        A::SecondaryFlags if ret && number(out, "flags") != Some(0) => {
            (K::Change, format!("sets the flags {}", text(out, "flags")))
        }
        A::IncludeVmRegion => region(entry, ret),
        A::VmQuery if ret && status == S_OK => (
            K::Change,
            format!("the region is {} at {}", size(out), text(out, "base")),
        ),
        A::VmQuery if ret && status == E_NOINTERFACE => (K::Change, "there are no more regions".to_owned()),
        A::VmQuery if ret && status != E_NOTIMPL => (K::Failure, format!("fails with {status:#x}")),
        A::VmQuery => (K::Nothing, "the system is asked".to_owned()),
        A::VmPreRead => {
            let (have, all) = (
                number(out, "completed").unwrap_or(0),
                number(input, "size").unwrap_or(0),
            );
            match ret {
                true if have > 0 => (K::Change, format!("provides {have} of {all} bytes")),
                true if fails(status) && status != E_NOTIMPL => {
                    (K::Less, format!("the read fails with {status:#x}"))
                }
                _ => (K::Nothing, "the process is read".to_owned()),
            }
        }
        A::VmPostRead => {
            let (before, after) = (number(&entry.pre, "completed"), number(out, "completed"));
            let changed = changed_bytes(out);
            match ret {
                true if fails(status) && status != E_NOTIMPL => {
                    (K::Less, format!("the read fails with {status:#x}"))
                }
                true if after < before => (
                    K::Less,
                    format!("keeps {} of {} bytes", after.unwrap_or(0), before.unwrap_or(0)),
                ),
                _ if changed > 0 => (K::Change, format!("changes {changed} bytes")),
                _ => (K::Nothing, "the bytes are kept".to_owned()),
            }
        }
        A::ReadMemoryFailure if ret && status == S_OK => (
            K::Less,
            format!("goes on without {} at {}", size(input), text(input, "offset")),
        ),
        A::ReadMemoryFailure => (K::Failure, "does not allow the loss".to_owned()),
        A::IoWriteAll if ret && status == S_OK => (K::Nothing, format!("has written {}", size(input))),
        A::IoWriteAll => (K::Failure, "has not written it; the dump fails".to_owned()),
        A::IoFinish if ret && !fails(status) => (K::Nothing, "the output is complete".to_owned()),
        A::IoFinish => (K::Failure, "the dump fails".to_owned()),
        A::WriteKernelMinidump if ret && number(out, "handle") != Some(0) => {
            (K::Change, "requests a kernel dump".to_owned())
        }
        A::CompressedMemoryStreamStart if ret && number(out, "max_transfer_size") != Some(0) => (
            K::Change,
            format!(
                "compresses at most {} bytes as a whole",
                text(out, "max_transfer_size")
            ),
        ),
        _ => (K::Nothing, "no change".to_owned()),
    };
    Effect { kind, text }
}

/// The effect of an answer about a thread or a module.
fn parts(entry: &Entry, ret: bool, name: &str, parts: &[(u64, &str)]) -> (EffectKind, String) {
    let flags = |values| number(values, "flags").unwrap_or(0);
    let (before, after) = (flags(&entry.pre), flags(&entry.out));
    let only_asks = matches!(entry.ask, AskKind::IncludeThread | AskKind::IncludeModule);
    if !ret && !only_asks {
        return (EffectKind::Failure, "the dump fails".to_owned());
    }
    if !ret || after & INCLUDED == 0 {
        return (EffectKind::Less, format!("{name} is left out"));
    }
    let lost: Vec<_> = parts
        .iter()
        .filter(|(bit, _)| before & !after & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if !lost.is_empty() {
        return (EffectKind::Less, format!("{name} without {}", lost.join(", ")));
    }
    if entry.ask == AskKind::IncludeModule && after & !before & REFERENCED_BY_MEMORY != 0 {
        let text = format!("{name} is included, and marked as one that a stack points into");
        return (EffectKind::Nothing, text);
    }
    (EffectKind::Nothing, format!("{name} is included"))
}

/// The effect of an answer to IncludeVmRegion.
fn region(entry: &Entry, ret: bool) -> (EffectKind, String) {
    let (before, out) = (&entry.pre, &entry.out);
    if !ret || !is_true(out, "continue") {
        let text = "this region and all later ones are included";
        return (EffectKind::Nothing, text.to_owned());
    }
    let is_same = |name| before.get(name) == out.get(name);
    match number(out, "size") {
        Some(0) => (EffectKind::Less, format!("{} is left out", text(before, "base"))),
        _ if is_same("base") && is_same("size") => (EffectKind::Nothing, "the region is included".to_owned()),
        _ => {
            let part = format!("only {} at {} are included", size(out), text(out, "base"));
            (EffectKind::Less, part)
        }
    }
}

fn size(values: &NamedValues) -> String {
    match number(values, "size") {
        Some(1) => "1 byte".to_owned(),
        Some(size) => format!("{size} bytes"),
        None => "some bytes".to_owned(),
    }
}

/// Returns the number of bytes that an answer to a read has.
fn changed_bytes(out: &NamedValues) -> u64 {
    let parts = out.get("bytes").and_then(serde_json::Value::as_array);
    let size = |part: &serde_json::Value| {
        let filled = part.get("size").and_then(serde_json::Value::as_u64);
        let digits = part
            .get("hex")
            .and_then(serde_json::Value::as_str)
            .map_or(0, str::len);
        filled.unwrap_or(digits as u64 / 2)
    };
    parts.into_iter().flatten().map(size).fold(0, u64::saturating_add)
}

/// Reads a transcript, or standard input if the path is `-`. The error names the file.
pub(super) fn load(path: &Path) -> Result<Transcript, Box<dyn Error>> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        let read = io::stdin().lock().take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| format!("cannot read standard input: {error}"))?;
        return Ok(Transcript::parse(&text)?);
    }
    Ok(Transcript::load(path)?)
}

/// The maximum size in bytes of a transcript that is read from a pipe.
const LONGEST: u64 = 1 << 30;

/// Whether a file looks like a transcript and not like a dump.
pub(super) fn is_transcript(path: &Path) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    let mut start = Vec::new();
    let read = |file: File| file.take(16).read_to_end(&mut start);
    is_file
        && File::open(path).and_then(read).is_ok()
        && [&b"{\"n\":"[..], b"{\"result\""]
            .iter()
            .any(|beginning| start.starts_with(beginning))
}

/// Returns who answered and how the dump ended.
pub(super) fn headline(transcript: &Transcript) -> String {
    let calls = transcript.entries.len();
    let who = match transcript.was_answered() {
        true => "answered by a callback",
        false => "without a callback",
    };
    let end = match &transcript.result {
        Some(result) => result.to_string().trim_start_matches("= ").to_owned(),
        None => "the result is not recorded".to_owned(),
    };
    let engine = match &transcript.engine {
        Some(engine) => format!(", written by {}", printable(engine)),
        None => String::new(),
    };
    let plural = if calls == 1 { "" } else { "s" };
    format!("{calls} call{plural} {who}: {end}{engine}")
}

/// Prints the calls, the answers, and what the answers do. Equal calls in a row are one line.
pub(super) fn print(out: &mut impl Write, transcript: &Transcript) -> io::Result<()> {
    writeln!(out, "{HEADING}Dialogue ({}){HEADING:#}", headline(transcript))?;
    let mut entries = transcript.entries.iter().peekable();
    let mut last_phase = None;
    while let Some(entry) = entries.next() {
        // These calls come at any time.
        let is_between = matches!(
            entry.ask,
            AskKind::Cancel | AskKind::VmPreRead | AskKind::VmPostRead
        );
        let phase = phase(entry.ask);
        if !is_between && last_phase != Some(phase) {
            writeln!(out, "{DIM}{}{DIM:#}", PHASES[phase])?;
            last_phase = Some(phase);
        }
        let line = entry.to_string();
        let mut times = 1;
        while entries.next_if(|next| next.to_string() == line).is_some() {
            times += 1;
        }
        let times = match times {
            1 => String::new(),
            times => format!(" ({times} times)"),
        };
        writeln!(out, "  {:>5}  {}{times}", entry.n, printable(&line))?;
        let effect = effect(entry);
        let text = printable(&effect.text);
        match effect.kind {
            EffectKind::Nothing => {}
            EffectKind::Failure => writeln!(out, "         {ALARM}{text}{ALARM:#}")?,
            _ => writeln!(out, "         {HEADING}{text}{HEADING:#}")?,
        }
    }
    Ok(())
}
