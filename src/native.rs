//! Processes of this system, Linux or Windows: live ones, and those of core files.
//!
//! * [`process`] opens a running process by its id.
//! * On Linux, `current` opens this program, so that it can dump itself.
//! * `Spawned` starts a program in order to dump it, after some time or when it crashes.
//! * `CrashedProcess` (Linux) is a process that a signal has killed, for a handler of cores.
//!   `confine` takes from such a handler the rights that it does not need.
//! * `exception` converts the arguments of a crash handler to an exception for
//!   [`Request::exception`](crate::Request::exception).
//! * On Linux, `core_file` and `core_stream` open what the kernel has stored of a process that a
//!   signal has killed.
//! * On Windows, the module `dbghelp` makes dumps with the system's own DbgHelp instead of
//!   dumpwright's engine.

#[cfg(all(feature = "native", target_os = "linux"))]
pub use dumpwright_linux::{
    CoreFile, CrashedProcess, HoldMode, Launch, LinuxProcess as Process, Outcome, PauseEstimate,
    ProcessGauge, SignalMask, Signaller, Spawned, confine, end_with_parent, exception, is_debuggee, peer_of,
};

#[cfg(all(feature = "native", feature = "file", target_os = "linux"))]
pub(crate) use dumpwright_linux::crash_handler;

#[cfg(all(feature = "native", windows))]
pub use dumpwright_windows::{
    Outcome, ProcessSnapshot, Spawned, WindowsProcess as Process, exception, exception_here,
    use_debug_privilege,
};

#[cfg(all(feature = "native", windows))]
use dumpwright_windows as backend;

#[cfg(all(feature = "native", windows))]
pub mod dbghelp;

#[cfg(all(feature = "native", target_os = "linux"))]
mod core_file;

#[cfg(all(feature = "native", target_os = "linux"))]
pub use core_file::{core_file, core_stream};

/// Opens this program, to dump itself. The whole dialogue with a callback takes place; the callback
/// may do anything, because the other threads run by then. [`Process`](Process#this-program) says
/// how it works, and what it needs.
///
/// # Errors
/// Another debugger traces this program, or `/proc` does not show it. Whether the system permits
/// the dump is known only when it is made.
#[cfg(all(feature = "native", target_os = "linux"))]
pub fn current() -> Result<Process, dumpwright_target::Fault> {
    Process::current()
}

/// Opens the live process with this id.
///
/// On Linux, the id of this program leads to `current`, and a debugger can dump its own debuggee
/// under conditions that [`Process`](Process#debuggees) states.
///
/// # Errors
/// Fails if there is no such process, or if it cannot be dumped. The fault has the reason and what
/// the user can do.
#[cfg(all(feature = "native", any(target_os = "linux", windows)))]
pub fn process(id: u32) -> Result<Process, dumpwright_target::Fault> {
    Process::open(id)
}
