//! Simulated processes that many tests use.

use dumpwright_sim::{Contents, SimProcess};
use dumpwright_target::protect::{EXECUTE_READ, READWRITE};

/// The start address of the stack of thread 7.
pub const STACK: u64 = 0x7fff_0000_0000;
/// The start address of the stack of thread 8.
pub const OTHER_STACK: u64 = STACK + 0x10_0000;
/// The base address of the module `/opt/program`.
pub const CODE: u64 = 0x40_0000;
/// The start address of 16 pages of private memory.
pub const HEAP: u64 = 0x10_0000_0000;

/// Returns a process with a thread whose stack has four pages, three of them in use; a module; and
/// a heap of 16 pages.
pub fn one_thread() -> SimProcess {
    one_thread_with_stack(Contents::Counting)
}

/// Like [`one_thread`], with these contents of the stack.
pub fn one_thread_with_stack(stack: Contents) -> SimProcess {
    SimProcess::new(1000)
        .thread(7, STACK + 0x1000, CODE + 0x1234)
        .module(CODE, 0x8000, "/opt/program", &[0xAB; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
        .memory(HEAP, 0x10000, READWRITE, Contents::Counting)
        .memory(STACK, 0x4000, READWRITE, stack)
}

/// Like [`one_thread`], with a second thread whose stack has four pages, three and a half of them
/// in use.
pub fn two_threads() -> SimProcess {
    one_thread().thread(8, OTHER_STACK + 0x800, CODE + 0x2000).memory(
        OTHER_STACK,
        0x4000,
        READWRITE,
        Contents::Counting,
    )
}
