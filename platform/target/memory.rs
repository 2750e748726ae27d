use crate::AddressRange;

/// Windows' memory protection constants (`PAGE_…`), as `VirtualQuery` reports them.
pub mod protect {
    /// No access.
    pub const NOACCESS: u32 = 0x01;
    /// Read.
    pub const READONLY: u32 = 0x02;
    /// Read and write.
    pub const READWRITE: u32 = 0x04;
    /// Read, and write to a private copy.
    pub const WRITECOPY: u32 = 0x08;
    /// Execute only.
    pub const EXECUTE: u32 = 0x10;
    /// Execute and read.
    pub const EXECUTE_READ: u32 = 0x20;
    /// Execute, read and write.
    pub const EXECUTE_READWRITE: u32 = 0x40;
    /// Execute, read, and write to a private copy.
    pub const EXECUTE_WRITECOPY: u32 = 0x80;
    /// Modifier: the next access raises a guard page exception.
    pub const GUARD: u32 = 0x100;
    /// Modifier: not cached (device memory).
    pub const NOCACHE: u32 = 0x200;
    /// Modifier: write-combined.
    pub const WRITECOMBINE: u32 = 0x400;
}

/// A region of the address space: the fields of `MEMORY_BASIC_INFORMATION`, and whether a dump may
/// read the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The addresses of the region.
    pub range: AddressRange,
    /// The start of the allocation (mapping, module) to which the region belongs; 0 for free
    /// regions.
    pub allocation_base: u64,
    /// The protection at the time of the allocation ([`protect`]).
    pub allocation_protect: u32,
    /// The current protection ([`protect`]); 0 for reserved regions.
    pub protect: u32,
    /// Committed, reserved or free.
    pub state: RegionState,
    /// Private, mapped or image; `None` for free regions.
    pub kind: Option<RegionKind>,
    /// Why a dump of all memory leaves this region out by default, if it does.
    pub exclusion: Option<Exclusion>,
}

impl Region {
    /// Returns whether a dump of all memory contains this region.
    ///
    /// It does if the region is committed, accessible, not guarded and not excluded.
    #[must_use]
    pub fn is_dumpable(&self) -> bool {
        self.state == RegionState::Commit
            && self.protect & (protect::NOACCESS | protect::GUARD) == 0
            && self.exclusion.is_none()
    }
}

/// The state of a region, with Windows' values (`MEM_COMMIT` …).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RegionState {
    /// Memory is allocated.
    Commit = 0x1000,
    /// The addresses are reserved, but no memory is allocated.
    Reserve = 0x2000,
    /// The addresses are unused.
    Free = 0x1_0000,
}

impl RegionState {
    /// Returns Windows' value.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// The kind of a region, with Windows' values (`MEM_PRIVATE` …).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RegionKind {
    /// Memory that belongs only to this process.
    Private = 0x2_0000,
    /// A view of a file or of shared memory.
    Mapped = 0x4_0000,
    /// Part of a loaded module.
    Image = 0x100_0000,
}

impl RegionKind {
    /// Returns Windows' value.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// Why a region is not read at all, or not by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exclusion {
    /// Device registers or raw physical memory. Reading them could have side effects.
    Device,
    /// Pages that the kernel maps into the process and that no other process can read (Linux:
    /// `[vvar]`).
    Kernel,
    /// The program requested that the region be left out of dumps (Linux: `MADV_DONTDUMP`).
    DontDump,
    /// The region is write-combined, and the dump type leaves such memory out
    /// (`MiniDumpFilterWriteCombinedMemory`).
    WriteCombined,
}

impl Exclusion {
    /// Returns the reason as a clause for reports.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Device => "device memory is never read",
            Self::Kernel => "kernel page that no other process can read",
            Self::DontDump => "the program marked it \"do not dump\"",
            Self::WriteCombined => "write-combined memory was not wanted",
        }
    }
}

/// A range of addresses whose bytes come from one kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The addresses.
    pub range: AddressRange,
    /// Where the bytes come from.
    pub content: Content,
}

/// Where the bytes of an [`Extent`] come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// They have to be read.
    Readable,
    /// They are known to be zero without reading them: anonymous pages that were never touched.
    Zero,
    /// They exist but cannot be read. The text gives the reason.
    Unreadable(&'static str),
    /// There are no bytes, not even for the program itself: nothing is mapped at these addresses,
    /// or they are past the end of the mapped file. The text gives the reason.
    Nothing(&'static str),
}
