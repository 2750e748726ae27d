//! Address ranges, and reading what lies in them.

pub(crate) mod reader;
pub(crate) mod set;
pub(crate) mod words;
