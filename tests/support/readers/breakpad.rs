//! Breakpad's `minidump_stackwalk` and `minidump_dump`.

use std::path::Path;
use std::process::{Command, Output};

use super::{Crash, Reading, Thread, hexadecimal};

fn run(tool: &str, dump: &Path, more: &[&Path]) -> Output {
    let mut command = Command::new(super::cache().join("breakpad").join(tool));
    if tool == "minidump_stackwalk" {
        command.arg("-m");
    }
    crate::run(command.arg(dump).args(more))
}

/// Unwinds every thread with these symbols.
pub fn read(dump: &Path, symbols: &Path) -> Reading {
    let output = run("minidump_stackwalk", dump, &[symbols]);
    let text = String::from_utf8_lossy(&output.stdout);
    // It shows the indices of threads in the file, but no ids. The other tool shows the ids.
    let (raw, mut complaints) = raw(dump);
    complaints.extend(complaints_of(&output.stderr));
    let mut threads: Vec<Thread> = thread_ids(&raw)
        .into_iter()
        .map(|tid| Thread {
            tid,
            name: None,
            functions: Vec::new(),
            instruction: None,
        })
        .collect();
    let (mut modules, mut crash) = (0, None);
    for line in text.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        match fields.as_slice() {
            ["Module", ..] => modules += 1,
            ["Crash", reason, address, index, ..] if !reason.is_empty() && !index.is_empty() => {
                let thread = &threads[index.parse::<usize>().expect("a thread's index")];
                crash = Some(Crash {
                    tid: thread.tid,
                    reason: (*reason).to_owned(),
                    address: hexadecimal(address),
                });
            }
            // THREAD|FRAME|MODULE|FUNCTION|FILE|LINE|OFFSET
            [index, frame, _, function, ..] => {
                if let (Ok(index), Ok(_)) = (index.parse::<usize>(), frame.parse::<usize>()) {
                    threads[index].functions.push((*function).to_owned());
                }
            }
            _ => {}
        }
    }
    let pid = value(&raw, "MDRawMiscInfo", "process_id").and_then(|pid| u32::try_from(pid).ok());
    Reading {
        reader: "Breakpad minidump_stackwalk",
        threads,
        crash,
        modules,
        shows_names: false,
        crosses_signal_frames: false,
        pid,
        complaints,
    }
}

/// Returns the output of `minidump_dump`, and its complaints.
pub fn raw(dump: &Path) -> (String, Vec<String>) {
    let output = run("minidump_dump", dump, &[]);
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints_of(&output.stderr),
    )
}

/// Returns the errors of the code that reads the file. Errors of the stack walker only tell where a
/// stack ended.
///
/// `minidump_dump` tries to read every stream type that it supports. If the dump has no such
/// stream, it prints an error, preceded by a line that the stream is not present. Such errors are
/// ignored.
fn complaints_of(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let before = std::iter::once("").chain(text.lines());
    text.lines()
        .zip(before)
        .filter(|(line, _)| line.contains(": ERROR: ") && line.contains(" minidump"))
        .filter(|(line, before)| !(line.ends_with(" failed") && before.ends_with(" not present")))
        .map(|(line, _)| line.to_owned())
        .collect()
}

fn thread_ids(raw: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut lines = raw.lines();
    while let Some(line) = lines.next() {
        if line == "MDRawThread" {
            let id = lines
                .next()
                .and_then(|line| line.split_once('='))
                .expect("thread_id follows MDRawThread")
                .1;
            ids.push(u32::try_from(hexadecimal(id.trim()).expect("a number")).expect("a thread id"));
        }
    }
    ids
}

/// Returns the number after `name =` in the first paragraph that starts with `heading`.
pub fn value(raw: &str, heading: &str, name: &str) -> Option<u64> {
    let paragraph = raw.lines().skip_while(|line| *line != heading).skip(1);
    let field = paragraph
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == name)?
        .1
        .trim();
    let field = field.split(' ').next()?;
    hexadecimal(field).or_else(|| field.parse().ok())
}
