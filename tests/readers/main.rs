//! Readers that others wrote, on dumpwright's dumps. Their output is compared with what the dumped
//! processes report about themselves.
//!
//! The head of each module lists what the module would catch.

mod awkward;
mod big;
mod cases;
mod claims;
mod compressed;
mod core_file;
mod crash;
mod dbgeng;
mod filters;
mod narrow;
mod stacks;
mod streams;
mod threads;
mod windows;

#[path = "../read/cases.rs"]
mod broken;
#[path = "../read/sample.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod sample;

use dumpwright_fixtures as support;
