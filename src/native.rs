//! Live processes of the system that dumpwright is built for.
//!
//! The one place where the engine and a backend meet.

#[cfg(target_os = "linux")]
pub use dumpwright_linux::{LinuxProcess as Process, Outcome, Spawned, exception};

use dumpwright_target::Fault;

/// The live process of this id.
///
/// # Errors
/// There is no such process, or it may not be dumped; the fault says which, and what can be done.
pub fn process(id: u32) -> Result<Process, Fault> {
    Process::open(id)
}
