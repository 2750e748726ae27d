//! The command line of `dump`: which requests are refused, with which text and status, and what is
//! left behind.
//!
//! Would catch: a refusal that does not name the operation, the object, the reason and a remedy; a
//! wrong exit status; a `--json` result that lacks something, is missing on failure, or is mixed
//! with other output; a file or temporary file that stays after a failed dump; an existing file
//! that is lost; a link that is written through; a dump that others may read; a program started by
//! `--exec` that writes into dumpwright's output or outlives dumpwright; a hang or a panic when the
//! target dies during the dump; a process that is dumped although another one was named; a policy
//! that is not obeyed, or a secret that it does not keep; an explanation that differs from the
//! dump; a difference between dumps that is not found; a handler of cores whose dump differs from
//! the core, that loses a core, or that does not set back what it has replaced;
//! a limit that is crossed without a dump, or a dump without a crossed limit; a supervised program
//! that is ended, or does not get its signals;
//! a limit of a spool that does not hold, and a crash that is kept again or not at all.

mod attempt;
mod browser;
mod bytes;
mod compress;
mod convert;
mod core_handler;
mod documents;
mod exec;
mod explain;
mod files;
mod json;
mod midway;
mod output;
mod page;
mod policy;
mod questions;
mod rehearse;
mod request;
mod result;
mod schema;
mod short;
mod spool;
mod summary;
mod target;
mod terminal;
mod watch;

use dumpwright_fixtures as support;
