//! Memory counters of the machine and of a process.

use std::os::windows::io::BorrowedHandle;

use dumpwright_target::{
    BasicMemory, BasicPerformance, Diagnostic, DirtyPages, Fault, FileCache, FileCacheTransition,
    KernelPages, Number, Performance, PrivateMemory, ResidentPages, Subject, SystemMemory, VirtualSize,
    VmCounters, WorkingSet,
};
use windows_sys::Wdk::System::SystemInformation::{SystemBasicInformation, SystemPerformanceInformation};
use windows_sys::Wdk::System::Threading::ProcessVmCounters;
use windows_sys::Win32::Foundation::{NTSTATUS, STATUS_INFO_LENGTH_MISMATCH};
use windows_sys::Win32::System::ProcessStatus::{K32GetPerformanceInfo, PERFORMANCE_INFORMATION};

use crate::access::Access;
use crate::error::{Losses, last_fault, nt_fault};
use crate::memory::{int_at, word_at};
use crate::query;

/// SystemFileCacheInformation, which windows-sys does not declare.
const FILE_CACHE: i32 = 21;

/// Returns the memory counters of the machine, and a diagnostic if some of them are missing.
///
/// # Errors
/// The system does not report its basic memory facts.
pub(crate) fn system() -> Result<(SystemMemory, Option<Diagnostic>), Fault> {
    let fault = |what: &str, status| nt_fault(format!("query {what} of the machine"), status);
    let mut losses = Losses::default();
    let basic = query::system::<64>(SystemBasicInformation).map_err(|status| fault("the memory", status))?;
    let performance = performance().map_err(|status| fault("the memory counters", status));
    let performance = losses.keep(performance).flatten();
    let file_cache = query::optional(query::system::<64>(FILE_CACHE));
    let file_cache = file_cache.map_err(|status| fault("the file cache", status));
    let file_cache = losses.keep(file_cache).flatten();
    let basic_performance = losses.keep(basic_performance());
    let (dirty, resident, kernel) = performance.as_ref().map(|bytes| added(bytes)).unwrap_or_default();
    let memory = SystemMemory {
        basic: basic_memory(&basic),
        file_cache: file_cache.as_ref().map(file_cache_of).unwrap_or_default(),
        file_cache_transition: file_cache.as_ref().map(|bytes| FileCacheTransition {
            transition_re_purpose_count: int_at(bytes, 56),
            flags: int_at(bytes, 60),
        }),
        basic_performance,
        performance: performance
            .as_ref()
            .map(|bytes| performance_of(bytes))
            .unwrap_or_default(),
        dirty,
        resident,
        kernel,
    };
    let lost = losses.diagnostic(Subject::Stream("SystemMemoryInfo"));
    Ok((memory, lost))
}

/// Converts SYSTEM_BASIC_INFORMATION: a reserved 32-bit number, then the members of the stream in
/// the same order, with a gap after the 32-bit numbers and the number of processors as one byte.
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

/// Converts SYSTEM_FILECACHE_INFORMATION: the members of the stream in the same order, with a gap
/// after the number of page faults.
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

/// Queries SYSTEM_PERFORMANCE_INFORMATION with the length that this system supports: 312 bytes,
/// which all systems have, or one of the two longer forms of later systems.
///
/// # Errors
/// The kernel's status.
fn performance() -> Result<Option<Vec<u8>>, NTSTATUS> {
    const ALL: usize = 312;
    fn of<const N: usize>() -> Result<Option<Vec<u8>>, NTSTATUS> {
        let answer = query::optional(query::system_in_part::<N>(SystemPerformanceInformation))?;
        let long_enough = answer.filter(|(_, filled)| *filled >= ALL);
        Ok(long_enough.map(|(bytes, filled)| bytes[..filled.min(N)].to_vec()))
    }
    for longest_first in [of::<376>, of::<344>] {
        match longest_first() {
            Ok(None) | Err(STATUS_INFO_LENGTH_MISMATCH) => {}
            answer => return answer,
        }
    }
    of::<ALL>()
}

/// Converts the first 312 bytes, which have the order and widths of the stream.
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

/// Converts the members that later systems have added.
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

/// Returns the available and committed pages from the documented function, because the kernel's
/// counters have only 32 bits.
///
/// # Errors
/// The function fails.
fn basic_performance() -> Result<BasicPerformance, Fault> {
    let mut info = PERFORMANCE_INFORMATION::default();
    let len = u32::try_from(size_of::<PERFORMANCE_INFORMATION>()).expect("small");
    // SAFETY: the system writes at most the structure's size to the local one.
    let done = unsafe { K32GetPerformanceInfo(&raw mut info, len) };
    if done == 0 {
        return Err(last_fault("query the available memory of the machine".to_owned()));
    }
    Ok(BasicPerformance {
        available_pages: info.PhysicalAvailable as u64,
        committed_pages: info.CommitTotal as u64,
        commit_limit: info.CommitLimit as u64,
        peak_commitment: info.CommitPeak as u64,
    })
}

/// Returns the memory counters of a process. Those of its job are absent, because no class for them
/// is documented.
///
/// # Errors
/// The query is refused.
pub(crate) fn process(access: &Access<'_>) -> Result<Option<VmCounters>, Fault> {
    let bytes = vm_counters(access.process()).map_err(|status| {
        nt_fault(
            format!("query the memory counters of process {}", access.id),
            status,
        )
    })?;
    Ok(Some(vm_counters_of(&bytes)))
}

/// Queries VM_COUNTERS in the longest form that this system supports: with private memory (EX2,
/// Windows 10), with private usage (EX), or the plain form.
fn vm_counters(process: BorrowedHandle<'_>) -> Result<Vec<u8>, NTSTATUS> {
    fn of<const N: usize>(process: BorrowedHandle<'_>) -> Result<Vec<u8>, NTSTATUS> {
        query::process::<N>(process, ProcessVmCounters).map(Vec::from)
    }
    for longest_first in [of::<112>, of::<96>] {
        match longest_first(process) {
            Err(STATUS_INFO_LENGTH_MISMATCH) => {}
            answer => return answer,
        }
    }
    of::<88>(process)
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

/// These tests would catch: a number that is read at another number's offset, in another unit or
/// from another process; a number that is marked as known although the system does not report it.
#[cfg(test)]
mod tests {
    use std::os::windows::io::AsRawHandle;

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
        // SAFETY: the memory is new and has this size, and the writes are inside it.
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
        // Wine 8 reserves its whole address space at the beginning, so this number need not grow.
        let size = after.virtual_size.as_ref().expect("known");
        assert!(
            size.virtual_size >= after.working_set.working_set_size,
            "{after:?}"
        );
        assert!(size.peak_virtual_size >= size.virtual_size, "{after:?}");
        // The result of Windows' own function for the child, which is waiting.
        let mut said = PROCESS_MEMORY_COUNTERS::default();
        // SAFETY: the function fills the structure, which has the declared size.
        let done = unsafe {
            K32GetProcessMemoryInfo(
                access.process().as_raw_handle(),
                &mut said,
                size_of_val(&said) as u32,
            )
        };
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
        let (memory, lost) = system().expect("asked");
        assert_eq!(lost, None);
        let mut status = MEMORYSTATUSEX {
            dwLength: size_of::<MEMORYSTATUSEX>() as u32,
            ..MEMORYSTATUSEX::default()
        };
        let mut info = SYSTEM_INFO::default();
        // SAFETY: the functions fill the structures.
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
        // The available memory changes all the time, but within limits.
        let left = memory.basic_performance.expect("known");
        assert!(left.available_pages > 0);
        assert!(left.available_pages <= basic.number_of_physical_pages.into());
        assert!(left.committed_pages <= left.commit_limit, "{left:?}");
        assert!(memory.performance.available_pages > 0);
        assert!(memory.performance.available_pages <= basic.number_of_physical_pages);
    }

    #[test]
    fn each_number_is_taken_from_its_own_place() {
        // The value of each word is its own offset.
        let bytes: Vec<u8> = (0..376_u32 / 4)
            .flat_map(|index| (index * 4).to_le_bytes())
            .collect();
        let word = |at: u64| at | (at + 4) << 32;
        let performance = performance_of(&bytes);
        assert_eq!(performance.io_other_transfer_count, word(24));
        assert_eq!(performance.io_read_operation_count, 32);
        // The offsets in Microsoft's structure: 70 numbers from 32 on.
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
