use crate::Hresult;

/// A range of memory: the answer to Memory and RemoveMemory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryAnswer {
    /// The address of the first byte.
    pub base: u64,
    /// The number of bytes. A size of 0 ends the questions, whatever is returned.
    pub size: u32,
}

/// The answer to Cancel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelAnswer {
    /// Whether to ask again later.
    ///
    /// This is reset to `false` before each call. If the callback leaves it `false` once, Cancel is
    /// not asked again. It counts even if the callback returns `false`.
    pub check_cancel: bool,
    /// Whether to stop the dump. It counts only if the callback returns `true`.
    pub cancel: bool,
}

/// A region of memory, with the fields of Windows' `MINIDUMP_MEMORY_INFO`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// The address of the first byte.
    pub base_address: u64,
    /// The start of the allocation to which the region belongs.
    pub allocation_base: u64,
    /// The protection at the time of the allocation (`PAGE_…`).
    pub allocation_protect: u32,
    /// The size in bytes.
    pub region_size: u64,
    /// `MEM_COMMIT`, `MEM_RESERVE` or `MEM_FREE`.
    pub state: u32,
    /// The current protection (`PAGE_…`).
    pub protect: u32,
    /// `MEM_PRIVATE`, `MEM_MAPPED` or `MEM_IMAGE`.
    pub kind: u32,
}

/// The answer to IncludeVmRegion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegionAnswer {
    /// The region to dump. The callback may reduce its address range to a page-aligned part. A size
    /// of 0 leaves the region out.
    pub region: MemoryInfo,
    /// Whether to ask about further regions; `false` before the call.
    pub cont: bool,
}

/// The answer to VmQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmQueryAnswer {
    /// Where the region comes from.
    ///
    /// * `S_OK`: from `region`.
    /// * `E_NOTIMPL` (the default): the writer queries the system.
    /// * `E_NOINTERFACE`: there are no more regions.
    /// * Anything else fails the dump.
    pub status: Hresult,
    /// The region that contains the address in question.
    pub region: MemoryInfo,
}

/// The answer to VmPreRead and VmPostRead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmReadAnswer {
    /// Whether the read has succeeded so far; `E_NOTIMPL` before the call.
    pub status: Hresult,
    /// The number of valid bytes in the buffer. Callbacks should always set it.
    ///
    /// Before the call, dumpwright sets it to 0 for VmPreRead and to the number of bytes read for
    /// VmPostRead. Microsoft's writer does not set it.
    pub completed: u32,
}

/// The answer to CompressedMemoryStreamStart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompressionAnswer {
    /// The number of tasks that compress at the same time. With 0, the writer chooses. There are
    /// never more tasks than buckets, the pieces in which memory is compressed. dumpwright does not
    /// start more tasks than there are processors.
    pub max_parallelism: u32,
    /// The largest number of bytes of memory in a bucket, before compression: 1 MiB to 64 MiB.
    ///
    /// It is rounded up to a multiple of 64 KiB. The DbgHelp of January 2026 and dumpwright ignore
    /// other values and use 4 MiB. Buckets of dumpwright have at most 15 MiB.
    pub max_transfer_size: u32,
    /// The address of an array of `NUMA_NODE_RELATIONSHIP` (winnt.h) in the memory of the dumping
    /// process; 0 for none. dumpwright does not use it.
    pub numa_node_info: u64,
    /// The size of that array. Microsoft does not document its unit.
    pub numa_node_info_size: u32,
    /// Reserved by Microsoft; must be 0.
    pub reserved: u32,
}
