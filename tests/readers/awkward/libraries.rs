//! Libraries for these tests, the program that loads them, and checks of the modules in readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::judges::{Known, Walk, assert_threads};
use crate::support::readers::{Reading, lldb, python, rust_minidump};
use crate::support::victim::{self, Victim};
use crate::support::{repository, run_well};

/// The testimony of `loads`.
#[derive(Clone, Debug, Deserialize)]
pub struct Loaded {
    pub pid: u32,
    /// Load addresses, in the order of the arguments.
    pub libraries: Vec<u64>,
    /// The threads with calls through the last libraries, in the same order.
    pub through: Vec<u32>,
}

impl Loaded {
    /// The threads with their functions. `names` are those of the last libraries.
    pub fn threads(&self, names: &[&str]) -> Vec<Known> {
        let known = |tid, functions: &[String]| Known {
            tid,
            functions: functions.to_vec(),
        };
        let main = known(self.pid, &["main_inner".to_owned()]);
        let through = self.through.iter().zip(names).map(|(tid, name)| {
            let functions = [
                "loader_leaf",
                &format!("{name}_inner"),
                &format!("{name}_outer"),
                "loader_top",
            ];
            known(*tid, &functions.map(str::to_owned))
        });
        [main].into_iter().chain(through).collect()
    }

    /// Checks that all readers unwind through the libraries.
    pub fn assert_walked(&self, readings: &[Reading], names: &[&str]) {
        for reading in readings {
            assert_threads(reading, &self.threads(names), Walk::Whole);
        }
    }
}

/// Starts `program`, a copy of `loads`, with one thread for each of the last `threads` libraries,
/// in a call through it.
pub fn load(program: &Path, threads: usize, libraries: &[PathBuf]) -> Victim {
    let mut command = Command::new(program);
    Victim::start_command(command.arg(threads.to_string()).args(libraries))
}

/// The program `loads`.
pub fn loader() -> PathBuf {
    victim::awkward("loads")
}

/// Compiles a library with the functions `NAME_inner` and `NAME_outer`. `soname` is the name in the
/// library itself.
pub fn compile(path: &Path, name: &str, soname: Option<&str>) {
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-std=gnu11",
        "-O2",
        "-g",
        "-fPIC",
        "-shared",
        "-nostdlib",
        "-Wl,--build-id",
    ]);
    gcc.arg(format!("-DNAME={name}"));
    gcc.args(soname.map(|soname| format!("-Wl,-soname,{soname}")));
    gcc.arg("-o").arg(path);
    run_well(gcc.arg(repository().join("tests/awkward_victims/library.c")));
}

/// `count` libraries that differ only in their build ids, with these ids. They are linked once,
/// copied and patched.
pub fn many(folder: &Path, name: &str, count: usize) -> Vec<(PathBuf, String)> {
    let first = folder.join("first.so");
    compile(&first, name, None);
    let image = fs::read(&first).unwrap();
    let id = bytes(&build_id(&first));
    let at = image
        .windows(id.len())
        .position(|window| window == id)
        .expect("the id is in the file");
    let numbered = (0..count).map(|number| {
        let mut image = image.clone();
        image[at..at + 4].copy_from_slice(&u32::try_from(number).expect("few").to_be_bytes());
        let path = folder.join(format!("lib{number:04}.so"));
        fs::write(&path, &image).unwrap();
        (path, hexadecimal(&image[at..at + id.len()]))
    });
    numbered.collect()
}

/// The build id that binutils finds in a file.
pub fn build_id(file: &Path) -> String {
    let notes = run_well(Command::new("readelf").arg("-nW").arg(file));
    let id = notes
        .split("Build ID: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    id.unwrap_or_else(|| panic!("{} has no build id:\n{notes}", file.display()))
        .to_owned()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    python::bytes(hexadecimal)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A module with its expected name and build id.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    pub base: u64,
    pub path: &'a Path,
    pub build_id: &'a str,
}

/// Checks the modules at these addresses: paths (skelsec, udmp-parser, LLDB) and build ids
/// (rust-minidump, LLDB). Returns LLDB's view of the dump.
pub fn assert_modules(dump: &Path, expected: &[Expected<'_>]) -> Reading {
    let skelsec = python::skelsec(dump, &[]).expect("skelsec's minidump reads it");
    let udmp = python::udmp(dump, &[]).expect("udmp-parser reads it");
    let lldb = lldb::report(dump, &[]).expect("LLDB reads it");
    let rust = rust_minidump::modules(dump);
    assert_eq!(
        [skelsec.modules.len(), udmp.modules.len(), lldb.modules.len()],
        [rust.len(); 3],
        "as many modules in all readers"
    );
    for module in expected {
        let (path, base) = (module.path.to_str().expect("UTF-8"), module.base);
        for (reader, modules) in [("skelsec", &skelsec.modules), ("udmp-parser", &udmp.modules)] {
            let found = modules.iter().find(|found| found.base == base);
            assert_eq!(
                found.map(|found| found.name.as_str()),
                Some(path),
                "{reader}: {base:#x}"
            );
        }
        let found = rust.iter().find(|found| found.base == base);
        let found = found.unwrap_or_else(|| panic!("rust-minidump: no module at {base:#x}"));
        assert_eq!(
            found.build_id.as_deref(),
            Some(module.build_id),
            "rust-minidump: {path}"
        );
        let found = lldb.modules.iter().find(|found| found.path == path);
        let found = found.unwrap_or_else(|| panic!("LLDB: no module {path}"));
        let id = found
            .uuid
            .as_deref()
            .unwrap_or_default()
            .replace('-', "")
            .to_lowercase();
        assert_eq!(id, module.build_id, "LLDB: {path}");
    }
    lldb::reading(&lldb)
}
