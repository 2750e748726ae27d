//! The C library for Windows, run under Wine: `dumpwright.dll`, and programs that mingw-w64 builds
//! with it.
//!
//! Would catch: a DLL that exports other functions than the header declares, or that needs DLLs of
//! a compiler; a header that compilers for Windows reject, alone or together with headers of
//! Windows; a callback that is called in another way than by Microsoft's DLL; a wrong error code; a
//! handle, a pointer or an answer that does harm; an exception that does not reach the caller, or
//! leaves the target suspended; a stream that is not found; an example that does not do what its
//! comment says; a crash whose dump names another thread, code or address.
//!
//! The exit code of each target tells whether all its threads could run to their end.
#![cfg(target_os = "linux")]

#[path = "support/misuse.rs"]
mod printed;
#[path = "support/streams.rs"]
mod streams;

#[path = "windows/examples.rs"]
mod examples;
#[path = "windows/exceptions.rs"]
mod exceptions;
#[path = "windows/field.rs"]
mod field;
#[path = "windows/header.rs"]
mod header;
#[path = "windows/hostile.rs"]
mod hostile;
#[path = "windows/library.rs"]
mod library;
#[path = "windows/misuse.rs"]
mod misuse;
#[path = "windows/scratch.rs"]
mod scratch;

use dumpwright_fixtures::windows as machine;
