//! A reader for minidumps. `dumpwright show` and `dumpwright check` are based on it.
//!
//! Opening a [`Dump`] is fast for files of any size, because only the header and the directory are
//! read. Everything else is read on request. The reader does not trust the file: it compares every
//! count and size with the length of the file before it allocates memory. A damaged or hostile file
//! therefore leads to an error, never to a crash.
//!
//! With the feature `zstd`, the reader also opens dumps that are compressed in zstd's seekable
//! format, as `CompressedSink` writes them. It decompresses only the frames that it needs, and
//! keeps at most 16 MiB of them. All offsets and lengths are those of the decompressed dump.
//!
//! Memory that is compressed inside a dump (CompressedMemoryStream) is read like other memory. The
//! reader decompresses the buckets that it needs, and keeps about 32 MiB of them.
//!
//! The reader shares no structure definitions with dumpwright's writer. It reads each field at the
//! offset that the specification gives. If one of the two has a wrong offset, tests that read
//! written dumps fail.
//!
//! ```
//! # use dumpwright::read::Dump;
//! # let mut bytes = b"MDMP\x93\xa7\0\0".to_vec();       // a dump with an empty directory
//! # bytes.extend([0, 0, 0, 0, 32, 0, 0, 0]);
//! # bytes.resize(32, 0);
//! let dump = Dump::from_bytes(bytes)?;                  // Dump::open("core.dmp") for a file
//! for thread in dump.threads()? {
//!     if let Some(registers) = thread.registers() {
//!         println!("{} at {:#x}", thread.id, registers.rip);
//!     }
//! }
//! assert_eq!(dump.memory(0x1000, 16)?, None);           // this memory was not captured
//! # Ok::<(), dumpwright::read::ReadError>(())
//! ```

mod check;
mod compressed;
mod compressed_memory;
mod context;
mod counters;
mod dump;
mod error;
mod exception;
mod fields;
mod functions;
mod handles;
mod linux;
mod list;
mod losses;
mod memory;
mod modules;
mod regions;
mod rva_fields;
mod search;
mod source;
pub mod stream_type;
mod strings;
mod system;
mod threads;
mod tokens;

pub use check::{CheckOptions, Level, Rule, Violation, check, check_with};
#[cfg(all(feature = "native", target_os = "linux"))]
pub(crate) use compressed::is_compressed;
pub use compressed_memory::{CompressedBucket, CompressedMemory, CompressedRegion};
pub use context::{
    Amd64Registers, Arm64Registers, ArmRegisters, Context, Cpu, ExtendedState, X86Registers, XStateFeature,
    XStateLayout,
};
pub use counters::Counters;
pub use dump::{Dump, Header, StreamEntry};
pub use error::ReadError;
pub use exception::{Exception, signal_code_name, signal_name};
pub(crate) use exception::{describe_signal, describe_windows};
pub use fields::Location;
pub use functions::{FunctionEntry, FunctionTable};
pub use handles::{Handle, HandleOperation, ObjectInformation};
pub use linux::{BreakpadInfo, DsoDebug, LinkMapEntry};
pub use list::{LIST_LIMIT, List};
pub use losses::{Loss, LossReason};
pub use memory::MemoryRange;
pub use modules::{CodeView, Module, UnloadedModule};
pub use regions::MemoryRegion;
pub use source::ByteSource;
pub use stream_type::stream_name;
pub use system::{ArmCpu, MiscInfo, Platform, ProcessorPower, SystemInfo, TimeZone};
pub use threads::{StackDescriptor, Thread, ThreadInfo, ThreadName};
pub use tokens::{Token, TokenGroup, TokenPrivilege};
