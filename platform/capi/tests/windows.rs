//! The C library of Windows, run under Wine: `dumpwright.dll` and programs that mingw-w64 builds with it.
//!
//! Would catch: a DLL that exports other functions than the header declares, or needs DLLs that come with a compiler; a header that
//! compilers of Windows do not take, alone or beside Windows' own; a callback that is asked other things than Microsoft's DLL asks it; a
//! wrong error code; a handle, a pointer or an answer that does harm; an exception that does not reach the caller, or leaves the
//! target suspended; a stream that is not found where it is; an example that does not do what it says; a crash whose dump names another
//! thread, code or address.
//!
//! Each target says by its exit code whether all its threads could run to their end.
#![cfg(target_os = "linux")]

#[path = "../../../tests/support/windows.rs"]
#[allow(dead_code)]
mod machine;
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
#[path = "windows/workshop.rs"]
mod workshop;
