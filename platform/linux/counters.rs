//! Memory counters of the machine and of the process.

use std::io;
use std::path::Path;

use dumpwright_target::filetime::UNITS_PER_SECOND;
use dumpwright_target::{
    BasicMemory, BasicPerformance, DirtyPages, Fault, FileCache, Performance, PrivateMemory, SystemMemory,
    VirtualSize, VmCounters, WorkingSet,
};

use crate::proc_dir::{ProcDir, clock_ticks, field, page_size, read_bounded, system_fault};

/// The maximum size of a text. `/proc/meminfo` and `/proc/vmstat` have at most 10 KiB; `/proc/stat`
/// has a line for each processor and a number for each kind of interrupt.
const TEXT_LIMIT: u64 = 16 << 20;

/// The end of the user address space on x86-64 with four levels of page tables (the kernel's
/// `TASK_SIZE`).
const USER_END: u64 = 0x7fff_ffff_f000;

/// Returns the counters of the machine's memory, or `None` if there is no `/proc/meminfo`, as on
/// systems that only emulate Linux.
///
/// They may be read before the process is stopped, because the machine is never stopped.
pub(crate) fn system() -> Result<Option<SystemMemory>, Fault> {
    const SIZES: &str = "/proc/meminfo";
    let read = |path: &str| read_bounded(Path::new(path), TEXT_LIMIT);
    let meminfo = match read(SIZES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(system_fault(
                format!("count the machine's memory ({SIZES})"),
                &error,
            ));
        }
    };
    let online = read("/sys/devices/system/cpu/online").unwrap_or_default();
    let sources = SystemSources {
        meminfo,
        vmstat: read("/proc/vmstat").unwrap_or_default(),
        stat: read("/proc/stat").unwrap_or_default(),
        processors: processors(&String::from_utf8_lossy(&online)),
        minimum_address: read("/proc/sys/vm/mmap_min_addr")
            .ok()
            .and_then(|text| number(&text))
            .unwrap_or(0),
        tick: tick(),
        page_size: page_size(),
    };
    Ok(Some(sources.memory()))
}

/// The texts and numbers that the counters are computed from.
struct SystemSources {
    meminfo: Vec<u8>,
    vmstat: Vec<u8>,
    stat: Vec<u8>,
    /// The numbers of the processors online.
    processors: Vec<u32>,
    minimum_address: u64,
    /// The period of the kernel's tick, in units of 100 ns.
    tick: u32,
    page_size: u64,
}

impl SystemSources {
    fn memory(&self) -> SystemMemory {
        let bytes = |name| kibibytes(&self.meminfo, name).unwrap_or(0);
        let pages = |name| bytes(name) / self.page_size;
        let counted = |name| counter(&self.vmstat, name).unwrap_or(0);
        // 32-bit counters wrap around, as on Windows.
        let low = |value: u64| value as u32;
        let saturated = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let basic_performance = BasicPerformance {
            available_pages: pages("MemAvailable"),
            committed_pages: pages("Committed_AS"),
            commit_limit: pages("CommitLimit"),
            peak_commitment: 0,
        };
        SystemMemory {
            basic: BasicMemory {
                timer_resolution: self.tick,
                page_size: saturated(self.page_size),
                number_of_physical_pages: saturated(pages("MemTotal")),
                // A mapping may begin at any page. On Windows the granularity is 64 KiB.
                allocation_granularity: saturated(self.page_size),
                minimum_user_mode_address: self.minimum_address,
                maximum_user_mode_address: USER_END - 1,
                active_processors_affinity_mask: self
                    .processors
                    .iter()
                    .filter(|processor| **processor < 64)
                    .fold(0, |mask, processor| mask | 1 << processor),
                number_of_processors: saturated(self.processors.len() as u64),
                ..BasicMemory::default()
            },
            file_cache: FileCache {
                current_size: bytes("Cached").saturating_add(bytes("Buffers")),
                ..FileCache::default()
            },
            performance: Performance {
                idle_process_time: idle_time(&self.stat),
                available_pages: saturated(basic_performance.available_pages),
                committed_pages: saturated(basic_performance.committed_pages),
                commit_limit: saturated(basic_performance.commit_limit),
                page_fault_count: low(counted("pgfault")),
                page_read_io_count: low(counted("pgmajfault")),
                // vmstat counts these two in KiB.
                page_read_count: low(counted("pgpgin").saturating_mul(1024) / self.page_size),
                mapped_pages_write_count: low(counted("pgpgout").saturating_mul(1024) / self.page_size),
                dirty_pages_write_count: low(counted("pswpout")),
                // Kernel memory that can be reclaimed, and kernel memory that cannot.
                paged_pool_pages: saturated(pages("SReclaimable")),
                non_paged_pool_pages: saturated(pages("SUnreclaim")),
                context_switches: low(counter(&self.stat, "ctxt").unwrap_or(0)),
                ..Performance::default()
            },
            basic_performance: Some(basic_performance),
            dirty: Some(DirtyPages {
                cc_total_dirty_pages: counted("nr_dirty"),
                cc_dirty_page_threshold: counted("nr_dirty_threshold"),
            }),
            file_cache_transition: None,
            resident: None,
            kernel: None,
        }
    }
}

/// Returns the current memory counters of the process.
pub(crate) fn process(dir: &ProcDir) -> Result<VmCounters, Fault> {
    let fault = |error: &io::Error| system_fault(format!("count the memory of process {}", dir.pid), error);
    let status = dir.read("status").map_err(|error| fault(&error))?;
    let stat = dir.process_stat().map_err(|error| fault(&error))?;
    let faults = stat.minflt.wrapping_add(stat.majflt);
    counters(&status, faults).ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidData, "its status has no memory sizes");
        fault(&error)
    })
}

pub(crate) fn counters(status: &[u8], faults: u64) -> Option<VmCounters> {
    let bytes = |name| kibibytes(status, name);
    // Linux does not charge a process for memory that it has reserved but never touched.
    let committed = bytes("RssAnon")
        .unwrap_or(0)
        .saturating_add(bytes("VmSwap").unwrap_or(0));
    Some(VmCounters {
        working_set: WorkingSet {
            // Wraps around, as on Windows.
            page_fault_count: faults as u32,
            peak_working_set_size: bytes("VmHWM")?,
            working_set_size: bytes("VmRSS")?,
            pagefile_usage: committed,
            // The kernel does not record the peak, which is at least the current value.
            peak_pagefile_usage: committed,
            ..WorkingSet::default()
        },
        private_usage: Some(committed),
        virtual_size: Some(VirtualSize {
            peak_virtual_size: bytes("VmPeak")?,
            virtual_size: bytes("VmSize")?,
        }),
        private: Some(PrivateMemory {
            private_working_set_size: bytes("RssAnon").unwrap_or(0),
            shared_commit_usage: bytes("RssShmem").unwrap_or(0),
        }),
        // Unlike a job, a control group also counts cached files.
        job: None,
    })
}

/// Returns the value of a line `NAME: NUMBER kB`, in bytes.
fn kibibytes(text: &[u8], name: &str) -> Option<u64> {
    let line = field(text, name)?;
    let number: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number.saturating_mul(1024))
}

/// Returns the number of a line `NAME NUMBER …`.
fn counter(text: &[u8], name: &str) -> Option<u64> {
    let value = text
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b" "))?;
    number(value)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text)
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Returns the total time for which the processors have been idle, in units of 100 ns. It is the
/// fourth number after `cpu` (proc_stat(5)).
fn idle_time(stat: &[u8]) -> u64 {
    let ticks: Option<u64> = (|| {
        let line = stat.split(|byte| *byte == b'\n').next()?;
        let line = std::str::from_utf8(line).ok()?.strip_prefix("cpu ")?;
        line.split_ascii_whitespace().nth(3)?.parse().ok()
    })();
    ticks
        .unwrap_or(0)
        .saturating_mul(UNITS_PER_SECOND / clock_ticks())
}

/// Parses a list of numbers and ranges such as `0-3,6`. Returns at most 8192 numbers, the maximum
/// number of processors on Linux.
fn processors(list: &str) -> Vec<u32> {
    const MOST: usize = 8192;
    let spans = list.trim().split(',').filter_map(|span| {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    spans.flatten().take(MOST).collect()
}

/// Returns the resolution of the coarse clock, which is the kernel's tick, in units of 100 ns.
fn tick() -> u32 {
    nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(0, |time| u32::try_from(time.tv_nsec() / 100).unwrap_or(0))
}

/// What these tests would catch: numbers in a wrong unit, from a wrong line, or of another process.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Victim;

    #[test]
    fn each_number_comes_from_its_line() {
        let sources = SystemSources {
            meminfo: b"MemTotal:  8000 kB\nMemAvailable: 4000 kB\nBuffers: 100 kB\nCached: 200 kB\n\
                SReclaimable: 40 kB\nSUnreclaim: 80 kB\nCommitLimit: 6000 kB\nCommitted_AS: 1200 kB\n"
                .to_vec(),
            vmstat:
                b"nr_dirty 7\nnr_dirty_threshold 900\npgpgin 40\npgpgout 80\npswpout 3\npgfault 4294967301\n\
                pgmajfault 12\n"
                    .to_vec(),
            stat: b"cpu  1 2 3 50 5\ncpu0 9 9 9 9 9\nctxt 77\n".to_vec(),
            processors: processors("0-2,5,70\n"),
            minimum_address: 65536,
            tick: 40_000,
            page_size: 4096,
        };
        let memory = sources.memory();
        let basic = &memory.basic;
        assert_eq!((basic.page_size, basic.number_of_physical_pages), (4096, 2000));
        assert_eq!(
            (basic.active_processors_affinity_mask, basic.number_of_processors),
            (0b10_0111, 5)
        );
        assert_eq!(
            (basic.timer_resolution, basic.minimum_user_mode_address),
            (40_000, 65536)
        );
        assert_eq!(memory.file_cache.current_size, 300 << 10);
        let left = memory.basic_performance.expect("known");
        assert_eq!(
            (left.available_pages, left.committed_pages, left.commit_limit),
            (1000, 300, 1500)
        );
        let counted = &memory.performance;
        assert_eq!((counted.page_fault_count, counted.page_read_io_count), (5, 12));
        assert_eq!(
            (counted.page_read_count, counted.mapped_pages_write_count),
            (10, 20)
        );
        assert_eq!(
            (counted.dirty_pages_write_count, counted.context_switches),
            (3, 77)
        );
        assert_eq!((counted.paged_pool_pages, counted.non_paged_pool_pages), (10, 20));
        assert_eq!(counted.idle_process_time, 50 * (UNITS_PER_SECOND / clock_ticks()));
        let dirty = memory.dirty.expect("known");
        assert_eq!(
            (dirty.cc_total_dirty_pages, dirty.cc_dirty_page_threshold),
            (7, 900)
        );
    }

    #[test]
    fn hostile_texts_do_not_panic() {
        for text in ["", "-", "5-1", "0-4294967295", "1,,x-3"] {
            assert!(processors(text).len() <= 8192);
        }
        assert_eq!(idle_time(b"cpu  1 2"), 0);
        assert_eq!(idle_time(b"cpu  1 2 3 18446744073709551615"), u64::MAX);
        assert_eq!(counters(b"VmRSS: x kB\n", 0), None);
        assert_eq!(
            kibibytes(b"VmRSS: 18446744073709551615 kB\n", "VmRSS"),
            Some(u64::MAX)
        );
    }

    #[test]
    fn a_child_that_waits_has_the_memory_that_proc_shows() {
        let victim = Victim::that::<1>(|words| {
            // Maps 8 MiB and touches them.
            let size = 8 << 20;
            // SAFETY: the memory is a new private mapping, and the call writes inside its bounds.
            unsafe {
                let memory = libc::mmap(
                    std::ptr::null_mut(),
                    size,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                libc::memset(memory, 1, size);
            }
            words[0] = size as u64;
        });
        let counters = process(&victim.dir()).expect("readable");
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", victim.id())).expect("readable");
        let pages: Vec<u64> = statm
            .split_ascii_whitespace()
            .map(|number| number.parse().expect("a number"))
            .collect();
        let size = counters.virtual_size.expect("known");
        assert_eq!(size.virtual_size, pages[0] * page_size());
        assert!(size.peak_virtual_size >= size.virtual_size);
        let set = &counters.working_set;
        assert_eq!(set.working_set_size, pages[1] * page_size());
        assert!(set.peak_working_set_size >= set.working_set_size);
        // Not every page causes a fault, because the kernel may map large pages.
        assert!(set.page_fault_count > 0);
        let own = counters.private.expect("known").private_working_set_size;
        assert!(own >= victim.words[0], "{own}");
        assert_eq!(counters.private_usage, Some(set.pagefile_usage));
        assert!(set.pagefile_usage >= own);
    }
}
