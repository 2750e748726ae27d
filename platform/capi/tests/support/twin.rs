//! The process of `twin.c`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dumpwright_fixtures::child::KilledOnDrop;
use dumpwright_fixtures::recorded::names::Names;

/// The process with which recorded scenarios are repeated.
pub struct Twin {
    child: KilledOnDrop,
    pub id: u32,
    /// Thread ids, the main thread first.
    pub threads: Vec<u32>,
    /// The names of blocks, stacks and modules.
    pub names: Names,
    /// All mappings, as start and end address.
    mapped: Vec<(u64, u64)>,
}

/// What the program prints about itself.
#[derive(serde::Deserialize)]
struct Testimony {
    names: Vec<(String, u64, u64)>,
    /// Id, start and end of the stack, address of the C library's thread block.
    threads: Vec<(u32, u64, u64, u64)>,
}

/// The modules that stand for those of Windows, with the names that rules use for them. The rules
/// have the same meaning with these modules.
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

    /// Starts it with an additional library, `libidle.so`, that no stack refers to.
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
            .expect("it prints a line about itself");
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
            // Another test may have built the program again, under the same name.
            let name = |line: &'_ str| line.trim_end_matches(" (deleted)").ends_with(file);
            let lines = maps.lines().filter(|line| name(line));
            let bounds: Vec<(u64, u64)> = lines.map(bounds).collect();
            let (low, high) = (bounds[0].0, bounds[bounds.len() - 1].1);
            for name in known_as {
                names.add(name, low, high - low);
            }
        }
        Self {
            child: KilledOnDrop(child),
            id,
            threads: testimony.threads.iter().map(|thread| thread.0).collect(),
            names,
            mapped: maps.lines().map(bounds).collect(),
        }
    }

    /// Returns an address in the notation of the recordings.
    pub fn show(&self, address: u64) -> String {
        let is_mapped = self
            .mapped
            .iter()
            .any(|(low, high)| (*low..*high).contains(&address));
        self.names.show(address, is_mapped)
    }

    /// Fails unless the process is still alive and ends successfully.
    pub fn end(mut self) {
        assert!(
            self.child.try_wait().expect("it is ours").is_none(),
            "the twin has died"
        );
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it is ours").success());
    }
}
