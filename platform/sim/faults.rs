use std::time::Duration;

use dumpwright_target::{AddressRange, FaultKind};

/// Something that goes wrong with a simulated process.
///
/// Reads are counted from 1, anew with each freeze, and for each fault by itself: a read counts when it
/// touches the fault's range.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimFault {
    /// Pages that cannot be read, which a survey knows.
    Unreadable(AddressRange),
    /// Pages that a survey takes for readable, and that fail from the `read`th read on.
    UnreadableFrom {
        /// Where.
        range: AddressRange,
        /// The first read that fails.
        read: u64,
    },
    /// Pages that fail before the `read`th read, and can then be read.
    UnreadableUntil {
        /// Where.
        range: AddressRange,
        /// The first read that succeeds.
        read: u64,
    },
    /// A read that touches this brings at most so many bytes.
    ShortRead {
        /// Where.
        range: AddressRange,
        /// How many, at least 1.
        most: usize,
    },
    /// A read that touches this takes its time.
    SlowRead {
        /// Where.
        range: AddressRange,
        /// How long each takes. It counts as time for which the process was held.
        delay: Duration,
        /// Whether the clock really goes on by so much, for callers who measure.
        sleep: bool,
    },
    /// A thread that is listed and gone when asked about.
    ThreadVanishes(u32),
    /// A thread that cannot be stopped: it stays listed, without registers and stack.
    ThreadRefusesSuspension(u32),
    /// A module whose records cannot be read.
    BrokenModuleRecord {
        /// Its load address.
        base: u64,
        /// What is broken.
        record: ModuleRecord,
    },
    /// A region that is another one when the map has been listed so often.
    RegionChanges {
        /// Its address.
        base: u64,
        /// How many listings still show it as it was; at least 1.
        listings: u32,
        /// What becomes of it.
        change: RegionChange,
    },
    /// A process that cannot be held.
    FreezeFails(FaultKind),
    /// A question about the process that fails.
    QuestionFails(Question, FaultKind),
}

/// A part of what a module says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleRecord {
    /// All of it: the module cannot be described.
    Headers,
    /// Its CodeView record.
    CodeView,
    /// Its miscellaneous debug record.
    Misc,
    /// Its version.
    Version,
}

/// What becomes of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionChange {
    /// It is unmapped.
    Gone,
    /// It has this size, a smaller one than before.
    Size(u64),
    /// It has this protection (`PAGE_…`).
    Protect(u32),
}

/// What can be asked of a process as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the questions are documented at Frozen")]
pub enum Question {
    System,
    Process,
    ThreadIds,
    ModuleBases,
    Regions,
    Handles,
    UnloadedModules,
    HandleOperations,
    FunctionTables,
    Tokens,
    SystemMemory,
    VmCounters,
}

impl SimFault {
    /// The range whose reads concern this fault.
    pub(crate) fn reads(&self) -> Option<AddressRange> {
        match self {
            Self::Unreadable(range)
            | Self::UnreadableFrom { range, .. }
            | Self::UnreadableUntil { range, .. }
            | Self::ShortRead { range, .. }
            | Self::SlowRead { range, .. } => Some(*range),
            _ => None,
        }
    }

    /// The range that cannot be read now, in the `read`th read that touches it.
    pub(crate) fn refuses(&self, now: u64) -> Option<AddressRange> {
        match self {
            Self::Unreadable(range) => Some(*range),
            Self::UnreadableFrom { range, read } => (now >= *read).then_some(*range),
            Self::UnreadableUntil { range, read } => (now < *read).then_some(*range),
            _ => None,
        }
    }
}

/// The system's words for a kind of failure.
pub(crate) fn reason(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::NoSuchProcess => "there is no such process",
        FaultKind::KernelThread => "it is a kernel thread",
        FaultKind::Zombie => "it has ended and waits to be reaped",
        FaultKind::NotPermitted => "permission denied",
        FaultKind::AlreadyTraced => "another debugger holds it",
        FaultKind::OwnProcess => "it is the dumper itself",
        FaultKind::Unsupported => "processes of its kind are not supported",
        FaultKind::Gone => "it has ended",
        FaultKind::Unreadable => "its memory cannot be read",
        FaultKind::NotStopped => "it did not stop",
        FaultKind::Malformed => "what it says about itself makes no sense",
        _ => "the system reports a failure",
    }
}
