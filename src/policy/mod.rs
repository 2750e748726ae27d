#![doc = include_str!("../../docs/policies.md")]

mod around_registers;
mod budget;
mod cancel;
mod chain;
mod data_segments;
pub(crate) mod glob;
mod modules;
mod preset;
mod progress;
mod ranges;
mod read_cache;
mod read_failures;
mod redact;
mod regions;
mod registers;
mod stream_output;
mod threads;

pub use around_registers::AroundRegisters;
pub use budget::{Dropped, Priority, SizeBudget};
pub use cancel::{CancelToken, Deadline};
pub use chain::Chain;
pub use data_segments::DataSegments;
pub use modules::Modules;
pub use preset::Preset;
pub use progress::{Phase, Progress, Step};
pub use ranges::{AddMemory, RemoveMemory};
pub use read_cache::ReadCache;
pub use read_failures::IgnoreReadFailures;
pub use redact::{Redact, Redacted};
pub use stream_output::StreamOutput;
pub use threads::Threads;
