//! The command line of `dump`: what is refused, with which words and which status, and what is left behind.
//!
//! This would catch: a refusal that does not say what was tried, on what, why it failed and what helps; a
//! wrong exit status; a `--json` result that lacks something, is missing on failure, or is mixed with
//! other output; a file, or a temporary one, that stays behind a dump that failed; an existing file that is
//! lost; a link that is written through; a dump that others may read; a program started by `--exec` that
//! speaks into our output, or survives us; a hang or a panic when the target dies in the middle.

#[path = "cli/attempt.rs"]
mod attempt;
#[path = "cli/exec.rs"]
mod exec;
#[path = "cli/midway.rs"]
mod midway;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/request.rs"]
mod request;
#[path = "cli/result.rs"]
mod result;
mod support;
#[path = "cli/target.rs"]
mod target;
