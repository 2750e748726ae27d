//! The process that a caller names: [`NamedProcess`], and [`Client`], of which only the memory is
//! read.
//!
//! Whether the process exists is checked only when it is frozen. DbgHelp, too, has called the
//! callback several times before it checks that, and callbacks may rely on being sent IoStart
//! however the dump ends.

#[cfg_attr(target_os = "linux", path = "process/linux.rs")]
#[cfg_attr(windows, path = "process/windows.rs")]
mod system;

pub(crate) use system::{Client, HOLDS, NamedProcess, Reference};
