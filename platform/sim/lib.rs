//! Simulated processes as dumpwright targets. They consist of plain values and are the same on
//! every machine and at any time.
//!
//! A [`SimProcess`] is built in code, or described in a text file ([`Scenario`]; `docs/scenario.md`
//! documents the language). It has threads, modules, regions and their contents, and *faults*:
//! pages that cannot be read, or cannot be read at first, and threads that vanish. The engine dumps
//! it in the same way as a live process.
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
mod describe;
mod faults;
mod process;
mod scenario;
mod still;
mod symbols;
mod system;

pub use contents::{Contents, Overlaid};
pub use describe::describe;
pub use dumpwright_text::{Mistake, TextError};
pub use faults::{ModuleRecord, Question, RegionChange, SimFault};
pub use process::SimProcess;
pub use scenario::{Scenario, ScenarioError};
pub use symbols::{AddressError, ScenarioSymbols};
