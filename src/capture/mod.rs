//! Deciding what goes in: the phases from the first question to the snapshot.
//!
//! Each phase takes the previous one's product and returns its own; they cannot be run in the wrong
//! order.

mod collect;
mod dbghelp;
mod fetch;
mod full;
mod functions;
mod limits;
mod negotiate;
mod ranges;
mod referenced;
mod regions;
mod select;
mod snapshot;

pub(crate) use collect::{Collected, collect};
pub(crate) use limits::passed_limits;
pub(crate) use negotiate::{Negotiated, negotiate};
pub(crate) use ranges::memory;
pub(crate) use select::{Selection, select};
pub(crate) use snapshot::{Bytes, KeptModule, KeptThread, Piece, Snapshot};
