//! Microsoft's debugger engine, which WinDbg uses, under Wine. The program
//! `tests/reader_programs/dbgeng.c` passes commands to it.
//!
//! Without the target's binaries the engine finds stack frames by searching the stack. Its messages
//! about missing symbols are not counted as complaints.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Crash, Reading, Thread};
use crate::windows;

/// A version of the engine, as `cargo xtask windows` installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    pub name: &'static str,
    folder: &'static str,
    /// Stream types below 0x10000 that are newer than this version. It warns about them and
    /// continues.
    unknown_streams: &'static [u32],
}

/// Version 6.3.9600, from Windows 8.1. It does not support ARM64.
pub const OLD: Engine = Engine {
    name: "dbgeng 6.3",
    folder: "dbgeng-6.3",
    unknown_streams: &[0x15, 0x16, 0x18, 0x19],
};

/// Version 10.0.15063.
pub const NEW: Engine = Engine {
    name: "dbgeng 10.0",
    folder: "dbgeng-10.0",
    unknown_streams: &[0x18, 0x19],
};

pub const ENGINES: [Engine; 2] = [OLD, NEW];

/// The output of the engine.
#[derive(Clone, Debug)]
pub struct Session {
    engine: Engine,
    /// The output while it opened the dump.
    pub opening: String,
    /// The output of each command, in order.
    pub answers: Vec<String>,
}

/// A thread, as shown by `~*k` and `~*e r`.
#[derive(Clone, Debug)]
pub struct ShownThread {
    pub pid: u32,
    pub tid: u32,
    pub teb: u64,
    /// The registers by the engine's names, such as `rip` and `efl`.
    pub registers: BTreeMap<String, u64>,
    /// The frames, the innermost first.
    pub frames: Vec<Frame>,
}

/// A stack frame, as shown by `~*k`.
#[derive(Clone, Debug)]
pub struct Frame {
    pub return_address: u64,
    /// `module+0xoffset`, or an address.
    pub site: String,
}

/// A line of `lmf`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    pub base: u64,
    pub end: u64,
    pub path: String,
}

/// The engine's report on a dump.
#[derive(Clone, Debug)]
pub struct Report {
    pub threads: Vec<ShownThread>,
    pub modules: Vec<Module>,
    /// The unloaded modules. The engine shows only their names, as for modules of the kernel.
    pub unloaded: Vec<Module>,
    /// The type and size of each stream, from the analysis.
    pub streams: Vec<(u32, u64)>,
    /// The output of `.dumpdebug`, which describes the whole file.
    pub analysis: String,
    /// The thread id and the engine's description of the exception, if the dump has one.
    pub exception: Option<(u32, String)>,
    /// Lines with ERROR, WARNING or FAILED that are about the dump.
    pub complaints: Vec<String>,
    /// The output of further commands.
    pub answers: Vec<String>,
}

const THREADS: &str = "~*k";
const REGISTERS: &str = "~*e r";
const MODULES: &str = "lmf";
const ANALYSIS: &str = ".dumpdebug";

/// Opens a dump and runs these commands. Returns the engine's message if it refuses the dump.
pub fn session(engine: Engine, dump: &Path, commands: &[&str]) -> Result<Session, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("output");
    let file = File::create(&output).expect("a file");
    let cache = super::cache();
    let dump = std::path::absolute(dump).expect("a path");
    let mut command = windows::wine(&program());
    command
        .args([windows::path(&cache.join(engine.folder)), windows::path(&dump)])
        .args(commands)
        // Use Microsoft's DLLs instead of Wine's DLLs of the same names, which lack these
        // functions.
        .env("WINEDLLOVERRIDES", "dbgeng,dbghelp,dbgmodel=n")
        // A file instead of pipes: Wine's server outlives the program, and would keep them open.
        .stdin(Stdio::null())
        .stderr(file.try_clone().expect("a file"))
        .stdout(file);
    let status = command.status().unwrap_or_else(|error| {
        panic!("cannot run {command:?}: {error}\nIf it is not installed: cargo xtask windows")
    });
    let text = String::from_utf8_lossy(&fs::read(&output).expect("the output")).replace('\r', "");
    if !status.success() {
        return Err(format!("{status}: {text}"));
    }
    let mut parts = text.split("\n==== ");
    let opening = parts.next().unwrap_or_default().to_owned();
    let answers: Vec<_> = parts
        .map(|part| part.split_once('\n').map_or("", |(_, answer)| answer).to_owned())
        .collect();
    assert_eq!(answers.len(), commands.len(), "an answer to each command: {text}");
    Ok(Session {
        engine,
        opening,
        answers,
    })
}

/// Returns the engine's report on a dump, with the output of these commands.
///
/// # Panics
///
/// If the engine refuses the dump.
pub fn report(engine: Engine, dump: &Path, commands: &[&str]) -> Report {
    report_behind(engine, dump, &[], commands)
}

/// Like [`report`], after the commands `before`, which set the paths of symbols and binaries.
///
/// # Panics
///
/// If the engine refuses the dump.
pub fn report_behind(engine: Engine, dump: &Path, before: &[&str], commands: &[&str]) -> Report {
    let all = [before, &[THREADS, REGISTERS, MODULES, ANALYSIS], commands].concat();
    let mut session = session(engine, dump, &all)
        .unwrap_or_else(|error| panic!("{} refuses {}: {error}", engine.name, dump.display()));
    let complaints = session.complaints();
    let exception = session.exception();
    session.answers.drain(..before.len());
    let answers = session.answers.split_off(4);
    let [threads, registers, modules, analysis] = &session.answers[..] else {
        unreachable!("session() gives an answer to each command")
    };
    let mut threads = threads_of(threads);
    let registers = registers_of(registers);
    assert_eq!(registers.len(), threads.len(), "registers of each thread");
    for (thread, registers) in threads.iter_mut().zip(registers) {
        thread.registers = registers;
    }
    let (modules, unloaded) = modules.split_once("Unloaded modules:").unwrap_or((modules, ""));
    Report {
        threads,
        modules: modules.lines().filter_map(module).collect(),
        unloaded: unloaded.lines().filter_map(module).collect(),
        streams: analysis.lines().filter_map(stream).collect(),
        analysis: analysis.clone(),
        exception,
        complaints,
        answers,
    }
}

/// Like [`report`], in the form that all readers which unwind share. Functions have no names here;
/// they are offsets in modules.
pub fn read(engine: Engine, dump: &Path) -> Reading {
    let report = report(engine, dump, &[]);
    Reading {
        reader: engine.name,
        crash: report.exception.map(|(tid, reason)| Crash {
            tid,
            reason,
            address: None,
        }),
        modules: report.modules.len(),
        shows_names: false,
        crosses_signal_frames: false,
        pid: report.threads.first().map(|thread| thread.pid),
        complaints: report.complaints,
        threads: report
            .threads
            .into_iter()
            .map(|thread| Thread {
                tid: thread.tid,
                name: None,
                functions: thread.frames.into_iter().map(|frame| frame.site).collect(),
                instruction: thread.registers.get("rip").copied(),
            })
            .collect(),
    }
}

/// Parses the output of `db`. Bytes that the dump does not have are `None`.
pub fn bytes(answer: &str) -> Vec<Option<u8>> {
    let mut bytes = Vec::new();
    for line in answer.lines() {
        // A line has the address, two spaces, up to 16 bytes with a dash in the middle, two spaces,
        // and the same bytes as text.
        let Some(row) = line.split_once("  ").filter(|(place, _)| number(place).is_some()) else {
            continue;
        };
        let row = row.1.split("  ").next().unwrap_or_default();
        bytes.extend(
            row.split([' ', '-'])
                .map(|byte| u8::from_str_radix(byte, 16).ok()),
        );
    }
    bytes
}

/// Parses the registers in the output of `r`.
pub fn registers(answer: &str) -> BTreeMap<String, u64> {
    // The engine pads short names with a leading space. The text of the flags has no `=`.
    let words = answer.split_whitespace().filter_map(|word| word.split_once('='));
    words
        .filter_map(|(name, value)| Some((name.to_owned(), number(value)?)))
        .collect()
}

/// Parses the two halves of a register in the output of `r NAME:uq`, the high half first.
pub fn halves(answer: &str, register: &str) -> Option<[u64; 2]> {
    let mut words = answer.split_whitespace();
    let high = words.find_map(|word| word.strip_prefix(register)?.strip_prefix('='))?;
    Some([number(high)?, number(words.next()?)?])
}

impl Session {
    fn complaints(&self) -> Vec<String> {
        let texts = std::iter::once(&self.opening).chain(&self.answers);
        let lines: Vec<_> = texts.flat_map(|text| text.lines()).collect();
        let before = std::iter::once("").chain(lines.iter().copied());
        lines
            .iter()
            .zip(before)
            .filter(|(line, _)| {
                ["ERROR", "WARNING", "FAILED"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .filter(|(line, before)| !self.expects(line, before))
            .map(|(line, _)| (*line).to_owned())
            .collect()
    }

    fn expects(&self, line: &str, before: &str) -> bool {
        // A thread may have no TEB. The engine warns about that, and then that there is no TEB at
        // the address that it uses instead.
        let no_teb = |line: &str| line.starts_with("WARNING: Teb ") && line.contains(" pointer is NULL ");
        no_teb(line)
            || (no_teb(before) && line.ends_with(" does not appear to be a TEB"))
            // Without a PDB it uses the exported symbols of a binary.
            || line.starts_with("*** ERROR: Symbol file could not be found.  Defaulted to export symbols for ")
            // Most binaries of targets are not available. x86 code cannot be unwound without them.
            || line.starts_with("*** WARNING: Unable to verify timestamp for ")
            // Only Microsoft's linker stores a checksum in programs, and only with an option.
            || line.starts_with("*** WARNING: Unable to verify checksum for ")
            || line.starts_with("*** ERROR: Module load completed but symbols could not be loaded for ")
            || line == "WARNING: Stack unwind information not available. Following frames may be wrong."
            || line
                .strip_prefix("WARNING: Minidump contains unknown stream type 0x")
                .and_then(|kind| u32::from_str_radix(kind, 16).ok())
                .is_some_and(|kind| self.engine.unknown_streams.contains(&kind))
    }

    /// Parses the line `(PID.TID): WORDS`, which the engine prints when it opens a dump with an
    /// exception.
    fn exception(&self) -> Option<(u32, String)> {
        let (_, told) = self.opening.split_once("exception of interest")?;
        let line = told.lines().find_map(|line| line.strip_prefix('('))?;
        let (ids, words) = line.split_once("): ")?;
        Some((hexadecimal(ids.split_once('.')?.1)?, words.to_owned()))
    }
}

/// Parses lines `NUMBER  Id: PID.TID Suspend: N Teb: ADDRESS Unfrozen`, each followed by the
/// frames.
fn threads_of(answer: &str) -> Vec<ShownThread> {
    let mut threads: Vec<ShownThread> = Vec::new();
    for line in answer.lines() {
        if let Some((_, ids)) = line.split_once(" Id: ") {
            let (ids, rest) = ids.split_once(' ').expect("more behind the ids");
            let (pid, tid) = ids.split_once('.').expect("PID.TID");
            let teb = rest.split_whitespace().skip_while(|word| *word != "Teb:").nth(1);
            threads.push(ShownThread {
                pid: hexadecimal(pid).expect("a process id"),
                tid: hexadecimal(tid).expect("a thread id"),
                teb: teb.and_then(number).expect("a TEB"),
                registers: BTreeMap::new(),
                frames: Vec::new(),
            });
        } else if let (Some(thread), Some(frame)) = (threads.last_mut(), frame(line)) {
            thread.frames.push(frame);
        }
    }
    threads
}

fn frame(line: &str) -> Option<Frame> {
    let (child, rest) = line.split_once(' ')?;
    let (return_address, site) = rest.split_once(' ')?;
    number(child).filter(|_| child.len() >= 8)?;
    Some(Frame {
        return_address: number(return_address)?,
        site: site.to_owned(),
    })
}

/// Parses the output of `r` for all threads. The block of each thread starts with the first
/// register of its processor.
fn registers_of(answer: &str) -> Vec<BTreeMap<String, u64>> {
    let mut blocks: Vec<String> = Vec::new();
    for line in answer.lines() {
        if ["rax=", "eax=", "x0=", "r0="]
            .iter()
            .any(|first| line.trim_start().starts_with(first))
        {
            blocks.push(String::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks.iter().map(|block| registers(block)).collect()
}

fn module(line: &str) -> Option<Module> {
    let mut words = line.split_whitespace();
    let (base, end) = (number(words.next()?)?, number(words.next()?)?);
    // An unloaded module has only one name.
    let path = line.split_whitespace().skip(2);
    let path: Vec<_> = path.collect();
    let path = if path.len() > 1 { &path[1..] } else { &path[..] };
    Some(Module {
        base,
        end,
        path: path.join(" "),
    })
}

/// Parses a line `Stream N: type NAME (NUMBER), size SIZE, RVA RVA`.
fn stream(line: &str) -> Option<(u32, u64)> {
    let (_, kind) = line.strip_prefix("Stream ")?.split_once(" (")?;
    let (kind, rest) = kind.split_once("), size ")?;
    Some((kind.parse().ok()?, number(rest.split_once(',')?.0)?))
}

/// Parses a number as the engine prints it. Wide numbers have a grave accent in the middle.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(&text.replace('`', ""), 16).ok()
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

/// Compiles the program that hosts the engine.
fn program() -> std::path::PathBuf {
    const FLAGS: &[&str] = &["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"];
    let source = crate::repository().join("tests/reader_programs/dbgeng.c");
    crate::victim::build("dbgeng.exe", std::slice::from_ref(&source), FLAGS, |into| {
        let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
        crate::run_well(compiler.args(FLAGS).arg("-o").arg(into).arg(&source));
    })
}
