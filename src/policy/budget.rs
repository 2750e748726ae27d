use std::fmt;

use dumpwright_callback::{
    Ask, Callback, Hresult, MemoryAnswer, MemoryInfo, ProcessAsked, RegionAnswer, ThreadAsked,
    ThreadWriteFlags, VmReadAnswer,
};
use dumpwright_target::{AddressRange, RegionKind, protect};

use super::Chain;
use super::ranges::Ranges;
use super::regions::{self, PAGE, Passes, Said, whole_pages};
use super::registers;
use crate::Request;
use crate::memory::set::RangeSet;

/// What a dump keeps around an instruction pointer, on each side.
const WINDOW: u64 = 128;

/// Stacks are cut at multiples of this; both systems align frames so.
const STACK_ALIGNMENT: u64 = 16;

/// A limit to the bytes of memory in a dump, with a stated order in which things go.
///
/// It stands around another callback, or a [`Chain`], because it has to hear what is added and removed there. Kept is,
/// first to last:
///
/// 1. stacks, each from its innermost frame on; if not all fit, the deep ones are cut until they do ([`Priority::Stack`]);
/// 2. ranges that the callback adds, and code around instruction pointers ([`Priority::Added`]);
/// 3. of all memory (`WITH_FULL_MEMORY`): private writable regions ([`Priority::Private`]), then other writable ones
///    ([`Priority::Data`]), then what can only be read ([`Priority::Rest`]), small ones before large ones;
/// 4. of any other type: whatever it selects besides, in the order of addresses, piece by piece as long as it fits
///    ([`Priority::Rest`]).
///
/// What went is in [`dropped`](Self::dropped). The limit holds for memory; threads and modules come on top, some 1.3 KiB for a thread and
/// 0.3 KiB for a module, and on Linux the texts of `/proc`.
///
/// Microsoft's writer, and the [profiles](crate::Profile) that follow it, join stacks with memory beside them that is
/// selected too; there such memory stays, and the limit can be passed by it.
///
/// Ranges other than stacks are dropped when it is their turn to be read. So let the [`Request`] be [`prepare`](Self::prepare)d: memory that it would
/// read only while the file is written has its place in the file by then, and is filled with 0xDD instead of dropped.
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
}

struct SeenThread {
    stack: Option<AddressRange>,
    /// The dump is to hold the stack because of the thread; not so in dumps of all memory.
    holds_stack: bool,
}

/// What is known once the memory of a dump that does not hold all memory has been chosen.
struct Selected {
    removals: Ranges,
    stacks: RangeSet,
    named: RangeSet,
    granted: RangeSet,
    denied: RangeSet,
    left: u64,
}

/// The passes over the regions of a dump of all memory.
#[derive(Default)]
struct Full {
    passes: Passes,
    count: usize,
    /// The inner callback still wants to be asked in this pass.
    inner: bool,
    /// All that was wanted, from the first pass.
    wanted: Vec<(AddressRange, Priority)>,
    /// What is kept of it; `None` if all.
    kept: Option<RangeSet>,
}

/// The order in which memory is kept, first to last; the last goes first.
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
    /// Which.
    pub range: AddressRange,
    /// What it counted as.
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
    /// At most so many bytes of memory, without another callback.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self::limit(Chain::new(), bytes)
    }
}

impl<'a> SizeBudget<'a> {
    /// At most so many bytes of memory in a dump that otherwise follows `callback`.
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
        }
    }

    /// The same request with all selected memory read before the layout, so that it can be dropped; what is dropped is never
    /// kept, so this costs the dumper no more memory than the limit and one piece (64 MiB).
    #[must_use]
    pub fn prepare(request: Request) -> Request {
        request.fetch_limit(u64::MAX)
    }

    /// What the last dump had to do without.
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

    /// The stacks, each cut to its share of the limit, and what was cut off. `unit` is what stacks are cut at.
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

    /// The plan for a dump that does not hold all memory, made when all ranges have been added.
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
            named,
            granted: RangeSet::default(),
            denied: RangeSet::default(),
        });
    }

    /// Whether a read may go on.
    fn grants(&mut self, offset: u64, size: usize) -> bool {
        let (Some(selected), Some(piece)) = (&mut self.selected, AddressRange::at(offset, size as u64))
        else {
            // Memory is still being chosen; what is read now only helps with that.
            return true;
        };
        let piece_set = RangeSet::union([piece]);
        let holds = |set: &RangeSet| len(&piece_set.subtract(set)) == 0;
        if holds(&selected.stacks) || holds(&selected.granted) {
            return true;
        }
        if holds(&selected.denied) {
            return false;
        }
        let beside_stacks = piece_set.subtract(&selected.stacks);
        if len(&beside_stacks) < piece.len() {
            // DbgHelp joins stacks with what lies beside them, and a stack that cannot be read fails its dump.
            selected.left = selected.left.saturating_sub(len(&beside_stacks));
            selected.granted = RangeSet::union(selected.granted.iter().chain([piece]));
            return true;
        }
        // Pieces come in the order of addresses: of what was named, all that lies behind is still to come.
        let named_here = len(&selected.named.intersect(&piece_set));
        let behind = AddressRange::new(piece.end(), u64::MAX);
        let still_to_come = len(&selected.named.intersect(&RangeSet::union(behind)));
        let reserved = if named_here == piece.len() {
            0
        } else {
            still_to_come
        };
        if piece.len() <= selected.left.saturating_sub(reserved) {
            selected.left -= piece.len();
            selected.granted = RangeSet::union(selected.granted.iter().chain([piece]));
            return true;
        }
        selected.denied = RangeSet::union(selected.denied.iter().chain([piece]));
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

    /// The first part of what is offered that is to be dumped.
    ///
    /// The first pass takes all that is wanted, and learns how much that is. If it is too much, the second pass
    /// answers otherwise, which by the protocol makes the writer start over; from then on both agree.
    fn next_part(&mut self, region: &MemoryInfo, offered: AddressRange) -> Option<AddressRange> {
        let mut rest = Some(offered);
        while let Some(offered) = rest {
            let part = self.wanted_part(region, offered)?;
            if self.full.count == 1 {
                self.full.wanted.push((part, priority(region)));
                return Some(part);
            }
            let Some(kept) = &self.full.kept else {
                return Some(part);
            };
            if let Some(kept) = kept.intersect(&RangeSet::union([part])).iter().next() {
                return Some(kept);
            }
            rest = AddressRange::new(part.end(), offered.end());
        }
        None
    }

    /// The first part of what is offered that the inner callback wants.
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
        match Said::read(offered, Some(returned), &answer) {
            Said::Skip => None,
            Said::Part(part) => Some(part),
            Said::NoMore => {
                self.full.inner = false;
                Some(offered)
            }
        }
    }

    /// The plan for a dump of all memory, made from what the first pass has shown.
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
                    .map(|range| (Priority::Added, range.len(), range)),
            );
            candidates.extend(
                range
                    .subtract(&named)
                    .iter()
                    .map(|range| (*priority, range.len(), range)),
            );
        }
        candidates.sort_unstable();
        let mut left = self.limit - len(&stacks);
        let mut kept: Vec<_> = stacks.iter().collect();
        for (priority, size, range) in candidates {
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

/// What a region of a dump of all memory counts as.
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

fn len(set: &RangeSet) -> u64 {
    set.iter().map(AddressRange::len).sum()
}

/// The largest size to which all can be cut so that together they fit.
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
                let range = RangeSet::union(AddressRange::at(offset, bytes.into()));
                if denied.is_some_and(|denied| len(&range.subtract(denied)) == 0) {
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
