//! The process that a caller names: [`NamedProcess`], and [`Client`], the same where only its memory counts.
//!
//! It is looked for only when it is to be held: DbgHelp too has asked its first questions by then, and callbacks may rely on
//! having been told of IoStart however the dump ends.

#[cfg_attr(target_os = "linux", path = "process/linux.rs")]
#[cfg_attr(windows, path = "process/windows.rs")]
mod system;

pub(crate) use system::{Client, HOLDS, NamedProcess, Reference};
