//! Live processes of the system that dumpwright is built for, and simulated ones.
//!
//! The one place where the engine and a backend meet.

#[cfg(all(feature = "native", target_os = "linux"))]
pub use dumpwright_linux::{LinuxProcess as Process, Outcome, Spawned, exception};

#[cfg(all(feature = "native", windows))]
pub use dumpwright_windows::{
    Outcome, ProcessSnapshot, Spawned, WindowsProcess as Process, exception, exception_here,
    use_debug_privilege,
};

#[cfg(all(feature = "native", windows))]
use dumpwright_windows as backend;

#[cfg(all(feature = "native", windows))]
pub mod dbghelp;

/// Simulated processes, with the feature `sim`.
#[cfg(feature = "sim")]
pub use dumpwright_sim as sim;

/// The live process of this id.
///
/// # Errors
/// There is no such process, or it may not be dumped; the fault says which, and what can be done.
#[cfg(all(feature = "native", any(target_os = "linux", windows)))]
pub fn process(id: u32) -> Result<Process, dumpwright_target::Fault> {
    Process::open(id)
}
