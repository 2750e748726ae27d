use std::fmt;

use crate::Report;

/// What a dump would contain, without the dump: the result of [`explain`](crate::explain).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The report that the dump would have. Its size and its losses are those known before deferred
    /// memory is read, and `holding` is that of the explanation, which reads less than the dump.
    /// With compressed memory, `bytes` are those before compression.
    pub report: Report,
    /// The memory of the dump, by the reason why it is there.
    pub shares: Vec<Share>,
    /// The bytes of the dump that are not memory: headers, lists and texts.
    pub table_bytes: u64,
}

/// A part of the memory of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Share {
    /// Why it is in the dump.
    pub cause: MemoryCause,
    /// The number of bytes.
    pub bytes: u64,
    /// The number of ranges.
    pub ranges: usize,
}

/// Why memory is in a dump. Memory with several causes counts for the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemoryCause {
    /// The used parts of stacks.
    Stacks,
    /// The code around instruction pointers and around the address of the exception.
    Code,
    /// The system's data about threads and about the process.
    ThreadData,
    /// Parts of modules: headers, code and global variables.
    Modules,
    /// Memory that words on stacks point to.
    Referenced,
    /// Private memory that the type selects.
    Private,
    /// Mapped files and shared memory that the type selects.
    Mapped,
    /// Ranges that the callback or a policy added, and that nothing else selects.
    Callback,
    /// Anything else.
    Other,
}

impl MemoryCause {
    /// All causes, in their order.
    pub const ALL: [Self; 9] = [
        Self::Stacks,
        Self::Code,
        Self::ThreadData,
        Self::Modules,
        Self::Referenced,
        Self::Private,
        Self::Mapped,
        Self::Callback,
        Self::Other,
    ];

    /// Returns a short name for programs, such as `thread-data`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stacks => "stacks",
            Self::Code => "code",
            Self::ThreadData => "thread-data",
            Self::Modules => "modules",
            Self::Referenced => "referenced",
            Self::Private => "private",
            Self::Mapped => "mapped",
            Self::Callback => "callback",
            Self::Other => "other",
        }
    }
}

/// Writes the cause in words.
impl fmt::Display for MemoryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stacks => "stacks",
            Self::Code => "code around instruction pointers",
            Self::ThreadData => "data of threads and the process",
            Self::Modules => "modules",
            Self::Referenced => "referenced by stacks",
            Self::Private => "private memory",
            Self::Mapped => "mapped files and shared memory",
            Self::Callback => "added by the policy or callback",
            Self::Other => "other memory",
        })
    }
}
