//! The judges: readers of minidumps that others wrote. `cargo xtask readers` and, for Microsoft's, `cargo xtask windows` install
//! them; one that is missing fails the test.

pub mod breakpad;
pub mod dbgeng;
pub mod lldb;
pub mod python;
pub mod rust_minidump;
pub mod symbols;

pub use super::windows::cache;

/// A thread as a reader shows it.
#[derive(Clone, Debug)]
pub struct Thread {
    pub tid: u32,
    /// `None` where the reader shows no names.
    pub name: Option<String>,
    /// The function of each frame, innermost first; empty where it found none.
    pub functions: Vec<String>,
    /// Where the innermost frame is, if the reader shows it as an address.
    pub instruction: Option<u64>,
}

/// A crash as a reader shows it.
#[derive(Clone, Debug)]
pub struct Crash {
    pub tid: u32,
    /// In the reader's words.
    pub reason: String,
    /// `None` where the reader shows no address.
    pub address: Option<u64>,
}

/// What a reader that unwinds made of a dump.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The reader's name, for messages.
    pub reader: &'static str,
    pub threads: Vec<Thread>,
    pub crash: Option<Crash>,
    pub modules: usize,
    /// Whether it shows the names of threads.
    pub shows_names: bool,
    /// Whether it unwinds from a signal handler on an alternate stack into the interrupted function.
    pub crosses_signal_frames: bool,
    /// The process id, where it shows one.
    pub pid: Option<u32>,
    /// What it said of streams that it dropped, cut or did not understand. Must be empty.
    pub complaints: Vec<String>,
}

impl Reading {
    /// The thread with this id.
    pub fn thread(&self, tid: u32) -> &Thread {
        self.threads
            .iter()
            .find(|thread| thread.tid == tid)
            .unwrap_or_else(|| panic!("{} shows no thread {tid}: {:#?}", self.reader, self.threads))
    }
}

/// A number as the readers print addresses: 0x, then hexadecimal digits.
pub fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
