//! Live Linux processes as dumpwright targets.
#![cfg(target_os = "linux")]
mod attach;
mod crash;
mod freeze;
mod proc_dir;
mod ptrace;
mod regions;
mod registers;
mod stacks;
mod threads;
mod tracer;
