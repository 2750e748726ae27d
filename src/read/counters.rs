//! Memory counters: SystemMemoryInfoStream and ProcessVmCountersStream.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::stream_type;

/// The sizes of `MINIDUMP_SYSTEM_MEMORY_INFO_1` and `…_2` in bytes.
pub(super) const SYSTEM_MEMORY_SIZES: [u64; 2] = [492, 524];
/// The sizes of `MINIDUMP_PROCESS_VM_COUNTERS_1` and `…_2` in bytes.
pub(super) const VM_COUNTERS_SIZES: [u64; 2] = [80, 152];

/// The name, the offset and the size in bytes of each counter of a group.
type Numbers = &'static [(&'static str, usize, usize)];

/// `MINIDUMP_SYSTEM_BASIC_INFORMATION`.
const BASIC: Numbers = &[
    ("BasicInfo.TimerResolution", 4, 4),
    ("BasicInfo.PageSize", 8, 4),
    ("BasicInfo.NumberOfPhysicalPages", 12, 4),
    ("BasicInfo.LowestPhysicalPageNumber", 16, 4),
    ("BasicInfo.HighestPhysicalPageNumber", 20, 4),
    ("BasicInfo.AllocationGranularity", 24, 4),
    ("BasicInfo.MinimumUserModeAddress", 28, 8),
    ("BasicInfo.MaximumUserModeAddress", 36, 8),
    ("BasicInfo.ActiveProcessorsAffinityMask", 44, 8),
    ("BasicInfo.NumberOfProcessors", 52, 4),
];

/// `MINIDUMP_SYSTEM_FILECACHE_INFORMATION`, without its last two counters.
const FILE_CACHE: Numbers = &[
    ("FileCacheInfo.CurrentSize", 56, 8),
    ("FileCacheInfo.PeakSize", 64, 8),
    ("FileCacheInfo.PageFaultCount", 72, 4),
    ("FileCacheInfo.MinimumWorkingSet", 76, 8),
    ("FileCacheInfo.MaximumWorkingSet", 84, 8),
    ("FileCacheInfo.CurrentSizeIncludingTransitionInPages", 92, 8),
    ("FileCacheInfo.PeakSizeIncludingTransitionInPages", 100, 8),
];

/// The last two counters of `MINIDUMP_SYSTEM_FILECACHE_INFORMATION`.
const FILE_CACHE_TRANSITION: Numbers = &[
    ("FileCacheInfo.TransitionRePurposeCount", 108, 4),
    ("FileCacheInfo.Flags", 112, 4),
];

/// `MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION`.
const BASIC_PERFORMANCE: Numbers = &[
    ("BasicPerfInfo.AvailablePages", 116, 8),
    ("BasicPerfInfo.CommittedPages", 124, 8),
    ("BasicPerfInfo.CommitLimit", 132, 8),
    ("BasicPerfInfo.PeakCommitment", 140, 8),
];

/// `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION`, without the counters that have flags of their own.
const PERFORMANCE: Numbers = &[
    ("PerfInfo.IdleProcessTime", 148, 8),
    ("PerfInfo.IoReadTransferCount", 156, 8),
    ("PerfInfo.IoWriteTransferCount", 164, 8),
    ("PerfInfo.IoOtherTransferCount", 172, 8),
    ("PerfInfo.IoReadOperationCount", 180, 4),
    ("PerfInfo.IoWriteOperationCount", 184, 4),
    ("PerfInfo.IoOtherOperationCount", 188, 4),
    ("PerfInfo.AvailablePages", 192, 4),
    ("PerfInfo.CommittedPages", 196, 4),
    ("PerfInfo.CommitLimit", 200, 4),
    ("PerfInfo.PeakCommitment", 204, 4),
    ("PerfInfo.PageFaultCount", 208, 4),
    ("PerfInfo.CopyOnWriteCount", 212, 4),
    ("PerfInfo.TransitionCount", 216, 4),
    ("PerfInfo.CacheTransitionCount", 220, 4),
    ("PerfInfo.DemandZeroCount", 224, 4),
    ("PerfInfo.PageReadCount", 228, 4),
    ("PerfInfo.PageReadIoCount", 232, 4),
    ("PerfInfo.CacheReadCount", 236, 4),
    ("PerfInfo.CacheIoCount", 240, 4),
    ("PerfInfo.DirtyPagesWriteCount", 244, 4),
    ("PerfInfo.DirtyWriteIoCount", 248, 4),
    ("PerfInfo.MappedPagesWriteCount", 252, 4),
    ("PerfInfo.MappedWriteIoCount", 256, 4),
    ("PerfInfo.PagedPoolPages", 260, 4),
    ("PerfInfo.NonPagedPoolPages", 264, 4),
    ("PerfInfo.PagedPoolAllocs", 268, 4),
    ("PerfInfo.PagedPoolFrees", 272, 4),
    ("PerfInfo.NonPagedPoolAllocs", 276, 4),
    ("PerfInfo.NonPagedPoolFrees", 280, 4),
    ("PerfInfo.FreeSystemPtes", 284, 4),
    ("PerfInfo.ResidentSystemCodePage", 288, 4),
    ("PerfInfo.TotalSystemDriverPages", 292, 4),
    ("PerfInfo.TotalSystemCodePages", 296, 4),
    ("PerfInfo.NonPagedPoolLookasideHits", 300, 4),
    ("PerfInfo.PagedPoolLookasideHits", 304, 4),
    ("PerfInfo.AvailablePagedPoolPages", 308, 4),
    ("PerfInfo.ResidentSystemCachePage", 312, 4),
    ("PerfInfo.ResidentPagedPoolPage", 316, 4),
    ("PerfInfo.ResidentSystemDriverPage", 320, 4),
    ("PerfInfo.CcFastReadNoWait", 324, 4),
    ("PerfInfo.CcFastReadWait", 328, 4),
    ("PerfInfo.CcFastReadResourceMiss", 332, 4),
    ("PerfInfo.CcFastReadNotPossible", 336, 4),
    ("PerfInfo.CcFastMdlReadNoWait", 340, 4),
    ("PerfInfo.CcFastMdlReadWait", 344, 4),
    ("PerfInfo.CcFastMdlReadResourceMiss", 348, 4),
    ("PerfInfo.CcFastMdlReadNotPossible", 352, 4),
    ("PerfInfo.CcMapDataNoWait", 356, 4),
    ("PerfInfo.CcMapDataWait", 360, 4),
    ("PerfInfo.CcMapDataNoWaitMiss", 364, 4),
    ("PerfInfo.CcMapDataWaitMiss", 368, 4),
    ("PerfInfo.CcPinMappedDataCount", 372, 4),
    ("PerfInfo.CcPinReadNoWait", 376, 4),
    ("PerfInfo.CcPinReadWait", 380, 4),
    ("PerfInfo.CcPinReadNoWaitMiss", 384, 4),
    ("PerfInfo.CcPinReadWaitMiss", 388, 4),
    ("PerfInfo.CcCopyReadNoWait", 392, 4),
    ("PerfInfo.CcCopyReadWait", 396, 4),
    ("PerfInfo.CcCopyReadNoWaitMiss", 400, 4),
    ("PerfInfo.CcCopyReadWaitMiss", 404, 4),
    ("PerfInfo.CcMdlReadNoWait", 408, 4),
    ("PerfInfo.CcMdlReadWait", 412, 4),
    ("PerfInfo.CcMdlReadNoWaitMiss", 416, 4),
    ("PerfInfo.CcMdlReadWaitMiss", 420, 4),
    ("PerfInfo.CcReadAheadIos", 424, 4),
    ("PerfInfo.CcLazyWriteIos", 428, 4),
    ("PerfInfo.CcLazyWritePages", 432, 4),
    ("PerfInfo.CcDataFlushes", 436, 4),
    ("PerfInfo.CcDataPages", 440, 4),
    ("PerfInfo.ContextSwitches", 444, 4),
    ("PerfInfo.FirstLevelTbFills", 448, 4),
    ("PerfInfo.SecondLevelTbFills", 452, 4),
    ("PerfInfo.SystemCalls", 456, 4),
];

/// The dirty page counters of `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION`.
const DIRTY_PAGES: Numbers = &[
    ("PerfInfo.CcTotalDirtyPages", 460, 8),
    ("PerfInfo.CcDirtyPageThreshold", 468, 8),
];

/// The counters of resident and shared pages of `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION`.
const RESIDENT_PAGES: Numbers = &[
    ("PerfInfo.ResidentAvailablePages", 476, 8),
    ("PerfInfo.SharedCommittedPages", 484, 8),
];

/// The counters of MDL and PFN database pages, which the second revision added.
const KERNEL_PAGES: Numbers = &[
    ("PerfInfo.MdlPagesAllocated", 492, 8),
    ("PerfInfo.PfnDatabaseCommittedPages", 500, 8),
];

/// The counters of page table and contiguous pages, which the second revision added.
const KERNEL_TABLES: Numbers = &[
    ("PerfInfo.SystemPageTableCommittedPages", 508, 8),
    ("PerfInfo.ContiguousPagesAllocated", 516, 8),
];

/// `MINIDUMP_PROCESS_VM_COUNTERS_1`.
const VM_COUNTERS_1: Numbers = &[
    ("PageFaultCount", 4, 4),
    ("PeakWorkingSetSize", 8, 8),
    ("WorkingSetSize", 16, 8),
    ("QuotaPeakPagedPoolUsage", 24, 8),
    ("QuotaPagedPoolUsage", 32, 8),
    ("QuotaPeakNonPagedPoolUsage", 40, 8),
    ("QuotaNonPagedPoolUsage", 48, 8),
    ("PagefileUsage", 56, 8),
    ("PeakPagefileUsage", 64, 8),
    ("PrivateUsage", 72, 8),
];

/// The counters of `MINIDUMP_PROCESS_VM_COUNTERS_2` that are always valid.
const VM_COUNTERS_2: Numbers = &[
    ("PageFaultCount", 4, 4),
    ("PeakWorkingSetSize", 8, 8),
    ("WorkingSetSize", 16, 8),
    ("QuotaPeakPagedPoolUsage", 24, 8),
    ("QuotaPagedPoolUsage", 32, 8),
    ("QuotaPeakNonPagedPoolUsage", 40, 8),
    ("QuotaNonPagedPoolUsage", 48, 8),
    ("PagefileUsage", 56, 8),
    ("PeakPagefileUsage", 64, 8),
];

/// The sizes of the address space, from `MINIDUMP_PROCESS_VM_COUNTERS_2`.
const VIRTUAL_SIZE: Numbers = &[("PeakVirtualSize", 72, 8), ("VirtualSize", 80, 8)];

/// The size of the committed private memory, from `MINIDUMP_PROCESS_VM_COUNTERS_2`.
const PRIVATE_USAGE: Numbers = &[("PrivateUsage", 88, 8)];

/// The private working set and the shared commit charge of the process, from
/// `MINIDUMP_PROCESS_VM_COUNTERS_2`.
const PRIVATE: Numbers = &[("PrivateWorkingSetSize", 96, 8), ("SharedCommitUsage", 104, 8)];

/// The counters of the job to which the process belongs, from `MINIDUMP_PROCESS_VM_COUNTERS_2`.
const JOB: Numbers = &[
    ("JobSharedCommitUsage", 112, 8),
    ("JobPrivateCommitUsage", 120, 8),
    ("JobPeakPrivateCommitUsage", 128, 8),
    ("JobPrivateCommitLimit", 136, 8),
    ("JobTotalCommitLimit", 144, 8),
];

/// The counters of a stream, with the field names of Microsoft's structures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// The revision of the structure.
    pub revision: u16,
    /// The flags that mark groups of counters as valid. 0 in the first revision of
    /// ProcessVmCounters, which has no flags.
    #[serde(serialize_with = "hex")]
    pub flags: u16,
    /// The values of the valid counters, by field name. In SystemMemoryInfo, the name includes that
    /// of the nested structure, as in `BasicInfo.PageSize`.
    pub numbers: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Reads the valid counters. `parts` are groups of counters, each with the flag that marks it
    /// as valid; a group with flag 0 is always valid.
    fn read(bytes: &[u8], flags: u16, parts: &[(u16, Numbers)]) -> Self {
        let fields = FieldReader(bytes);
        let valid = parts.iter().filter(|(flag, _)| *flag == 0 || flags & flag != 0);
        let numbers = valid
            .flat_map(|(_, part)| part.iter())
            .filter(|(_, at, width)| at + width <= bytes.len())
            .map(|(name, at, width)| {
                let value = match width {
                    4 => fields.u32(*at).into(),
                    _ => fields.u64(*at),
                };
                (*name, value)
            })
            .collect();
        Self {
            revision: fields.u16(0),
            flags,
            numbers,
        }
    }
}

impl Dump {
    /// Returns the counters of SystemMemoryInfoStream, or `None` if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The stream is shorter than the first revision of its structure, or it lies outside the file.
    pub fn system_memory(&self) -> Result<Option<Counters>, ReadError> {
        let Some(bytes) = self.counters(stream_type::SYSTEM_MEMORY_INFO, SYSTEM_MEMORY_SIZES)? else {
            return Ok(None);
        };
        Ok(Some(Counters::read(
            &bytes,
            FieldReader(&bytes).u16(2),
            &[
                (0, BASIC),
                (0, FILE_CACHE),
                (1, FILE_CACHE_TRANSITION),
                (2, BASIC_PERFORMANCE),
                (0, PERFORMANCE),
                (4, DIRTY_PAGES),
                (8, RESIDENT_PAGES),
                (0x10, KERNEL_PAGES),
                (0x20, KERNEL_TABLES),
            ],
        )))
    }

    /// Returns the counters of ProcessVmCountersStream, or `None` if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The stream is shorter than the first revision of its structure, or it lies outside the file.
    pub fn vm_counters(&self) -> Result<Option<Counters>, ReadError> {
        let Some(bytes) = self.counters(stream_type::PROCESS_VM_COUNTERS, VM_COUNTERS_SIZES)? else {
            return Ok(None);
        };
        let fields = FieldReader(&bytes);
        Ok(Some(match fields.u16(0) {
            // The first revision has padding at the offset of the second one's flags.
            0 | 1 => Counters::read(&bytes, 0, &[(0, VM_COUNTERS_1)]),
            _ => Counters::read(
                &bytes,
                fields.u16(2),
                &[
                    (0, VM_COUNTERS_2),
                    (2, VIRTUAL_SIZE),
                    (4, PRIVATE_USAGE),
                    (8, PRIVATE),
                    (0x10, JOB),
                ],
            ),
        }))
    }

    fn counters(&self, stream: u32, sizes: [u64; 2]) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(entry) = self.stream(stream) else {
            return Ok(None);
        };
        let what = entry.name().unwrap_or("counters");
        let offset = u64::from(entry.rva);
        let bytes = self.prefix(what, offset, entry.size.into(), sizes[1])?;
        if (bytes.len() as u64) < sizes[0] {
            let reason = format!("{} bytes instead of at least {}", entry.size, sizes[0]);
            return Err(ReadError::Malformed { what, offset, reason });
        }
        Ok(Some(bytes))
    }
}
