//! Memory counters of the machine and of the process.

/// A number with its width in the dump, which is the width that Windows gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// 32 bits.
    U32(u32),
    /// 64 bits.
    U64(u64),
}

/// Defines structures that consist of numbers, in Windows' order and with Windows' widths.
macro_rules! numbers {
    ($($(#[$doc:meta])* pub struct $name:ident { $($field:ident: $width:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Default, PartialEq, Eq)]
            #[expect(missing_docs, reason = "the names are Windows', whose documentation explains them")]
            pub struct $name { $(pub $field: numbers!(@ $width),)* }

            impl $name {
                /// The names of the numbers, in order.
                pub const NAMES: &[&str] = &[$(stringify!($field)),*];

                /// Returns the numbers, in order.
                #[must_use]
                pub fn numbers(&self) -> Vec<Number> {
                    vec![$(Number::$width(self.$field)),*]
                }

                /// Sets the number with this name. Returns `false` if there is no such number or
                /// the value does not fit into it.
                pub fn set(&mut self, name: &str, value: u64) -> bool {
                    match name {
                        $(stringify!($field) => match value.try_into() {
                            Ok(value) => { self.$field = value; true }
                            Err(_) => false,
                        },)*
                        _ => false,
                    }
                }
            }
        )*
    };
    (@ U32) => { u32 };
    (@ U64) => { u64 };
}

numbers! {
    /// `MINIDUMP_SYSTEM_BASIC_INFORMATION`: the size of the machine's memory.
    ///
    /// The timer resolution is in units of 100 ns.
    pub struct BasicMemory {
        timer_resolution: U32,
        page_size: U32,
        number_of_physical_pages: U32,
        lowest_physical_page_number: U32,
        highest_physical_page_number: U32,
        allocation_granularity: U32,
        minimum_user_mode_address: U64,
        maximum_user_mode_address: U64,
        active_processors_affinity_mask: U64,
        number_of_processors: U32,
    }

    /// `MINIDUMP_SYSTEM_FILECACHE_INFORMATION` without its last two fields: the file cache.
    ///
    /// Sizes are in bytes unless the name says pages.
    pub struct FileCache {
        current_size: U64,
        peak_size: U64,
        page_fault_count: U32,
        minimum_working_set: U64,
        maximum_working_set: U64,
        current_size_including_transition_in_pages: U64,
        peak_size_including_transition_in_pages: U64,
    }

    /// The last two fields of `MINIDUMP_SYSTEM_FILECACHE_INFORMATION`.
    pub struct FileCacheTransition {
        transition_re_purpose_count: U32,
        flags: U32,
    }

    /// `MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION`, in pages.
    pub struct BasicPerformance {
        available_pages: U64,
        committed_pages: U64,
        commit_limit: U64,
        peak_commitment: U64,
    }

    /// `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION` without its last fields, which are [`DirtyPages`],
    /// [`ResidentPages`] and [`KernelPages`].
    ///
    /// Times are in units of 100 ns. Counters wrap around.
    pub struct Performance {
        idle_process_time: U64,
        io_read_transfer_count: U64,
        io_write_transfer_count: U64,
        io_other_transfer_count: U64,
        io_read_operation_count: U32,
        io_write_operation_count: U32,
        io_other_operation_count: U32,
        available_pages: U32,
        committed_pages: U32,
        commit_limit: U32,
        peak_commitment: U32,
        page_fault_count: U32,
        copy_on_write_count: U32,
        transition_count: U32,
        cache_transition_count: U32,
        demand_zero_count: U32,
        page_read_count: U32,
        page_read_io_count: U32,
        cache_read_count: U32,
        cache_io_count: U32,
        dirty_pages_write_count: U32,
        dirty_write_io_count: U32,
        mapped_pages_write_count: U32,
        mapped_write_io_count: U32,
        paged_pool_pages: U32,
        non_paged_pool_pages: U32,
        paged_pool_allocs: U32,
        paged_pool_frees: U32,
        non_paged_pool_allocs: U32,
        non_paged_pool_frees: U32,
        free_system_ptes: U32,
        resident_system_code_page: U32,
        total_system_driver_pages: U32,
        total_system_code_pages: U32,
        non_paged_pool_lookaside_hits: U32,
        paged_pool_lookaside_hits: U32,
        available_paged_pool_pages: U32,
        resident_system_cache_page: U32,
        resident_paged_pool_page: U32,
        resident_system_driver_page: U32,
        cc_fast_read_no_wait: U32,
        cc_fast_read_wait: U32,
        cc_fast_read_resource_miss: U32,
        cc_fast_read_not_possible: U32,
        cc_fast_mdl_read_no_wait: U32,
        cc_fast_mdl_read_wait: U32,
        cc_fast_mdl_read_resource_miss: U32,
        cc_fast_mdl_read_not_possible: U32,
        cc_map_data_no_wait: U32,
        cc_map_data_wait: U32,
        cc_map_data_no_wait_miss: U32,
        cc_map_data_wait_miss: U32,
        cc_pin_mapped_data_count: U32,
        cc_pin_read_no_wait: U32,
        cc_pin_read_wait: U32,
        cc_pin_read_no_wait_miss: U32,
        cc_pin_read_wait_miss: U32,
        cc_copy_read_no_wait: U32,
        cc_copy_read_wait: U32,
        cc_copy_read_no_wait_miss: U32,
        cc_copy_read_wait_miss: U32,
        cc_mdl_read_no_wait: U32,
        cc_mdl_read_wait: U32,
        cc_mdl_read_no_wait_miss: U32,
        cc_mdl_read_wait_miss: U32,
        cc_read_ahead_ios: U32,
        cc_lazy_write_ios: U32,
        cc_lazy_write_pages: U32,
        cc_data_flushes: U32,
        cc_data_pages: U32,
        context_switches: U32,
        first_level_tb_fills: U32,
        second_level_tb_fills: U32,
        system_calls: U32,
    }

    /// Pages of the file cache that have not been written yet.
    pub struct DirtyPages {
        cc_total_dirty_pages: U64,
        cc_dirty_page_threshold: U64,
    }

    /// Available pages of physical memory, and committed pages that are shared.
    pub struct ResidentPages {
        resident_available_pages: U64,
        shared_committed_pages: U64,
    }

    /// Pages that the kernel uses. The second revision of the stream added these fields.
    pub struct KernelPages {
        mdl_pages_allocated: U64,
        pfn_database_committed_pages: U64,
        system_page_table_committed_pages: U64,
        contiguous_pages_allocated: U64,
    }

    /// The counters of a process's memory that every system provides, in bytes.
    ///
    /// The quotas are those of Windows' pools.
    pub struct WorkingSet {
        page_fault_count: U32,
        peak_working_set_size: U64,
        working_set_size: U64,
        quota_peak_paged_pool_usage: U64,
        quota_paged_pool_usage: U64,
        quota_peak_non_paged_pool_usage: U64,
        quota_non_paged_pool_usage: U64,
        pagefile_usage: U64,
        peak_pagefile_usage: U64,
    }

    /// The size of the address space, in bytes.
    pub struct VirtualSize {
        peak_virtual_size: U64,
        virtual_size: U64,
    }

    /// The memory that belongs only to the process, in bytes.
    pub struct PrivateMemory {
        private_working_set_size: U64,
        shared_commit_usage: U64,
    }

    /// The memory of the process's job, in bytes.
    pub struct JobMemory {
        job_shared_commit_usage: U64,
        job_private_commit_usage: U64,
        job_peak_private_commit_usage: U64,
        job_private_commit_limit: U64,
        job_total_commit_limit: U64,
    }
}

/// The machine's memory: the contents of the SystemMemoryInfo stream.
///
/// `None` means unknown, and so does 0 in a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemMemory {
    /// The size of the memory and facts about the machine.
    pub basic: BasicMemory,
    /// The file cache.
    pub file_cache: FileCache,
    /// Further counters of the file cache.
    pub file_cache_transition: Option<FileCacheTransition>,
    /// The available and committed memory.
    pub basic_performance: Option<BasicPerformance>,
    /// Counters of events since the machine was started.
    pub performance: Performance,
    /// The pages that have not been written yet.
    pub dirty: Option<DirtyPages>,
    /// The available physical memory.
    pub resident: Option<ResidentPages>,
    /// The pages that the kernel uses.
    pub kernel: Option<KernelPages>,
}

/// The memory of a process: the contents of the ProcessVmCounters stream.
///
/// `None` means unknown, and so does 0 in a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmCounters {
    /// The resident part of the memory.
    pub working_set: WorkingSet,
    /// The size of the committed private memory, in bytes.
    pub private_usage: Option<u64>,
    /// The size of the address space.
    pub virtual_size: Option<VirtualSize>,
    /// The memory that belongs only to the process.
    pub private: Option<PrivateMemory>,
    /// The memory of the process's job.
    pub job: Option<JobMemory>,
}

/// What these tests would catch: a number that is missing, or whose width differs from Windows'.
#[cfg(test)]
mod tests {
    use super::*;

    fn size(numbers: &[Number]) -> usize {
        numbers
            .iter()
            .map(|number| match number {
                Number::U32(_) => 4,
                Number::U64(_) => 8,
            })
            .sum()
    }

    #[test]
    fn the_structures_have_windows_sizes() {
        assert_eq!(size(&BasicMemory::default().numbers()), 52);
        let cache = [
            FileCache::default().numbers(),
            FileCacheTransition::default().numbers(),
        ]
        .concat();
        assert_eq!(size(&cache), 60);
        assert_eq!(size(&BasicPerformance::default().numbers()), 32);
        let performance = [
            Performance::default().numbers(),
            DirtyPages::default().numbers(),
            ResidentPages::default().numbers(),
        ];
        assert_eq!(size(&performance.concat()), 344);
        assert_eq!(size(&KernelPages::default().numbers()), 32);
    }

    #[test]
    fn numbers_are_set_by_name_if_they_fit() {
        let mut basic = BasicMemory::default();
        assert!(basic.set("page_size", 4096) && basic.page_size == 4096);
        assert!(!basic.set("page_size", 1 << 32) && !basic.set("pages", 1));
        assert_eq!(BasicMemory::NAMES.len(), basic.numbers().len());
    }
}
