//! The program on live victims, compared with what the victims report about themselves and with
//! what the system reports about them.
//!
//! Would catch: threads, registers, stacks, modules, handles, regions or times that are not the
//! target's; a dump type that includes more or less than it should; memory that is guessed,
//! misplaced, or missing without a report; a secret of the environment in a dump that did not
//! request it; a target that is written to, whose signals are lost, that stays stopped, or that
//! runs although it was stopped before; a capture that fails because threads come and go; a killed
//! dumper that leaves a stopped target or an unfinished file.
//!
//! These tests dump processes that they start. They need the right to trace them: root, or
//! `kernel.yama.ptrace_scope` 0; in a container the capability SYS_PTRACE.

mod calls;
mod capture;
mod clone;
mod compressed;
mod compressed_memory;
mod core_file;
mod crash_handler;
mod createdump;
mod environment;
mod extended;
mod flags;
mod holes;
mod identity;
mod killed;
mod library;
mod lists;
mod memory;
mod modules;
mod pause;
mod served;
mod stacks;
mod stopped;
mod storms;
mod threads;
mod traceless;
mod uncloned;
mod unwinding;
mod waiting;

use dumpwright_fixtures as support;
