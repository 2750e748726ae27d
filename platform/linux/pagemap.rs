//! Finds out which pages of a process exist, without accessing them.

use std::collections::{HashMap, VecDeque};
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
/// Set by `MADV_GUARD_INSTALL`. The category exists since Linux 6.15.
const PAGE_IS_GUARD: u64 = 1 << 8;

/// Bits of an entry of `pagemap` (proc_pid_pagemap(5)). The last one exists since Linux 6.15.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_GUARD: u64 = 1 << 58;
/// The page belongs to a file or to shared memory.
const ENTRY_FILE: u64 = 1 << 61;
/// No other process has the page.
const ENTRY_EXCLUSIVE: u64 = 1 << 56;

/// The maximum number of runs that one scan returns.
const RUNS_A_SCAN: usize = 1024;

/// The number of `pagemap` entries in one read: 32 MiB of addresses.
const ENTRIES_A_READ: usize = 8192;

/// Parts with at most this many entries are always read: 1 MiB of addresses.
const FREE_ENTRIES: u64 = 256;

/// How many entries of one mapping are read before pages must have been found: 4 GiB of addresses,
/// 8 MiB of `pagemap`.
const ENTRIES_IN_ADVANCE: u64 = 1 << 20;

/// How many more entries of a mapping may be read for each page that was found in it.
///
/// It is the number of entries of one page table, which is the least memory that the kernel uses
/// for an existing page.
const ENTRIES_A_PAGE: u64 = 512;

/// The total number of entries that may be read beyond [`ENTRIES_A_PAGE`] for each page found:
/// 64 GiB of addresses, 128 MiB of `pagemap`. The kernel took 0.9 s for 2 GiB of `pagemap`
/// (observed on Linux 6.18).
const ENTRIES_WITHOUT_PAGES: u64 = 16 << 20;

/// The total number of entries that may be read to find out whether reservations are empty.
const ENTRIES_OF_RESERVATIONS: u64 = 4 << 20;

/// Answers which pages of one process exist.
#[derive(Debug)]
pub(crate) struct Pagemap {
    way: Way,
    page: u64,
    /// The buffer for the results of a scan.
    found: Box<[PageRegion]>,
    /// The buffer for entries of `pagemap`. Empty until entries are read.
    entries: Vec<u8>,
    allowance: Allowance,
}

/// The ways to find out which pages exist, the best first. If the kernel refuses one, the next is
/// used.
#[derive(Debug)]
enum Way {
    /// The request `PAGEMAP_SCAN` (Linux 6.7). `guards` tells whether it is asked for guard pages
    /// (Linux 6.15).
    Scan { file: File, guards: bool },
    /// The entries of `pagemap`: eight bytes for each page, whether it exists or not.
    Entries(File),
    /// Nothing is known, so all pages are assumed to exist.
    Unknown,
}

/// How many more entries of `pagemap` may be read without finding pages.
///
/// The limit is for huge, almost empty mappings, such as the terabytes of address sanitisers. They
/// must cost neither much time nor much memory.
#[derive(Debug)]
struct Allowance {
    /// For all mappings together.
    without_pages: u64,
    /// For all reservations together.
    reservations: u64,
    /// What was read of each mapping, by its start address.
    accounts: HashMap<u64, Account>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    entries: u64,
    pages: u64,
}

/// Consecutive pages with the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The addresses of the pages.
    pub(crate) range: AddressRange,
    /// The result.
    pub(crate) pages: Pages,
}

/// What is known about the pages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// They are present or swapped out.
    Exist,
    /// They are guard pages: the program asked that every access to them fail
    /// (`MADV_GUARD_INSTALL`).
    Guard,
    /// They were not examined, because the mapping is huge and almost empty, and this kernel lists
    /// pages only one by one.
    Unknown,
}

/// Which pages exist in a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScanAnswer {
    /// The runs by ascending address. Pages outside of all runs do not exist.
    pub(crate) runs: Vec<Run>,
    /// The end of the examined range, which may be before the end of the requested one.
    pub(crate) end: u64,
}

impl ScanAnswer {
    /// The answer if nothing is known: all pages of the window may exist.
    fn everything(window: AddressRange) -> Self {
        let (range, pages) = (window, Pages::Exist);
        Self {
            runs: vec![Run { range, pages }],
            end: window.end(),
        }
    }
}

/// A part of a mapping to examine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScannedPart {
    /// The addresses of the part.
    pub(crate) range: AddressRange,
    /// The start address of the mapping.
    pub(crate) mapping: u64,
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
#[derive(Debug, Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

nix::ioctl_readwrite!(pagemap_scan, b'f', 16, ScanArgument);

impl Pagemap {
    pub(crate) fn open(dir: &ProcDir) -> Self {
        let mut pagemap = Self::with(match File::open(dir.path("pagemap")) {
            Ok(file) => Way::Scan { file, guards: true },
            Err(error) => {
                tracing::debug!(pid = dir.pid, %error, "no pagemap, all pages are taken to exist");
                Way::Unknown
            }
        });
        // This request for the page at address 0 only tests which ways the kernel supports.
        let nothing = AddressRange::at(0, pagemap.page).expect("not empty");
        pagemap.runs(nothing, nothing.end(), true, Vec::new);
        pagemap
    }

    fn with(way: Way) -> Self {
        Self {
            way,
            page: page_size(),
            found: vec![PageRegion::default(); RUNS_A_SCAN].into(),
            entries: Vec::new(),
            allowance: Allowance {
                without_pages: ENTRIES_WITHOUT_PAGES,
                reservations: ENTRIES_OF_RESERVATIONS,
                accounts: HashMap::new(),
            },
        }
    }

    /// Uses the entries of `pagemap`, as on kernels before Linux 6.7.
    #[cfg(test)]
    pub(crate) fn by_entries(dir: &ProcDir) -> Self {
        Self::with(Way::Entries(File::open(dir.path("pagemap")).expect("readable")))
    }

    /// Whether it can find out which pages exist. If not, all pages are reported to exist.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.way, Way::Unknown)
    }

    /// Whether pages that do not exist cost nothing, no matter how many there are.
    pub(crate) fn scans(&self) -> bool {
        matches!(self.way, Way::Scan { .. })
    }

    /// Whether the reservations of a process are too large to be examined page by page.
    pub(crate) fn is_too_slow_for(&self, reservations: impl Iterator<Item = AddressRange>) -> bool {
        matches!(self.way, Way::Entries(_))
            && reservations.map(|range| range.len() / self.page).sum::<u64>() > ENTRIES_OF_RESERVATIONS
    }

    /// Returns the runs of pages in `window`.
    ///
    /// The answer covers the window at least up to `needed`, and beyond that as far as one answer
    /// of the kernel reaches. The window must begin and end at pages that a program can map.
    ///
    /// On a kernel that lists pages one by one, only the parts of mappings that `parts` returns are
    /// examined. All of them must lie in the window. Unless `exact`, huge and almost empty ones are
    /// not examined completely; the rest of their pages is [`Pages::Unknown`].
    pub(crate) fn runs(
        &mut self,
        window: AddressRange,
        needed: u64,
        exact: bool,
        parts: impl Fn() -> Vec<ScannedPart>,
    ) -> ScanAnswer {
        loop {
            let (next, errno) = match &self.way {
                Way::Scan { file, guards } => match scan(file, window, needed, *guards, &mut self.found) {
                    Ok(answer) if has_memory(file, window.start() / self.page) => return answer,
                    // Reading will show what is lost.
                    Ok(_) => return ScanAnswer::everything(window),
                    Err(errno) if *guards => (Self::without_guards(file), errno),
                    Err(errno) => (file.try_clone().map(Way::Entries), errno),
                },
                Way::Entries(_) => match self.runs_of(&parts(), exact) {
                    Ok(runs) => {
                        let end = window.end();
                        return ScanAnswer { runs, end };
                    }
                    Err(error) => (
                        Ok(Way::Unknown),
                        Errno::from_raw(error.raw_os_error().unwrap_or(0)),
                    ),
                },
                Way::Unknown => return ScanAnswer::everything(window),
            };
            self.way = next.unwrap_or(Way::Unknown);
            tracing::debug!(%window, %errno, way = ?self.way, "the kernel refused, trying another way to list pages");
        }
    }

    /// Whether the mapping with this range is known to have no pages at all.
    ///
    /// On a kernel that lists pages one by one, the answer for large reservations is always
    /// `false`.
    pub(crate) fn is_untouched(&mut self, range: AddressRange) -> bool {
        if let Way::Scan { file, guards } = &self.way
            && let Ok(answer) = scan(file, range, range.start(), *guards, &mut self.found[..1])
        {
            return answer.runs.is_empty() && has_memory(file, range.start() / self.page);
        }
        if !matches!(self.way, Way::Entries(_)) {
            return false;
        }
        let entries = range.len() / self.page;
        if entries > self.allowance.reservations {
            return false;
        }
        self.allowance.reservations -= entries;
        let mut pieces = range.chunks(ENTRIES_A_READ as u64 * self.page);
        pieces.all(|piece| self.entries(piece, &mut Vec::new()).is_ok_and(|pages| pages == 0))
    }

    fn without_guards(file: &File) -> io::Result<Way> {
        Ok(Way::Scan {
            file: file.try_clone()?,
            guards: false,
        })
    }

    /// Returns the runs of these parts, from the entries of `pagemap`.
    fn runs_of(&mut self, parts: &[ScannedPart], exact: bool) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        for part in parts {
            let is_free = exact || part.range.len() / self.page <= FREE_ENTRIES;
            for piece in part.range.chunks(ENTRIES_A_READ as u64 * self.page) {
                if !is_free && self.allowance.is_used_up(part.mapping) {
                    let range = AddressRange::new(piece.start(), part.range.end()).unwrap_or(piece);
                    let pages = Pages::Unknown;
                    push(&mut runs, Run { range, pages });
                    break;
                }
                let pages = self.entries(piece, &mut runs)?;
                if !is_free {
                    self.allowance
                        .charge(part.mapping, piece.len() / self.page, pages);
                }
            }
        }
        Ok(runs)
    }

    /// Adds the runs of pages in `piece`, from the entries of `pagemap`. Returns the number of
    /// pages found.
    fn entries(&mut self, piece: AddressRange, runs: &mut Vec<Run>) -> io::Result<u64> {
        let Way::Entries(file) = &self.way else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let count = usize::try_from(piece.len() / self.page).unwrap_or(0);
        self.entries.resize(ENTRIES_A_READ * 8, 0);
        let bytes = &mut self.entries[..count * 8];
        file.read_exact_at(bytes, piece.start() / self.page * 8)?;
        let mut pages = 0;
        for (index, entry) in bytes.chunks_exact(8).enumerate() {
            let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
            if entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0
                && let Some(range) = AddressRange::at(piece.start() + index as u64 * self.page, self.page)
            {
                pages += 1;
                let pages = if entry & ENTRY_GUARD != 0 {
                    Pages::Guard
                } else {
                    Pages::Exist
                };
                push(runs, Run { range, pages });
            }
        }
        Ok(pages)
    }
}

/// Whether the process still has its memory. `page` is the number of any page that a program can
/// map.
///
/// PAGEMAP_SCAN does not say so: of a process that is being killed it lists fewer and fewer pages,
/// and then none, without an error. Read as "never touched", these pages would be zeros in the
/// dump, and no loss (observed on Linux 6.18, once in some hundred kills). An entry of `pagemap`,
/// however, can be read only until the kernel begins to give the memory back. If it can be read
/// after a scan, the scan was right.
fn has_memory(file: &File, page: u64) -> bool {
    file.read_exact_at(&mut [0; 8], page * 8).is_ok()
}

/// Finds the pages that `process_vm_readv` would un-share.
///
/// After a fork, parent and child have their memory in common until one of them writes to it.
/// `process_vm_readv` pins the pages that it reads, and for that the kernel gives the target a copy
/// of its own of each such page. A full dump of a child with 256 MiB of its parent's memory made
/// the system use 256 MiB more (observed on Linux 6.18).
#[derive(Debug)]
pub(crate) struct SharedPages {
    pagemap: Option<File>,
    page: u64,
    /// What was read last, the latest first. A capture goes back and forth between the stacks, the
    /// heap and the modules.
    blocks: VecDeque<EntryBlock>,
}

/// Entries of `pagemap` for consecutive pages.
#[derive(Debug)]
struct EntryBlock {
    range: AddressRange,
    entries: Vec<u8>,
}

impl SharedPages {
    /// The number of entries that are read at once where memory is read in ascending order, as in a
    /// full dump: 4 MiB of addresses. Elsewhere, only the entries that are needed are read. The
    /// kernel needs about 20 µs for so many.
    const ENTRIES: u64 = 1024;

    /// The maximum number of blocks that are kept: 128 KiB of entries.
    const BLOCKS: usize = 16;

    pub(crate) fn new(dir: &ProcDir) -> Self {
        Self {
            pagemap: File::open(dir.path("pagemap")).ok(),
            page: page_size(),
            blocks: VecDeque::new(),
        }
    }

    /// Splits `range` where shared pages begin or end. Returns the parts, and whether they are
    /// shared. If that is not known, they count as shared.
    pub(crate) fn parts(&mut self, range: AddressRange) -> Vec<(AddressRange, bool)> {
        let mut parts: Vec<(AddressRange, bool)> = Vec::new();
        let mut at = range.start();
        while at < range.end() {
            let page = at & !(self.page - 1);
            let end = page.saturating_add(self.page).min(range.end());
            let is_shared = self.is_shared(page, range.end());
            match parts.last_mut() {
                Some((last, alike)) if *alike == is_shared => {
                    *last = AddressRange::new(last.start(), end).unwrap_or(*last);
                }
                _ => parts.extend(AddressRange::new(at, end).map(|part| (part, is_shared))),
            }
            at = end;
        }
        parts
    }

    /// Whether the page at this address is shared. Further pages up to `end` are needed, too.
    fn is_shared(&mut self, page: u64, end: u64) -> bool {
        let has = |block: &EntryBlock| block.range.contains(page);
        if !self.blocks.front().is_some_and(has) {
            let known = self.blocks.iter().position(has);
            let block = match known.and_then(|at| self.blocks.remove(at)) {
                Some(block) => block,
                None => {
                    let most = Self::ENTRIES * self.page;
                    let continues = self.blocks.front().is_some_and(|last| last.range.end() == page);
                    let needed = (end - page).next_multiple_of(self.page).min(most);
                    match AddressRange::at(page, if continues { most } else { needed }) {
                        Some(range) => self.read(range),
                        None => return true,
                    }
                }
            };
            self.blocks.push_front(block);
        }
        let block = &self.blocks[0];
        let index = usize::try_from((page - block.range.start()) / self.page * 8).unwrap_or(0);
        let entry = block.entries.get(index..index + 8).unwrap_or_default();
        let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
        entry & (ENTRY_EXCLUSIVE | ENTRY_FILE) == 0
    }

    /// Reads the block of this range, in place of the oldest one. Entries that cannot be read are
    /// 0.
    fn read(&mut self, range: AddressRange) -> EntryBlock {
        let offset = range.start() / self.page * 8;
        let oldest = match self.blocks.len() {
            Self::BLOCKS => self.blocks.pop_back(),
            _ => None,
        };
        let mut entries = oldest.map_or_else(Vec::new, |block| block.entries);
        entries.clear();
        let count = usize::try_from(range.len() / self.page).unwrap_or(0);
        entries.resize(count * 8, 0);
        let mut done = 0;
        while let Some(pagemap) = &self.pagemap
            && done < entries.len()
        {
            match pagemap.read_at(&mut entries[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, offset, "pagemap cannot be read, pages are taken to be shared");
                    break;
                }
            }
        }
        EntryBlock { range, entries }
    }
}

impl Allowance {
    /// Whether no more entries may be read of the mapping that starts here.
    fn is_used_up(&self, mapping: u64) -> bool {
        let account = self.accounts.get(&mapping).copied().unwrap_or_default();
        self.without_pages == 0 || account.entries > ENTRIES_IN_ADVANCE + account.pages * ENTRIES_A_PAGE
    }

    /// Records that `entries` entries of a mapping were read and `pages` pages were found.
    fn charge(&mut self, mapping: u64, entries: u64, pages: u64) {
        let account = self.accounts.entry(mapping).or_default();
        account.entries += entries;
        account.pages += pages;
        let unpaid = entries.saturating_sub(pages * ENTRIES_A_PAGE);
        self.without_pages = self.without_pages.saturating_sub(unpaid);
    }
}

/// Scans `window` up to `needed`, and beyond it until `found` has been filled once.
fn scan(
    file: &File,
    window: AddressRange,
    needed: u64,
    guards: bool,
    found: &mut [PageRegion],
) -> Result<ScanAnswer, Errno> {
    let mut runs = Vec::new();
    let mut at = window.start();
    while at < window.end() {
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start: at,
            end: window.end(),
            vec: found.as_mut_ptr().expose_provenance() as u64,
            vec_len: found.len() as u64,
            // For a single run, stop at its first page: only its existence matters.
            max_pages: u64::from(found.len() == 1),
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            // Runs are split by the categories in this mask. Presence is not among them, or swapped
            // and present pages would be separate runs. Some other categories make the kernel look
            // at the frame of each page, which takes four times as long.
            return_mask: if guards { PAGE_IS_GUARD } else { 0 },
            ..ScanArgument::default()
        };
        // SAFETY: the argument has the layout and size that it declares, and the kernel writes its
        // `walk_end`. `vec` points to `vec_len` regions, which are live plain integers that nothing
        // else uses until the call returns.
        let count = unsafe { pagemap_scan(file.as_raw_fd(), &raw mut argument) }?;
        let regions = &found[..usize::try_from(count).unwrap_or(0).min(found.len())];
        for region in regions {
            let Some(range) = AddressRange::new(region.start.max(at), region.end.min(window.end())) else {
                continue;
            };
            let pages = if region.categories & PAGE_IS_GUARD != 0 {
                Pages::Guard
            } else {
                Pages::Exist
            };
            push(&mut runs, Run { range, pages });
        }
        // When the walk is complete, `walk_end` may be stale (observed on Linux 6.18), and a loop
        // that relies on it sees regions twice. The walk is complete if the kernel returned fewer
        // regions than there was room for.
        if regions.len() < found.len() {
            break;
        }
        let last = regions.last().map_or(at, |region| region.end);
        at = argument.walk_end.max(last);
        if at >= needed && at < window.end() {
            return Ok(ScanAnswer { runs, end: at });
        }
    }
    Ok(ScanAnswer {
        runs,
        end: window.end(),
    })
}

/// Adds a run. If it continues the last run with the same result, the two are joined.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && last.range.end() == run.range.start()
        && last.pages == run.pages
        && let Some(joined) = AddressRange::new(last.range.start(), run.range.end())
    {
        last.range = joined;
    } else {
        runs.push(run);
    }
}

/// What these tests would catch: pages that are missing or reported twice, in particular if one
/// scan cannot return all of them; the two ways giving different results; guards mistaken for
/// memory; huge reservations that cost much time or memory.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Victim, bytes_read, map, poke};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use std::num::NonZeroUsize;
    use std::ptr::NonNull;

    /// Anonymous memory that was not accessed yet.
    struct Untouched(NonNull<libc::c_void>, usize);

    impl Untouched {
        fn pages(pages: usize) -> Self {
            let bytes = pages * 4096;
            let length = NonZeroUsize::new(bytes).expect("not empty");
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
            // SAFETY: this creates a new private mapping at an address that the kernel chooses.
            let at = unsafe { mmap_anonymous(None, length, access, flags) }.expect("maps");
            // SAFETY: this is the mapping just created. Without the advice, the kernel could use a
            // huge page, in which the neighbours of a touched page exist, too.
            unsafe { libc::madvise(at.as_ptr(), bytes, libc::MADV_NOHUGEPAGE) };
            Self(at, bytes)
        }

        fn range(&self) -> AddressRange {
            AddressRange::at(self.0.addr().get() as u64, self.1 as u64).expect("not empty")
        }

        fn touch(&self, page: usize) {
            assert!(page * 4096 < self.1);
            // SAFETY: the address is inside the mapping, which is writable and not otherwise used.
            unsafe { self.0.cast::<u8>().add(page * 4096).write_volatile(1) };
        }

        fn page(&self, page: usize, count: usize) -> AddressRange {
            AddressRange::at(self.range().start() + page as u64 * 4096, count as u64 * 4096)
                .expect("not empty")
        }
    }

    impl Drop for Untouched {
        fn drop(&mut self) {
            // SAFETY: this is the mapping created in `pages`, which nothing refers to any more.
            let _ = unsafe { munmap(self.0, self.1) };
        }
    }

    fn own() -> Pagemap {
        Pagemap::open(&dir())
    }

    fn by_entries() -> Pagemap {
        Pagemap::by_entries(&dir())
    }

    fn dir() -> ProcDir {
        ProcDir::new(std::process::id()).expect("own process")
    }

    fn part(range: AddressRange) -> ScannedPart {
        let mapping = range.start();
        ScannedPart { range, mapping }
    }

    impl Pagemap {
        fn all(&mut self, range: AddressRange) -> Vec<Run> {
            let answer = self.runs(range, range.end(), true, || vec![part(range)]);
            assert_eq!(answer.end, range.end());
            answer.runs
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
            let runs: Vec<_> = pagemap.all(memory.range()).iter().map(|run| run.range).collect();
            assert_eq!(runs, expected, "{pagemap:?}");
            assert!(!pagemap.is_untouched(memory.range()));
            assert!(pagemap.is_untouched(memory.page(6, 993)));
            assert!(pagemap.is_known());
        }
    }

    /// The pages of a process that was killed are lost, and not "never touched".
    #[test]
    fn pages_of_a_killed_process_are_not_absent() {
        let memory = Untouched::pages(8);
        memory.touch(3);
        let victim = Victim::that::<0>(|_| {});
        let mut pagemap = Pagemap::open(&victim.dir());
        let found = |pagemap: &mut Pagemap| -> Vec<_> {
            pagemap.all(memory.range()).iter().map(|run| run.range).collect()
        };
        assert_eq!(found(&mut pagemap), [memory.page(3, 1)]);
        let pid = nix::unistd::Pid::from_raw(victim.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
        let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), flags).expect("a child");
        assert_eq!(found(&mut pagemap), [memory.range()]);
        assert!(!pagemap.is_untouched(memory.page(5, 1)));
    }

    #[test]
    fn more_runs_than_one_scan_returns_come_once_each() {
        let count = 3 * RUNS_A_SCAN;
        let memory = Untouched::pages(2 * count);
        for page in 0..count {
            memory.touch(2 * page);
        }
        for mut pagemap in [own(), by_entries()] {
            let runs = pagemap.all(memory.range());
            assert_eq!(runs.len(), count);
            assert!(
                runs.iter()
                    .enumerate()
                    .all(|(i, run)| run.range == memory.page(2 * i, 1))
            );
        }
        // The answer has only what is needed, and what was found with it.
        let mut pagemap = own();
        if pagemap.scans() {
            let some = pagemap.runs(memory.range(), memory.range().start() + 4096, false, Vec::new);
            assert_eq!(some.runs.len(), RUNS_A_SCAN);
            let last = some.runs.last().expect("many").range;
            assert!(
                (last.end()..=last.end() + 4096).contains(&some.end),
                "{}",
                some.end
            );
        }
    }

    /// Starts a child with a mapping of this size, in which only the bytes at `offsets` were
    /// touched. (The mapping is not in this process, because the children of other tests would
    /// inherit it and read all of it.)
    fn wide(bytes: usize, offsets: impl Iterator<Item = usize>) -> (Victim, AddressRange) {
        let victim = Victim::that::<1>(|words| {
            words[0] = map(bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
            for offset in offsets {
                poke(words[0] + offset as u64, 1);
            }
        });
        let range = AddressRange::at(victim.words[0], bytes as u64).expect("not empty");
        (victim, range)
    }

    #[test]
    fn where_nothing_exists_is_found_out_at_once_or_not_at_all() {
        const TEBIBYTE: usize = 1 << 40;
        // One page near the beginning, and one far beyond what is read in advance.
        let (victim, range) = wide(16 * TEBIBYTE, [5 * 4096, 8 * TEBIBYTE].into_iter());
        let at = |offset: usize, len: usize| {
            AddressRange::at(range.start() + offset as u64, len as u64).expect("not empty")
        };
        let (first, second) = (at(5 * 4096, 4096), at(8 * TEBIBYTE, 4096));
        let before = bytes_read();
        let mut pagemap = Pagemap::open(&victim.dir());
        if pagemap.scans() {
            let runs: Vec<_> = pagemap.all(range).iter().map(|run| run.range).collect();
            assert_eq!(runs, [first, second]);
            assert!(!pagemap.is_untouched(range));
            assert!(pagemap.is_untouched(at(TEBIBYTE, TEBIBYTE)));
        }
        let mut pagemap = Pagemap::by_entries(&victim.dir());
        assert!(pagemap.is_too_slow_for([range].into_iter()));
        assert!(!pagemap.is_untouched(range));
        assert!(!pagemap.is_untouched(at(TEBIBYTE, TEBIBYTE)), "it is not known");
        let unknown = |answer: &ScanAnswer| -> u64 {
            let runs = answer.runs.iter().filter(|run| run.pages == Pages::Unknown);
            runs.map(|run| run.range.len()).sum()
        };
        let answer = pagemap.runs(range, range.end(), false, || vec![part(range)]);
        assert_eq!(answer.runs[0].range, first);
        assert!(unknown(&answer) > 15 << 40, "{answer:?}");
        // The same with many small windows.
        for window in range.chunks(256 << 20) {
            let mapping = range.start();
            let parts = || {
                vec![ScannedPart {
                    range: window,
                    mapping,
                }]
            };
            let answer = pagemap.runs(window, window.end(), false, parts);
            assert_eq!(unknown(&answer), window.len());
        }
        // With `exact`, the pages are found nevertheless.
        let runs: Vec<_> = pagemap.all(at(8 * TEBIBYTE - 4096, 3 * 4096));
        assert_eq!(runs.iter().map(|run| run.range).collect::<Vec<_>>(), [second]);
        let read = bytes_read() - before;
        assert!(read < 16 << 20, "{read} bytes for two pages");
    }

    #[test]
    fn pages_that_exist_pay_for_more() {
        const WIDE: usize = 16 << 30;
        let found = |offsets: std::iter::StepBy<std::ops::Range<usize>>| {
            let (victim, range) = wide(WIDE, offsets);
            let mut pagemap = Pagemap::by_entries(&victim.dir());
            let runs = pagemap.runs(range, range.end(), false, || vec![part(range)]).runs;
            let exist = runs.iter().filter(|run| run.pages == Pages::Exist).count();
            (exist, runs.last().map(|run| run.pages))
        };
        // One page in each gibibyte is too few.
        let (exist, last) = found((0..WIDE).step_by(1 << 30));
        assert!((4..16).contains(&exist), "{exist}");
        assert_eq!(last, Some(Pages::Unknown));
        // One in each page table is enough.
        let all = found((0..WIDE).step_by(2 << 20));
        assert_eq!(all, (WIDE / (2 << 20), Some(Pages::Exist)));
    }

    #[test]
    fn many_wide_mappings_cost_no_more_than_one() {
        let (victim, all) = wide(4 << 40, std::iter::empty());
        let mut pagemap = Pagemap::by_entries(&victim.dir());
        let before = bytes_read();
        // Treats each 4 GiB as a separate mapping, each of which may be read in advance.
        for range in all.chunks(4 << 30) {
            let answer = pagemap.runs(range, range.end(), false, || vec![part(range)]);
            assert_eq!(answer.end, range.end());
            pagemap.is_untouched(range);
        }
        let read = bytes_read() - before;
        let allowed = 8 * (ENTRIES_WITHOUT_PAGES + ENTRIES_OF_RESERVATIONS) + (1 << 20);
        assert!(read < allowed, "{read}");
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
        let runs = own().all(memory.range());
        let told: Vec<_> = runs
            .iter()
            .map(|run| (run.range, run.pages == Pages::Guard))
            .collect();
        if installed == 0 && runs.len() != 1 {
            assert_eq!(
                told,
                [
                    (memory.page(0, 1), false),
                    (guard, true),
                    (memory.page(3, 1), false)
                ]
            );
            assert_eq!(by_entries().all(memory.range()), runs);
        } else if installed != 0 {
            assert_eq!(told, [(memory.page(0, 1), false), (memory.page(3, 1), false)]);
        }
    }

    #[test]
    fn without_any_answer_everything_is_taken_to_exist() {
        let memory = Untouched::pages(2);
        let mut pagemap = Pagemap::with(Way::Unknown);
        assert_eq!(
            pagemap.all(memory.range()),
            [Run {
                range: memory.range(),
                pages: Pages::Exist
            }]
        );
        assert!(!pagemap.is_untouched(memory.range()) && !pagemap.is_known());
        // A file that does not support the request has the same result.
        let file = File::open("/dev/null").expect("there");
        let mut pagemap = Pagemap::with(Way::Scan { file, guards: true });
        assert_eq!(pagemap.all(memory.range()).len(), 1);
        assert!(!pagemap.is_known());
    }
}
