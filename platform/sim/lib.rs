//! Simulated processes as dumpwright targets: made of plain values, the same on every machine and day.
//!
//! A [`SimProcess`] is built in code, or written down as text ([`Scenario`]; `docs/scenario.md` has the language):
//! threads, modules, regions and their contents, and *faults*: pages that cannot be read, or only at first;
//! threads that vanish. The engine cannot tell it from a live process, which is what it is for.
//!
//! ```
//! use dumpwright_sim::{Contents, SimProcess};
//! use dumpwright_target::protect::READWRITE;
//!
//! let process = SimProcess::new(1000)
//!     .thread(7, 0x7fff_0000_1000, 0x40_1000)
//!     .memory(0x7fff_0000_0000, 0x4000, READWRITE, Contents::Counting)
//!     .unreadable(0x7fff_0000_2000, 0x1000);
//! ```

#![forbid(unsafe_code)]

mod contents;
mod faults;
mod process;
mod scenario;
mod still;
mod symbols;
mod system;

pub use contents::{Contents, Overlaid};
pub use faults::{ModuleRecord, Question, RegionChange, SimFault};
pub use process::SimProcess;
pub use scenario::{Scenario, ScenarioError};
pub use symbols::{AddressError, Symbols};
