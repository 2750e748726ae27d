//! The test kit: callbacks rehearsed on simulated and live processes, in plain `cargo test`.
//!
//! A callback that will one day be called on a customer's machine, by Microsoft's writer or by this one, is rehearsed at
//! home: [`rehearse`] puts it through a whole dump and keeps the dialogue, the result and the dump, each in a form that
//! tests can ask.
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
//! assert_asked!(rehearsal, .., "IncludeThread thread=7 -> TRUE", "IncludeThread thread=8 -> FALSE", ..);
//! let dump = rehearsal.dump();
//! assert_eq!(dump.threads(), [7]);
//! assert_eq!(dump.thread(7).stack()[..8], 0x7000_0100_u64.to_le_bytes());
//! assert!(dump.contains_nowhere([0x5E; 16]));
//! ```
//!
//! * [`rehearse`] takes any callback: a closure, a [policy](crate::policy), a [script](crate::protocol::Script), a linter around one of
//!   them. [`Rehearse::on`] takes a simulated process, built here or read from a scenario, or a live one.
//! * [`assert_asked!`] states which questions are put and how they are answered, with `..` for what does not matter.
//! * [`Rehearsal::assert_dialogue`] compares with a file. `Display` of a rehearsal fits other snapshot tools as well.
//! * [`Rehearsal::dump`] is a sound dump or a failed test: every dump is held against all rules of the format first.
//! * [`rehearse_in_all_profiles`] puts a callback through this writer's and Microsoft's ways, and fails where the
//!   outcomes differ.
//! * A failure prints the difference and the command that runs this test alone.
//!
//! | variable | effect |
//! |---|---|
//! | `DUMPWRIGHT_BLESS=1` | [`Rehearsal::assert_dialogue`] writes its file instead of comparing with it |
//! | `DUMPWRIGHT_KEEP=FOLDER` | every rehearsal leaves its dump and its transcript there, under the name of the test |
//! | `DUMPWRIGHT_REQUIRE_LIVE=1` | [`live`] fails where it would otherwise only say that it may not look at the process |
//!
//! Tests that use it run in parallel, under `cargo test` and under nextest.

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
pub use asked::{Step, assert_asked};
#[cfg(all(feature = "native", target_os = "linux"))]
pub use live::live;
pub use profiles::{RehearseInAllProfiles, rehearse_in_all_profiles};
pub use rehearse::{Rehearsal, Rehearse, rehearse, rehearse_mut, rehearse_without_callback};
pub use subject::{AnyTarget, Subject};
pub use view::{DumpView, ModuleView, ThreadView};

pub use crate::assert_asked;
pub use crate::native::sim::{Contents, Scenario, SimProcess};
