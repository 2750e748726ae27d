//! Live Linux processes as dumpwright targets.
#![cfg(target_os = "linux")]
mod attach;
mod crash;
mod files;
mod freeze;
mod pagemap;
mod proc_dir;
mod ptrace;
mod read;
mod regions;
mod registers;
mod stacks;
#[cfg(test)]
mod testing;
mod threads;
mod tracer;
