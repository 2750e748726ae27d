use std::fmt;

use crate::AddressRange;

/// Something a dump lacks, or something worth knowing about how it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub gravity: Gravity,
    /// What it is about.
    pub subject: Subject,
    /// What happened and why, one sentence without a full stop.
    pub reason: String,
}

/// How much a [`Remark`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gravity {
    /// Only worth knowing.
    Note,
    /// Left out on purpose or because the platform has none: the dump is still complete.
    LeftOut,
    /// Requested, existing, not declined, and yet not got: the dump is partial.
    Missing,
}

/// What a [`Remark`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The whole process.
    Process,
    /// A thread, by id.
    Thread(u32),
    /// A module, by load address.
    Module(u64),
    /// Memory.
    Memory(AddressRange),
    /// A stream of the dump, by its name.
    Stream(&'static str),
}

impl Remark {
    /// Something that the dump should have had.
    pub fn missing(subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Missing,
            subject,
            reason: reason.into(),
        }
    }

    /// Something left out that does not make the dump partial.
    pub fn left_out(subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::LeftOut,
            subject,
            reason: reason.into(),
        }
    }

    /// Something worth knowing.
    pub fn note(subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Note,
            subject,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Remark {
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
