//! Folders of dumps with limits, for several writers at once: [`Spool`]. Linux only.
//!
//! [`SpoolSink`] writes a dump into a spool. `docs/spool.md` describes the files in the folder and
//! the settings.
//!
//! ```
//! # #[cfg(feature = "sim")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use dumpwright::spool::{DumpFacts, Spool, SpoolSink};
//! use dumpwright::target::protect::READWRITE;
//! use dumpwright::{DumpType, Request, dump, sim};
//!
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("spool.toml"), "keep-free = 0")?;
//! let spool = Spool::open(folder.path())?;
//! let mut sink = SpoolSink::create(spool.reserve("server.1000", ".dmp", 0)?)?;
//! let mut process = sim::SimProcess::new(1000)
//!     .thread(7, 0x7000_0100, 0x40_1000)
//!     .memory(0x7000_0000, 0x1000, READWRITE, sim::Contents::Counting);
//! dump(&mut process, &Request::new(DumpType::NORMAL), None, &mut sink)?;
//! sink.commit(&DumpFacts::default())?;
//! assert_eq!(spool.entries()?.len(), 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sim"))]
//! # fn main() {}
//! ```

pub use dumpwright_spool::*;

pub use crate::sink::SpoolSink;
