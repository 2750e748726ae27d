//! Readers from the Python Package Index, called by scripts in `tests/reader_scripts`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The output of the package `minidump` (by skelsec).
#[derive(Clone, Debug, Deserialize)]
pub struct Skelsec {
    /// The flags in the header.
    pub flags: u64,
    /// The types of the streams that it supports.
    pub streams: Vec<u32>,
    pub threads: Vec<SkelsecThread>,
    pub modules: Vec<Module>,
    pub memory_info: Vec<MemoryInfo>,
    pub handles: Vec<Handle>,
    pub process_id: Option<u32>,
    pub exception: Option<Exception>,
    /// The address, length and file offset of each range.
    pub ranges: Vec<(u64, u64, u64)>,
    /// The requested bytes, in hexadecimal. `None` if the dump does not have them.
    pub memory: Vec<Option<String>>,
    pub complaints: Vec<String>,
}

/// A thread. The registers are read on x86-64 only.
#[derive(Clone, Debug, Deserialize)]
pub struct SkelsecThread {
    pub tid: u32,
    #[serde(default)]
    pub context_flags: u32,
    /// `rax` to `r15`, `rip`, `eflags`.
    #[serde(default)]
    pub registers: BTreeMap<String, u64>,
    /// `cs`, `ss`, `ds`, `es`, `fs`, `gs`.
    #[serde(default)]
    pub segments: BTreeMap<String, u64>,
    /// The low and high half of each register.
    #[serde(default)]
    pub xmm: Vec<[u64; 2]>,
    /// The value in the context, and the one in its FXSAVE area.
    #[serde(default)]
    pub mxcsr: [u32; 2],
    #[serde(default)]
    pub fcw: u32,
    /// The mantissa, and the sign and exponent.
    #[serde(default)]
    pub st0: [u64; 2],
    /// The start and size of the stack.
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

/// The output of the package `udmp-parser`. It accepts or refuses a file as a whole.
#[derive(Clone, Debug, Deserialize)]
pub struct Udmp {
    pub threads: Vec<UdmpThread>,
    pub modules: Vec<Module>,
    /// The address of a region, its length, and the length of its part in the dump.
    pub blocks: Vec<(u64, u64, u64)>,
    /// The thread of the exception.
    pub foreground: Option<u32>,
    /// The requested bytes, in hexadecimal. `None` if the dump does not have them.
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

/// Reads a dump with `minidump`, and the memory at these addresses and lengths.
pub fn skelsec(dump: &Path, memory: &[(u64, u64)]) -> Result<Skelsec, String> {
    run("skelsec.py", dump, memory)
}

/// Reads further streams with `minidump`: those about threads, unloaded modules, handles, memory
/// regions and the process, and comments. Returns the output of `skelsec_streams.py`.
pub fn skelsec_streams(dump: &Path) -> Result<serde_json::Value, String> {
    run("skelsec_streams.py", dump, &[])
}

/// Reads a dump with `udmp-parser`, and the memory at these addresses and lengths.
pub fn udmp(dump: &Path, memory: &[(u64, u64)]) -> Result<Udmp, String> {
    run("udmp.py", dump, memory)
}

fn run<T: DeserializeOwned>(script: &str, dump: &Path, memory: &[(u64, u64)]) -> Result<T, String> {
    let mut command = Command::new(super::cache().join("python/bin/python3"));
    command
        .arg(crate::repository().join("tests/reader_scripts").join(script))
        .arg(dump);
    command.args(
        memory
            .iter()
            .map(|(address, length)| format!("{address}:{length}")),
    );
    let output = crate::run(&mut command);
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

/// Parses the hexadecimal digits that the scripts print.
pub fn bytes(hexadecimal: &str) -> Vec<u8> {
    hexadecimal
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal digits"))
        .collect()
}
