//! Reads arbitrary bytes as files of `/proc`: `maps` and `smaps`, `status`, `stat` and `auxv`.
//!
//! Finds panics and overflows. The kernel writes these files, but a process chooses the names and
//! the addresses in them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dumpwright_linux::fuzzing::proc_texts(data));
