//! Deciding what goes in: the phases from the first question to the snapshot.
//!
//! Each phase takes the previous one's product and returns its own; they cannot be run in the wrong
//! order.

mod collect;
mod dbghelp;
mod fetch;
mod filter;
mod full;
mod functions;
mod image;
mod limits;
mod memory;
mod negotiate;
mod paths;
mod ranges;
mod referenced;
mod regions;
mod segments;
mod select;
mod selected;
mod snapshot;
mod thread_data;
mod wow64;

pub(crate) use collect::{Collected, collect};
pub(crate) use limits::passed_limits;
pub(crate) use memory::memory;
pub(crate) use negotiate::{Negotiated, negotiate};
pub(crate) use select::{Selection, select};
pub(crate) use snapshot::{Bytes, KeptModule, KeptThread, Piece, Snapshot};
