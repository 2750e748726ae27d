//! Counters of memory: the machine's and the process'.

use dumpwright_target::{
    BasicMemory, BasicPerformance, DirtyPages, Fault, FileCache, FileCacheTransition, KernelPages, Number,
    Performance, PrivateMemory, ResidentPages, SystemMemory, VirtualSize, VmCounters, WorkingSet,
};
use windows_sys::Wdk::System::SystemInformation::{SystemBasicInformation, SystemPerformanceInformation};
use windows_sys::Wdk::System::Threading::ProcessVmCounters;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::ProcessStatus::{K32GetPerformanceInfo, PERFORMANCE_INFORMATION};

use crate::access::Access;
use crate::memory::{int_at, word_at};
use crate::query::{self, nt_fault};

/// SystemFileCacheInformation, which windows-sys does not name.
const FILE_CACHE: i32 = 21;

/// The machine's memory.
///
/// # Errors
/// The system does not even tell how much it has.
pub(crate) fn system() -> Result<Option<SystemMemory>, Fault> {
    let basic = query::system::<64>(SystemBasicInformation)
        .map_err(|status| nt_fault("ask for the machine's memory".to_owned(), status))?;
    let performance = performance();
    let file_cache = query::system::<64>(FILE_CACHE).ok();
    let (dirty, resident, kernel) = performance.as_ref().map(|bytes| added(bytes)).unwrap_or_default();
    Ok(Some(SystemMemory {
        basic: basic_memory(&basic),
        file_cache: file_cache.as_ref().map(file_cache_of).unwrap_or_default(),
        file_cache_transition: file_cache.as_ref().map(|bytes| FileCacheTransition {
            transition_re_purpose_count: int_at(bytes, 56),
            flags: int_at(bytes, 60),
        }),
        basic_performance: basic_performance(),
        performance: performance
            .as_ref()
            .map(|bytes| performance_of(bytes))
            .unwrap_or_default(),
        dirty,
        resident,
        kernel,
    }))
}

/// SYSTEM_BASIC_INFORMATION: a reserved word, then as the stream has it, but for a gap behind the words of 32 bits, and the number of processors
/// as one byte.
fn basic_memory(bytes: &[u8; 64]) -> BasicMemory {
    BasicMemory {
        timer_resolution: int_at(bytes, 4),
        page_size: int_at(bytes, 8),
        number_of_physical_pages: int_at(bytes, 12),
        lowest_physical_page_number: int_at(bytes, 16),
        highest_physical_page_number: int_at(bytes, 20),
        allocation_granularity: int_at(bytes, 24),
        minimum_user_mode_address: word_at(bytes, 32),
        maximum_user_mode_address: word_at(bytes, 40),
        active_processors_affinity_mask: word_at(bytes, 48),
        number_of_processors: bytes[56].into(),
    }
}

/// SYSTEM_FILECACHE_INFORMATION: as the stream has it, but for a gap behind the number of faults.
fn file_cache_of(bytes: &[u8; 64]) -> FileCache {
    FileCache {
        current_size: word_at(bytes, 0),
        peak_size: word_at(bytes, 8),
        page_fault_count: int_at(bytes, 16),
        minimum_working_set: word_at(bytes, 24),
        maximum_working_set: word_at(bytes, 32),
        current_size_including_transition_in_pages: word_at(bytes, 40),
        peak_size_including_transition_in_pages: word_at(bytes, 48),
    }
}

/// SYSTEM_PERFORMANCE_INFORMATION as long as this system has it: 312 bytes, which all have, and what later ones have added twice.
fn performance() -> Option<Vec<u8>> {
    const ALL: usize = 312;
    fn of<const N: usize>() -> Option<Vec<u8>> {
        let (bytes, filled) = query::system_in_part::<N>(SystemPerformanceInformation).ok()?;
        (filled >= ALL).then(|| bytes[..filled.min(N)].to_vec())
    }
    of::<376>().or_else(of::<344>).or_else(of::<ALL>)
}

/// The first 312 bytes have the stream's own order and widths.
fn performance_of(bytes: &[u8]) -> Performance {
    let mut performance = Performance::default();
    let mut at = 0;
    for (name, width) in Performance::NAMES.iter().zip(performance.numbers()) {
        let value = match width {
            Number::U32(_) => int_at(bytes, at).into(),
            Number::U64(_) => word_at(bytes, at),
        };
        at += if matches!(width, Number::U32(_)) { 4 } else { 8 };
        let fits = performance.set(name, value);
        debug_assert!(fits, "{name} was read with its own width");
    }
    performance
}

/// What later systems have added.
fn added(bytes: &[u8]) -> (Option<DirtyPages>, Option<ResidentPages>, Option<KernelPages>) {
    let has = |len: usize| bytes.len() >= len;
    (
        has(328).then(|| DirtyPages {
            cc_total_dirty_pages: word_at(bytes, 312),
            cc_dirty_page_threshold: word_at(bytes, 320),
        }),
        has(344).then(|| ResidentPages {
            resident_available_pages: word_at(bytes, 328),
            shared_committed_pages: word_at(bytes, 336),
        }),
        has(376).then(|| KernelPages {
            mdl_pages_allocated: word_at(bytes, 344),
            pfn_database_committed_pages: word_at(bytes, 352),
            system_page_table_committed_pages: word_at(bytes, 360),
            contiguous_pages_allocated: word_at(bytes, 368),
        }),
    )
}

/// How much is left, by the documented function: the kernel's counters of it have but 32 bits.
fn basic_performance() -> Option<BasicPerformance> {
    let mut info = PERFORMANCE_INFORMATION::default();
    let len = u32::try_from(size_of::<PERFORMANCE_INFORMATION>()).expect("small");
    // SAFETY: fills the structure of that size.
    let done = unsafe { K32GetPerformanceInfo(&mut info, len) };
    (done != 0).then_some(BasicPerformance {
        available_pages: info.PhysicalAvailable as u64,
        committed_pages: info.CommitTotal as u64,
        commit_limit: info.CommitLimit as u64,
        peak_commitment: info.CommitPeak as u64,
    })
}

/// The process' memory. Its job's is not told: no class for it is documented.
///
/// # Errors
/// The process may not be asked.
pub(crate) fn process(access: &Access) -> Result<Option<VmCounters>, Fault> {
    let bytes = vm_counters(access.process).map_err(|status| {
        nt_fault(
            format!("ask for the memory counters of process {}", access.id),
            status,
        )
    })?;
    Ok(Some(vm_counters_of(&bytes)))
}

/// VM_COUNTERS as long as this system has it: with private memory (EX2, Windows 10), with private usage (EX), or the plain one.
fn vm_counters(process: HANDLE) -> Result<Vec<u8>, i32> {
    query::process::<112>(process, ProcessVmCounters)
        .map(Vec::from)
        .or_else(|_| query::process::<96>(process, ProcessVmCounters).map(Vec::from))
        .or_else(|_| query::process::<88>(process, ProcessVmCounters).map(Vec::from))
}

fn vm_counters_of(bytes: &[u8]) -> VmCounters {
    VmCounters {
        virtual_size: Some(VirtualSize {
            peak_virtual_size: word_at(bytes, 0),
            virtual_size: word_at(bytes, 8),
        }),
        working_set: WorkingSet {
            page_fault_count: int_at(bytes, 16),
            peak_working_set_size: word_at(bytes, 24),
            working_set_size: word_at(bytes, 32),
            quota_peak_paged_pool_usage: word_at(bytes, 40),
            quota_paged_pool_usage: word_at(bytes, 48),
            quota_peak_non_paged_pool_usage: word_at(bytes, 56),
            quota_non_paged_pool_usage: word_at(bytes, 64),
            pagefile_usage: word_at(bytes, 72),
            peak_pagefile_usage: word_at(bytes, 80),
        },
        private_usage: (bytes.len() >= 96).then(|| word_at(bytes, 88)),
        private: (bytes.len() >= 112).then(|| PrivateMemory {
            private_working_set_size: word_at(bytes, 96),
            shared_commit_usage: word_at(bytes, 104),
        }),
        job: None,
    }
}

/// What these tests would catch: a number taken from a neighbour's place, in another unit, of another process, or marked as known where the system does not tell it.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc};
    use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
    use windows_sys::Win32::System::SystemInformation::{
        GetSystemInfo, GlobalMemoryStatusEx, MEMORYSTATUSEX, SYSTEM_INFO,
    };

    use super::*;
    use crate::testing::{Victim, is_victim, wait};

    const ALLOCATES: &str = "counters::tests::a_child_that_allocates";
    const MUCH: usize = 64 << 20;

    #[test]
    fn a_child_that_allocates() {
        if !is_victim(ALLOCATES) {
            return;
        }
        wait();
        // SAFETY: new memory of that size, which is written inside.
        unsafe {
            let at =
                VirtualAlloc(std::ptr::null(), MUCH, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE).cast::<u8>();
            assert!(!at.is_null());
            for page in (0..MUCH).step_by(4096) {
                at.add(page).write_volatile(1);
            }
        }
        wait();
    }

    #[test]
    fn memory_that_a_child_takes_is_counted() {
        let mut victim = Victim::that(ALLOCATES);
        let access = victim.access();
        let before = process(&access).expect("asked").expect("known");
        victim.go_on();
        let after = process(&access).expect("asked").expect("known");
        let grown = |number: fn(&VmCounters) -> u64| number(&after).saturating_sub(number(&before));
        assert!(
            grown(|counters| counters.working_set.working_set_size) >= MUCH as u64 / 2,
            "{after:?}"
        );
        // Wine 8 has all of its address space reserved from the beginning, so this one need not grow.
        let size = after.virtual_size.as_ref().expect("known");
        assert!(
            size.virtual_size >= after.working_set.working_set_size,
            "{after:?}"
        );
        assert!(size.peak_virtual_size >= size.virtual_size, "{after:?}");
        // What Windows' own function says of the child, which stands still.
        let mut said = PROCESS_MEMORY_COUNTERS::default();
        // SAFETY: fills the structure of that size.
        let done = unsafe { K32GetProcessMemoryInfo(access.process, &mut said, size_of_val(&said) as u32) };
        assert_ne!(done, 0);
        let set = &after.working_set;
        assert_eq!(
            (
                set.page_fault_count,
                set.peak_working_set_size,
                set.working_set_size,
                set.quota_peak_paged_pool_usage,
                set.quota_paged_pool_usage,
                set.quota_peak_non_paged_pool_usage,
                set.quota_non_paged_pool_usage,
                set.pagefile_usage,
                set.peak_pagefile_usage,
            ),
            (
                said.PageFaultCount,
                said.PeakWorkingSetSize as u64,
                said.WorkingSetSize as u64,
                said.QuotaPeakPagedPoolUsage as u64,
                said.QuotaPagedPoolUsage as u64,
                said.QuotaPeakNonPagedPoolUsage as u64,
                said.QuotaNonPagedPoolUsage as u64,
                said.PagefileUsage as u64,
                said.PeakPagefileUsage as u64,
            )
        );
    }

    #[test]
    fn the_machine_has_the_memory_that_windows_says() {
        let memory = system().expect("asked").expect("known");
        let mut status = MEMORYSTATUSEX {
            dwLength: size_of::<MEMORYSTATUSEX>() as u32,
            ..MEMORYSTATUSEX::default()
        };
        let mut info = SYSTEM_INFO::default();
        // SAFETY: these fill the structures.
        unsafe {
            assert_ne!(GlobalMemoryStatusEx(&mut status), 0);
            GetSystemInfo(&mut info);
        }
        let basic = &memory.basic;
        assert_eq!(
            u64::from(basic.number_of_physical_pages) * u64::from(basic.page_size),
            status.ullTotalPhys
        );
        assert_eq!(
            (
                basic.page_size,
                basic.allocation_granularity,
                basic.number_of_processors
            ),
            (
                info.dwPageSize,
                info.dwAllocationGranularity,
                info.dwNumberOfProcessors
            )
        );
        assert_eq!(
            basic.minimum_user_mode_address,
            info.lpMinimumApplicationAddress.addr() as u64
        );
        assert_eq!(
            basic.maximum_user_mode_address,
            info.lpMaximumApplicationAddress.addr() as u64
        );
        assert_eq!(
            basic.active_processors_affinity_mask,
            info.dwActiveProcessorMask as u64
        );
        // What is left changes all the time, but has limits.
        let left = memory.basic_performance.expect("known");
        assert!(left.available_pages > 0);
        assert!(left.available_pages <= basic.number_of_physical_pages.into());
        assert!(left.committed_pages <= left.commit_limit, "{left:?}");
        assert!(memory.performance.available_pages > 0);
        assert!(memory.performance.available_pages <= basic.number_of_physical_pages);
    }

    #[test]
    fn each_number_is_taken_from_its_own_place() {
        // Each word says where it is.
        let bytes: Vec<u8> = (0..376_u32 / 4)
            .flat_map(|index| (index * 4).to_le_bytes())
            .collect();
        let word = |at: u64| at | (at + 4) << 32;
        let performance = performance_of(&bytes);
        assert_eq!(performance.io_other_transfer_count, word(24));
        assert_eq!(performance.io_read_operation_count, 32);
        // The places that Microsoft's structure has: 70 numbers from 32 on.
        assert_eq!(performance.available_pages, 44);
        assert_eq!(performance.system_calls, 308);
        let (dirty, resident, kernel) = added(&bytes);
        assert_eq!(dirty.map(|dirty| dirty.cc_dirty_page_threshold), Some(word(320)));
        assert_eq!(
            resident.map(|resident| resident.shared_committed_pages),
            Some(word(336))
        );
        assert_eq!(
            kernel.map(|kernel| kernel.contiguous_pages_allocated),
            Some(word(368))
        );
        let (dirty, resident, kernel) = added(&bytes[..344]);
        assert!(dirty.is_some() && resident.is_some() && kernel.is_none());
        assert_eq!(added(&bytes[..312]), (None, None, None));
        let cache = file_cache_of(bytes[..64].try_into().expect("64"));
        assert_eq!(
            (cache.page_fault_count, cache.minimum_working_set),
            (16, word(24))
        );
        let longest = vm_counters_of(&bytes[..112]);
        assert_eq!(longest.private_usage, Some(word(88)));
        assert_eq!(
            longest.private.map(|private| private.shared_commit_usage),
            Some(word(104))
        );
        let plain = vm_counters_of(&bytes[..88]);
        assert_eq!((plain.private_usage, plain.private), (None, None));
        assert_eq!(plain.working_set.peak_pagefile_usage, word(80));
    }
}
