//! Live processes of this system: Linux or Windows.
//!
//! * [`process`] opens a running process by its id.
//! * `Spawned` starts a program in order to dump it, after some time or when it crashes.
//! * `exception` converts the arguments of a crash handler to an exception for
//!   [`Request::exception`](crate::Request::exception).
//! * On Windows, the module `dbghelp` makes dumps with the system's own DbgHelp instead of
//!   dumpwright's engine.

#[cfg(all(feature = "native", target_os = "linux"))]
pub use dumpwright_linux::{
    HoldMode, Launch, LinuxProcess as Process, Outcome, PauseEstimate, ProcessGauge, SignalMask, Signaller,
    Spawned, exception, is_debuggee,
};

#[cfg(all(feature = "native", windows))]
pub use dumpwright_windows::{
    Outcome, ProcessSnapshot, Spawned, WindowsProcess as Process, exception, exception_here,
    use_debug_privilege,
};

#[cfg(all(feature = "native", windows))]
use dumpwright_windows as backend;

#[cfg(all(feature = "native", windows))]
pub mod dbghelp;

/// Opens the live process with this id.
///
/// On Linux, a debugger can dump its own debuggee under conditions that
/// [`Process`](Process#debuggees) states.
///
/// # Errors
/// Fails if there is no such process, or if it cannot be dumped. The fault has the reason and what
/// the user can do.
#[cfg(all(feature = "native", any(target_os = "linux", windows)))]
pub fn process(id: u32) -> Result<Process, dumpwright_target::Fault> {
    Process::open(id)
}
