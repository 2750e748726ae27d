use dumpwright_callback::{Ask, Callback, ProcessAsked, ThreadAsked, ThreadWriteFlags};
use dumpwright_target::AddressRange;

use super::ranges::Ranges;
use super::regions::{self, PAGE};
use super::threads::{ThreadList, ThreadSelector};
use crate::memory::set::RangeSet;

/// Stacks are cut at multiples of this. Stack frames have this alignment on Linux and Windows.
const ALIGNMENT: u64 = 16;

/// Limits the bytes of each stack, counted from its innermost frame.
///
/// A deep recursion, or blocks of thread-local variables above the outermost frame, can make a
/// stack large, while its innermost frames are often enough. In a dump of all memory, the pages
/// beyond the limit are left out.
///
/// ```
/// use dumpwright::policy::StackLimit;
///
/// let mut short = StackLimit::of(64 << 10).except_named(["main"]);
/// # let _ = &mut short;
/// ```
#[derive(Debug)]
pub struct StackLimit {
    limit: u64,
    whole: ThreadList,
    kept: Vec<AddressRange>,
    cut: Vec<AddressRange>,
    removals: Option<Ranges>,
    /// The whole pages that are left out of a dump of all memory.
    pages: Option<RangeSet>,
}

impl StackLimit {
    /// Keeps at most `bytes` bytes of each stack, rounded up to a multiple of 16.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self {
            limit: bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(bytes),
            whole: ThreadList::default(),
            kept: Vec::new(),
            cut: Vec::new(),
            removals: None,
            pages: None,
        }
    }

    /// Keeps the whole stacks of threads whose name matches one of these patterns, see
    /// [`Threads::named`](super::Threads::named).
    #[must_use]
    pub fn except_named<P: Into<String>>(self, patterns: impl IntoIterator<Item = P>) -> Self {
        let named = patterns.into_iter().map(|name| ThreadSelector::Name(name.into()));
        self.except(named.collect())
    }

    /// Keeps the whole stacks of these threads.
    pub(super) fn except(mut self, threads: ThreadList) -> Self {
        self.whole = threads;
        self
    }

    fn see(&mut self, thread: &ThreadAsked<'_>) {
        let Some(stack) = AddressRange::new(thread.stack_end, thread.stack_base) else {
            return;
        };
        let limit = match self.whole.has(thread) {
            true => u64::MAX,
            false => self.limit,
        };
        let border = stack.start().saturating_add(limit).min(stack.end());
        self.kept.extend(AddressRange::new(stack.start(), border));
        self.cut.extend(AddressRange::new(border, stack.end()));
    }

    /// Returns what is left out. What one thread keeps stays in the dump even if another one, on
    /// the same stack, does not reach it.
    fn left_out(&self) -> RangeSet {
        let kept = RangeSet::union_of_overlapping(self.kept.iter().copied());
        RangeSet::union_of_overlapping(self.cut.iter().copied()).subtract(&kept)
    }
}

/// Returns the whole pages in a range.
fn pages_in(range: AddressRange) -> Option<AddressRange> {
    let start = range.start().checked_next_multiple_of(PAGE)?;
    AddressRange::new(start, range.end() - range.end() % PAGE)
}

impl Callback for StackLimit {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.kept.clear();
                self.cut.clear();
                (self.removals, self.pages) = (None, None);
            }
            Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep }
                if keep.contains(ThreadWriteFlags::THREAD) =>
            {
                self.see(&thread);
            }
            Ask::RemoveMemory { unwanted } => {
                let removals = self.removals.take();
                let mut removals = removals.unwrap_or_else(|| Ranges::from_set(self.left_out()));
                let more = removals.next(unwanted);
                self.removals = Some(removals);
                return more;
            }
            Ask::IncludeVmRegion { answer } => {
                if let Some(offered) = regions::range(&answer.region) {
                    let pages = self.pages.take();
                    let removed =
                        pages.unwrap_or_else(|| RangeSet::union(self.left_out().iter().filter_map(pages_in)));
                    let left = RangeSet::union([offered]).subtract(&removed);
                    regions::answer(answer, left.iter().next());
                    self.pages = Some(removed);
                }
            }
            _ => {}
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
