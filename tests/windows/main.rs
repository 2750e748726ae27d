//! Live Windows processes, dumped by dumpwright's own engine: `dumpwright.exe`, and a program that
//! links the library, under Wine, on victims that report facts about themselves.
//!
//! Would catch: threads whose registers, stacks, names, start addresses or suspend counts are not
//! those that the threads report; a thread that stays suspended, on any path; a thread that is
//! suspended although it was left out; a process that is refused without a reason, or with another
//! code than documented; a file that stays behind a failed dump; a crash that is dumped as
//! something else; a dumper that hangs, or that loses handles in the course of many dumps.
//!
//! `cargo xtask windows` installs what this needs.

mod dbghelp;
mod engines;
mod exec;
mod facts;
mod holding;
mod readers;
mod refusals;
mod threads;
mod victim;

use dumpwright_fixtures as support;
