use crate::AddressRange;

/// The values of Windows' memory protection constants (`PAGE_…`), as `VirtualQuery` reports them.
pub mod protect {
    /// No access at all.
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

/// One region of the address space: the vocabulary of `MEMORY_BASIC_INFORMATION`, plus what a dump
/// writer must know before it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Where it is.
    pub range: AddressRange,
    /// Start of the allocation (mapping, module) that it belongs to; 0 for free regions.
    pub allocation_base: u64,
    /// Protection when it was allocated ([`protect`]).
    pub allocation_protect: u32,
    /// Protection now ([`protect`]); 0 for reserved regions.
    pub protect: u32,
    /// Committed, reserved or free.
    pub state: RegionState,
    /// Private, mapped or image; `None` for free regions.
    pub kind: Option<RegionKind>,
    /// Why a dump of all memory leaves this region out by default, if it does.
    pub exclusion: Option<Exclusion>,
}

impl Region {
    /// Whether a dump of all memory holds this region: committed, and neither without access, nor
    /// guarded, nor excluded.
    #[must_use]
    pub fn is_dumpable(&self) -> bool {
        self.state == RegionState::Commit
            && self.protect & (protect::NOACCESS | protect::GUARD) == 0
            && self.exclusion.is_none()
    }
}

/// State of a region, with Windows' values (`MEM_COMMIT` …).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RegionState {
    /// Memory is there.
    Commit = 0x1000,
    /// Addresses are taken, memory is not.
    Reserve = 0x2000,
    /// Nothing is there.
    Free = 0x1_0000,
}

impl RegionState {
    /// Windows' value.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// Kind of a region, with Windows' values (`MEM_PRIVATE` …).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RegionKind {
    /// Belongs to the process alone.
    Private = 0x2_0000,
    /// A view of a file or of shared memory.
    Mapped = 0x4_0000,
    /// Part of a loaded module.
    Image = 0x100_0000,
}

impl RegionKind {
    /// Windows' value.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// Why a region is never read, or not by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exclusion {
    /// Device registers or raw physical memory: reading could have effects.
    Device,
    /// Pages the kernel lends to the process and lets nobody else read (Linux: `[vvar]`).
    Kernel,
    /// The program asked for it to be left out of dumps (Linux: `MADV_DONTDUMP`).
    DontDump,
    /// It is write-combined and the dump is to have none of that (`MiniDumpFilterWriteCombinedMemory`).
    WriteCombined,
}

impl Exclusion {
    /// The reason as a half-sentence for reports.
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

/// A run of addresses whose bytes come from one kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it is.
    pub range: AddressRange,
    /// Where its bytes come from.
    pub content: Content,
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// They have to be read.
    Readable,
    /// They are known to be zero without being read: anonymous pages that were never touched.
    Zero,
    /// They exist but cannot be read; the text says why.
    Unreadable(&'static str),
    /// There are no bytes, for the program neither: nothing is mapped there, or it lies behind the end of
    /// the mapped file. The text says which.
    Nothing(&'static str),
}
