use std::time::Duration;

use dumpwright_target::{AddressRange, FaultKind};

/// A fault of a simulated process.
///
/// Some faults count reads. Each such fault counts the reads that touch its range, starting at 1
/// with each freeze. A survey is a call of [`Frozen::survey`](dumpwright_target::Frozen::survey),
/// which reports where bytes come from without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimFault {
    /// Pages that cannot be read. A survey reports them as unreadable.
    Unreadable(AddressRange),
    /// Pages that a survey reports as readable, but that cannot be read from read number `read` on.
    UnreadableFrom {
        /// The addresses.
        range: AddressRange,
        /// The first read that fails.
        read: u64,
    },
    /// Pages that cannot be read before read number `read`, but can be read from then on.
    UnreadableUntil {
        /// The addresses.
        range: AddressRange,
        /// The first read that succeeds.
        read: u64,
    },
    /// A read that touches this range returns at most `most` bytes.
    ShortRead {
        /// The addresses.
        range: AddressRange,
        /// The number of bytes, at least 1.
        most: usize,
    },
    /// A read that touches this range takes some time.
    SlowRead {
        /// The addresses.
        range: AddressRange,
        /// The time that each read takes. It counts as time during which the process was suspended.
        delay: Duration,
        /// Whether the read really sleeps, for callers that measure the time.
        sleep: bool,
    },
    /// A thread that is listed, but no longer exists when it is described.
    ThreadVanishes(u32),
    /// A thread that cannot be suspended. It stays listed, without registers and stack.
    ThreadRefusesSuspension(u32),
    /// A module whose records cannot be read.
    BrokenModuleRecord {
        /// Its load address.
        base: u64,
        /// The broken record.
        record: ModuleRecord,
    },
    /// A region that changes after the map has been listed a number of times.
    RegionChanges {
        /// Its address.
        base: u64,
        /// The number of listings that still show the region unchanged; at least 1.
        listings: u32,
        /// The change.
        change: RegionChange,
    },
    /// A process that cannot be suspended.
    FreezeFails(FaultKind),
    /// A question about the process as a whole that fails.
    QuestionFails(Question, FaultKind),
}

/// A part of the description of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleRecord {
    /// All of it. The module cannot be described.
    Headers,
    /// Its CodeView record.
    CodeView,
    /// Its miscellaneous debug record.
    Misc,
    /// Its version.
    Version,
}

/// A change of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionChange {
    /// It is unmapped.
    Gone,
    /// It has this size, which must be smaller than before.
    Size(u64),
    /// It has this protection (`PAGE_…`).
    Protect(u32),
}

/// A question about the process as a whole.
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
    /// The range whose reads this fault affects.
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

    /// The range that cannot be read in read number `now` that touches it; `None` if it can be
    /// read.
    pub(crate) fn refuses(&self, now: u64) -> Option<AddressRange> {
        match self {
            Self::Unreadable(range) => Some(*range),
            Self::UnreadableFrom { range, read } => (now >= *read).then_some(*range),
            Self::UnreadableUntil { range, read } => (now < *read).then_some(*range),
            _ => None,
        }
    }
}

/// The reason that the system would give for a kind of failure.
pub(crate) fn reason(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::NoSuchProcess => "there is no such process",
        FaultKind::KernelThread => "it is a kernel thread",
        FaultKind::Zombie => "it has ended and waits to be reaped",
        FaultKind::NotPermitted => "permission denied",
        FaultKind::AlreadyTraced => "another debugger traces it",
        FaultKind::OwnProcess => "it is the dumper itself",
        FaultKind::Unsupported => "processes of its kind are not supported",
        FaultKind::Gone => "it has ended",
        FaultKind::Unreadable => "its memory cannot be read",
        FaultKind::NotStopped => "it did not stop",
        FaultKind::Malformed => "its own description is malformed",
        _ => "the system reports a failure",
    }
}
