//! Victims for the tests of this crate: small C programs that are compiled when a test needs them.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dumpwright_fixtures::child::Talking;
use dumpwright_fixtures::proc::Stat;
use dumpwright_fixtures::scratch;

/// The first lines of all victims.
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

/// Compiles the C program `source` and returns its path.
pub fn build(name: &str, source: &str) -> PathBuf {
    let program = scratch().join(name);
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

/// A running victim. Dropping this kills it.
pub struct Victim(Talking);

#[allow(dead_code, reason = "no test file uses all of it")]
impl Victim {
    /// Compiles and starts a victim.
    pub fn start(name: &str, source: &str) -> Self {
        Self(Talking::start(&mut Command::new(build(name, source))))
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Reads the next line that it prints, and parses it as numbers.
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

    /// Reads the next line that it prints; empty at the end of its output.
    pub fn line(&mut self) -> String {
        self.0.line().unwrap_or_default().trim_end().to_owned()
    }

    /// Closes its standard input, which makes victims end.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// Closes its standard input and waits until it has ended.
    pub fn finish(&mut self) -> std::process::ExitStatus {
        self.close();
        self.0.wait()
    }

    /// Returns its state, as /proc shows it.
    pub fn state(&self) -> char {
        Stat::of(self.pid()).expect("it lives").state()
    }

    /// Waits until its state is `state`.
    pub fn until_state(&self, state: char) {
        while self.state() != state {
            std::thread::yield_now();
        }
    }

    /// Waits until nobody traces it.
    pub fn until_untraced(&self) {
        let path = format!("/proc/{}/status", self.pid());
        while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains("TracerPid:\t0\n")) {
            std::thread::yield_now();
        }
    }

    /// Reads a word of its memory, without using the library.
    pub fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.pid())).expect("opens");
        memory.read_exact_at(&mut bytes, at).expect("readable");
        u64::from_le_bytes(bytes)
    }

    /// Waits until a counter in its memory has changed, which shows that the counting thread is
    /// running.
    pub fn until_counted(&self, at: u64) {
        let before = self.word(at);
        while self.word(at) == before {
            std::thread::yield_now();
        }
    }
}
