use std::fmt;

use crate::AddressRange;

/// One entry of a dump's report: something that the dump lacks, or a note on how it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What happened and why, as one sentence without a full stop.
    pub reason: String,
}

/// How much a [`Diagnostic`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Information only.
    Note,
    /// Left out on purpose, or not available on this platform. The dump is still complete.
    LeftOut,
    /// Requested, existing and not declined by the callback, but not obtained. The dump is partial.
    Missing,
}

/// What a [`Diagnostic`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The process as a whole.
    Process,
    /// The thread with this id.
    Thread(u32),
    /// The module at this load address.
    Module(u64),
    /// A range of memory.
    Memory(AddressRange),
    /// The stream of the dump with this name.
    Stream(&'static str),
}

impl Diagnostic {
    /// Returns a diagnostic about something that the dump should contain and does not.
    pub fn missing(subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            severity: Severity::Missing,
            subject,
            reason: reason.into(),
        }
    }

    /// Returns a diagnostic about something left out that does not make the dump partial.
    pub fn left_out(subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            severity: Severity::LeftOut,
            subject,
            reason: reason.into(),
        }
    }

    /// Returns a diagnostic that only informs.
    pub fn note(subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            subject,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => write!(f, "process"),
            Self::Thread(id) => write!(f, "thread {id}"),
            Self::Module(base) => write!(f, "module at {base:#x}"),
            Self::Memory(range) => write!(f, "memory {range}"),
            Self::Stream(name) => write!(f, "stream {name}"),
        }
    }
}
