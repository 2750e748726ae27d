use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dumpwright_target::{Gravity, Holding, Remark};

use crate::DumpType;

/// Who has written a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// This library.
    Dumpwright,
    /// A DbgHelp: the system's, or another one.
    DbgHelp {
        /// The DLL.
        file: PathBuf,
        /// Its version, as `6.3.9600.16384`, if it tells.
        version: Option<String>,
    },
}

impl Backend {
    /// Its name, as `--backend` takes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dumpwright => "dumpwright",
            Self::DbgHelp { .. } => "dbghelp",
        }
    }
}

/// The name, and the version of a DbgHelp.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::DbgHelp {
                version: Some(version),
                ..
            } => write!(f, " {version}"),
            _ => Ok(()),
        }
    }
}

/// What was written, and what the dump lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who has written it.
    pub backend: Backend,
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
