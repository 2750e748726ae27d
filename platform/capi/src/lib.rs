//! dumpwright as a C library: `MiniDumpWriteDump` and `MiniDumpReadDumpStream` with the binary interface of Microsoft's
//! DbgHelp, and what DbgHelp has not. `include/dumpwright.h` is the documentation for callers; it is generated and held against
//! this crate by `tests/header.rs`.
//!
//! | file | what it does |
//! |---|---|
//! | `write.rs` | `MiniDumpWriteDump` |
//! | `read.rs` | `MiniDumpReadDumpStream` |
//! | `request.rs` | `dumpwright_request…`: what DbgHelp has not |
//! | `order.rs` | what both ways of asking for a dump end in |
//! | `callback.rs` | a C function as the engine's callback |
//! | `conversation.rs` | the engine on a thread of its own, C functions on the caller's |
//! | `exception.rs`, `streams.rs` | what callers hand over by pointer |
//! | `output.rs` | where the bytes go |
//! | `last.rs` | the calling thread's last error and last report |
//! | `memory.rs`, `output.rs`, `process.rs`, `system.rs` | the system; each has a folder with what differs between Linux and Windows |
//!
//! No panic leaves this library, and nothing that C code does with the structures it is lent can corrupt it. The caller's pointers are
//! read by the system rather than followed, where a wrong one is a mistake that DbgHelp answers with an error code.
#![allow(
    clippy::useless_conversion,
    reason = "pointers of C structures have 32 bits in other builds"
)]
#![cfg(any(target_os = "linux", windows))]

mod callback;
mod conversation;
mod exception;
mod last;
mod memory;
mod order;
mod output;
mod process;
mod read;
mod request;
mod streams;
mod write;

/// Windows' BOOL.
type Bool = i32;
const FALSE: Bool = 0;
const TRUE: Bool = 1;

/// Windows' HANDLE: a number that looks like a pointer.
type Handle = *mut std::ffi::c_void;
