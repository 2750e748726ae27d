//! Child processes that are killed at the end of the test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::{Deref, DerefMut};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A program that prints nothing for this long is considered to hang, for example because it was
/// left stopped. No test depends on the speed of a program.
const HANGS: Duration = Duration::from_secs(120);

/// A child process. Dropping this kills it.
#[derive(Debug)]
pub struct KilledOnDrop(pub Child);

impl Deref for KilledOnDrop {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for KilledOnDrop {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // Both calls fail only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child process with line-based input and output. Dropping this kills it.
#[derive(Debug)]
pub struct Talking {
    child: KilledOnDrop,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talking {
    /// Starts the command, with pipes as its standard input and output.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child: KilledOnDrop(child),
            input,
            lines,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line of its output. Returns `None` at the end of the output.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(HANGS) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
                panic!("the child has printed nothing for {HANGS:?}:\n{status}")
            }
        }
    }

    /// Writes to its standard input.
    pub fn tell(&mut self, text: &str) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(text.as_bytes()).expect("the child reads");
    }

    /// Closes its standard input, which makes the children in these tests end.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is a child of this process")
    }
}
