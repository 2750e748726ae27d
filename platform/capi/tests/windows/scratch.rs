//! Builds programs, each once, and runs them together with a target.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use minidump::{Minidump, UnifiedMemoryList};

use crate::machine;

/// The time limit for a program, in seconds. It ends programs that hang.
const LIMIT: &str = "600";

/// The secret in the target's memory. `target.c` writes it there letter by letter.
pub const SECRET: &str = "open-sesame-4711";

/// Returns the byte at an offset of PRIV in the target, outside of the secret.
pub fn private_byte(offset: u64) -> u8 {
    (3 + offset % 251) as u8
}

/// Returns the folder of this package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a source file and links it with the DLL, once in a test run. Returns the program.
pub fn program(source: &str, flags: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let path = package().join(source);
    let stem = path.file_stem().and_then(OsStr::to_str).expect("a plain name");
    let name = match source.ends_with("idle.c") {
        true => "idle.dll".to_owned(),
        false => format!("{stem}{}.exe", flags.join("").replace(['/', '=', ','], "_")),
    };
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let compile = || {
        let include = package().join("include");
        let include = include.to_str().expect("a plain path");
        let imports = machine::library().with_file_name("libdumpwright.dll.a");
        // The formats of C99, which the compiler's own C library does not support.
        let mut all = vec!["-O1", "-I", include, "-D__USE_MINGW_ANSI_STDIO=1"];
        all.extend(flags);
        // A library must follow the files that need it.
        all.push(imports.to_str().expect("a plain path"));
        machine::compile(&format!("capi-{name}"), &path, &all, &[])
    };
    built
        .entry(format!("{source} {flags:?}"))
        .or_insert_with(compile)
        .clone()
}

/// Returns the command `wine PROGRAM`, with the DLL's folder on its search path and a time limit.
fn wine(program: &Path) -> Command {
    let inner = machine::wine(program);
    let folder = machine::path(machine::library().parent().expect("it is in a folder"));
    let mut command = Command::new("timeout");
    command.args(["-k", "5", LIMIT]).arg(inner.get_program());
    command.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("WINEPATH", folder)
        .env_remove("DUMPWRIGHT_PROFILE")
        .stdin(std::process::Stdio::null());
    command
}

/// Runs a program alone.
pub fn run(program: &Path, arguments: &[&str], folder: &Path) -> machine::Output {
    machine::run(wine(program).args(arguments).current_dir(folder))
}

/// The output of a program that ran together with a target, and the numbers that the target
/// printed.
pub struct Told {
    pub stdout: String,
    pub stderr: String,
    names: BTreeMap<String, u64>,
}

impl Told {
    /// Returns a number that the target has printed.
    pub fn number(&self, name: &str) -> u64 {
        self.names[name]
    }
}

/// Runs a program together with a target. Fails unless both succeed. Arguments that begin with @
/// stand for numbers that the target has printed.
pub fn beside(program: &Path, arguments: &[&str], folder: &Path, variables: &[(&str, &str)]) -> Told {
    let target = self::program("tests/programs/windows/target.c", &[]);
    let idle = self::program(
        "tests/programs/windows/idle.c",
        &["-nostdlib", "-shared", "-Wl,-e,DllMainCRTStartup"],
    );
    let mut command = wine(&self::program("tests/programs/windows/beside.c", &[]));
    command
        .args([machine::path(&target), machine::path(&idle), "--".into()])
        .arg(machine::path(program))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder);
    let output = machine::run(&mut command);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}\n{}",
        program.display(),
        output.status,
        output.stdout,
        output.stderr
    );
    let (names, rest): (Vec<_>, Vec<_>) = output.stdout.lines().partition(|line| line.starts_with('@'));
    let names = names.iter().map(|line| {
        let (name, value) = line[1..].split_once(' ').expect("name and value");
        let value = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        (name.to_owned(), value.expect("a number"))
    });
    Told {
        names: names.collect(),
        stdout: rest.iter().map(|line| format!("{line}\n")).collect(),
        stderr: output.stderr,
    }
}

/// Returns the name that programs under Wine use for a file.
pub fn name(file: &Path) -> String {
    machine::path(file).into_string().expect("a plain path")
}

/// Returns bytes at an address, if the dump contains all of them.
pub fn bytes_at(dump: &Minidump<'_, Vec<u8>>, address: u64, len: usize) -> Option<Vec<u8>> {
    let memory = dump
        .get_memory()
        .unwrap_or(UnifiedMemoryList::Memory(Default::default()));
    let memory = memory.memory_at_address(address)?;
    let bytes = (address..)
        .take(len)
        .map(|at| memory.get_memory_at_address::<u8>(at));
    bytes.collect()
}

/// Opens the dump in a file.
pub fn open(file: &Path) -> Minidump<'static, Vec<u8>> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Minidump::read(bytes).expect("a minidump")
}
