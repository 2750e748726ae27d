use crate::Hresult;

/// A range of memory, as the Memory and RemoveMemory questions want it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryAnswer {
    /// Address of the first byte.
    pub base: u64,
    /// Number of bytes; 0 ends the questions, whatever is returned.
    pub size: u32,
}

/// The answer to the Cancel question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelAnswer {
    /// Go on asking. Not sticky: it is prefilled with `false` each time, and the first `false`
    /// ends the polling for good.
    pub check_cancel: bool,
    /// Stop the dump. Counts only when `true` is returned.
    pub cancel: bool,
}

/// A region of memory in Windows' terms (`MINIDUMP_MEMORY_INFO`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Address of its first byte.
    pub base_address: u64,
    /// Start of the allocation it belongs to.
    pub allocation_base: u64,
    /// Protection when it was allocated (`PAGE_…`).
    pub allocation_protect: u32,
    /// Its size in bytes.
    pub region_size: u64,
    /// `MEM_COMMIT`, `MEM_RESERVE` or `MEM_FREE`.
    pub state: u32,
    /// Protection now (`PAGE_…`).
    pub protect: u32,
    /// `MEM_PRIVATE`, `MEM_MAPPED` or `MEM_IMAGE`.
    pub kind: u32,
}

/// The answer to the IncludeVmRegion question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegionAnswer {
    /// The region. Its address and size may be narrowed to a page-aligned part; size 0 skips it.
    pub region: MemoryInfo,
    /// Go on asking about further regions. Prefilled with `false`.
    pub cont: bool,
}

/// The answer to the VmQuery question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmQueryAnswer {
    /// `S_OK`: `region` counts. `E_NOTIMPL` (prefilled): the writer queries itself.
    /// `E_NOINTERFACE`: there are no more regions. Anything else fails the dump.
    pub status: Hresult,
    /// The region at the address asked for.
    pub region: MemoryInfo,
}

/// The answer to the VmPreRead and VmPostRead questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmReadAnswer {
    /// Whether the read succeeded so far; prefilled with `E_NOTIMPL`.
    pub status: Hresult,
    /// How many bytes of the buffer are good. Set it: Microsoft's writer does not reset it, this one
    /// prefills 0.
    pub completed: u32,
}
