//! Microsoft's debugger engine, the one of WinDbg, under Wine: `tests/reader_programs/dbgeng.c` hands it commands.
//!
//! Without the binaries of the target it walks stacks by searching them; what it says of symbols is no complaint here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Crash, Reading, Thread};
use crate::support::windows;

/// A version of the engine, as `cargo xtask windows` installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    pub name: &'static str,
    folder: &'static str,
    /// Types of streams below 0x10000 that are younger than it; it says so, and goes on.
    unknown_streams: &'static [u32],
}

/// 6.3.9600, of Windows 8.1. It does not know ARM64.
pub const OLD: Engine = Engine {
    name: "dbgeng 6.3",
    folder: "dbgeng-6.3",
    unknown_streams: &[0x15, 0x16, 0x18],
};

/// 10.0.15063.
pub const NEW: Engine = Engine {
    name: "dbgeng 10.0",
    folder: "dbgeng-10.0",
    unknown_streams: &[0x18],
};

pub const ENGINES: [Engine; 2] = [OLD, NEW];

/// What the engine printed.
#[derive(Clone, Debug)]
pub struct Session {
    engine: Engine,
    /// While it opened the dump.
    pub opening: String,
    /// Answers to the commands, in their order.
    pub answers: Vec<String>,
}

/// A thread as `~*k` and `~*e r` show it.
#[derive(Clone, Debug)]
pub struct ShownThread {
    pub pid: u32,
    pub tid: u32,
    pub teb: u64,
    /// By the engine's names: `rip`, `efl`.
    pub registers: BTreeMap<String, u64>,
    /// Innermost first.
    pub frames: Vec<Frame>,
}

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

/// What the engine makes of a dump.
#[derive(Clone, Debug)]
pub struct Report {
    pub threads: Vec<ShownThread>,
    pub modules: Vec<Module>,
    /// Of these it shows names only, as it does for the kernel.
    pub unloaded: Vec<Module>,
    /// Type and size of each stream, from the analysis.
    pub streams: Vec<(u32, u64)>,
    /// What `.dumpdebug` says of the whole file.
    pub analysis: String,
    /// The thread and the engine's words, if the dump has an exception.
    pub exception: Option<(u32, String)>,
    /// Lines with ERROR or WARNING that say something about the dump.
    pub complaints: Vec<String>,
    /// The answers to further commands.
    pub answers: Vec<String>,
}

const THREADS: &str = "~*k";
const REGISTERS: &str = "~*e r";
const MODULES: &str = "lmf";
const ANALYSIS: &str = ".dumpdebug";

/// Opens a dump and asks these commands; or the engine's reason to refuse it.
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
        // Wine has DLLs of these names, which cannot do this.
        .env("WINEDLLOVERRIDES", "dbgeng,dbghelp,dbgmodel=n")
        // Not pipes: Wine's server outlives the program, and would keep them open.
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

/// The engine's report on a dump, with the answers to these commands.
///
/// # Panics
///
/// When it refuses the dump.
pub fn report(engine: Engine, dump: &Path, commands: &[&str]) -> Report {
    report_behind(engine, dump, &[], commands)
}

/// The same after these commands, which tell it where symbols and binaries are.
///
/// # Panics
///
/// When it refuses the dump.
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

/// The same in the form that all readers which unwind have. Nothing has names here: functions are places in modules.
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

/// The bytes in an answer to `db`; `None` where the dump has none.
pub fn bytes(answer: &str) -> Vec<Option<u8>> {
    let mut bytes = Vec::new();
    for line in answer.lines() {
        // The address, two blanks, up to 16 bytes with a dash in the middle, two blanks, the same as text.
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

/// The registers in an answer to `r`.
pub fn registers(answer: &str) -> BTreeMap<String, u64> {
    // The engine pads short names with a blank in front, and the text of the flags has no `=`.
    let words = answer.split_whitespace().filter_map(|word| word.split_once('='));
    words
        .filter_map(|(name, value)| Some((name.to_owned(), number(value)?)))
        .collect()
}

/// The two halves, high one first, of a register in an answer to `r NAME:uq`.
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
        // A thread may have no TEB. The engine says so, and that there is none at the address that it makes up in its place.
        let no_teb = |line: &str| line.starts_with("WARNING: Teb ") && line.contains(" pointer is NULL ");
        no_teb(line)
            || (no_teb(before) && line.ends_with(" does not appear to be a TEB"))
            // It takes the names that a binary exports where there is no PDB.
            || line.starts_with("*** ERROR: Symbol file could not be found.  Defaulted to export symbols for ")
            // Most binaries of targets are not here; x86 code cannot be unwound without them.
            || line.starts_with("*** WARNING: Unable to verify timestamp for ")
            // Only Microsoft's linker puts a checksum into programs, if it is told to.
            || line.starts_with("*** WARNING: Unable to verify checksum for ")
            || line.starts_with("*** ERROR: Module load completed but symbols could not be loaded for ")
            || line == "WARNING: Stack unwind information not available. Following frames may be wrong."
            || line
                .strip_prefix("WARNING: Minidump contains unknown stream type 0x")
                .and_then(|kind| u32::from_str_radix(kind, 16).ok())
                .is_some_and(|kind| self.engine.unknown_streams.contains(&kind))
    }

    /// `(PID.TID): WORDS`, once the engine has waited for the event that a dump with an exception is.
    fn exception(&self) -> Option<(u32, String)> {
        let (_, told) = self.opening.split_once("exception of interest")?;
        let line = told.lines().find_map(|line| line.strip_prefix('('))?;
        let (ids, words) = line.split_once("): ")?;
        Some((hexadecimal(ids.split_once('.')?.1)?, words.to_owned()))
    }
}

/// `NUMBER  Id: PID.TID Suspend: N Teb: ADDRESS Unfrozen`, and below it the frames.
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

/// Each thread's block of `r` begins with the first register of its processor.
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
    // An unloaded module has only the one name.
    let path = line.split_whitespace().skip(2);
    let path: Vec<_> = path.collect();
    let path = if path.len() > 1 { &path[1..] } else { &path[..] };
    Some(Module {
        base,
        end,
        path: path.join(" "),
    })
}

/// `Stream N: type NAME (NUMBER), size SIZE, RVA RVA`
fn stream(line: &str) -> Option<(u32, u64)> {
    let (_, kind) = line.strip_prefix("Stream ")?.split_once(" (")?;
    let (kind, rest) = kind.split_once("), size ")?;
    Some((kind.parse().ok()?, number(rest.split_once(',')?.0)?))
}

/// A number as the engine prints it, with a grave accent in the middle of wide ones.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(&text.replace('`', ""), 16).ok()
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

/// The host of the engine, compiled.
fn program() -> std::path::PathBuf {
    const FLAGS: &[&str] = &["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"];
    let source = crate::support::repository().join("tests/reader_programs/dbgeng.c");
    crate::support::victim::build("dbgeng.exe", std::slice::from_ref(&source), FLAGS, |into| {
        let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
        crate::support::run_well(compiler.args(FLAGS).arg("-o").arg(into).arg(&source));
    })
}
