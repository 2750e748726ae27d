//! A spool: a folder of dumps with limits, for several writers at once.
//!
//! [`Spool::reserve`] admits a dump before it is written, and removes old dumps to make room. The
//! caller writes the dump into a file that has no name yet, and [`Reservation::commit`] gives it
//! its name. A crash that is already in the spool is only counted.
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::fs;
//!
//! use dumpwright_spool::{Admission, DumpFacts, Spool};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("spool");
//! # fs::create_dir(&folder)?;
//! # fs::write(folder.join("spool.toml"), "keep-free = 0")?;
//! let spool = Spool::create(&folder)?;
//! let reservation = spool.reserve("server.4711", ".dmp", 4096)?;
//! # let unfinished = folder.join("unfinished");
//! fs::write(&unfinished, b"MDMP...")?;
//! let facts = DumpFacts {
//!     process: Some("server".to_owned()),
//!     ..DumpFacts::default()
//! };
//! let path = reservation.path();
//! let file = fs::File::open(&unfinished)?;
//! let admission = reservation.commit(&file, &facts, || fs::rename(&unfinished, path))?;
//! assert!(matches!(admission, Admission::Kept { .. }));
//! assert_eq!(spool.entries()?.len(), 1);
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```
//!
//! # What is in the folder
//!
//! | name | what it is |
//! |---|---|
//! | `STEM.dw-XXXXXXXX.dmp`, `….dmp.zst` | a dump; it has its name only when it is whole |
//! | the same with `.json` | the [record](DumpRecord) of the dump |
//! | `spool.toml` | the [settings](SpoolSettings), written by people |
//! | `.spool-lock` | the lock of the folder (`flock`) |
//! | `.spool-counters.json` | how often each crash was seen, and when dumps were admitted |
//! | `.spool-reserved-XXXXXXXX-SIZE` | a reservation of so many bytes; its writer has locked it |
//! | `.spool-new-XXXXXXXX` | a record or the counters while they are written |
//!
//! Files with other names are neither counted nor removed.
//!
//! # If a process is killed
//!
//! A dump is there if its file is. Everything else can be made again: records from the dumps, and
//! the counters start from nothing. Each change of the folder is made under its lock, which the
//! system releases when its holder ends, and consists of steps between which the folder is valid:
//!
//! * The record of a dump is there before the dump, and is removed after it.
//! * Old dumps are removed before the reservation of a new one, and a reservation is removed after
//!   its dump has its name. The limits hold in between.
//! * A reservation is locked as long as its writer exists. The next one who locks the folder
//!   removes what was left by writers that were killed.
#![cfg_attr(not(target_os = "linux"), allow(rustdoc::broken_intra_doc_links))]
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod contents;
#[cfg(target_os = "linux")]
mod counters;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod folder;
#[cfg(target_os = "linux")]
mod name;
#[cfg(target_os = "linux")]
mod record;
#[cfg(target_os = "linux")]
mod reservation;
#[cfg(target_os = "linux")]
mod room;
#[cfg(target_os = "linux")]
mod settings;
#[cfg(target_os = "linux")]
mod spool;
#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(target_os = "linux")]
pub use self::{
    counters::SignatureCount,
    error::SpoolError,
    record::{DumpFacts, DumpRecord},
    reservation::{Admission, Reservation},
    settings::{SpoolRate, SpoolSettings},
    spool::{CleanedSpool, SharedDump, Spool, SpoolEntry, SpoolProblem},
};
