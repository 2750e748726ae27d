use std::fmt;

/// A status as Windows' interfaces spell it: negative (top bit set) means failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hresult(pub u32);

impl Hresult {
    /// Success.
    pub const S_OK: Self = Self(0);
    /// Success, but "no"; several questions use it as "yes, I take over".
    pub const S_FALSE: Self = Self(1);
    /// Not implemented; the prefilled answer of the negotiating questions.
    pub const E_NOTIMPL: Self = Self(0x8000_4001);
    /// No such interface; ends the enumeration of regions by `VmQuery`.
    pub const E_NOINTERFACE: Self = Self(0x8000_4002);
    /// Aborted: a Module or Thread question was answered with `false`.
    pub const E_ABORT: Self = Self(0x8000_4004);
    /// Unspecified failure.
    pub const E_FAIL: Self = Self(0x8000_4005);
    /// Access denied.
    pub const ACCESS_DENIED: Self = Self(0x8007_0005);
    /// Invalid handle: there is nowhere to write to.
    pub const INVALID_HANDLE: Self = Self(0x8007_0006);
    /// Invalid data: the two passes over the regions did not agree.
    pub const INVALID_DATA: Self = Self(0x8007_000D);
    /// A read failed.
    pub const READ_FAULT: Self = Self(0x8007_001E);
    /// The file exists already.
    pub const FILE_EXISTS: Self = Self(0x8007_0050);
    /// Invalid argument.
    pub const INVALID_ARGUMENT: Self = Self(0x8007_0057);
    /// Disk full.
    pub const DISK_FULL: Self = Self(0x8007_0070);
    /// Only part of a read succeeded.
    pub const PARTIAL_COPY: Self = Self(0x8007_012B);
    /// Cancelled.
    pub const CANCELLED: Self = Self(0x8007_04C7);
    /// The file is too large for its format or file system.
    pub const FILE_TOO_LARGE: Self = Self(0x8007_00DF);
    /// The system lacks what was asked for.
    pub const NOT_SUPPORTED: Self = Self(0x8007_0032);

    /// Whether it means success.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 & 0x8000_0000 == 0
    }
}

impl fmt::Debug for Hresult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Hresult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}
