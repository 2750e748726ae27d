//! Reading a minidump back: what `dumpwright show` and `dumpwright check` stand on.
//!
//! A [`Dump`] opens at once whatever its size: the header and the directory are read, everything else when it is asked
//! for. Nothing in a file is believed: every count and size is held against the length of the file before memory is
//! taken for it, so a damaged or hostile file costs an error and never a crash.
//!
//! This reader shares no structure with our writer. It reads each field at the offset that the specification gives, so
//! that a mistake in one of the two shows when they meet.
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
//! assert_eq!(dump.memory(0x1000, 16)?, None);           // nothing is captured there
//! # Ok::<(), dumpwright::read::ReadError>(())
//! ```

mod check;
mod context;
mod counters;
mod dump;
mod error;
mod exception;
mod fields;
mod functions;
mod handles;
mod linux;
mod losses;
mod memory;
mod modules;
mod regions;
mod search;
mod source;
pub mod stream_type;
mod strings;
mod system;
mod threads;
mod tokens;

pub use check::{CheckOptions, Rule, Severity, Violation, check, check_with};
pub use context::{
    Amd64Registers, Arm64Registers, ArmRegisters, Context, Cpu, ExtendedState, X86Registers, XStateFeature,
    XStateLayout,
};
pub use counters::Counters;
pub use dump::{Dump, Header, StreamEntry};
pub use error::ReadError;
pub use exception::{Exception, signal_code_name, signal_name};
pub use fields::Location;
pub use functions::{FunctionEntry, FunctionTable};
pub use handles::{Handle, HandleOperation, ObjectInformation};
pub use linux::{BreakpadInfo, DsoDebug, LinkMapEntry};
pub use losses::{Loss, LossReason};
pub use memory::MemoryRange;
pub use modules::{CodeView, Module, UnloadedModule};
pub use regions::MemoryRegion;
pub use source::Source;
pub use stream_type::stream_name;
pub use system::{ArmCpu, MiscInfo, Platform, ProcessorPower, SystemInfo, TimeZone};
pub use threads::{StackDescriptor, Thread, ThreadInfo, ThreadName};
pub use tokens::{Token, TokenGroup, TokenPrivilege};
