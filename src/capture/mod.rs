//! The capture phase: everything from the first question of the dialogue to the finished snapshot.
//!
//! Each step takes the result of the previous one and returns its own, so the steps cannot be run
//! in the wrong order.

mod causes;
mod collect;
mod compressed;
mod dbghelp;
mod facts;
mod fetch;
mod filter;
mod full;
mod functions;
mod image;
mod limits;
mod map;
mod memory;
mod modules;
mod negotiate;
mod paths;
mod pieces;
mod ranges;
mod referenced;
mod regions;
mod segments;
mod select;
mod selected;
mod snapshot;
mod thread_data;
mod threads;
mod wow64;

pub(crate) use collect::{Collected, collect};
pub(crate) use facts::ProcessFacts;
pub(crate) use limits::passed_limits;
pub(crate) use map::AddressMap;
pub(crate) use memory::memory;
pub(crate) use modules::CapturedModule;
pub(crate) use negotiate::{Negotiated, negotiate};
pub(crate) use pieces::{Bytes, CapturedMemory, MemoryToCompress, Piece, PieceIndex};
pub(crate) use select::{Selection, select};
pub(crate) use snapshot::Snapshot;
pub(crate) use threads::{CapturedThread, CapturedThreads};
