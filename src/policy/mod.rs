#![doc = include_str!("../../docs/policies.md")]

mod around_registers;
mod budget;
mod cancel;
mod chain;
mod data_segments;
#[cfg(feature = "policy-file")]
mod file;
pub(crate) mod glob;
mod modules;
mod preset;
mod progress;
mod ranges;
mod read_cache;
mod read_failures;
mod redact;
mod region_filter;
mod regions;
mod registers;
mod stack_limit;
mod stream_output;
mod threads;

pub use around_registers::AroundRegisters;
pub use budget::{Dropped, Priority, SizeBudget};
pub use cancel::{CancelToken, Deadline};
pub use chain::Chain;
pub use data_segments::DataSegments;
#[cfg(feature = "policy-file")]
pub use file::{PolicyFile, PolicySet, ProcessTexts, Size};
pub use modules::Modules;
pub use preset::Preset;
pub use progress::{Phase, Progress, Step};
pub use ranges::{AddMemory, RemoveMemory};
pub use read_cache::ReadCache;
pub use read_failures::IgnoreReadFailures;
pub use redact::{Redact, Redacted};
pub use region_filter::RegionFilter;
pub use stack_limit::StackLimit;
pub use stream_output::StreamOutput;
pub use threads::Threads;
