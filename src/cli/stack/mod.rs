//! Stack traces: which functions the threads of a dump were in.
//!
//! A dump has registers and stacks, but neither the unwind tables nor the names of functions. Both
//! are in the binaries: `.eh_frame` (in programs in Go, `.debug_frame`) and the symbol tables of
//! ELF files, `.pdata` and the exports of PE files. So the walker reads the binaries that the dump
//! names, if they are the same files as in the process (the build id, or the time stamp and size of
//! a PE file, must be equal). A module whose binary is not there is walked by frame pointers, and
//! its frames have no names.
//!
//! Unwind tables in the memory of a dump are not used, although full dumps have them. They are
//! input from the dump, and framehop evaluates DWARF expressions without a limit, so a hostile dump
//! could make it run for ever.

mod binary;
mod names;
mod walk;

pub(in crate::cli) use names::short;
pub(in crate::cli) use walk::{BinaryState, StackEnd, StackTrace, StackWalker, TraceFrame};
