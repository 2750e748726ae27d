use std::fmt;

use dumpwright_callback::{
    Ask, Callback, Hresult, MemoryAnswer, MemoryInfo, ProcessAsked, RegionAnswer, ThreadAsked,
    ThreadWriteFlags, VmReadAnswer,
};
use dumpwright_target::{AddressRange, RegionKind, protect};

use super::Chain;
use super::ranges::Ranges;
use super::regions::{self, PAGE, PassAnswer, Passes, whole_pages};
use super::registers;
use crate::Request;
use crate::memory::set::{Cover, RangeSet};

/// The bytes that a dump includes on each side of an instruction pointer.
const WINDOW: u64 = 128;

/// Stacks are cut at multiples of this. Stack frames have this alignment on Linux and Windows.
const STACK_ALIGNMENT: u64 = 16;

/// Limits the bytes of memory in a dump, and drops memory in a documented order.
///
/// A budget wraps another callback, or a [`Chain`], because it must see what that callback adds and
/// removes. Memory is kept in this order, the most important first:
///
/// 1. Stacks, each from its innermost frame on. If not all of them fit, the largest stacks are cut
///    until they do ([`Priority::Stack`]).
/// 2. Ranges that the callback adds, and code around instruction pointers ([`Priority::Added`]).
/// 3. In a dump of all memory (`WITH_FULL_MEMORY`): private writable regions
///    ([`Priority::Private`]), then other writable regions ([`Priority::Data`]), then all other
///    regions ([`Priority::Rest`]). Within one priority, small regions come before large ones.
///    With compressed memory (`WITH_MEMORY_COMPRESSED`), regions are asked about only once, so they
///    have no priorities: each region, in ascending order of addresses, is kept if it still fits.
///    The limit applies to the memory before compression.
/// 4. In a dump of any other type: all other memory that the type selects, in ascending order of
///    addresses. Each piece that still fits is kept ([`Priority::Rest`]).
///
/// [`dropped`](Self::dropped) returns what was dropped. The limit applies to memory only. Threads
/// and modules add to the size of the dump, about 1.3 KiB for each thread and 0.3 KiB for each
/// module, and so do the `/proc` texts on Linux.
///
/// Microsoft's writer, and the [profiles](crate::Profile) that follow it, join a stack with other
/// selected memory next to it. In those profiles such memory is always kept, and the dump can
/// exceed the limit by its size.
///
/// Ranges other than stacks are dropped when they are about to be read. Memory that is read only
/// while the file is written already has its place in the file by then, and is filled with 0xDD
/// instead of being dropped. To avoid this, pass the [`Request`] through
/// [`prepare`](Self::prepare).
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::{AroundRegisters, Chain, SizeBudget};
/// use dumpwright::{DumpType, Request, dump};
///
/// let request = SizeBudget::prepare(Request::new(DumpType::WITH_PRIVATE_READ_WRITE_MEMORY));
/// let mut budget = SizeBudget::around(Chain::new().then(AroundRegisters::new(64, 512)), 8 << 20);
/// dump(&mut process, &request, Some(&mut budget), &mut Vec::new())?;
/// for dropped in budget.dropped() {
///     println!("not in the dump: {dropped}");
/// }
/// # Ok::<(), dumpwright::Error>(())
/// ```
pub struct SizeBudget<'a> {
    inner: Chain<'a>,
    limit: u64,
    threads: Vec<SeenThread>,
    /// Ranges that the inner callback added, and code around instruction pointers.
    named: Vec<AddressRange>,
    selected: Option<Selected>,
    full: Full,
    dropped: Vec<Dropped>,
    /// The priorities that come first among the regions of a dump of all memory.
    first: Vec<Priority>,
}

struct SeenThread {
    stack: Option<AddressRange>,
    /// The stack is dumped because it belongs to the thread. `false` in dumps of all memory.
    holds_stack: bool,
}

/// The state of a dump that does not include all memory, after its memory has been chosen.
struct Selected {
    removals: Ranges,
    stacks: RangeSet,
    named: RangeSet,
    /// For each range of `named`: its bytes plus those of all ranges after it.
    named_from: Vec<u64>,
    granted: Cover,
    denied: Cover,
    left: u64,
}

impl Selected {
    /// Returns how many bytes of `named` lie at or after `address`.
    fn named_behind(&self, address: u64) -> u64 {
        let index = self.named.index_behind(address);
        let first = self.named.first_behind(address);
        first.map_or(0, |range| {
            self.named_from[index] - address.saturating_sub(range.start())
        })
    }
}

/// The passes over the regions of a dump of all memory.
#[derive(Default)]
struct Full {
    passes: Passes,
    count: usize,
    /// Whether the inner callback still receives IncludeVmRegion in this pass.
    inner: bool,
    /// All memory that was wanted in the first pass.
    wanted: Vec<(AddressRange, Priority)>,
    /// The part of `wanted` that is kept; `None` if all of it is.
    kept: Option<RangeSet>,
    /// The state of the only pass of a dump with compressed memory.
    only: Option<OnlyPass>,
}

/// The only pass over the regions of a dump with compressed memory.
struct OnlyPass {
    /// The used parts of stacks, and ranges that the inner callback added.
    kept: RangeSet,
    /// The parts of stacks that are dropped.
    cut: RangeSet,
    /// How many bytes of other memory still fit.
    left: u64,
}

/// The order in which memory is kept. The first variant is kept longest, the last one is dropped
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The part of a stack that is in use.
    Stack,
    /// A range that a callback added, or code around an instruction pointer.
    Added,
    /// A private writable region.
    Private,
    /// Another writable region.
    Data,
    /// Everything else.
    Rest,
}

/// Memory that was dropped to stay within the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The addresses that were dropped.
    pub range: AddressRange,
    /// The priority that the memory had.
    pub priority: Priority,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.priority {
            Priority::Stack => "outer part of a stack",
            Priority::Added => "added by a callback, or code around an instruction pointer",
            Priority::Private => "private writable memory",
            Priority::Data => "writable memory of a file or module",
            Priority::Rest => "other memory",
        };
        write!(f, "{} bytes at {} ({what})", self.range.len(), self.range)
    }
}

impl SizeBudget<'static> {
    /// Limits a dump to `bytes` bytes of memory, without another callback.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self::limit(Chain::new(), bytes)
    }
}

impl<'a> SizeBudget<'a> {
    /// Limits a dump that otherwise follows `callback` to `bytes` bytes of memory.
    #[must_use]
    pub fn around(callback: impl Callback + 'a, bytes: u64) -> Self {
        Self::limit(Chain::new().then(callback), bytes)
    }

    fn limit(inner: Chain<'a>, limit: u64) -> Self {
        Self {
            inner,
            limit,
            threads: Vec::new(),
            named: Vec::new(),
            selected: None,
            full: Full::default(),
            dropped: Vec::new(),
            first: Vec::new(),
        }
    }

    /// Keeps the regions of these priorities before others, in this order, in a dump of all memory.
    ///
    /// [`Priority::Stack`] and [`Priority::Added`] come first in any case. Priorities that are not
    /// in the list follow in their usual order.
    #[must_use]
    pub fn keep_first(mut self, order: impl IntoIterator<Item = Priority>) -> Self {
        self.first = order.into_iter().collect();
        self
    }

    /// Returns the position of a priority in the order in which regions are kept.
    fn rank(&self, priority: Priority) -> (usize, Priority) {
        let place = self.first.iter().position(|first| *first == priority);
        match priority {
            Priority::Stack | Priority::Added => (0, priority),
            _ => (place.map_or(usize::MAX, |place| place + 1), priority),
        }
    }

    /// Returns the same request, changed so that all selected memory is read before the file is
    /// laid out and can still be dropped.
    ///
    /// Dropped memory is not stored. The dumper therefore needs at most the limit plus one piece
    /// (64 MiB) of its own memory.
    #[must_use]
    pub fn prepare(request: Request) -> Request {
        request.fetch_limit(u64::MAX)
    }

    /// Returns the memory that was dropped from the last dump.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    fn drop_range(&mut self, range: AddressRange, priority: Priority) {
        self.dropped.push(Dropped { range, priority });
    }

    fn see(&mut self, thread: &ThreadAsked<'_>, keep: ThreadWriteFlags) {
        if !keep.contains(ThreadWriteFlags::THREAD) && !keep.contains(ThreadWriteFlags::STACK) {
            return;
        }
        let stack = AddressRange::new(thread.stack_end, thread.stack_base);
        self.threads.push(SeenThread {
            stack,
            holds_stack: keep.contains(ThreadWriteFlags::STACK),
        });
        let window = registers::instruction_pointer(thread.context)
            .and_then(|at| AddressRange::new(at.saturating_sub(WINDOW), at.saturating_add(WINDOW)));
        self.named.extend(window);
    }

    /// Cuts each stack to its share of the limit, at multiples of `unit`. Returns what is kept and
    /// what is cut off.
    fn share(&self, stacks: Vec<AddressRange>, unit: u64) -> (RangeSet, RangeSet) {
        let stacks = RangeSet::union_of_overlapping(stacks);
        let share = fair_share(stacks.iter().map(AddressRange::len).collect(), self.limit);
        let share = share - share % unit;
        let kept = stacks
            .iter()
            .filter_map(|stack| AddressRange::at(stack.start(), stack.len().min(share)));
        let kept = RangeSet::union_of_overlapping(kept);
        let cut = stacks.subtract(&kept);
        (kept, cut)
    }

    /// Chooses the memory of a dump that does not include all memory. Called after all ranges have
    /// been added.
    fn select(&mut self) {
        let in_use = self
            .threads
            .iter()
            .filter(|thread| thread.holds_stack)
            .filter_map(|thread| thread.stack);
        let (stacks, cut) = self.share(in_use.collect(), STACK_ALIGNMENT);
        for range in cut.iter() {
            self.drop_range(range, Priority::Stack);
        }
        let named = RangeSet::union(self.named.iter().copied())
            .subtract(&stacks)
            .subtract(&cut);
        self.selected = Some(Selected {
            removals: Ranges::from_set(cut),
            left: self.limit.saturating_sub(len(&stacks)),
            stacks,
            named_from: lengths_from(&named),
            named,
            granted: Cover::default(),
            denied: Cover::default(),
        });
    }

    /// Whether a read may proceed.
    fn grants(&mut self, offset: u64, size: usize) -> bool {
        let (Some(selected), Some(piece)) = (&mut self.selected, AddressRange::at(offset, size as u64))
        else {
            // Memory is still being chosen; reads only help with the choice.
            return true;
        };
        let piece_set = RangeSet::union([piece]);
        let is_stack = len(&piece_set.subtract(&selected.stacks)) == 0;
        if is_stack || selected.granted.covers(piece) {
            return true;
        }
        if selected.denied.covers(piece) {
            return false;
        }
        let beside_stacks = piece_set.subtract(&selected.stacks);
        if len(&beside_stacks) < piece.len() {
            // DbgHelp joins stacks with the memory next to them, and fails the dump if a stack
            // cannot be read.
            selected.left = selected.left.saturating_sub(len(&beside_stacks));
            selected.granted.add(piece);
            return true;
        }
        // Pieces arrive in ascending order of addresses, so all of `named` above this piece is
        // still to come.
        let named_here = len(&piece_set.intersect(&selected.named));
        let still_to_come = selected.named_behind(piece.end());
        let reserved = if named_here == piece.len() {
            0
        } else {
            still_to_come
        };
        if piece.len() <= selected.left.saturating_sub(reserved) {
            selected.left -= piece.len();
            selected.granted.add(piece);
            return true;
        }
        selected.denied.add(piece);
        let priority = if named_here > 0 {
            Priority::Added
        } else {
            Priority::Rest
        };
        self.drop_range(piece, priority);
        false
    }

    fn include_vm_region(&mut self, slot: &mut RegionAnswer) {
        let Some(offered) = regions::range(&slot.region) else {
            return;
        };
        if self.full.passes.begins(offered.start()) {
            self.full.count += 1;
            self.full.inner = true;
            if self.full.count == 2 {
                self.choose();
            }
        }
        let part = self.next_part(&slot.region, offered);
        regions::answer(slot, part);
    }

    /// Returns the first part of the offered range that is to be dumped.
    ///
    /// The first pass accepts everything that is wanted and adds up its size. If that is too much,
    /// the second pass gives different answers. According to the protocol the writer then starts
    /// over, and all later passes agree.
    fn next_part(&mut self, region: &MemoryInfo, offered: AddressRange) -> Option<AddressRange> {
        let mut rest = Some(offered);
        while let Some(offered) = rest {
            let part = self.wanted_part(region, offered)?;
            if let Some(only) = &mut self.full.only {
                let (first, is_kept) = only.first(part);
                if is_kept {
                    return Some(first);
                }
                if !only.cut.meets(first) {
                    self.drop_range(first, priority(region));
                }
                rest = AddressRange::new(first.end(), offered.end());
                continue;
            }
            if self.full.count == 1 {
                self.full.wanted.push((part, priority(region)));
                return Some(part);
            }
            let Some(kept) = &self.full.kept else {
                return Some(part);
            };
            if let Some(kept) = RangeSet::union([part]).intersect(kept).iter().next() {
                return Some(kept);
            }
            rest = AddressRange::new(part.end(), offered.end());
        }
        None
    }

    /// Returns the first part of the offered range that the inner callback wants.
    fn wanted_part(&mut self, region: &MemoryInfo, offered: AddressRange) -> Option<AddressRange> {
        if !self.full.inner {
            return Some(offered);
        }
        let (base_address, region_size) = (offered.start(), offered.len());
        let mut answer = RegionAnswer {
            region: MemoryInfo {
                base_address,
                region_size,
                ..*region
            },
            cont: false,
        };
        let returned = self.inner.ask(Ask::IncludeVmRegion { answer: &mut answer });
        match PassAnswer::read(offered, Some(returned), &answer) {
            PassAnswer::Skip => None,
            PassAnswer::Part(part) => Some(part),
            PassAnswer::NoMore => {
                self.full.inner = false;
                Some(offered)
            }
        }
    }

    /// Prepares for the only pass over the regions of a dump with compressed memory.
    fn begin_only_pass(&mut self) {
        let in_use = self.threads.iter().filter_map(|thread| thread.stack);
        let (stacks, cut) = self.share(in_use.map(whole_pages).collect(), PAGE);
        for range in cut.iter() {
            self.drop_range(range, Priority::Stack);
        }
        let mut left = self.limit - len(&stacks);
        let named = RangeSet::union(self.named.iter().copied().map(whole_pages));
        let named = named.subtract(&stacks).subtract(&cut);
        let named = named.iter().filter(|range| {
            let fits = range.len() <= left;
            left -= if fits { range.len() } else { 0 };
            fits
        });
        let kept = RangeSet::union(named.chain(stacks.iter()).collect::<Vec<_>>());
        self.full.only = Some(OnlyPass { kept, cut, left });
    }

    /// Chooses the memory of a dump of all memory, from the results of the first pass.
    fn choose(&mut self) {
        let wanted = RangeSet::union(self.full.wanted.iter().map(|(range, _)| *range));
        if len(&wanted) <= self.limit {
            return;
        }
        let in_use = self
            .threads
            .iter()
            .filter_map(|thread| thread.stack)
            .map(whole_pages);
        let in_use = RangeSet::union_of_overlapping(in_use).intersect(&wanted);
        let (stacks, cut) = self.share(in_use.iter().collect(), PAGE);
        for range in cut.iter() {
            self.drop_range(range, Priority::Stack);
        }
        let named = RangeSet::union(self.named.iter().copied().map(whole_pages)).subtract(&in_use);
        let mut candidates = Vec::new();
        for (range, priority) in &self.full.wanted {
            let range = RangeSet::union([*range]).subtract(&in_use);
            candidates.extend(
                range
                    .intersect(&named)
                    .iter()
                    .map(|range| (self.rank(Priority::Added), range.len(), range)),
            );
            candidates.extend(
                range
                    .subtract(&named)
                    .iter()
                    .map(|range| (self.rank(*priority), range.len(), range)),
            );
        }
        candidates.sort_unstable();
        let mut left = self.limit - len(&stacks);
        let mut kept: Vec<_> = stacks.iter().collect();
        for ((_, priority), size, range) in candidates {
            if size <= left {
                left -= size;
                kept.push(range);
            } else {
                self.drop_range(range, priority);
            }
        }
        self.full.kept = Some(RangeSet::union(kept));
    }
}

impl OnlyPass {
    /// Returns the first piece of a part that is kept or dropped as a whole, and whether it is
    /// kept.
    fn first(&mut self, part: AddressRange) -> (AddressRange, bool) {
        let until = |border: u64| AddressRange::new(part.start(), border.min(part.end()));
        for (set, is_kept) in [(&self.kept, true), (&self.cut, false)] {
            if let Some(range) = set
                .first_behind(part.start())
                .filter(|range| range.contains(part.start()))
            {
                return (until(range.end()).expect("it contains the start"), is_kept);
            }
        }
        let borders = [&self.kept, &self.cut].map(|set| {
            let next = set.first_behind(part.start());
            next.map_or(u64::MAX, AddressRange::start)
        });
        let first = until(borders[0].min(borders[1])).expect("no set contains the start");
        let fits = first.len() <= self.left;
        self.left -= if fits { first.len() } else { 0 };
        (first, fits)
    }
}

/// The priority of a region in a dump of all memory.
fn priority(region: &MemoryInfo) -> Priority {
    const WRITABLE: u32 =
        protect::READWRITE | protect::WRITECOPY | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;
    match (
        region.protect & WRITABLE != 0,
        region.kind == RegionKind::Private.value(),
    ) {
        (true, true) => Priority::Private,
        (true, false) => Priority::Data,
        (false, _) => Priority::Rest,
    }
}

/// For each range of the set, returns its bytes plus those of all ranges after it.
fn lengths_from(set: &RangeSet) -> Vec<u64> {
    let mut lengths: Vec<_> = set.iter().map(AddressRange::len).collect();
    let mut all = 0;
    for length in lengths.iter_mut().rev() {
        all += *length;
        *length = all;
    }
    lengths
}

fn len(set: &RangeSet) -> u64 {
    set.iter().map(AddressRange::len).sum()
}

/// Returns the largest size such that all sizes, each cut to it, fit into `limit` together.
fn fair_share(mut sizes: Vec<u64>, limit: u64) -> u64 {
    sizes.sort_unstable();
    let mut left = limit;
    let mut count = sizes.len() as u64;
    for size in sizes {
        if size > left / count {
            return left / count;
        }
        left -= size;
        count -= 1;
    }
    u64::MAX
}

impl Callback for SizeBudget<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            ask @ Ask::IsProcessSnapshot { .. } => {
                self.threads.clear();
                self.named.clear();
                self.selected = None;
                self.full = Full::default();
                self.dropped.clear();
                self.inner.ask(ask)
            }
            Ask::VmStart { status } => {
                self.inner.ask(Ask::VmStart { status });
                *status = Hresult::S_FALSE;
                true
            }
            mut ask @ (Ask::Thread { .. } | Ask::ThreadEx { .. }) => {
                let said = self.inner.ask(ask.reborrow());
                if let (true, Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep }) = (said, ask) {
                    self.see(&thread, *keep);
                }
                said
            }
            Ask::Memory { wanted } => {
                let said = self.inner.ask(Ask::Memory { wanted });
                if said {
                    self.named
                        .extend(AddressRange::at(wanted.base, wanted.size.into()));
                }
                said
            }
            Ask::RemoveMemory { unwanted } => {
                if self.selected.is_none() {
                    self.select();
                }
                let mut answer = MemoryAnswer::default();
                if self
                    .selected
                    .as_mut()
                    .is_some_and(|selected| selected.removals.next(&mut answer))
                {
                    *unwanted = answer;
                    return true;
                }
                self.inner.ask(Ask::RemoveMemory { unwanted })
            }
            Ask::CompressedMemoryStreamStart { answer } => {
                self.begin_only_pass();
                self.inner.ask(Ask::CompressedMemoryStreamStart { answer })
            }
            Ask::IncludeVmRegion { answer } => {
                self.include_vm_region(answer);
                true
            }
            Ask::VmPreRead {
                offset,
                buffer,
                answer,
            } => {
                if self.grants(offset, buffer.len()) {
                    return self.inner.ask(Ask::VmPreRead {
                        offset,
                        buffer,
                        answer,
                    });
                }
                *answer = VmReadAnswer {
                    status: Hresult::READ_FAULT,
                    completed: 0,
                };
                true
            }
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                failure,
                status,
            } => {
                let denied = self.selected.as_ref().map(|selected| &selected.denied);
                let range = AddressRange::at(offset, bytes.into());
                if denied.is_some_and(|denied| range.is_none_or(|range| denied.covers(range))) {
                    *status = Hresult::S_OK;
                    return true;
                }
                self.inner.ask(Ask::ReadMemoryFailure {
                    offset,
                    bytes,
                    failure,
                    status,
                })
            }
            other => self.inner.ask(other),
        }
    }

    fn process(&mut self, process: ProcessAsked) {
        self.inner.process(process);
    }

    fn answers(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::fair_share;

    #[test]
    fn small_ones_are_whole_and_large_ones_are_cut_alike() {
        assert_eq!(fair_share(vec![100, 5, 300], 205), 100);
        assert_eq!(fair_share(vec![100, 5, 300], 105), 50);
        assert_eq!(fair_share(vec![100, 5, 300], 405), u64::MAX);
        assert_eq!(fair_share(vec![10, 10], 1), 0);
        assert_eq!(fair_share(vec![], 0), u64::MAX);
    }
}
