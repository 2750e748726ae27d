//! The program on live victims, held against what they say of themselves and what the system says of them.
//!
//! This would catch: threads, registers, stacks, modules, handles, regions or times that are not the
//! target's; a dump type that brings more or less than it is for; memory guessed, misplaced, or missing without
//! a word; a secret of the environment in a dump that nobody asked it for; a target that is written to, whose signals are lost, that is left stopped, or made
//! to run when it was stopped; a capture that fails because threads come and go; a dumper that, killed at
//! any moment, leaves a stopped target or half a file behind.
//!
//! These tests dump processes that they start, which takes the right to trace them: root, or
//! `kernel.yama.ptrace_scope` 0; in a container the capability SYS_PTRACE.

#[path = "live/capture.rs"]
mod capture;
#[path = "live/environment.rs"]
mod environment;
#[path = "live/extended.rs"]
mod extended;
#[path = "live/flags.rs"]
mod flags;
#[path = "live/identity.rs"]
mod identity;
#[path = "live/killed.rs"]
mod killed;
#[path = "live/lists.rs"]
mod lists;
#[path = "live/memory.rs"]
mod memory;
#[path = "live/modules.rs"]
mod modules;
#[path = "live/stacks.rs"]
mod stacks;
#[path = "live/stopped.rs"]
mod stopped;
#[path = "live/storms.rs"]
mod storms;
mod support;
#[path = "live/threads.rs"]
mod threads;
#[path = "live/traceless.rs"]
mod traceless;
#[path = "live/unwinding.rs"]
mod unwinding;
