use std::fmt;

/// Why something about a target could not be obtained.
///
/// Its text names the operation, the object and the system's reason, and what the user can do if
/// there is any advice: `cannot attach to process 17: Operation not permitted (…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of failure, for programs.
    pub kind: FaultKind,
    /// The operation and its object, such as "attach to process 17".
    pub operation: String,
    /// The reason, in the system's words if it gave one.
    pub reason: String,
    /// What the user can do about it.
    pub advice: Option<String>,
    /// The system's error number (errno or Win32 error code), if there is one.
    pub os_code: Option<i32>,
}

/// The kind of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// There is no process or thread with this id.
    NoSuchProcess,
    /// The id belongs to a kernel thread, which has no user memory.
    KernelThread,
    /// The process has ended and has not been reaped by its parent.
    Zombie,
    /// The caller may not examine the process.
    NotPermitted,
    /// Another debugger is attached to the process.
    AlreadyTraced,
    /// The process is the dumper itself.
    OwnProcess,
    /// This backend does not support this kind of process.
    Unsupported,
    /// The process or thread ended while it was being examined.
    Gone,
    /// The memory at this address cannot be read.
    Unreadable,
    /// The thread did not stop in time.
    NotStopped,
    /// Data of the target contradicts its format, such as a broken header or a wrong size.
    Malformed,
    /// Any other failure that the system reported.
    System,
}

impl Fault {
    /// Creates a fault of this kind, which happened during `operation` because of `reason`.
    pub fn new(kind: FaultKind, operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            reason: reason.into(),
            advice: None,
            os_code: None,
        }
    }

    /// Adds advice for the user.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Adds the system's error number.
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
