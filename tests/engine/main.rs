//! The engine, its callback protocol and its test kit, on simulated processes.
//!
//! The head of each module lists what the module would catch.

mod cases;
#[cfg(feature = "zstd")]
mod compressed;
mod compressed_memory;
mod conformance;
mod convert;
mod flags;
mod later;
mod lint;
mod pipeline;
mod policy;
mod profiles;
mod reads;
mod scenario;
mod script;
mod testing;
mod transcript;

use dumpwright_fixtures as support;
