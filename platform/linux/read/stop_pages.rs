//! What a clone of the target does not show: pages of files and shared memory, which are not
//! copied, and memory that the program keeps from its children.

use dumpwright_target::{AddressRange, Memory};

use super::{ProcessMemory, READ_AHEAD, never, offset};
use crate::clone::CloneRefusal;
use crate::pagemap::{Pages, Run, ScannedPart};
use crate::proc_dir::ProcDir;
use crate::regions::Mapping;

/// The maximum amount of memory that is copied while the target is stopped.
const LARGEST_COPY: u64 = 16 << 20;

/// The same for memory of this process, which runs meanwhile.
const LARGEST_OWN_COPY: u64 = 256 << 20;

/// How much of it is copied at once.
const PIECE: u64 = 1 << 20;

/// What was found out, and copied, while the target was stopped.
#[derive(Debug, Default)]
pub(crate) struct StopPages {
    /// The existing pages of the [mappings](is_of_stop) whose pages a clone does not have, and of
    /// some others.
    runs: Vec<Run>,
    /// Copied memory, by ascending address.
    copies: Vec<(AddressRange, Vec<u8>)>,
}

/// Whether a clone may lack pages that this mapping of the target has.
///
/// The kernel copies page tables only for memory that a process may have changed for itself
/// (`vma_needs_copy` in `mm/memory.c`). All other pages come from their file when they are used.
pub(super) fn is_of_stop(mapping: &Mapping) -> bool {
    is_kept_back(mapping) || !mapping.is_private_anonymous()
}

/// Whether the program keeps this memory from its children.
fn is_kept_back(mapping: &Mapping) -> bool {
    mapping
        .flags
        .is_some_and(|flags| flags.dont_fork || flags.wipe_on_fork)
}

impl StopPages {
    /// The runs that end after `at`.
    pub(super) fn runs_from(&self, at: u64) -> &[Run] {
        &self.runs[self.runs.partition_point(|run| run.range.end() <= at)..]
    }

    /// Splits `range` into what was copied, with its index, and the rest.
    pub(super) fn split(&self, range: AddressRange) -> Vec<(AddressRange, Option<usize>)> {
        let first = self
            .copies
            .partition_point(|(copied, _)| copied.end() <= range.start());
        let mut parts = Vec::new();
        let mut at = range.start();
        for (index, (copied, _)) in self.copies.iter().enumerate().skip(first) {
            let Some(here) = copied.intersect(range) else {
                break;
            };
            parts.extend(AddressRange::new(at, here.start()).map(|gap| (gap, None)));
            parts.push((here, Some(index)));
            at = here.end();
        }
        parts.extend(AddressRange::new(at, range.end()).map(|gap| (gap, None)));
        parts
    }

    /// The bytes of `range`, which lies in the copy with this index.
    pub(super) fn bytes(&self, index: usize, range: AddressRange) -> &[u8] {
        let (copied, bytes) = &self.copies[index];
        &bytes[offset(copied.start(), range.start())..offset(copied.start(), range.end())]
    }

    /// Whether memory was copied.
    pub(crate) fn has_copies(&self) -> bool {
        !self.copies.is_empty()
    }

    /// Adds the existing pages of `more` that are not known yet.
    fn add_missing(&mut self, more: &[Run]) {
        let mut missing = Vec::new();
        for run in more.iter().filter(|run| run.pages == Pages::Exist) {
            let mut at = run.range.start();
            let known = self.runs_from(at).iter();
            for known in known.take_while(|known| known.range.start() < run.range.end()) {
                missing.extend(AddressRange::new(at, known.range.start()));
                at = at.max(known.range.end());
            }
            missing.extend(AddressRange::new(at, run.range.end()));
        }
        let runs = missing.into_iter().map(|range| Run {
            range,
            pages: Pages::Exist,
        });
        self.runs.extend(runs);
        self.runs.sort_unstable_by_key(|run| run.range.start());
    }

    /// Whether all existing pages of `range` were copied.
    pub(super) fn has_all_of(&self, range: AddressRange) -> bool {
        let runs = self.runs_from(range.start()).iter();
        runs.map_while(|run| run.range.intersect(range))
            .all(|run| self.split(run).iter().all(|(_, copy)| copy.is_some()))
    }
}

impl ProcessMemory {
    /// Finds out what a clone will not show, and copies what must not change. Must be called while
    /// the target is stopped.
    ///
    /// Memory that the program keeps from its children is copied. So is shared memory, if `full`
    /// and if it is small enough. Memory that the program marked "do not dump" is not copied,
    /// unless it is wanted (`dont_dump`).
    ///
    /// # Errors
    /// There is too much memory that has to be copied.
    pub(crate) fn stop_pages(&mut self, full: bool, dont_dump: bool) -> Result<StopPages, CloneRefusal> {
        self.pages_copied(full, dont_dump, LARGEST_COPY)
    }

    /// The same for this process, of which a clone was just made, and which runs.
    ///
    /// The program may have unmapped files in the meantime. The clone has those of their pages that
    /// were changed.
    ///
    /// # Errors
    /// As [`stop_pages`](Self::stop_pages), with a higher limit.
    pub(crate) fn own_pages(
        &mut self,
        clone: &ProcDir,
        full: bool,
        dont_dump: bool,
    ) -> Result<StopPages, CloneRefusal> {
        let mut pages = self.pages_copied(full, dont_dump, LARGEST_OWN_COPY)?;
        let mappings = std::rc::Rc::clone(&self.mappings);
        let of_clone = Self::new(clone, std::rc::Rc::clone(&mappings)).runs_of_stop(&mappings);
        pages.add_missing(&of_clone);
        Ok(pages)
    }

    fn pages_copied(&mut self, full: bool, dont_dump: bool, largest: u64) -> Result<StopPages, CloneRefusal> {
        let mappings = std::rc::Rc::clone(&self.mappings);
        let mut pages = StopPages {
            runs: self.runs_of_stop(&mappings),
            copies: Vec::new(),
        };
        let is_wanted = |mapping: &&Mapping| {
            never(mapping).is_none() && (dont_dump || !mapping.flags.is_some_and(|flags| flags.dont_dump))
        };
        let existing = |mapping: &Mapping| {
            let runs = pages.runs_from(mapping.range.start()).iter();
            let exist = runs.take_while(|run| run.range.start() < mapping.range.end());
            exist
                .filter(|run| run.pages == Pages::Exist)
                .filter_map(|run| run.range.intersect(mapping.range))
                .collect::<Vec<_>>()
        };
        let size = |ranges: &[AddressRange]| ranges.iter().map(|range| range.len()).sum::<u64>();
        let kept_back: Vec<AddressRange> = mappings
            .iter()
            .filter(is_wanted)
            .filter(|mapping| is_kept_back(mapping))
            .flat_map(existing)
            .collect();
        if size(&kept_back) > largest {
            return Err(CloneRefusal(format!(
                "it keeps {} MiB of memory from its children (MADV_DONTFORK, MADV_WIPEONFORK)",
                size(&kept_back) >> 20
            )));
        }
        let shared = mappings
            .iter()
            .filter(|mapping| full && mapping.shared && !is_kept_back(mapping));
        let shared: Vec<AddressRange> = shared.filter(is_wanted).flat_map(existing).collect();
        let mut ranges = kept_back;
        if size(&ranges) + size(&shared) <= LARGEST_COPY {
            ranges.extend(shared);
            ranges.sort_unstable_by_key(|range| range.start());
        }
        for range in ranges.into_iter().flat_map(|range| range.chunks(PIECE)) {
            self.copy(range, &mut pages.copies);
        }
        Ok(pages)
    }

    /// Copies `range`. Bytes that cannot be read are left out.
    fn copy(&mut self, range: AddressRange, copies: &mut Vec<(AddressRange, Vec<u8>)>) {
        let mut at = range.start();
        while at < range.end() {
            let mut bytes = vec![0; offset(at, range.end())];
            let read = self.read(at, &mut bytes).unwrap_or(0);
            bytes.truncate(read);
            let next = at + read as u64;
            copies.extend(AddressRange::new(at, next).map(|range| (range, bytes)));
            // At least one page cannot be read.
            let beyond = (next & !(self.page - 1)).saturating_add(self.page);
            at = if next < range.end() { beyond } else { next };
        }
    }

    fn runs_of_stop(&mut self, mappings: &[Mapping]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let of_stop = mappings
            .iter()
            .filter(|mapping| is_of_stop(mapping) && never(mapping).is_none());
        let mut parts: Vec<ScannedPart> = Vec::new();
        for mapping in of_stop {
            let range = mapping.range;
            match parts.last_mut() {
                // Small mappings close to each other need only one system call.
                Some(last) if range.end() - last.range.start() <= READ_AHEAD => {
                    last.range = AddressRange::new(last.range.start(), range.end()).unwrap_or(range);
                }
                _ => parts.push(ScannedPart {
                    range,
                    mapping: range.start(),
                }),
            }
        }
        for part in parts {
            let mut at = part.range.start();
            while let Some(rest) = AddressRange::new(at, part.range.end()) {
                let part = ScannedPart { range: rest, ..part };
                let answer = self.pagemap.runs(rest, rest.end(), false, || vec![part]);
                runs.extend(answer.runs);
                at = answer.end.max(at + self.page);
            }
        }
        runs
    }

    /// Returns the memory of a clone of the process. `dir` is the clone's, and `pages` was made
    /// while the process was stopped.
    pub(crate) fn of_clone(&self, dir: &ProcDir, pages: StopPages) -> Self {
        let mut clone = Self::new(dir, std::rc::Rc::clone(&self.mappings));
        clone.files.descriptors_of(&self.dir);
        clone.shown = self.shown;
        clone = clone.watched_by(std::sync::Arc::clone(&self.watch));
        clone.clone = Some(pages);
        clone
    }
}
