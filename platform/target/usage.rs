//! What a process uses of the machine: facts that are cheap to read again and again, without
//! suspending the process.

use std::time::Duration;

use crate::Fault;

/// What a process uses, as far as it was [asked for](UsageNeed). A fact that was not asked for is
/// `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The time for which all of its threads together have run on processors, since it started.
    pub cpu: Option<Duration>,
    /// Its memory in RAM, in bytes. Memory that it shares with others counts.
    pub resident: Option<u64>,
    /// Its memory in RAM or swap, in bytes.
    pub committed: Option<u64>,
    /// The number of its threads.
    pub threads: Option<u64>,
    /// The number of its open handles (on Linux, file descriptors).
    pub handles: Option<u64>,
}

/// The facts of a [`Usage`] that are needed. Each costs time, so only these are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageNeed {
    /// The time on processors.
    pub cpu: bool,
    /// The memory in RAM.
    pub resident: bool,
    /// The memory in RAM or swap.
    pub committed: bool,
    /// The number of threads.
    pub threads: bool,
    /// The number of handles.
    pub handles: bool,
}

/// Reads what one process uses.
pub trait Gauge {
    /// Returns the process id, as the reader's system numbers it.
    fn process_id(&self) -> u32;

    /// Reads the facts that are needed.
    ///
    /// # Errors
    /// With [`FaultKind::Gone`](crate::FaultKind::Gone), the process has ended. With others, a fact
    /// cannot be read.
    fn read(&mut self, need: UsageNeed) -> Result<Usage, Fault>;
}
