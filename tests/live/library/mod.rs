//! The library in a host program: next to threads that reap children, in several threads at once,
//! with exceptions from the caller, and with callbacks that filter, add, cancel, panic, or lose
//! their target.
//!
//! Would catch: a capture that waits for a status which the host's own `waitpid` has consumed;
//! captures that disturb each other; a crash with the wrong thread, registers or stack; memory in a
//! dump that a callback has removed, or missing memory that it has added; a target that stays
//! stopped, or a file that stays behind, when a callback ends the dump; a hang or a panic when the
//! target dies during the dialogue.
//!
//! These tests dump processes that they start. They need the right to trace them: root, or
//! `kernel.yama.ptrace_scope` 0; in a container the capability SYS_PTRACE.

mod callbacks;
mod captures;
mod concurrent;
mod dying;
mod exception;
