//! Processes that are hard to dump truthfully, and the judges of them: readers that others wrote read the dumps, and what they show
//! is compared with what each victim says of itself.
//!
//! This would catch: a module list that is cut, or names that are, without a word; a heap dragged into a dump as part of
//! a stack, or a stack cut where a heap begins; threads of the kernel's making that fail a dump or get a stack that they
//! do not have; coroutines and nested signal handlers whose stacks are missing; modules named after a file that does not
//! exist or is another one, and build ids taken from it; shared memory with holes guessed, or made to exist by reading
//! it; and a full dump, cut off while it was sent, that has lost the stacks.

#[path = "readers_awkward/cut_off.rs"]
mod cut_off;
#[path = "readers_awkward/judges.rs"]
mod judges;
#[path = "readers_awkward/kernel_threads.rs"]
mod kernel_threads;
#[path = "readers_awkward/libraries.rs"]
mod libraries;
#[path = "readers_awkward/modules.rs"]
mod modules;
#[path = "readers_awkward/sparse.rs"]
mod sparse;
#[path = "readers_awkward/stacks.rs"]
mod stacks;
mod support;
