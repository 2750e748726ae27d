//! Simulated processes.
//!
//! A [`SimProcess`] is a [`Target`](crate::Target), built in code or from a text file
//! ([`Scenario`]). Dumps of it have the same bytes on every machine.

pub use dumpwright_sim::*;
