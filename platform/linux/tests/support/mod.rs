//! Victims for the tests of this crate: small C programs, built when a test needs them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What all victims begin with.
const PROLOGUE: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
"#;

/// Builds the C program `source` and returns its path.
pub fn build(name: &str, source: &str) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut compiler = Command::new("cc")
        .args([
            "-g",
            "-O1",
            "-fno-omit-frame-pointer",
            "-pthread",
            "-x",
            "c",
            "-",
            "-o",
        ])
        .arg(&program)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a C compiler is installed");
    let text = format!("{PROLOGUE}\n#line 1 \"{name}.c\"\n{source}");
    compiler
        .stdin
        .take()
        .expect("piped")
        .write_all(text.as_bytes())
        .expect("the compiler reads");
    assert!(
        compiler.wait().expect("ends").success(),
        "{name} does not compile"
    );
    program
}

/// A victim that is running. It is killed when this is dropped.
pub struct Victim {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

#[allow(dead_code, reason = "no test file needs everything")]
impl Victim {
    /// Builds and starts it.
    pub fn start(name: &str, source: &str) -> Self {
        let mut child = Command::new(build(name, source))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints, as numbers.
    pub fn numbers(&mut self) -> Vec<u64> {
        let line = self.line();
        line.split_ascii_whitespace()
            .map(|word| match word.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => word.parse(),
            })
            .map(|number| number.unwrap_or_else(|_| panic!("not a number in {line:?}")))
            .collect()
    }

    /// The next line it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the victim prints text");
        line.trim_end().to_string()
    }

    /// Ends its standard input, which victims take as the wish that they end.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Closes its input and waits for its end.
    pub fn finish(&mut self) -> std::process::ExitStatus {
        self.close();
        self.child.wait().expect("ends")
    }

    /// Its state, as /proc shows it.
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it lives");
        stat.rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next())
            .expect("well formed")
    }

    /// Waits until its state is `state`.
    pub fn until_state(&self, state: char) {
        while self.state() != state {
            std::thread::yield_now();
        }
    }

    /// A word of its memory, read past the library.
    pub fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.pid())).expect("opens");
        memory.read_exact_at(&mut bytes, at).expect("readable");
        u64::from_le_bytes(bytes)
    }

    /// Waits until a counter in its memory has moved on, which shows that the thread that counts is running.
    pub fn until_counted(&self, at: u64) {
        let before = self.word(at);
        while self.word(at) == before {
            std::thread::yield_now();
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
