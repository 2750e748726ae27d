//! Readers of minidumps from other projects, which examine our dumps.
//!
//! `cargo xtask readers` installs them, and `cargo xtask windows` installs Microsoft's. A test
//! fails if its reader is missing.

pub mod breakpad;
pub mod dbgeng;
pub mod lldb;
pub mod own;
pub mod python;
pub mod rust_minidump;
pub mod symbols;

pub use super::windows::cache;

/// A thread, as shown by a reader.
#[derive(Clone, Debug)]
pub struct Thread {
    pub tid: u32,
    /// Its name. `None` if the reader shows no names.
    pub name: Option<String>,
    /// The function of each frame, the innermost first. Empty strings are unknown functions.
    pub functions: Vec<String>,
    /// The address of the innermost frame, if the reader shows it.
    pub instruction: Option<u64>,
}

/// A crash, as shown by a reader.
#[derive(Clone, Debug)]
pub struct Crash {
    pub tid: u32,
    /// The reason, in the reader's words.
    pub reason: String,
    /// The address. `None` if the reader shows none.
    pub address: Option<u64>,
}

/// The result of a reader that unwinds stacks.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The reader's name, for messages.
    pub reader: &'static str,
    pub threads: Vec<Thread>,
    pub crash: Option<Crash>,
    pub modules: usize,
    /// Whether it shows the names of threads.
    pub shows_names: bool,
    /// Whether it unwinds from a signal handler on an alternate stack to the interrupted function.
    pub crosses_signal_frames: bool,
    /// The process id, if the reader shows it.
    pub pid: Option<u32>,
    /// Its messages about streams that it ignored, truncated or did not understand. Must be empty.
    pub complaints: Vec<String>,
}

impl Reading {
    /// Returns the thread with this id.
    pub fn thread(&self, tid: u32) -> &Thread {
        self.threads
            .iter()
            .find(|thread| thread.tid == tid)
            .unwrap_or_else(|| panic!("{} shows no thread {tid}: {:#?}", self.reader, self.threads))
    }
}

/// Parses an address as the readers print it: `0x`, followed by hexadecimal digits.
pub fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
