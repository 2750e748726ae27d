//! Writes minidumps the way Microsoft's `MiniDumpWriteDump` does, with its callback protocol, on
//! Linux and Windows.
//!
//! [`dump()`] takes a [`Target`] (the process to dump), a [`Request`] (what the dump should
//! contain), optionally a [`Callback`] (which can leave out threads and modules, and add and remove
//! memory), and a [`Sink`] (which receives the bytes). It returns a [`Report`], which lists
//! everything that the dump lacks. WinDbg, LLDB, Breakpad and rust-minidump open the dumps.
//!
//! A live process is suspended only for as long as necessary, and resumed afterwards. Nothing is
//! written into it.
//!
//! Two things are out of scope. The library does not analyse dumps: [`read`] shows and checks them,
//! but does not unwind stacks. And no process dumps itself: another process makes the dump, also
//! when the module `crash` (Linux) has caught a crash.
//!
//! # Platforms
//!
//! Live processes can be dumped on Linux and Windows, on x86-64 only. On Linux, 32-bit x86
//! processes can be dumped too. The Windows backend has been tested only under Wine 8 so far. The
//! minimum version of Rust is 1.88.
//!
//! # Dump a live process
//!
//! [`native::process`] opens a process by its id, and [`dump_to_file`] writes the dump:
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
//! # Control the dump with a callback
//!
//! Any closure that takes an [`Ask`] and returns a `bool` is a [`Callback`]. This one leaves out
//! one thread:
//!
//! ```
//! # #[cfg(all(feature = "native", feature = "file"))]
//! # fn example(pid: u32, helper_thread: u32) -> Result<(), Box<dyn std::error::Error>> {
//! use dumpwright::{Ask, DumpType, Request, dump_to_file, native};
//!
//! let mut callback = |ask: Ask<'_>| match ask {
//!     Ask::IncludeThread { thread_id, .. } => thread_id != helper_thread,
//!     _ => true,
//! };
//! let mut target = native::process(pid)?;
//! let request = Request::new(DumpType::NORMAL);
//! let report = dump_to_file(&mut target, &request, Some(&mut callback), "server.dmp")?;
//! for diagnostic in report.missing() {
//!     eprintln!("missing: {diagnostic}");
//! }
//! # Ok(())
//! # }
//! # fn main() {}
//! ```
//!
//! [`policy`] has ready-made callbacks, such as filters and a size limit.
//!
//! # Test a callback on a simulated process
//!
//! With the feature `testing`, the module `testing` runs a callback through a whole dump of a
//! process that the test describes:
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # fn main() {
//! use dumpwright::Ask;
//! use dumpwright::target::protect::READWRITE;
//! use dumpwright::testing::{Contents, SimProcess, assert_asked, rehearse};
//!
//! let process = SimProcess::new(1000)
//!     .thread(7, 0x7000_0100, 0x40_1000)
//!     .thread(8, 0x7100_0100, 0x40_2000)
//!     .memory(0x7000_0000, 0x1000, READWRITE, Contents::Counting)
//!     .memory(0x7100_0000, 0x1000, READWRITE, Contents::Counting);
//! let callback = |ask: Ask<'_>| !matches!(ask, Ask::IncludeThread { thread_id: 8, .. });
//!
//! let rehearsal = rehearse(callback).on(process);
//! assert_asked!(rehearsal, .., "IncludeThread thread=8 -> FALSE", ..);
//! assert_eq!(rehearsal.dump().threads(), [7]);
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | `crash` | a crash handler (Linux; needs the features `native` and `file`) |
//! | [`callback`] | the callback types, with their answers and default answers |
//! | [`native`] | live processes; on Windows also the system's own DbgHelp |
//! | [`policy`] | ready-made callbacks |
//! | [`protocol`] | scripts, transcripts and playback, a linter for callbacks |
//! | [`read`] | a reader that shows and checks dumps |
//! | [`sim`] | simulated processes |
//! | `spool` | folders of dumps with limits (Linux) |
//! | [`target`] | the traits and facts that a backend implements and returns |
//! | `testing` | a test kit for callbacks |
//! | `watch` | conditions under which a process is dumped, and the measurements for them |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `native` | [`native`]: live processes of this system; `watch` |
//! | `sim` | [`sim`]: simulated processes |
//! | `testing` | `testing`: the test kit for callbacks; it includes `sim` |
//! | `policy-file` | [`policy::PolicyFile`]: policies as text files |
//! | `file` | [`FileSink`] and [`dump_to_file`]: files that appear only when they are complete |
//! | `spool` | `spool`: folders of dumps with limits, for several writers; it includes `file` (Linux) |
//! | `zstd` | `CompressedSink`: dumps compressed with zstd; [`read`] opens them (needs a C compiler) |
//! | `cli` (default) | the command line, with `native`, `sim`, `policy-file`, `file`, `spool` and `zstd` |
//!
//! A library that depends on this crate should disable `cli` with `default-features = false`.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "native", feature = "file"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod capture;
pub mod convert;
#[cfg(all(feature = "native", feature = "file", target_os = "linux"))]
pub mod crash;
mod dump;
mod dump_type;
mod emit;
mod error;
mod explanation;
mod format;
mod memory;
#[cfg(feature = "native")]
pub mod native;
mod plan;
pub mod policy;
pub mod protocol;
pub mod read;
mod report;
mod request;
#[cfg(feature = "sim")]
pub mod sim;
mod sink;
#[cfg(all(feature = "spool", target_os = "linux"))]
pub mod spool;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "native")]
pub mod watch;

pub use dump::{dump, explain};
pub use dump_type::DumpType;
#[doc(inline)]
pub use dumpwright_callback as callback;
pub use dumpwright_callback::{Ask, Callback, Hresult};
#[doc(inline)]
pub use dumpwright_target as target;
pub use dumpwright_target::{Diagnostic, Target};
pub use error::Error;
pub use explanation::{Explanation, MemoryCause, Share};
pub use protocol::Profile;
pub use report::{Backend, Report, ReportedException};
pub use request::{KnownCrash, Request, UserStream};
#[cfg(feature = "zstd")]
pub use sink::CompressedSink;
#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
pub use sink::FileSink;
#[cfg(all(feature = "file", target_os = "linux"))]
pub use sink::Guardian;
pub use sink::{Sink, StreamSink};

/// Dumps `target` into a new file at `path`.
///
/// The file appears under this name only when all of the dump has been written. On Linux, only its
/// owner can read it; on Windows, the permissions of the folder apply. An existing file is not
/// replaced; use [`FileSink`] to replace one.
///
/// # Errors
/// Fails if a file with this name exists, if the file cannot be created, or if [`dump()`] fails.
/// After an error there is no new file.
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
