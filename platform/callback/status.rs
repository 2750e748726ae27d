use std::fmt;

/// A status code (Windows' `HRESULT`). If the top bit is set, it means failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hresult(pub u32);

impl Hresult {
    /// Success.
    pub const S_OK: Self = Self(0);
    /// Success, but "no". As the answer to IsProcessSnapshot, VmStart and IoStart it means "yes".
    pub const S_FALSE: Self = Self(1);
    /// Not implemented. This is the default answer to IsProcessSnapshot, VmStart, IoStart and the
    /// Vm questions.
    pub const E_NOTIMPL: Self = Self(0x8000_4001);
    /// No such interface. As the answer to VmQuery it means that there are no more regions.
    pub const E_NOINTERFACE: Self = Self(0x8000_4002);
    /// Aborted: the callback answered Module or Thread with `false`.
    pub const E_ABORT: Self = Self(0x8000_4004);
    /// Unspecified failure.
    pub const E_FAIL: Self = Self(0x8000_4005);
    /// Access denied.
    pub const ACCESS_DENIED: Self = Self(0x8007_0005);
    /// Invalid handle: there is no file to write to.
    pub const INVALID_HANDLE: Self = Self(0x8007_0006);
    /// Invalid data: the two passes over the regions gave different answers.
    pub const INVALID_DATA: Self = Self(0x8007_000D);
    /// A read failed.
    pub const READ_FAULT: Self = Self(0x8007_001E);
    /// The file already exists.
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
    /// The system does not support the request.
    pub const NOT_SUPPORTED: Self = Self(0x8007_0032);

    /// Returns whether the status means success.
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
