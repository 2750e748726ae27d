//! A test kit: runs callbacks on simulated and live processes, in plain `cargo test`.
//!
//! [`rehearse`] makes a whole dump with a callback. It keeps the dialogue (all questions to the
//! callback and its answers), the result and the dump, each in a form that tests can check. A
//! rehearsal can also call the callback as Microsoft's writer does, with a
//! [`Profile`](crate::Profile).
//!
//! ```
//! use dumpwright::Ask;
//! use dumpwright::target::protect::READWRITE;
//! use dumpwright::testing::{Contents, SimProcess, assert_asked, rehearse};
//!
//! let process = SimProcess::new(1000)
//!     .thread(7, 0x7000_0100, 0x40_1000)
//!     .thread(8, 0x7100_0100, 0x40_2000)
//!     .memory(0x7000_0000, 0x1000, READWRITE, Contents::Counting)
//!     .memory(0x7100_0000, 0x1000, READWRITE, Contents::Bytes(vec![0x5E; 0x1000]));
//! let callback = |ask: Ask<'_>| !matches!(ask, Ask::IncludeThread { thread_id: 8, .. });
//!
//! let rehearsal = rehearse(callback).on(process);
//! assert_asked!(
//!     rehearsal,
//!     .., "IncludeThread thread=7 -> TRUE", "IncludeThread thread=8 -> FALSE", ..
//! );
//! let dump = rehearsal.dump();
//! assert_eq!(dump.threads(), [7]);
//! assert_eq!(dump.thread(7).stack()[..8], 0x7000_0100_u64.to_le_bytes());
//! assert!(dump.contains_nowhere([0x5E; 16]));
//! ```
//!
//! * [`rehearse`] takes any callback: a closure, a [policy](crate::policy), a
//!   [script](crate::protocol::Script), or a linter around one of them. [`Rehearse::on`] takes a
//!   process: a live one, or a simulated one that is built in the test or read from a scenario.
//! * [`assert_asked!`] checks which questions the callback was asked and how it answered. `..`
//!   stands for questions that do not matter.
//! * [`Rehearsal::assert_dialogue`] compares the dialogue with a file. The `Display` text of a
//!   rehearsal can be used with other snapshot testing tools as well.
//! * [`Rehearsal::dump`] returns a dump that obeys all rules of the format. If it breaks one, the
//!   test fails.
//! * [`rehearse_in_all_profiles`] runs a callback in every [`Profile`](crate::Profile), those that
//!   follow Microsoft's writer included, and fails if the outcomes differ.
//! * A failed assertion prints the difference and the command that runs this test alone.
//!
//! | variable | effect |
//! |---|---|
//! | `DUMPWRIGHT_BLESS=1` | [`Rehearsal::assert_dialogue`] writes its file instead of comparing with it |
//! | `DUMPWRIGHT_KEEP=FOLDER` | every rehearsal writes its dump and its transcript into this folder, under the name of the test |
//! | `DUMPWRIGHT_REQUIRE_LIVE=1` | `live` (on Linux) fails if it has no permission to dump the process, instead of returning `None` |
//!
//! Tests that use this module can run in parallel, under `cargo test` and under nextest.

mod asked;
mod golden;
#[cfg(all(feature = "native", target_os = "linux"))]
mod live;
mod profiles;
mod rehearse;
mod reproduce;
mod subject;
mod view;

#[doc(hidden)]
pub use asked::{ExpectedStep, assert_asked};
#[cfg(all(feature = "native", target_os = "linux"))]
pub use live::live;
pub use profiles::{RehearseInAllProfiles, rehearse_in_all_profiles};
pub use rehearse::{Rehearsal, Rehearse, rehearse, rehearse_mut, rehearse_without_callback};
pub use subject::{AnyTarget, TestTarget};
pub use view::{DumpView, ModuleView, ThreadView};

pub use crate::assert_asked;
pub use crate::sim::{Contents, Scenario, SimProcess};
