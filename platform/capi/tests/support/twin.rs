//! `twin.c`, running.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::names::Names;

/// The process that recorded scenarios are repeated with.
pub struct Twin {
    child: Child,
    pub id: u32,
    /// Ids, the main thread's first.
    pub threads: Vec<u32>,
    /// Names of blocks, stacks and modules.
    pub names: Names,
    /// All memory that it has.
    mapped: Vec<(u64, u64)>,
}

/// What it says of itself.
#[derive(serde::Deserialize)]
struct Testimony {
    names: Vec<(String, u64, u64)>,
    /// Id, stack, address of the C library's block.
    threads: Vec<(u32, u64, u64, u64)>,
}

/// What plays Windows' modules. Rules name them; that they are others changes no rule's meaning.
const MODULES: [(&str, &[&str]); 4] = [
    ("/twin", &["target"]),
    ("/libextra.so", &["extra"]),
    ("/ld-linux-x86-64.so.2", &["ntdll"]),
    ("/libc.so.6", &["kernel32", "kernelbase", "msvcrt"]),
];

impl Twin {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With another library, `libidle.so`, that no stack refers to.
    pub fn with_idle_library() -> Self {
        let idle = crate::support::program_named("extra.c", "libidle.so", "gcc", &["-shared", "-fPIC"]);
        Self::start_with(&[idle])
    }

    fn start_with(libraries: &[PathBuf]) -> Self {
        let extra = crate::support::program_named("extra.c", "libextra.so", "gcc", &["-shared", "-fPIC"]);
        let program = crate::support::program("twin.c", "gcc", &["-O0", "-Wno-infinite-recursion"]);
        let mut child = Command::new(program)
            .arg(extra)
            .args(libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was just built");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it tells of itself");
        let testimony: Testimony = serde_json::from_str(&line).expect("JSON");
        let mut names = Names::default();
        for (name, base, size) in testimony.names {
            names.add(&name, base, size);
        }
        for (number, (_, low, high, block)) in testimony.threads.iter().enumerate() {
            names.add(&format!("stk{number}"), *low, high - low);
            names.add(&format!("teb{number}"), *block, 0x1000);
        }
        let id = child.id();
        let maps = fs::read_to_string(format!("/proc/{id}/maps")).expect("it lives");
        let bounds = |line: &str| {
            let (low, rest) = line.split_once('-').expect("a range");
            let high = rest.split(' ').next().expect("its end");
            let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
            (number(low), number(high))
        };
        for (file, known_as) in MODULES {
            let lines = maps.lines().filter(|line| line.ends_with(file));
            let bounds: Vec<(u64, u64)> = lines.map(bounds).collect();
            let (low, high) = (bounds[0].0, bounds[bounds.len() - 1].1);
            for name in known_as {
                names.add(name, low, high - low);
            }
        }
        Self {
            child,
            id,
            threads: testimony.threads.iter().map(|thread| thread.0).collect(),
            names,
            mapped: maps.lines().map(bounds).collect(),
        }
    }

    /// An address in the recordings' words.
    pub fn show(&self, address: u64) -> String {
        let is_mapped = self
            .mapped
            .iter()
            .any(|(low, high)| (*low..*high).contains(&address));
        self.names.show(address, is_mapped)
    }

    /// It has come through all of it.
    pub fn end(mut self) {
        assert!(
            self.child.try_wait().expect("it is ours").is_none(),
            "the twin has died"
        );
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it is ours").success());
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // After a failed test; otherwise it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
