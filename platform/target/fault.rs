use std::fmt;

/// Why something about a target could not be had.
///
/// The text names the operation, the object and the system's reason; `advice`, where there is any,
/// says what the user can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of failure it is, for programs.
    pub kind: FaultKind,
    /// What was being done to what: "attach to process 17".
    pub operation: String,
    /// The reason, in the system's words where it gave one.
    pub reason: String,
    /// What the user can do about it.
    pub advice: Option<String>,
    /// The system's error number (errno, Win32 code), if one was given.
    pub os_code: Option<i32>,
}

/// The kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// There is no process (or thread) of that number.
    NoSuchProcess,
    /// The number names a kernel thread, which has no user memory.
    KernelThread,
    /// The process has ended and only waits to be reaped.
    Zombie,
    /// The caller is not allowed to examine the process.
    NotPermitted,
    /// Another debugger holds the process.
    AlreadyTraced,
    /// The process is the dumper itself.
    OwnProcess,
    /// The process is of a kind that this backend does not handle.
    Unsupported,
    /// The process or thread ended while it was being examined.
    Gone,
    /// Memory at that address cannot be read.
    Unreadable,
    /// The thread did not come to a stop in time.
    NotStopped,
    /// What the target says about itself makes no sense (a broken header, a lying size).
    Malformed,
    /// Any other failure reported by the system.
    System,
}

impl Fault {
    /// A fault of `kind` met while doing `operation`, because of `reason`.
    pub fn new(kind: FaultKind, operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            reason: reason.into(),
            advice: None,
            os_code: None,
        }
    }

    /// The same with advice for the user.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same with the system's error number.
    #[must_use]
    pub fn with_os_code(mut self, code: i32) -> Self {
        self.os_code = Some(code);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.operation, self.reason)?;
        if let Some(advice) = &self.advice {
            write!(f, " ({advice})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
