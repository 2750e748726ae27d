//! Processes that are difficult to dump correctly. Readers by others read the dumps, and their
//! output is compared with what each victim reports about itself.
//!
//! Would catch: a module list or names that are cut without a report; a heap that is included in a
//! dump as part of a stack, or a stack that is cut where a heap begins; threads created by the
//! kernel that fail a dump, or get a stack that they do not have; missing stacks of coroutines and
//! nested signal handlers; modules that are named after a missing or different file, or have its
//! build id; holes in shared memory that are guessed, or that reading fills; a full dump, cut off
//! during transfer, that has lost the stacks.

mod cut_off;
mod judges;
mod kernel_threads;
mod libraries;
mod modules;
mod sparse;
mod stacks;
