//! Which pages exist: asked of the kernel without touching one of them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use dumpwright_target::AddressRange;
use nix::errno::Errno;

use crate::proc_dir::{ProcDir, page_size};

/// Categories of `PAGEMAP_SCAN` (`linux/fs.h`).
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// Set by `MADV_GUARD_INSTALL`; known to the kernel since Linux 6.15.
const PAGE_IS_GUARD: u64 = 1 << 8;

/// Bits of an entry of `pagemap` (proc_pid_pagemap(5)); the last since Linux 6.15.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_GUARD: u64 = 1 << 58;

/// How many runs one scan returns at most.
const RUNS_A_SCAN: usize = 1024;

/// How many entries of `pagemap` one read takes: 32 MiB of addresses.
const ENTRIES_A_READ: usize = 8192;

/// Answers which pages of a process exist.
#[derive(Debug)]
pub(crate) struct Pagemap {
    way: Way,
    page: u64,
}

/// How it is found out, the best way first. Each falls back to the next when the kernel refuses.
#[derive(Debug)]
enum Way {
    /// The `PAGEMAP_SCAN` request (Linux 6.7), with guards told apart or not (6.15).
    Scan { file: File, guards: bool },
    /// Eight bytes for each page.
    Entries(File),
    /// All pages are taken to exist.
    Unknown,
}

/// Neighbouring pages that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where they are.
    pub(crate) range: AddressRange,
    /// Every access to them is an error, by the program's own wish (`MADV_GUARD_INSTALL`).
    pub(crate) guard: bool,
}

/// `struct pm_scan_arg` (`linux/fs.h`).
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` (`linux/fs.h`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

nix::ioctl_readwrite!(pagemap_scan, b'f', 16, ScanArgument);

impl Pagemap {
    pub(crate) fn open(dir: &ProcDir) -> Self {
        let way = match File::open(dir.path("pagemap")) {
            Ok(file) => Way::Scan { file, guards: true },
            Err(error) => {
                tracing::debug!(pid = dir.pid, %error, "no pagemap, all pages are taken to exist");
                Way::Unknown
            }
        };
        Self {
            way,
            page: page_size(),
        }
    }

    /// Whether the answers distinguish anything; else everything is said to exist.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.way, Way::Unknown)
    }

    /// The runs of pages in `window` that are present or swapped out, ascending. `window` must begin and end at
    /// pages that the program can map.
    pub(crate) fn runs(&mut self, window: AddressRange) -> Vec<Run> {
        loop {
            let (next, errno) = match &self.way {
                Way::Scan { file, guards } => match scan(file, window, *guards, false) {
                    Ok(runs) => return runs,
                    Err(errno) if *guards => (Self::without_guards(file), errno),
                    Err(errno) => (Self::by_entries(file), errno),
                },
                Way::Entries(file) => match entries(file, window, self.page) {
                    Ok(runs) => return runs,
                    Err(error) => (
                        Ok(Way::Unknown),
                        Errno::from_raw(error.raw_os_error().unwrap_or(0)),
                    ),
                },
                Way::Unknown => {
                    return vec![Run {
                        range: window,
                        guard: false,
                    }];
                }
            };
            self.way = next.unwrap_or(Way::Unknown);
            tracing::debug!(%window, %errno, way = ?self.way, "the kernel refused, asking for pages in another way");
        }
    }

    /// Whether `range` certainly holds no page at all.
    pub(crate) fn is_untouched(&mut self, range: AddressRange) -> bool {
        if let Way::Scan { file, guards } = &self.way
            && let Ok(runs) = scan(file, range, *guards, true)
        {
            return runs.is_empty();
        }
        // Bounded pieces, so that a huge reservation does not become a huge answer.
        let mut pieces = range.chunks(256 << 20);
        pieces.all(|piece| self.runs(piece).is_empty())
    }

    fn without_guards(file: &File) -> io::Result<Way> {
        Ok(Way::Scan {
            file: file.try_clone()?,
            guards: false,
        })
    }

    fn by_entries(file: &File) -> io::Result<Way> {
        Ok(Way::Entries(file.try_clone()?))
    }
}

fn scan(file: &File, window: AddressRange, guards: bool, first_only: bool) -> Result<Vec<Run>, Errno> {
    let mut found = vec![PageRegion::default(); if first_only { 1 } else { RUNS_A_SCAN }];
    let mut runs = Vec::new();
    let mut at = window.start();
    while at < window.end() {
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start: at,
            end: window.end(),
            vec: found.as_mut_ptr().expose_provenance() as u64,
            vec_len: found.len() as u64,
            max_pages: u64::from(first_only),
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            // Only what is returned splits runs: presence is not, or swapped and present pages would alternate. And
            // the kernel looks at each page's frame for some of the other categories, four times as long.
            return_mask: if guards { PAGE_IS_GUARD } else { 0 },
            ..ScanArgument::default()
        };
        // SAFETY: the argument has the layout and size it declares, and `vec` points to `vec_len` regions that live and
        // are not otherwise used until the call returns.
        let count = unsafe { pagemap_scan(file.as_raw_fd(), &raw mut argument) }?;
        let regions = &found[..usize::try_from(count).unwrap_or(0).min(found.len())];
        for region in regions {
            let Some(range) = AddressRange::new(region.start.max(at), region.end.min(window.end())) else {
                continue;
            };
            push(
                &mut runs,
                Run {
                    range,
                    guard: region.categories & PAGE_IS_GUARD != 0,
                },
            );
        }
        // `walk_end` may be stale although the walk is complete (seen on Linux 6.18): a loop that goes by it alone
        // sees regions twice. Complete means that there was room for more regions than came.
        if regions.len() < found.len() || first_only {
            break;
        }
        let last = regions.last().map_or(at, |region| region.end);
        at = argument.walk_end.max(last);
    }
    Ok(runs)
}

fn entries(file: &File, window: AddressRange, page: u64) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut buffer = vec![0; ENTRIES_A_READ * 8];
    for part in window.chunks(ENTRIES_A_READ as u64 * page) {
        let pages = usize::try_from(part.len() / page).unwrap_or(0);
        let bytes = &mut buffer[..pages * 8];
        file.read_exact_at(bytes, part.start() / page * 8)?;
        for (index, entry) in bytes.chunks_exact(8).enumerate() {
            let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
            if entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0
                && let Some(range) = AddressRange::at(part.start() + index as u64 * page, page)
            {
                push(
                    &mut runs,
                    Run {
                        range,
                        guard: entry & ENTRY_GUARD != 0,
                    },
                );
            }
        }
    }
    Ok(runs)
}

/// Adds a run, joining it with the one before where they touch and are alike.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && last.range.end() == run.range.start()
        && last.guard == run.guard
        && let Some(joined) = AddressRange::new(last.range.start(), run.range.end())
    {
        last.range = joined;
    } else {
        runs.push(run);
    }
}

/// What these tests would catch: pages reported twice or not at all, beyond what one scan returns too; the two ways of
/// asking disagreeing; guards taken for memory.
#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use std::num::NonZeroUsize;
    use std::ptr::NonNull;

    /// Anonymous memory that nobody has touched.
    struct Untouched(NonNull<libc::c_void>, usize);

    impl Untouched {
        fn pages(pages: usize) -> Self {
            let bytes = pages * 4096;
            let length = NonZeroUsize::new(bytes).expect("not empty");
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
            // SAFETY: a new private mapping at a place that the kernel chooses.
            let at = unsafe { mmap_anonymous(None, length, access, flags) }.expect("maps");
            // SAFETY: the mapping just made. Huge pages would make neighbours of touched pages exist.
            unsafe { libc::madvise(at.as_ptr(), bytes, libc::MADV_NOHUGEPAGE) };
            Self(at, bytes)
        }

        fn range(&self) -> AddressRange {
            AddressRange::at(self.0.addr().get() as u64, self.1 as u64).expect("not empty")
        }

        fn touch(&self, page: usize) {
            assert!(page * 4096 < self.1);
            // SAFETY: inside the mapping, which is writable and not otherwise used.
            unsafe { self.0.cast::<u8>().add(page * 4096).write_volatile(1) };
        }

        fn page(&self, page: usize, count: usize) -> AddressRange {
            AddressRange::at(self.range().start() + page as u64 * 4096, count as u64 * 4096)
                .expect("not empty")
        }
    }

    impl Drop for Untouched {
        fn drop(&mut self) {
            // SAFETY: the mapping made in `pages`, which nobody refers to any more.
            let _ = unsafe { munmap(self.0, self.1) };
        }
    }

    fn own() -> Pagemap {
        Pagemap::open(&ProcDir::new(std::process::id()).expect("own process"))
    }

    fn by_entries() -> Pagemap {
        let dir = ProcDir::new(std::process::id()).expect("own process");
        let file = File::open(dir.path("pagemap")).expect("readable");
        Pagemap {
            way: Way::Entries(file),
            page: page_size(),
        }
    }

    #[test]
    fn exactly_the_touched_pages_exist() {
        let memory = Untouched::pages(1000);
        for page in [0, 3, 4, 5, 999] {
            memory.touch(page);
        }
        let expected = [memory.page(0, 1), memory.page(3, 3), memory.page(999, 1)];
        for mut pagemap in [own(), by_entries()] {
            let runs: Vec<_> = pagemap.runs(memory.range()).iter().map(|run| run.range).collect();
            assert_eq!(runs, expected, "{pagemap:?}");
            assert!(!pagemap.is_untouched(memory.range()));
            assert!(pagemap.is_untouched(memory.page(6, 993)));
            assert!(pagemap.is_known());
        }
    }

    #[test]
    fn more_runs_than_one_scan_returns_come_once_each() {
        let count = 3 * RUNS_A_SCAN;
        let memory = Untouched::pages(2 * count);
        for page in 0..count {
            memory.touch(2 * page);
        }
        for mut pagemap in [own(), by_entries()] {
            let runs = pagemap.runs(memory.range());
            assert_eq!(runs.len(), count);
            assert!(
                runs.iter()
                    .enumerate()
                    .all(|(i, run)| run.range == memory.page(2 * i, 1))
            );
        }
    }

    #[test]
    fn guards_are_told_from_memory_where_the_kernel_knows_them() {
        const MADV_GUARD_INSTALL: i32 = 102;
        let memory = Untouched::pages(4);
        memory.touch(0);
        memory.touch(3);
        let guard = memory.page(1, 2);
        // SAFETY: marks pages of the mapping above that are not used.
        let installed = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(guard.start() as usize),
                guard.len() as usize,
                MADV_GUARD_INSTALL,
            )
        };
        let runs = own().runs(memory.range());
        let told: Vec<_> = runs.iter().map(|run| (run.range, run.guard)).collect();
        if installed == 0 && runs.len() != 1 {
            assert_eq!(
                told,
                [
                    (memory.page(0, 1), false),
                    (guard, true),
                    (memory.page(3, 1), false)
                ]
            );
            assert_eq!(by_entries().runs(memory.range()), runs);
        } else if installed != 0 {
            assert_eq!(told, [(memory.page(0, 1), false), (memory.page(3, 1), false)]);
        }
    }

    #[test]
    fn without_any_answer_everything_is_taken_to_exist() {
        let memory = Untouched::pages(2);
        let mut pagemap = Pagemap {
            way: Way::Unknown,
            page: 4096,
        };
        assert_eq!(
            pagemap.runs(memory.range()),
            [Run {
                range: memory.range(),
                guard: false
            }]
        );
        assert!(!pagemap.is_untouched(memory.range()) && !pagemap.is_known());
        // A file that knows no such request leads there too.
        let file = File::open("/dev/null").expect("there");
        let mut pagemap = Pagemap {
            way: Way::Scan { file, guards: true },
            page: 4096,
        };
        assert_eq!(pagemap.runs(memory.range()).len(), 1);
        assert!(!pagemap.is_known());
    }
}
