//! A running client and a running twin: `client.c` with the library under test, and the process
//! that it dumps.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use dumpwright_fixtures::child::KilledOnDrop;
use tempfile::TempDir;

use crate::names::Names;
use crate::origin;
use crate::windows;

/// A client that prints nothing for this long is considered to hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// The facts about the twin, from its own output and from what the client learns from the system.
pub struct Facts {
    pub id: u32,
    pub threads: Vec<Thread>,
    pub process_block: u64,
    pub names: Names,
    /// The number of bytes of committed memory that is neither PAGE_NOACCESS nor PAGE_GUARD.
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
    /// Id, start and end of the stack, address of the thread block.
    threads: Vec<(u32, u64, u64, u64)>,
}

impl Facts {
    /// Returns an address in the notation of the recordings.
    pub fn show(&self, address: u64) -> String {
        let is_allocated = self
            .allocated
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&address));
        self.names.show(address, is_allocated)
    }

    /// Returns a thread in the notation of the recordings.
    pub fn thread(&self, id: u32) -> String {
        let number = self.threads.iter().position(|thread| thread.id == id);
        match (number, id) {
            (Some(number), _) => format!("t{number}"),
            (None, 0) => "0".to_owned(),
            (None, _) => "tid?".to_owned(),
        }
    }
}

/// A client and a twin. Dropping this ends both.
pub struct Session {
    pub facts: Facts,
    /// Kept so that the twin ends with this.
    _twin: KilledOnDrop,
    client: KilledOnDrop,
    input: ChildStdin,
    output: Receiver<String>,
    folder: TempDir,
}

impl Session {
    /// Starts both. The client loads the library by its path. `profile` is for our own library.
    /// `with_snapshots` simulates a system that has process snapshots.
    pub fn start(library: &Path, profile: &str, with_snapshots: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let programs = Programs::get();
        let mut twin = windows::wine(&programs.twin);
        // The twin's heap and the words on its first stack depend on its environment. So it gets
        // only the variables that it needs.
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
            .expect("the twin prints a line about itself");
        let testimony: Testimony = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line}{}", read_log(&folder, "twin")));

        let mut command = windows::wine(&programs.client);
        command
            .arg(windows::path(library))
            .env("DUMPWRIGHT_PROFILE", profile)
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
            _twin: KilledOnDrop(twin),
            client: KilledOnDrop(client),
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

    /// Returns the commands that describe the twin's threads to the client.
    pub fn threads(&self) -> String {
        let threads = self.facts.threads.iter();
        let lines = threads.map(|thread| format!("thread {} {}\n", thread.id, thread.block));
        lines.collect::<String>() + &format!("peb {}\n", self.facts.process_block)
    }

    /// Returns the file for dumps, and the file for what IoWriteAll receives.
    pub fn outputs(&self) -> [PathBuf; 2] {
        ["dump", "dump.own"].map(|name| self.folder.path().join(name))
    }

    /// Sends commands to the client and returns its output up to a line that begins with `==`.
    /// Fails if the client has ended or prints nothing for [`PATIENCE`].
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

const MEM_COMMIT: u64 = 0x1000;
const MEM_FREE: u64 = 0x10000;
const PAGE_NOACCESS: u64 = 1;
const PAGE_GUARD: u64 = 0x100;

/// Creates a file for standard error. A pipe would not do: Wine's server outlives the test and
/// would keep the pipe open.
fn log(folder: &TempDir, name: &str) -> File {
    File::create(folder.path().join(format!("{name}.log"))).expect("a file")
}

fn read_log(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(format!("{name}.log"))).unwrap_or_default()
}

/// Reads the lines of a child on a thread of its own, so that waiting for them can time out.
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

/// The programs of a session, built once.
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
            // The address of this library when 6.3.9600 was recorded under Wine. The order of
            // modules in memory is compared.
            let place = "-Wl,--build-id,-e,entry,--image-base=0x26fbd0000";
            Self {
                client: windows::compile(
                    "client.exe",
                    &source("client.c"),
                    &[header],
                    &[source("client_windows.c")],
                ),
                // Transcripts contain this name. The program's memory also depends on its unwind
                // and debug information.
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
