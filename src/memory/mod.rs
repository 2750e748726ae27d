//! Address ranges, and reads of the target's memory.

pub(crate) mod buffer;
pub(crate) mod index;
pub(crate) mod reader;
pub(crate) mod set;
pub(crate) mod words;
