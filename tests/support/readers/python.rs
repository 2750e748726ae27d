//! The readers from the Python Package Index, through their scripts in `tests/reader_scripts`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What the package `minidump` (skelsec) found.
#[derive(Clone, Debug, Deserialize)]
pub struct Skelsec {
    /// The header's flags.
    pub flags: u64,
    /// Types of the streams that it knows.
    pub streams: Vec<u32>,
    pub threads: Vec<SkelsecThread>,
    pub modules: Vec<Module>,
    pub memory_info: Vec<MemoryInfo>,
    pub handles: Vec<Handle>,
    pub process_id: Option<u32>,
    pub exception: Option<Exception>,
    /// Address, length, offset in the file.
    pub ranges: Vec<(u64, u64, u64)>,
    /// The bytes asked for, hexadecimal.
    pub memory: Vec<Option<String>>,
    pub complaints: Vec<String>,
}

/// A thread; of processors other than x86-64 there are no registers.
#[derive(Clone, Debug, Deserialize)]
pub struct SkelsecThread {
    pub tid: u32,
    #[serde(default)]
    pub context_flags: u32,
    /// rax … r15, rip, eflags.
    #[serde(default)]
    pub registers: BTreeMap<String, u64>,
    /// cs, ss, ds, es, fs, gs.
    #[serde(default)]
    pub segments: BTreeMap<String, u64>,
    /// Low and high half of each.
    #[serde(default)]
    pub xmm: Vec<[u64; 2]>,
    /// In the context, and in its FXSAVE area.
    #[serde(default)]
    pub mxcsr: [u32; 2],
    #[serde(default)]
    pub fcw: u32,
    /// Mantissa; sign and exponent.
    #[serde(default)]
    pub st0: [u64; 2],
    /// Start and size of the stack.
    pub stack: [u64; 2],
}

#[derive(Clone, Debug, Deserialize)]
pub struct Module {
    pub name: String,
    pub base: u64,
    pub size: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct MemoryInfo {
    pub base: u64,
    pub size: u64,
    pub state: u32,
    pub protect: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Handle {
    pub handle: u64,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub name: Option<String>,
    pub access: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Exception {
    pub tid: u32,
    pub code: u32,
    pub flags: u32,
    pub address: u64,
}

/// What the package `udmp-parser` found; it refuses a file or takes all of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Udmp {
    pub threads: Vec<UdmpThread>,
    pub modules: Vec<Module>,
    /// Address, length of the region, length of what the dump has of it.
    pub blocks: Vec<(u64, u64, u64)>,
    /// The thread of the exception.
    pub foreground: Option<u32>,
    /// The bytes asked for, hexadecimal.
    pub memory: Vec<Option<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct UdmpThread {
    pub tid: u32,
    pub registers: BTreeMap<String, u64>,
    pub xmm: Vec<[u64; 2]>,
    pub mxcsr: [u32; 2],
    pub fcw: u32,
}

/// Reads a dump with `minidump`, and the memory at these places.
pub fn skelsec(dump: &Path, memory: &[(u64, u64)]) -> Result<Skelsec, String> {
    run("skelsec.py", dump, memory)
}

/// Reads the lists around the threads with `minidump`: what `skelsec_streams.py` prints.
pub fn skelsec_streams(dump: &Path) -> Result<serde_json::Value, String> {
    run("skelsec_streams.py", dump, &[])
}

/// Reads a dump with `udmp-parser`, and the memory at these places.
pub fn udmp(dump: &Path, memory: &[(u64, u64)]) -> Result<Udmp, String> {
    run("udmp.py", dump, memory)
}

fn run<T: DeserializeOwned>(script: &str, dump: &Path, memory: &[(u64, u64)]) -> Result<T, String> {
    let mut command = Command::new(super::cache().join("python/bin/python3"));
    command
        .arg(
            crate::support::repository()
                .join("tests/reader_scripts")
                .join(script),
        )
        .arg(dump);
    command.args(
        memory
            .iter()
            .map(|(address, length)| format!("{address}:{length}")),
    );
    let output = crate::support::run(&mut command);
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let (said, complained) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        format!(
            "{script}: {}: {error}\n{}\n{complained}",
            output.status,
            said.chars().take(200).collect::<String>()
        )
    })
}

/// Bytes from the hexadecimal digits that the scripts print.
pub fn bytes(hexadecimal: &str) -> Vec<u8> {
    hexadecimal
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal digits"))
        .collect()
}
