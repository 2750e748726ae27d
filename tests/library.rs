//! The library inside a program of its own: beside threads that reap children, in several threads at once, with
//! exceptions brought by the caller, and with callbacks that filter, add, cancel, panic, or lose their target.
//!
//! This would catch: a capture that waits for notices which the host's own `waitpid` has taken; captures that
//! disturb each other; a crash shown with the wrong thread, registers or stack; memory in a dump that a callback
//! has taken out of it, or missing that it put in; a target that is left stopped, or a file that is left behind,
//! when a callback ends the dump; a hang or a panic when the target dies in the middle of the dialogue.
//!
//! These tests dump processes that they start, which takes the right to trace them: root, or
//! `kernel.yama.ptrace_scope` 0; in a container the capability SYS_PTRACE.

#[path = "library/callbacks.rs"]
mod callbacks;
#[path = "library/captures.rs"]
mod captures;
#[path = "library/concurrent.rs"]
mod concurrent;
#[path = "library/dying.rs"]
mod dying;
#[path = "library/exception.rs"]
mod exception;
mod support;
