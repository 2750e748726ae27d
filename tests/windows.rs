//! Live processes on Windows, dumped by the engine of our own: `dumpwright.exe` and a program that links the library, under
//! Wine, on victims that testify of themselves.
//!
//! Would catch: threads whose registers, stacks, names, starts or counts are not what the threads themselves say; a thread that stays
//! suspended, on any path; one that is suspended though it was left out; a process that is refused without saying why, or with another
//! code than documented; a file that stays behind a dump that failed; a crash that is dumped as something else; a dumper that
//! hangs or that loses handles in the course of many dumps.
//!
//! `cargo xtask windows` installs what this needs.

#[path = "windows/exec.rs"]
mod exec;
#[path = "windows/holding.rs"]
mod holding;
#[path = "windows/refusals.rs"]
mod refusals;
mod support;
#[path = "windows/threads.rs"]
mod threads;
#[path = "windows/victim.rs"]
mod victim;
