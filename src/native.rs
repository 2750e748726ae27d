//! Live processes of the system that dumpwright is built for, and simulated ones.
//!
//! The one place where the engine and a backend meet.

#[cfg(all(feature = "native", target_os = "linux"))]
pub use dumpwright_linux::{LinuxProcess as Process, Outcome, Spawned, exception};

/// Simulated processes, with the feature `sim`.
#[cfg(feature = "sim")]
pub use dumpwright_sim as sim;

/// The live process of this id.
///
/// # Errors
/// There is no such process, or it may not be dumped; the fault says which, and what can be done.
#[cfg(all(feature = "native", target_os = "linux"))]
pub fn process(id: u32) -> Result<Process, dumpwright_target::Fault> {
    Process::open(id)
}
