//! A client and a twin, running: `client.c` with the library that is tried, and the process that it dumps.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::names::Names;
use crate::origin;
use crate::windows;

/// After this the library hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the twin has, by its own testimony and by what the system tells the client.
pub struct Facts {
    pub id: u32,
    pub threads: Vec<Thread>,
    pub process_block: u64,
    pub names: Names,
    /// Bytes of all committed memory that is neither without access nor guarded.
    pub open: u64,
    /// Parts of the twin's program: see `origin.rs`.
    pub parts: Vec<(String, u64, u64)>,
    /// Allocated memory, as first and last address.
    allocated: Vec<(u64, u64)>,
}

pub struct Thread {
    pub id: u32,
    pub stack_base: u64,
    pub block: u64,
    pub stack_pointer: u64,
}

#[derive(serde::Deserialize)]
struct Testimony {
    id: u32,
    names: Vec<(String, u64, u64)>,
    /// Id, stack, thread block.
    threads: Vec<(u32, u64, u64, u64)>,
}

impl Facts {
    /// An address in the recordings' words.
    pub fn show(&self, address: u64) -> String {
        let is_allocated = self
            .allocated
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&address));
        self.names.show(address, is_allocated)
    }

    /// A thread in the recordings' words.
    pub fn thread(&self, id: u32) -> String {
        let number = self.threads.iter().position(|thread| thread.id == id);
        match (number, id) {
            (Some(number), _) => format!("t{number}"),
            (None, 0) => "0".to_owned(),
            (None, _) => "tid?".to_owned(),
        }
    }
}

/// Ends with the twin and the client.
pub struct Session {
    pub facts: Facts,
    twin: Child,
    client: Child,
    input: ChildStdin,
    output: Receiver<String>,
    folder: TempDir,
}

impl Session {
    /// The library is loaded by its path. `with_snapshots`: the system is one that has them.
    pub fn start(library: &Path, with_snapshots: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let programs = Programs::get();
        let mut twin = windows::wine(&programs.twin);
        // Its heap and the words on its first stack depend on its environment: it has what it needs.
        let needed = ["PATH", "SystemRoot"].map(|name| (name, std::env::var_os(name)));
        twin.env_clear();
        for (name, value) in needed {
            if let Some(value) = value {
                twin.env(name, value);
            }
        }
        let mut twin = windows::in_prefix(&mut twin)
            .arg(windows::path(&programs.extra))
            .arg(windows::path(&folder.path().join("mapped")))
            .stdout(Stdio::piped())
            .stderr(log(&folder, "twin"))
            .spawn()
            .expect("wine runs");
        let mut line = String::new();
        let output = twin.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("the twin tells of itself");
        let testimony: Testimony = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line}{}", read_log(&folder, "twin")));

        let mut command = windows::wine(&programs.client);
        command
            .arg(windows::path(library))
            .env("DUMPWRIGHT_PROFILE", "dbghelp63")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(&folder, "client"));
        if with_snapshots {
            command.arg("snapshots");
        }
        let mut client = command.spawn().expect("wine runs");
        let mut session = Self {
            input: client.stdin.take().expect("it is piped"),
            output: lines(BufReader::new(client.stdout.take().expect("it is piped"))),
            twin,
            client,
            folder,
            facts: Facts {
                id: 0,
                threads: Vec::new(),
                process_block: 0,
                names: Names::default(),
                open: 0,
                parts: origin::parts(&std::fs::read(&programs.twin).expect("it was just built")),
                allocated: Vec::new(),
            },
        };
        session.look(testimony);
        session
    }

    fn look(&mut self, testimony: Testimony) {
        let facts = &mut self.facts;
        facts.id = testimony.id;
        for (name, base, size) in testimony.names {
            facts.names.add(&name, base, size);
        }
        facts.process_block = facts.names.address("peb");
        for (number, (id, low, high, block)) in testimony.threads.into_iter().enumerate() {
            facts.names.add(&format!("stk{number}"), low, high - low);
            facts.names.add(&format!("teb{number}"), block, 0x2000);
            facts.threads.push(Thread {
                id,
                stack_base: high,
                block,
                stack_pointer: 0,
            });
        }
        let lines = format!("target {}\nnew\n{}look\n", self.facts.id, self.threads());
        let told = self.ask(&lines).unwrap_or_else(|error| panic!("{error}"));
        let mut pointers = Vec::new();
        for line in told.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let number = |at: usize| u64::from_str_radix(words[at], 16).expect("hexadecimal");
            match words[0] {
                "thread" => pointers.push(number(2)),
                "module" => {
                    let name = words[3].split('.').next().expect("a name");
                    // Windows writes KERNELBASE.dll.
                    let name = name.to_lowercase();
                    self.facts.names.add(&name, number(1), number(2));
                }
                "region" if number(3) != MEM_FREE => {
                    let (first, size) = (number(1), number(2));
                    self.facts.allocated.push((first, first + size - 1));
                    let is_open = number(3) == MEM_COMMIT && number(4) & (PAGE_NOACCESS | PAGE_GUARD) == 0;
                    self.facts.open += if is_open { size } else { 0 };
                }
                _ => {}
            }
        }
        for (thread, pointer) in self.facts.threads.iter_mut().zip(pointers) {
            thread.stack_pointer = pointer;
        }
    }

    /// The lines that tell the client of the twin's threads.
    pub fn threads(&self) -> String {
        let threads = self.facts.threads.iter();
        let lines = threads.map(|thread| format!("thread {} {}\n", thread.id, thread.block));
        lines.collect::<String>() + &format!("peb {}\n", self.facts.process_block)
    }

    /// Where dumps go, and what comes through IoWriteAll.
    pub fn outputs(&self) -> [PathBuf; 2] {
        ["dump", "dump.own"].map(|name| self.folder.path().join(name))
    }

    /// Tells the client something and returns what it says, up to a line that begins with `==`. Fails when it has ended, or says nothing.
    pub fn ask(&mut self, lines: &str) -> Result<String, String> {
        let told = self.input.write_all(lines.as_bytes());
        let told = told.and_then(|()| self.input.flush());
        let mut text = String::new();
        while told.is_ok() {
            match self.output.recv_timeout(PATIENCE) {
                Ok(line) => {
                    text += &line;
                    text.push('\n');
                    if line.starts_with("==") {
                        return Ok(text);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("{text}!silent for {} s", PATIENCE.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.client.wait();
        let log = read_log(&self.folder, "client");
        Err(format!("{text}!the client has ended: {status:?}\n{log}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.twin] {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const MEM_COMMIT: u64 = 0x1000;
const MEM_FREE: u64 = 0x10000;
const PAGE_NOACCESS: u64 = 1;
const PAGE_GUARD: u64 = 0x100;

/// Standard error goes to a file: Wine's server outlives the test, and would keep a pipe open.
fn log(folder: &TempDir, name: &str) -> File {
    File::create(folder.path().join(format!("{name}.log"))).expect("a file")
}

fn read_log(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(format!("{name}.log"))).unwrap_or_default()
}

/// The lines of a child, read by a thread of their own so that waiting for them can end.
fn lines(output: BufReader<impl std::io::Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in output.split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Programs of a session, built once.
struct Programs {
    client: PathBuf,
    twin: PathBuf,
    extra: PathBuf,
}

impl Programs {
    fn get() -> &'static Self {
        static BUILT: std::sync::OnceLock<Programs> = std::sync::OnceLock::new();
        BUILT.get_or_init(|| {
            let source = |name: &str| {
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/programs")
                    .join(name)
            };
            let header = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
            // Where 6.3.9600 under Wine has found it when it was recorded: the order of modules in memory is compared.
            let place = "-Wl,--build-id,-e,entry,--image-base=0x26fbd0000";
            Self {
                client: windows::compile(
                    "client.exe",
                    &source("client.c"),
                    &[header],
                    &[source("client_windows.c")],
                ),
                // Transcripts call it by this name. What of it lies in memory depends on its unwind and debug information as well.
                twin: windows::compile(
                    "target.exe",
                    &source("twin_windows.c"),
                    &["-O0", "-Wno-infinite-recursion", "-Wl,--build-id"],
                    &[],
                ),
                extra: windows::compile(
                    "extra.dll",
                    &source("extra.c"),
                    &["-O1", "-nostdlib", "-shared", place],
                    &[],
                ),
            }
        })
    }
}
