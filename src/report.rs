use std::time::Duration;

use dumpwright_target::{Gravity, Holding, Remark};

use crate::DumpType;

/// What was written, and what the dump lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The type that was effective, after contradictions were settled.
    pub dump_type: DumpType,
    /// Bytes written.
    pub bytes: u64,
    /// Threads in the dump.
    pub threads: usize,
    /// Modules in the dump.
    pub modules: usize,
    /// Memory ranges in the dump.
    pub memory_ranges: usize,
    /// Bytes of memory in the dump.
    pub memory_bytes: u64,
    /// How the target was held, and for how long.
    pub holding: Holding,
    /// From the first question to the last byte.
    pub elapsed: Duration,
    /// Everything worth knowing, losses first.
    pub remarks: Vec<Remark>,
}

impl Report {
    /// What was requested and exists but could not be got. Empty for a complete dump.
    pub fn missing(&self) -> impl Iterator<Item = &Remark> {
        self.with_gravity(Gravity::Missing)
    }

    /// What was left out on purpose, or because the platform has none.
    pub fn left_out(&self) -> impl Iterator<Item = &Remark> {
        self.with_gravity(Gravity::LeftOut)
    }

    /// What else is worth knowing.
    pub fn notes(&self) -> impl Iterator<Item = &Remark> {
        self.with_gravity(Gravity::Note)
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    fn with_gravity(&self, gravity: Gravity) -> impl Iterator<Item = &Remark> {
        self.remarks
            .iter()
            .filter(move |remark| remark.gravity == gravity)
    }
}
