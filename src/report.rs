use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dumpwright_target::{Diagnostic, Exception, Holding, Platform, Severity};

use crate::DumpType;
use crate::read::{describe_signal, describe_windows};

/// The dump writer that made a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// dumpwright's own engine.
    Dumpwright,
    /// Microsoft's DbgHelp: the system's DLL, or another version.
    DbgHelp {
        /// The path of the DLL.
        file: PathBuf,
        /// The version of the DLL, such as `6.3.9600.16384`, if it has one.
        version: Option<String>,
    },
}

impl Backend {
    /// Returns the name, which is also the value of the command line's option `--backend`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dumpwright => "dumpwright",
            Self::DbgHelp { .. } => "dbghelp",
        }
    }
}

/// Writes the name, followed by the version of a DbgHelp.
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

/// The exception of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedException {
    /// The id of the thread in which it occurred.
    pub thread_id: u32,
    /// The signal and its cause on Linux, such as `SIGSEGV (SEGV_MAPERR)`. On Windows the name of
    /// the exception code, such as `EXCEPTION_ACCESS_VIOLATION`.
    pub description: String,
}

impl ReportedException {
    pub(crate) fn of(exception: &Exception, platform: Option<Platform>) -> Self {
        let description = match platform {
            Some(Platform::Linux) => describe_signal(exception.code, exception.flags.cast_signed()),
            _ => describe_windows(exception.code),
        };
        Self {
            thread_id: exception.thread_id,
            description,
        }
    }
}

/// What a dump contains and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The dump writer that made the dump.
    pub backend: Backend,
    /// The process id of the process that was dumped.
    pub process_id: u32,
    /// The exception of the dump, if it has one.
    pub exception: Option<ReportedException>,
    /// The effective dump type, see [`DumpType::normalised`].
    pub dump_type: DumpType,
    /// The size of the dump in bytes.
    pub bytes: u64,
    /// The number of threads in the dump.
    pub threads: usize,
    /// The number of modules in the dump.
    pub modules: usize,
    /// The number of memory ranges in the dump.
    pub memory_ranges: usize,
    /// The number of bytes of memory in the dump.
    pub memory_bytes: u64,
    /// How the target was kept from changing, and for how long it was suspended.
    pub holding: Holding,
    /// The time that the whole dump took, from the call to the end of the output.
    pub elapsed: Duration,
    /// All diagnostics, sorted by severity: missing, then left out, then notes.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Returns what was requested and exists, but could not be obtained. Empty for a complete dump.
    pub fn missing(&self) -> impl Iterator<Item = &Diagnostic> {
        self.with_severity(Severity::Missing)
    }

    /// Returns what was left out on purpose, or because the platform does not have it.
    pub fn left_out(&self) -> impl Iterator<Item = &Diagnostic> {
        self.with_severity(Severity::LeftOut)
    }

    /// Returns the other diagnostics of the dump.
    pub fn notes(&self) -> impl Iterator<Item = &Diagnostic> {
        self.with_severity(Severity::Note)
    }

    /// Returns whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    fn with_severity(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(move |diagnostic| diagnostic.severity == severity)
    }
}
