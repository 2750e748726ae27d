//! Minidumps as Microsoft's `MiniDumpWriteDump` writes them, callbacks and all, on Linux.
//!
//! **What you provide**: a [`Target`] (a live process, [`native::process`]), a [`Request`] (what is to
//! be in the dump), if you like a [`Callback`] that is asked the 21 questions of Microsoft's protocol, and a
//! [`Sink`] for the bytes.
//!
//! **What you get**: a file that WinDbg, LLDB, Breakpad and rust-minidump open, and a [`Report`] that names
//! everything the dump lacks. The process is stopped for as short as it takes, nothing is written into
//! it, and it runs on afterwards.
//!
//! **What it is not for**: analysing dumps ([`read`] shows and checks them, it does not walk stacks) and
//! catching crashes inside the crashing process (have another process do the dump).
//!
//! ```
//! # #[cfg(all(feature = "native", feature = "file"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("sleep.dmp");
//! use dumpwright::{DumpType, Request, dump_to_file, native, read};
//!
//! let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
//! let mut target = native::process(child.id())?;
//! let report = dump_to_file(&mut target, &Request::new(DumpType::NORMAL), None, &path)?;
//! child.kill()?;
//! assert!(report.is_complete());
//!
//! let dump = read::Dump::open(&path)?;
//! assert_eq!(dump.threads()?.len(), 1);
//! assert_eq!(dump.modules()?[0].file_name(), Some("sleep"));
//! # child.wait()?;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "native", feature = "file")))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `native` | live processes of this system |
//! | `sim` | simulated processes |
//! | `testing` | the test kit for callbacks |
//! | `file` | files that appear under their name only when they are whole |
//! | `cli` (default) | the command line; library users turn it off |

#![forbid(unsafe_code)]

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "native", feature = "file"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod capture;
mod dump;
mod dump_type;
mod emit;
mod error;
mod format;
mod memory;
#[cfg(any(feature = "native", feature = "sim"))]
pub mod native;
mod plan;
pub mod policy;
pub mod protocol;
pub mod read;
mod report;
mod request;
mod sink;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;

pub use dump::dump;
pub use dump_type::DumpType;
pub use dumpwright_callback as callback;
pub use dumpwright_callback::{Ask, Callback, Hresult};
pub use dumpwright_target as target;
pub use dumpwright_target::{Remark, Target};
pub use error::Error;
pub use protocol::Profile;
pub use report::{Backend, Report};
pub use request::{Request, UserStream};
#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
pub use sink::FileSink;
pub use sink::{Sink, StreamSink};

/// Dumps `target` into a new file.
///
/// The file appears under its name only when the dump is whole, and is readable by its owner only. An
/// existing file is not replaced; see [`FileSink`] for that.
///
/// # Errors
/// There is no dump, and no file. See [`dump`].
#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
pub fn dump_to_file(
    target: &mut dyn Target,
    request: &Request,
    callback: Option<&mut dyn Callback>,
    path: impl AsRef<std::path::Path>,
) -> Result<Report, Error> {
    let mut file = FileSink::create(path, false)?;
    let report = dump(target, request, callback, &mut file)?;
    file.publish()?;
    Ok(report)
}
