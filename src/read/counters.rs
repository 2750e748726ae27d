//! Counters of memory: SystemMemoryInfoStream and ProcessVmCountersStream.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, hex};
use super::stream_type;

/// Bytes of the two revisions of `MINIDUMP_SYSTEM_MEMORY_INFO_1`.
pub(super) const SYSTEM_MEMORY_SIZES: [u64; 2] = [492, 524];
/// Bytes of `MINIDUMP_PROCESS_VM_COUNTERS_1` and `…_2`.
pub(super) const VM_COUNTERS_SIZES: [u64; 2] = [80, 152];

/// `MINIDUMP_SYSTEM_BASIC_INFORMATION`: name, offset, bytes.
const BASIC: &[(&str, usize, usize)] = &[
    ("TimerResolution", 4, 4),
    ("PageSize", 8, 4),
    ("NumberOfPhysicalPages", 12, 4),
    ("LowestPhysicalPageNumber", 16, 4),
    ("HighestPhysicalPageNumber", 20, 4),
    ("AllocationGranularity", 24, 4),
    ("MinimumUserModeAddress", 28, 8),
    ("MaximumUserModeAddress", 36, 8),
    ("ActiveProcessorsAffinityMask", 44, 8),
    ("NumberOfProcessors", 52, 4),
];

/// `MINIDUMP_SYSTEM_FILECACHE_INFORMATION`: name, offset, bytes.
const FILE_CACHE: &[(&str, usize, usize)] = &[
    ("CurrentSize", 56, 8),
    ("PeakSize", 64, 8),
    ("PageFaultCount", 72, 4),
    ("MinimumWorkingSet", 76, 8),
    ("MaximumWorkingSet", 84, 8),
    ("CurrentSizeIncludingTransitionInPages", 92, 8),
    ("PeakSizeIncludingTransitionInPages", 100, 8),
];

/// Its end: name, offset, bytes.
const FILE_CACHE_TRANSITION: &[(&str, usize, usize)] =
    &[("TransitionRePurposeCount", 108, 4), ("Flags", 112, 4)];

/// `MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION`: name, offset, bytes.
const BASIC_PERFORMANCE: &[(&str, usize, usize)] = &[
    ("AvailablePages", 116, 8),
    ("CommittedPages", 124, 8),
    ("CommitLimit", 132, 8),
    ("PeakCommitment", 140, 8),
];

/// `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION`: name, offset, bytes.
const PERFORMANCE: &[(&str, usize, usize)] = &[
    ("IdleProcessTime", 148, 8),
    ("IoReadTransferCount", 156, 8),
    ("IoWriteTransferCount", 164, 8),
    ("IoOtherTransferCount", 172, 8),
    ("IoReadOperationCount", 180, 4),
    ("IoWriteOperationCount", 184, 4),
    ("IoOtherOperationCount", 188, 4),
    ("AvailablePages", 192, 4),
    ("CommittedPages", 196, 4),
    ("CommitLimit", 200, 4),
    ("PeakCommitment", 204, 4),
    ("PageFaultCount", 208, 4),
    ("CopyOnWriteCount", 212, 4),
    ("TransitionCount", 216, 4),
    ("CacheTransitionCount", 220, 4),
    ("DemandZeroCount", 224, 4),
    ("PageReadCount", 228, 4),
    ("PageReadIoCount", 232, 4),
    ("CacheReadCount", 236, 4),
    ("CacheIoCount", 240, 4),
    ("DirtyPagesWriteCount", 244, 4),
    ("DirtyWriteIoCount", 248, 4),
    ("MappedPagesWriteCount", 252, 4),
    ("MappedWriteIoCount", 256, 4),
    ("PagedPoolPages", 260, 4),
    ("NonPagedPoolPages", 264, 4),
    ("PagedPoolAllocs", 268, 4),
    ("PagedPoolFrees", 272, 4),
    ("NonPagedPoolAllocs", 276, 4),
    ("NonPagedPoolFrees", 280, 4),
    ("FreeSystemPtes", 284, 4),
    ("ResidentSystemCodePage", 288, 4),
    ("TotalSystemDriverPages", 292, 4),
    ("TotalSystemCodePages", 296, 4),
    ("NonPagedPoolLookasideHits", 300, 4),
    ("PagedPoolLookasideHits", 304, 4),
    ("AvailablePagedPoolPages", 308, 4),
    ("ResidentSystemCachePage", 312, 4),
    ("ResidentPagedPoolPage", 316, 4),
    ("ResidentSystemDriverPage", 320, 4),
    ("CcFastReadNoWait", 324, 4),
    ("CcFastReadWait", 328, 4),
    ("CcFastReadResourceMiss", 332, 4),
    ("CcFastReadNotPossible", 336, 4),
    ("CcFastMdlReadNoWait", 340, 4),
    ("CcFastMdlReadWait", 344, 4),
    ("CcFastMdlReadResourceMiss", 348, 4),
    ("CcFastMdlReadNotPossible", 352, 4),
    ("CcMapDataNoWait", 356, 4),
    ("CcMapDataWait", 360, 4),
    ("CcMapDataNoWaitMiss", 364, 4),
    ("CcMapDataWaitMiss", 368, 4),
    ("CcPinMappedDataCount", 372, 4),
    ("CcPinReadNoWait", 376, 4),
    ("CcPinReadWait", 380, 4),
    ("CcPinReadNoWaitMiss", 384, 4),
    ("CcPinReadWaitMiss", 388, 4),
    ("CcCopyReadNoWait", 392, 4),
    ("CcCopyReadWait", 396, 4),
    ("CcCopyReadNoWaitMiss", 400, 4),
    ("CcCopyReadWaitMiss", 404, 4),
    ("CcMdlReadNoWait", 408, 4),
    ("CcMdlReadWait", 412, 4),
    ("CcMdlReadNoWaitMiss", 416, 4),
    ("CcMdlReadWaitMiss", 420, 4),
    ("CcReadAheadIos", 424, 4),
    ("CcLazyWriteIos", 428, 4),
    ("CcLazyWritePages", 432, 4),
    ("CcDataFlushes", 436, 4),
    ("CcDataPages", 440, 4),
    ("ContextSwitches", 444, 4),
    ("FirstLevelTbFills", 448, 4),
    ("SecondLevelTbFills", 452, 4),
    ("SystemCalls", 456, 4),
];

/// Its end, which is valid in parts: name, offset, bytes.
const DIRTY_PAGES: &[(&str, usize, usize)] =
    &[("CcTotalDirtyPages", 460, 8), ("CcDirtyPageThreshold", 468, 8)];

/// More of it: name, offset, bytes.
const RESIDENT_PAGES: &[(&str, usize, usize)] = &[
    ("ResidentAvailablePages", 476, 8),
    ("SharedCommittedPages", 484, 8),
];

/// What the second revision adds: name, offset, bytes.
const KERNEL_PAGES: &[(&str, usize, usize)] = &[
    ("MdlPagesAllocated", 492, 8),
    ("PfnDatabaseCommittedPages", 500, 8),
];

/// More of it: name, offset, bytes.
const KERNEL_TABLES: &[(&str, usize, usize)] = &[
    ("SystemPageTableCommittedPages", 508, 8),
    ("ContiguousPagesAllocated", 516, 8),
];

/// `MINIDUMP_PROCESS_VM_COUNTERS_1`: name, offset, bytes.
const VM_COUNTERS_1: &[(&str, usize, usize)] = &[
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

/// `MINIDUMP_PROCESS_VM_COUNTERS_2`: what is always valid: name, offset, bytes.
const VM_COUNTERS_2: &[(&str, usize, usize)] = &[
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

/// Size of the address space: name, offset, bytes.
const VIRTUAL_SIZE: &[(&str, usize, usize)] = &[("PeakVirtualSize", 72, 8), ("VirtualSize", 80, 8)];

/// Committed private memory: name, offset, bytes.
const PRIVATE_USAGE: &[(&str, usize, usize)] = &[("PrivateUsage", 88, 8)];

/// What is the process' own: name, offset, bytes.
const PRIVATE: &[(&str, usize, usize)] = &[("PrivateWorkingSetSize", 96, 8), ("SharedCommitUsage", 104, 8)];

/// What its job has: name, offset, bytes.
const JOB: &[(&str, usize, usize)] = &[
    ("JobSharedCommitUsage", 112, 8),
    ("JobPrivateCommitUsage", 120, 8),
    ("JobPeakPrivateCommitUsage", 128, 8),
    ("JobPrivateCommitLimit", 136, 8),
    ("JobTotalCommitLimit", 144, 8),
];

/// Numbers of a stream, with the names of Microsoft's structures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Revision of the structure.
    pub revision: u16,
    /// Which parts are valid; 0 in the first revision of ProcessVmCounters, which has no flags.
    #[serde(serialize_with = "hex")]
    pub flags: u16,
    /// The valid numbers by their names.
    pub numbers: BTreeMap<&'static str, u64>,
}

impl Counters {
    fn read(bytes: &[u8], flags: u16, parts: &[(u16, &[(&'static str, usize, usize)])]) -> Self {
        let fields = Fields(bytes);
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
    /// SystemMemoryInfoStream; `None` if the dump has none.
    ///
    /// # Errors
    ///
    /// The stream is shorter than its first revision or lies outside the file.
    pub fn system_memory(&self) -> Result<Option<Counters>, ReadError> {
        let Some(bytes) = self.counters(stream_type::SYSTEM_MEMORY_INFO, SYSTEM_MEMORY_SIZES)? else {
            return Ok(None);
        };
        Ok(Some(Counters::read(
            &bytes,
            Fields(&bytes).u16(2),
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

    /// ProcessVmCountersStream; `None` if the dump has none.
    ///
    /// # Errors
    ///
    /// The stream is shorter than its first revision or lies outside the file.
    pub fn vm_counters(&self) -> Result<Option<Counters>, ReadError> {
        let Some(bytes) = self.counters(stream_type::PROCESS_VM_COUNTERS, VM_COUNTERS_SIZES)? else {
            return Ok(None);
        };
        let fields = Fields(&bytes);
        Ok(Some(match fields.u16(0) {
            // Padding stands where the second revision has its flags.
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
            let reason = format!("{} bytes; the structures have {sizes:?}", entry.size);
            return Err(ReadError::Malformed { what, offset, reason });
        }
        Ok(Some(bytes))
    }
}
