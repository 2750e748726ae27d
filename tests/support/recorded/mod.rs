//! The recordings in `testdata/oracle`: their scenarios, the names that they use for addresses, and
//! the parts of two transcripts that must be equal.

pub mod compare;
pub mod names;
pub mod scenario;
