//! ELF core files: what is left of a process that a signal has killed (core(5)).
//!
//! A core has an ELF header, one program header for each mapping of the process, notes with the
//! registers and other facts, and the bytes of the memory. [`CoreHeaders`] reads all but the
//! memory. It reads through [`Memory`](dumpwright_target::Memory) and in ascending order, so that
//! a core can also come from a [pipe](FrontToBack).
//!
//! # Hostile cores
//!
//! A program can put anything into a file that it calls a core, and a core may be cut off at any
//! byte. So every size is compared with a limit before memory is allocated, memory is allocated
//! only for bytes that are there, and all lists are sorted or hashed instead of searched. What is
//! missing is listed as a diagnostic.

mod amd64;
mod headers;
mod mappings;
mod memory;
mod notes;
#[cfg(test)]
mod sample;
mod sequential;
mod spool;
mod target;

pub(crate) use headers::{CoreHeaders, CoreSegment};
pub(crate) use notes::{CoreFileRange, CoreThread};
pub(crate) use sequential::FrontToBack;
pub use target::CoreFile;
